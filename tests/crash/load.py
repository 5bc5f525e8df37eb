"""Callers that trade, move money and look, each from its own seed, and note what they are told."""

from collections.abc import Callable
from random import Random
from typing import Any, Final

import msgspec
import trio

from tests.crash.history import TERMINAL, Call, History, Outcome
from tests.crash.http_client import AnswerLost, Client, NotSent, Reply
from tests.crash.venue import INSTRUMENTS, Member, Venue

_OPEN_ORDERS_MAX: Final = 40
_PAUSE_S: Final = 0.02


class Caller:
    """One connection's worth of commands, each noted before it is sent."""

    def __init__(self, name: str, account: int, venue: Venue, history: History, seed: int) -> None:
        self.random = Random(f"{seed} {name}")
        self.history = history
        self._name = name
        self._account = account
        self._client: Client = venue.client(account)
        self._prefix = f"{name}-{seed}"
        self._count = 0

    async def run(self, stopping: trio.Event) -> None:
        """Act until told to stop, or until the server is gone."""
        try:
            while not stopping.is_set():
                if not await self.act():
                    await trio.sleep(_PAUSE_S)
        except NotSent:
            pass
        finally:
            self.close()

    def close(self) -> None:
        """Leave."""
        self._client.close()

    async def act(self) -> bool:
        """One step; False when the server had no room for it. Raises: NotSent."""
        raise NotImplementedError

    async def command(
        self,
        method: str,
        path: str,
        form: dict[str, Any] | None = None,
        *,
        is_place: bool = False,
    ) -> Call:
        """Send a command under a fresh key. Raises: NotSent, and then it is forgotten."""
        self._count += 1
        key = f"{self._prefix}-{self._count}"
        if is_place and form is not None:
            form = {"client_order_id": key, **form}
        body = b"" if form is None else msgspec.json.encode(form)
        call = Call(self._name, self._account, method, path, body, key, is_place)
        self.history.begin(call)
        try:
            reply = await self._client.call(method, path, body, call.header_key)
        except NotSent:
            self.history.forget(call)
            raise
        except AnswerLost:
            return call
        self.history.learn(call, reply)
        return call

    async def look(self, path: str) -> Reply | None:
        """Ask for something; None when the answer was lost. Raises: NotSent."""
        try:
            return await self._client.call("GET", path)
        except AnswerLost:
            return None


class Bot(Caller):
    """Trades: every kind of order, changes, cancels, looks, withdraws."""

    def __init__(self, member: Member, venue: Venue, history: History, seed: int) -> None:
        super().__init__(member.name, member.account, venue, history, seed)
        #: Orders that may be open and of which nothing is in doubt, by client order id.
        self._open: list[str] = []
        self._acts: tuple[Callable[[], Any], ...] = (
            self._place_limit,
            self._place_market,
            self._place_conditional,
            self._place_too_much,
            self._replace,
            self._cancel,
            self._look_at_order,
            self._withdraw,
        )

    async def act(self) -> bool:
        """One of its acts, by weight."""
        if len(self._open) > _OPEN_ORDERS_MAX:
            return bool(await self._cancel())
        [chosen] = self.random.choices(self._acts, (40, 8, 10, 4, 12, 12, 10, 2))
        return bool(await chosen())

    def _order(self) -> dict[str, Any]:
        quantity = self.random.randint(1, 20_000) / 10_000
        return {
            "instrument": self.random.choice(INSTRUMENTS),
            "side": self.random.choice(("buy", "sell")),
            "quantity": f"{quantity:.4f}",
        }

    def _price(self, spread: int = 300) -> str:
        return f"{100 + self.random.randint(-spread, spread) / 100:.2f}"

    async def _place(self, form: dict[str, Any]) -> bool:
        call = await self.command("POST", "/v1/orders", form, is_place=True)
        if call.outcome is Outcome.OK and call.answer["status"] not in TERMINAL:
            self._open.append(call.key)
        return call.outcome in (Outcome.OK, Outcome.REFUSED)

    async def _place_limit(self) -> bool:
        in_force = self.random.choice(("GTC", "GTC", "GTC", "IOC"))
        terms = {"type": "limit", "price": self._price(), "time_in_force": in_force}
        return await self._place({**self._order(), **terms})

    async def _place_market(self) -> bool:
        return await self._place({**self._order(), "type": "market"})

    async def _place_conditional(self) -> bool:
        form, near, far = self._order(), self._price(500), self._price(900)
        stop = {"type": "stop_limit", "trigger_price": near, "price": far}
        if self.random.random() < 0.5:
            return await self._place({**form, **stop})
        legs = [{"type": "limit", "price": self._price(900)}, stop]
        return await self._place({**form, "type": "oco", "legs": legs})

    async def _place_too_much(self) -> bool:
        form = {**self._order(), "type": "limit", "price": "99.00", "quantity": "99000000.0000"}
        return await self._place(form)

    async def _replace(self) -> bool:
        return await self._change("PUT", {"price": self._price(), "quantity": "1.5000"})

    async def _cancel(self) -> bool:
        return await self._change("DELETE", None)

    async def _change(self, method: str, form: dict[str, Any] | None) -> bool:
        """Change or end an order; one whose change is in doubt, or refused, is left alone."""
        if not self._open:
            return await self._place_limit()
        order = self._open.pop(self.random.randrange(len(self._open)))
        call = await self.command(method, f"/v1/orders/by-client-id/{order}", form)
        if call.outcome is Outcome.OK:
            if method == "DELETE":
                self.history.learn_cancelled(self._account, order)
            elif call.answer["status"] not in TERMINAL:
                self._open.append(order)
        elif call.outcome is Outcome.NOTHING:
            self._open.append(order)
        return call.outcome in (Outcome.OK, Outcome.REFUSED)

    async def _look_at_order(self) -> bool:
        if not self._open:
            return await self._place_limit()
        order = self.random.choice(self._open)
        reply = await self.look(f"/v1/orders/by-client-id/{order}")
        if reply is not None and reply.status == 200 and "order_id" in reply.content:
            self.history.learn_order(self._account, order, reply.content)
        return True

    async def _withdraw(self) -> bool:
        form = {"asset": "BTC", "amount": "0.00100000", "destination": "a far away place"}
        call = await self.command("POST", "/v1/withdrawals", form)
        return call.outcome in (Outcome.OK, Outcome.REFUSED)


class Teller(Caller):
    """The operator's side: deposits to everybody and transfers between any two."""

    def __init__(self, venue: Venue, history: History, seed: int) -> None:
        super().__init__("teller", 0, venue, history, seed)
        self._venue = venue

    async def act(self) -> bool:
        """A deposit or a transfer, then a pause: money moves less often than orders."""
        one, other = self.random.sample(self._venue.members, 2)
        amount = f"{self.random.randint(1, 1_000_000) / 1000:.3f}"
        if self.random.random() < 0.5:
            form = {"account": one.account, "asset": "USD", "amount": amount}
            call = await self.deposit(form)
        else:
            form = {"account": one.account, "to_account": other.account}
            form |= {"asset": "USD", "amount": amount}
            call = await self.command("POST", "/v1/admin/transfers", form)
        await trio.sleep(_PAUSE_S)
        return call.outcome in (Outcome.OK, Outcome.REFUSED)

    async def deposit(self, form: dict[str, Any]) -> Call:
        """Book money that arrived."""
        reference = f"slip {self._count}"
        return await self.command("POST", "/v1/admin/deposits", {**form, "reference": reference})

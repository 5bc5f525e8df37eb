"""Does the server keep its word? Everything that callers were told, asked again.

OK: the same answer again, byte for byte, and the order is there, never behind what was seen.
REFUSED: refused again for the same reason. NOTHING: unknown to the server. UNKNOWN: wholly there or
wholly not, and from now on as definite as any other call.
"""

from collections.abc import Iterable
from decimal import Decimal
from typing import Final

import trio

from tests.crash.history import TERMINAL, Call, History, Outcome, SeenOrder, answer_of, outcome_of
from tests.crash.http_client import Client, Reply
from tests.crash.venue import Venue

ASKED_AT_ONCE: Final = 8


class Checker:
    """Asks again, and collects every contradiction."""

    def __init__(self, venue: Venue, history: History) -> None:
        self.contradictions: list[str] = []
        self.asked = 0
        self.found_of_unknown = 0
        self.absent_of_unknown = 0
        self.venue = venue
        self._history = history

    async def recheck(self, calls: Iterable[Call]) -> None:
        """Ask about every call again.

        Raises: a group of NotSent and AnswerLost when the server is gone; then nothing is proven
        either way, and everything may be asked once more.
        """
        left = list(reversed(list(calls)))
        async with trio.open_nursery() as nursery:
            for _ in range(ASKED_AT_ONCE):
                nursery.start_soon(self._ask, left)

    async def _ask(self, left: list[Call]) -> None:
        clients: dict[int, Client] = {}
        try:
            while left:
                call = left.pop()
                if call.account not in clients:
                    clients[call.account] = self.venue.client(call.account)
                await self._recheck_one(clients[call.account], call)
                self.asked += 1
        finally:
            for client in clients.values():
                client.close()

    async def _recheck_one(self, client: Client, call: Call) -> None:
        if call.outcome is Outcome.NOTHING:
            await self._must_be_absent(client, call)
            return
        if call.outcome is Outcome.UNKNOWN:
            await self._settle(client, call)
        reply = await self._again(client, call)
        if outcome_of(reply) is Outcome.UNKNOWN:
            self._contradiction(call, "no definite answer", reply)
        elif (call.status, call.answer) != (reply.status, answer_of(reply)):
            self._contradiction(call, f"was {call.status} {call.answer}", reply)
        elif call.outcome is Outcome.OK and not reply.is_replay:
            self._contradiction(call, "took effect a second time", reply)
        if call.is_place and call.outcome is Outcome.OK:
            await self._recheck_order(client, call)

    async def _settle(self, client: Client, call: Call) -> None:
        """Turn an unknown into what it is, and see that looking and repeating agree."""
        known: bool | None = None
        if call.is_place:
            look = await client.call("GET", f"/v1/orders/by-client-id/{call.key}")
            known = look.status == 200 or _code(look) != "NOT_FOUND"
        reply = await self._again(client, call)
        if outcome_of(reply) in (Outcome.UNKNOWN, Outcome.NOTHING):
            self._contradiction(call, "no definite answer after a restart", reply)
        if known is not None and known is not reply.is_replay:
            self._contradiction(call, f"looked up {known}, repeated {reply.is_replay}", reply)
        self.found_of_unknown += reply.is_replay
        self.absent_of_unknown += not reply.is_replay
        self._history.learn(call, reply)
        if call.method == "DELETE" and call.outcome is Outcome.OK:
            self._history.learn_cancelled(call.account, call.path.rpartition("/")[2])

    async def _must_be_absent(self, client: Client, call: Call) -> None:
        if call.is_place:
            look = await client.call("GET", f"/v1/orders/by-client-id/{call.key}")
            if look.status != 404 or _code(look) != "NOT_FOUND":
                self._contradiction(call, "was promised not to be accepted", look)

    async def _recheck_order(self, client: Client, call: Call) -> None:
        reply = await client.call("GET", f"/v1/orders/by-client-id/{call.key}")
        if reply.status != 200:
            self._contradiction(call, "an acknowledged order is gone", reply)
            return
        order, seen = reply.content, self._history.orders[call.account, call.key]
        if reason := behind(seen, order):
            self._contradiction(call, reason, reply)
        self._history.learn_order(call.account, call.key, order)

    async def _again(self, client: Client, call: Call) -> Reply:
        return await client.call(call.method, call.path, call.body, call.header_key)

    def _contradiction(self, call: Call, reason: str, reply: Reply) -> None:
        self.contradictions.append(f"{call}\n  {reason}\n  now {reply.status} {reply.body!r}")


def behind(seen: SeenOrder, order: dict[str, str]) -> str:
    """What an order is now said to be less than it was said to be before; "" when nothing.

    >>> seen = SeenOrder(100, "a", "7", Decimal("2"), "OPEN")
    >>> behind(seen, {"order_id": "7", "filled": "2.5", "status": "OPEN"})
    ''
    >>> behind(seen, {"order_id": "7", "filled": "1.5", "status": "OPEN"})
    '2 were filled'
    """
    if order["order_id"] != seen.order_id:
        return f"was order {seen.order_id}"
    if Decimal(order["filled"]) < seen.filled:
        return f"{seen.filled} were filled"
    if seen.status in TERMINAL and order["status"] != seen.status:
        return f"had ended as {seen.status}"
    return ""


def _code(reply: Reply) -> str:
    return str(reply.content["error"]["code"]) if reply.status >= 400 else ""

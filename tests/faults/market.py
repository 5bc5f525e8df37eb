"""One trader who moves a market at a steady rate, and readers of the feed with a clock."""

import time
from collections.abc import Sequence
from random import Random
from typing import Final

import msgspec

from tests.crash.venue import INSTRUMENTS
from tests.faults.reactor import Answer, HttpWire, Loop, SocketWire, Wire, post
from tests.faults.site import Site

MOVING, QUIET = INSTRUMENTS
LEVELS: Final = 200
_BATCH: Final = 100
_SETTLE_S: Final = 0.5


class _Told(msgspec.Struct):
    type: str
    sequence: int = 0


class _Placed(msgspec.Struct):
    sequence: int


_told: Final = msgspec.json.Decoder(_Told).decode
_placed: Final = msgspec.json.Decoder(_Placed).decode


def subscribe(instrument: str, *channels: str, number: int = 1) -> bytes:
    """A request to the feed."""
    wish = {"id": number, "op": "subscribe", "channels": channels, "instruments": [instrument]}
    return msgspec.json.encode(wish)


class Trader:
    """Places orders that rest, each when it is due, however late the answer to the last one is."""

    def __init__(self, site: Site, seed: int = 1) -> None:
        self.latencies_s: list[float] = []
        #: By the record that placed the order: when it was due.
        self.due_s: dict[int, float] = {}
        self.failures: list[Answer] = []
        self._site = site
        self._random = Random(seed)
        self._secret = site.trader(0).secret
        self._loop: Loop
        self._idle: list[HttpWire] = []
        self._due_of: dict[Wire, float] = {}

    def join(self, loop: Loop) -> None:
        """Trade in this loop."""
        self._loop = loop

    async def furnish(self) -> None:
        """Give the book its levels."""
        orders = [
            self._form("buy" if number % 2 else "sell", 1 + number // 2)
            for number in range(2 * LEVELS)
        ]
        for start in range(0, len(orders), _BATCH):
            form = {"orders": orders[start : start + _BATCH]}
            account = self._site.trader(0).account
            await self._site.ask("POST", "/v1/orders/batch", form, account)

    def act(self) -> None:
        """Place one order now."""
        wire = self._idle.pop() if self._idle else self._dial()
        self._due_of[wire] = time.perf_counter()
        side = self._random.choice(("buy", "sell"))
        form = self._form(side, self._random.randint(1, LEVELS))
        wire.ask(post("/v1/orders", self._secret, msgspec.json.encode(form)))

    def forget(self) -> None:
        """Begin a new measure."""
        self.latencies_s, self.due_s = [], {}

    def _dial(self) -> HttpWire:
        wire = HttpWire(self._site.port, self._heard)
        self._loop.add(wire)
        return wire

    def _heard(self, wire: HttpWire, answer: Answer) -> None:
        due_s = self._due_of.pop(wire)
        self._idle.append(wire)
        if answer.status != 201:
            self.failures.append(answer)
            return
        self.latencies_s.append(answer.at_s - due_s)
        self.due_s[_placed(answer.body).sequence] = due_s

    def _form(self, side: str, away: int) -> dict[str, str]:
        cents = 10_000 + (away if side == "sell" else -away)
        return {
            "client_order_id": f"t{self._random.getrandbits(60)}",
            "instrument": MOVING,
            "side": side,
            "type": "limit",
            "price": f"{cents / 100:.2f}",
            "quantity": f"0.{self._random.randint(1, 9999):04}",
        }


class Reader:
    """One subscriber who keeps up, and when it heard of what."""

    def __init__(
        self, loop: Loop, port: int, *, instrument: str = MOVING, source: str = ""
    ) -> None:
        self.heard: list[tuple[int, float]] = []
        self.wire = SocketWire(port, "/v1/feed", self._hear, source=source)
        self.wire.say(subscribe(instrument, "depth"))
        loop.add(self.wire)

    def delays_s(self, due_s: dict[int, float]) -> list[float]:
        """From when each order was due to when a message that covers it was read."""
        delays: list[float] = []
        heard = iter(self.heard)
        sequence, at_s = next(heard, (0, 0.0))
        for number, due in sorted(due_s.items()):
            while sequence < number:
                following = next(heard, None)
                if following is None:
                    return delays
                sequence, at_s = following
            delays.append(at_s - due)
        return delays

    def _hear(self, _: SocketWire, message: bytes, at_s: float) -> None:
        told = _told(message)
        if told.type.startswith("depth"):
            self.heard.append((told.sequence, at_s))


def gather(loop: Loop, readers: Sequence[Reader]) -> None:
    """Wait until each has its first snapshot. Raises: RuntimeError."""
    if not loop.run_until(lambda: all(reader.heard for reader in readers), 30.0):
        raise RuntimeError("not everybody was let in")
    loop.run(_SETTLE_S)


def measured(
    loop: Loop, trader: Trader, readers: Sequence[Reader], rate: int, seconds: float
) -> tuple[list[float], list[float]]:
    """Trade for so long: how long orders took, and how long until each was read by each."""
    trader.forget()
    for reader in readers:
        reader.heard.clear()
    loop.run(seconds, (1 / rate, trader.act))
    loop.run(_SETTLE_S)
    delays = [delay for reader in readers for delay in reader.delays_s(trader.due_s)]
    return trader.latencies_s, delays

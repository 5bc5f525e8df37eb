"""F20: readers that take a byte a second, or nothing at all."""

import time
from typing import Any, Final

import msgspec

from tests.faults.market import MOVING, Reader, Trader, gather, measured, subscribe
from tests.faults.reactor import Loop, SocketWire, percentile_ms
from tests.faults.site import Site

#: Requests for the whole book, which fill everything that holds bytes on the way.
_WISHES: Final = 40
_NARROW_BYTES: Final = 4_096
_FAREWELL_S_MAX: Final = 20.0


class Private:
    """The private stream of the trader, by the numbers of its events."""

    def __init__(self, site: Site, *, receive_bytes: int = 0) -> None:
        self.numbers: list[tuple[int, int]] = []
        self.gaps = 0
        self.last = (0, 0)
        secret = site.trader(0).secret
        self.wire = SocketWire(
            site.port, "/v1/stream", self._hear, secret=secret, receive_bytes=receive_bytes
        )

    def subscribe(self) -> None:
        """From here on."""
        self.wire.say(b'{"id":1,"op":"subscribe"}')

    def resume(self, after: tuple[int, int]) -> None:
        """From there on."""
        self.last = after
        self.wire.say(msgspec.json.encode({"id": 1, "op": "resume", "after": after}))

    def _hear(self, _: SocketWire, message: bytes, __: float) -> None:
        told = msgspec.json.decode(message)
        if "number" not in told:
            return
        number = tuple(told["number"])
        if told["type"] != "snapshot":
            self.numbers.append(number)
            self.gaps += tuple(told["previous"]) != self.last
        self.last = number


def _bad_reader(site: Site) -> SocketWire:
    wire = SocketWire(site.port, "/v1/feed", lambda *_: None, receive_bytes=_NARROW_BYTES)
    wire.enter()
    for number in range(_WISHES):
        wire.say(subscribe(MOVING, "depth", number=number))
    return wire


def _sip(wires: list[SocketWire]) -> None:
    """Take a byte of each; a dead one has none."""
    for wire in wires:
        wire.read(1)


def _farewells(wires: list[SocketWire]) -> list[int]:
    """Read at last whatever there is; the close code of each."""
    ends_s = time.perf_counter() + _FAREWELL_S_MAX
    for wire in wires:
        while not wire.is_over and not wire.closed_with and time.perf_counter() < ends_s:
            wire.read()
        wire.close()
    return [wire.closed_with for wire in wires]


async def slow_readers(
    site: Site, *, good: int, bad: int, rate: int, seconds: float
) -> dict[str, Any]:
    """Measure good readers alone, then beside bad ones; then let the private one resume."""
    loop, trader = Loop(), Trader(site)
    trader.join(loop)
    await trader.furnish()
    readers = [Reader(loop, site.port) for _ in range(good)]
    keeping_up, behind = Private(site), Private(site, receive_bytes=_NARROW_BYTES)
    loop.add(keeping_up.wire)
    keeping_up.subscribe()
    gather(loop, readers)
    before = measured(loop, trader, readers, rate, seconds)
    before_kib = site.resident_kib()

    behind.subscribe()
    while not behind.last[0]:
        behind.wire.read()
    resumes_after = behind.last
    wires = [_bad_reader(site) for _ in range(bad)]
    peaks: list[int] = []
    trader.forget()
    for reader in readers:
        reader.heard.clear()
    loop.run(
        seconds,
        (1 / rate, trader.act),
        (1.0, lambda: _sip(wires[::2])),
        (0.25, lambda: peaks.append(site.resident_kib())),
    )
    loop.run(0.5)
    delays = [delay for reader in readers for delay in reader.delays_s(trader.due_s)]
    codes = _farewells(wires)
    private_code = _farewells([behind.wire])[0]

    again = Private(site)
    loop.add(again.wire)
    again.resume(behind.last)
    loop.run_until(lambda: again.last == keeping_up.last, 10.0)
    whole = [number for number in keeping_up.numbers if number > resumes_after]
    open_still = sum(not reader.wire.is_over for reader in readers)
    after_kib = site.resident_kib()
    loop.close()
    return {
        "good": good,
        "bad": bad,
        "orders_per_second": rate,
        "delivery_p50_ms": (percentile_ms(before[1], 0.5), percentile_ms(delays, 0.5)),
        "delivery_p99_ms": (percentile_ms(before[1], 0.99), percentile_ms(delays, 0.99)),
        "order_p99_ms": (
            percentile_ms(before[0], 0.99),
            percentile_ms(trader.latencies_s, 0.99),
        ),
        "deliveries": (len(before[1]), len(delays)),
        "closed_with": {code: codes.count(code) for code in sorted(set(codes))},
        "good_closed": good - open_still,
        "private_closed_with": private_code,
        "private_events_before": len(behind.numbers),
        "private_events_resumed": len(again.numbers),
        "private_exact": behind.numbers + again.numbers == whole
        and behind.gaps == again.gaps == keeping_up.gaps == 0,
        "resident_mib": tuple(round(kib / 1024, 1) for kib in (before_kib, max(peaks), after_kib)),
        "failures": len(site.failures()) + len(trader.failures),
    }

"""F21: more websockets than any day brings, most of them silent; and then some too many."""

import time
from collections import Counter
from typing import Any, Final

from tests.faults.market import QUIET, Reader, Trader, gather, measured
from tests.faults.reactor import Loop, SocketWire, Wire, percentile_ms
from tests.faults.site import Site

_AT_ONCE: Final = 100
#: For the server to see that they have gone.
_NOTICED_S: Final = 1.5
_LET_IN_S_MAX: Final = 120.0
#: Each address of the loopback counts for itself.
_SOURCES: Final = tuple(f"127.0.0.{number}" for number in range(2, 12))


async def crowd(
    site: Site,
    *,
    idle: int,
    busy: int,
    per_address_max: int,
    connections_max: int,
    rate: int,
    seconds: float,
) -> dict[str, Any]:
    """Fill the house, trade in it, knock once too often, empty it, fill and empty it again."""
    loop, trader = Loop(), Trader(site)
    trader.join(loop)
    await trader.furnish()
    readers = [Reader(loop, site.port) for _ in range(busy)]
    gather(loop, readers)
    alone = measured(loop, trader, readers, rate, seconds)
    empty_kib = site.resident_kib()
    began_s = time.perf_counter()
    silent = _let_in(loop, site.port, idle)
    let_in_s = time.perf_counter() - began_s
    full_kib = site.resident_kib()
    together = measured(loop, trader, readers, rate, seconds)
    refused = _knock(loop, site.port, per_address_max, connections_max)
    still_open = sum(not one.wire.is_over for one in (*silent, *readers))
    left_kib = [_emptied(loop, site, silent)]
    left_kib.append(_emptied(loop, site, _let_in(loop, site.port, idle)))
    loop.close()
    return {
        "idle": idle,
        "busy": busy,
        "let_in_per_second": round(idle / let_in_s),
        "kib_per_idle_socket": round((full_kib - empty_kib) / idle, 1),
        "delivery_p99_ms": (percentile_ms(alone[1], 0.99), percentile_ms(together[1], 0.99)),
        "order_p99_ms": (percentile_ms(alone[0], 0.99), percentile_ms(together[0], 0.99)),
        "refused_with": dict(refused),
        "still_open": still_open,
        "resident_mib": [round(kib / 1024, 1) for kib in (empty_kib, full_kib, *left_kib)],
        "failures": len(site.failures()) + len(trader.failures),
    }


def _let_in(loop: Loop, port: int, count: int) -> list[Reader]:
    """So many subscribers of a market in which nothing happens."""
    readers: list[Reader] = []
    while len(readers) < count:
        wave = [
            Reader(loop, port, instrument=QUIET, source=_SOURCES[number % len(_SOURCES)])
            for number in range(min(_AT_ONCE, count - len(readers)))
        ]
        if not loop.run_until(lambda: all(one.heard for one in wave), _LET_IN_S_MAX):  # noqa: B023
            raise RuntimeError(f"only {len(readers)} were let in")
        readers += wave
    return readers


def _knock(loop: Loop, port: int, per_address_max: int, connections_max: int) -> "Counter[int]":
    """How those are answered who are one too many: of their address, and of all.

    The house is filled by connections from ever new addresses that ask for nothing.
    """
    statuses: Counter[int] = Counter()
    crowded = [Wire(port, source="127.0.0.99") for _ in range(per_address_max)]
    statuses[_asked(port, "127.0.0.99")] += 1
    for number in range(connections_max):
        crowded.append(Wire(port, source=f"127.0.1.{1 + number % 250}"))
        if len(crowded) > connections_max - len(loop.wires):
            break
    statuses[_asked(port, "127.0.2.1")] += 1
    for wire in crowded:
        wire.close()
    return statuses


def _asked(port: int, source: str) -> int:
    wire = SocketWire(port, "/v1/feed", lambda *_: None, source=source)
    status = wire.enter()
    wire.close()
    return status


def _emptied(loop: Loop, site: Site, readers: list[Reader]) -> int:
    """Leave; the server's memory once it has noticed."""
    for reader in readers:
        loop.drop(reader.wire)
    loop.run(_NOTICED_S)
    return site.resident_kib()

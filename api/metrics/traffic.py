"""What requests came to, counted as they pass: dictionaries and integers, nothing that locks.

`metrics` shows these numbers when it is asked; to count one request takes about 200 ns.
"""

from bisect import bisect_left
from enum import StrEnum
from itertools import accumulate
from typing import Final

from api.routing import Route

#: Bounds of every latency histogram; beside them there is one for all that is slower.
LATENCY_BOUNDS_S: Final = (0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0)
#: Turned away at the door: how fast that goes says nothing of what was asked for.
_UNTIMED: Final = frozenset((401, 403, 429))
_ORDER_SUBJECTS: Final = frozenset(("orders", "order_batches", "dead_man", "withdrawals"))


class RouteClass(StrEnum):
    """Requests whose latencies are told together."""

    ORDER = "order"  # one order or withdrawal is placed, changed or cancelled
    BATCH = "batch"  # many orders at once
    READ = "read"  # nothing is changed
    ADMIN = "admin"  # an act of administration
    SOCKET = "socket"  # a command over the private stream, up to its answer


class Histogram:
    """How many observations fell below each bound. Complexity: O(log bounds)."""

    __slots__ = ("bounds", "counts", "sum")

    def __init__(self, bounds: tuple[float, ...] = LATENCY_BOUNDS_S) -> None:
        self.bounds: Final = bounds
        self.counts: Final = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        """Count one."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value

    @property
    def buckets(self) -> list[tuple[str, float]]:
        """Each bound as Prometheus writes it, and how many were not above it.

        >>> histogram = Histogram((1.0, 2.0))
        >>> for value in (0.5, 2.0, 9.0):
        ...     histogram.observe(value)
        >>> histogram.buckets
        [('1.0', 1), ('2.0', 2), ('+Inf', 3)]
        """
        names = [*map(str, self.bounds), "+Inf"]
        return list(zip(names, accumulate(self.counts), strict=True))


class RouteTraffic:
    """The requests of one route, by the status of their answers."""

    __slots__ = ("by_status", "latency", "name")

    def __init__(self, name: str, latency: Histogram | None) -> None:
        self.name: Final = name
        self.latency: Final = latency
        self.by_status: Final[dict[int, int]] = {}

    def answered(self, status: int, latency_s: float) -> None:
        """Count one request."""
        by_status = self.by_status
        by_status[status] = by_status.get(status, 0) + 1
        if self.latency is not None and status not in _UNTIMED:
            self.latency.observe(latency_s)


class Traffic:
    """All requests of one server since it started."""

    def __init__(self) -> None:
        self.latencies: Final = {one: Histogram() for one in RouteClass}
        self.routes: Final[dict[str, RouteTraffic]] = {}
        #: What met no route: 404, 405, OPTIONS.
        self.strays: Final = self.add("")
        #: Commands over private streams, by the status of their answers.
        self.commands: Final[dict[int, int]] = {}
        #: Problems that callers were told, by code: of requests, items of batches, messages.
        self.refusals: Final[dict[str, int]] = {}

    def of(self, route: Route) -> RouteTraffic:
        """Where a route's requests are counted; asked once for each route."""
        name = f"{route.method} {route.path}"
        return self.routes.get(name) or self.add(name, self.latencies[class_of(route)])

    def refused(self, code: str) -> None:
        """Count a problem that a caller was told."""
        self.refusals[code] = self.refusals.get(code, 0) + 1

    def command_answered(self, status: int, latency_s: float) -> None:
        """Count a command over a private stream."""
        self.commands[status] = self.commands.get(status, 0) + 1
        self.latencies[RouteClass.SOCKET].observe(latency_s)

    def add(self, name: str, latency: Histogram | None = None) -> RouteTraffic:
        """Where requests are counted under a name of their own; untimed without a histogram."""
        found = self.routes[name] = RouteTraffic(name, latency)
        return found


def class_of(route: Route) -> RouteClass:
    """The class that a route's latencies belong to."""
    if route.method == "GET" or route.path.endswith("/validate"):
        return RouteClass.READ
    if "/batch" in route.path:
        return RouteClass.BATCH
    return RouteClass.ORDER if route.subject in _ORDER_SUBJECTS else RouteClass.ADMIN

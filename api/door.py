"""What every request passes before its handler runs: rates, the key, its permission.

The address is counted first, before anything is believed; then the key is proven; then the key and
its account are counted. What calms (cancels, kills) is counted like all else, and never made to
wait.
"""

import time
from collections.abc import Callable, Iterable
from contextvars import ContextVar
from math import ceil
from typing import Any, Final

from quart import Response, g, request
from structlog.contextvars import bind_contextvars

from api import logs
from api.edge import Edge, sent_body
from api.keys.addresses import client_address
from api.keys.auth import Caller, Doorkeeper, SentRequest
from api.keys.signing import SIGNATURE_HEADER
from api.metrics.traffic import RouteTraffic
from api.problems import Problem, of_status, request_id
from api.rates import Rates, Standing
from api.rejected import Rejected
from api.routing import Handler, Route
from engine.accounts.messages import Permission

POLICY_HEADER: Final = "RateLimit-Policy"
STANDING_HEADER: Final = "RateLimit"
FORWARDED_HEADER: Final = "X-Forwarded-For"
_SECOND_NS: Final = 1_000_000_000
#: Where the request at hand is counted, and when it began; a tenth of the price of `g`.
_visit: Final[ContextVar[tuple[RouteTraffic, int] | None]] = ContextVar("visit", default=None)


class Door:
    """One per server, since it remembers who called how often, and what was signed."""

    def __init__(
        self,
        edge: Edge,
        doorkeeper: Doorkeeper,
        monotonic_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self.edge: Final = edge
        self.doorkeeper: Final = doorkeeper
        self._proxies = edge.settings.proxies
        self.monotonic_ns: Final = monotonic_ns
        self.rates: Final = Rates(edge.settings.rates)

    def guard(self, route: Route) -> Handler:
        """The handler of a route, behind what every request must pass."""
        handler, permission = route.handler, route.permission
        weight, is_calming = route.weight, route.is_calming
        traffic = self.edge.traffic.of(route)

        async def guarded(**path: str) -> Response:
            self.begin(traffic)
            peer = self.peer()
            standing = self._count_address(peer, weight, is_calming=is_calming)
            if standing is not None and standing.wait_ns:
                raise Rejected(too_many(standing))
            if permission is not None:
                g.caller = caller = await self._caller(peer, permission)
                self._count_caller(caller, weight, standing, is_calming=is_calming)
            return await handler(**path)

        return guarded

    def stray(self) -> Problem | None:
        """Count a request that found no route; what to answer it with if it must wait."""
        if "standing" in g:
            return None
        standing = self._count_address(self.peer(), 1, is_calming=False)
        return too_many(standing) if standing is not None and standing.wait_ns else None

    def begin(self, traffic: RouteTraffic) -> None:
        """Note when a request began and where it counts; its log lines carry its id from here."""
        _visit.set((traffic, self.monotonic_ns()))
        bind_contextvars(request_id=request_id())

    def finish(self, status: int) -> None:
        """Count an answered request, and log it if such are logged."""
        visit, now_ns = _visit.get(), self.monotonic_ns()
        _visit.set(None)
        traffic, began_ns = visit or (self.edge.traffic.strays, now_ns)
        latency_s = (now_ns - began_ns) / _SECOND_NS
        traffic.answered(status, latency_s)
        if logs.wants_access(status):
            path, caller = request.scope["raw_path"].decode("latin1"), g.get("caller")
            logs.access(
                request.method,
                path,
                status=status,
                latency_s=latency_s,
                request_id=request_id(),
                key_id=0 if caller is None else caller.key_id,
            )

    def mark(self, response: Response) -> None:
        """Tell a caller how it stands; count what came past everything else, like OPTIONS."""
        self.stray()
        standing: Standing | None = g.get("standing")
        if standing is not None:
            response.headers.add(POLICY_HEADER, self.rates.policy)
            response.headers.add(STANDING_HEADER, standing.header)

    def peer(self) -> str:
        """The address that the request at hand comes from, behind proxies of our own."""
        peer = request.remote_addr or ""
        if not self._proxies:
            return peer
        # A proxy may add a line of its own below the client's: all of them are one list.
        forwarded_for = ",".join(request.headers.getlist(FORWARDED_HEADER))
        return client_address(peer, forwarded_for, self._proxies)

    def _count_address(self, peer: str, weight: int, *, is_calming: bool) -> Standing | None:
        standing = self.rates.of_address(peer, weight, self.monotonic_ns(), always=is_calming)
        g.standing = standing
        return standing

    async def _caller(self, peer: str, needed: Permission) -> Caller:
        scope = request.scope
        target, query = scope["raw_path"], scope["query_string"]
        headers = SentHeaders(scope["headers"])
        sent = SentRequest(
            request.method,
            (target + b"?" + query if query else target).decode("latin1"),
            headers,
            await sent_body() if SIGNATURE_HEADER in headers else b"",
            peer,
        )
        try:
            return self.doorkeeper.caller(
                self.edge.directory, sent, needed, self.edge.clock.now_ns()
            )
        except Rejected as rejected:
            if rejected.problem.status == 401:
                self.rates.failed(peer, self.monotonic_ns())
            raise

    def _count_caller(
        self, caller: Caller, weight: int, of_address: Standing | None, *, is_calming: bool
    ) -> None:
        standing = self.rates.of_caller(
            caller.key_id,
            caller.own_account_id,
            weight,
            self.monotonic_ns(),
            always=is_calming,
        )
        if standing is None:
            return
        g.standing = standing.tighter(of_address)
        if standing.wait_ns:
            raise Rejected(too_many(standing))


class SentHeaders(dict[str, str]):
    """Headers as sent, whatever the case of the name asked for; of several alike, the first."""

    def __init__(self, headers: Iterable[tuple[bytes, bytes]]) -> None:
        for name, text in headers:
            self.setdefault(name.decode("latin1").lower(), text.decode("latin1"))

    def get(self, name: str, default: Any = None) -> Any:
        """The text of a header."""
        return dict.get(self, name.lower(), default)

    def __contains__(self, name: object) -> bool:
        return dict.__contains__(self, str(name).lower())


def too_many(standing: Standing) -> Problem:
    """What a caller is told who must wait, and for how long."""
    message = f"Too many requests by this {standing.limit.name}. Cancels still pass."
    problem = of_status(429, message, (("Retry-After", str(ceil(standing.wait_ns / _SECOND_NS))),))
    wait_ms = ceil(standing.wait_ns / 1_000_000)
    return Problem(
        problem.status,
        problem.code,
        problem.message,
        headers=problem.headers,
        facts=(("retry_after_s", wait_ms / 1_000),),
    )

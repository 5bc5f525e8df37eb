"""`GET /metrics`: the state of engine and server at this moment, as Prometheus reads it.

Nothing is prepared: what actors, limits and counters hold anyway is read when it is asked for.
Clients on this machine need no key; everybody else needs an admin's.
"""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any, Final

import structlog
import trio
from prometheus_client import CollectorRegistry, GCCollector, ProcessCollector, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.metrics_core import Metric as Family
from prometheus_client.registry import Collector
from quart import Response, g, request
from quart_trio import QuartTrio

from api.door import FORWARDED_HEADER, Door
from api.edge import query
from api.keys.addresses import is_within
from api.metrics.engine import ENGINE_METRICS, LINE_METRICS
from api.metrics.loop_lag import LoopLag
from api.metrics.metric import Scene, families
from api.metrics.server import SERVER_METRICS
from api.queries import NoQuery
from api.routing import Route
from engine.accounts.messages import Permission
from engine.errors import EngineError, Halted
from engine.ports import Watermark

PATH: Final = "/metrics"
#: For the store to say how far history and snapshots have come; a scrape has ten seconds.
_STORE_S_MAX: Final = 1.0
_log = structlog.get_logger("metrics")
_PROXIED: Final = (FORWARDED_HEADER, "Forwarded", "Via")


class Metrics:
    """What one server tells of itself: `page`. `watching` measures the event loop meanwhile."""

    def __init__(self, door: Door) -> None:
        self._door = door
        self._edge = door.edge
        self._lag = LoopLag()
        #: What any process tells of itself.
        self.process_registry: Final = CollectorRegistry()
        ProcessCollector(registry=self.process_registry)
        GCCollector(registry=self.process_registry)
        self._traffic = self._edge.traffic.add(f"GET {PATH}")
        self._with_key = door.guard(
            Route(
                subject="metrics",
                method="GET",
                path=PATH,
                handler=self.page,
                permission=Permission.ADMIN,
            )
        )

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        """Measure how late the event loop is."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._lag.watch)
            yield
            nursery.cancel_scope.cancel()

    def add_to(self, app: QuartTrio) -> None:
        """Serve `GET /metrics`."""
        app.add_url_rule(PATH, "metrics", self.answer, methods=["GET"])

    async def answer(self) -> Response:
        """GET /metrics: to this machine, or to an admin's key.

        Raises: Rejected.
        """
        if not self._is_local():
            return await self._with_key()
        self._door.begin(self._traffic)
        g.standing = None  # counts for no rate
        return await self.page()

    async def page(self) -> Response:
        """Every metric, in Prometheus' text format. Waits for the store, not for long."""
        query(NoQuery)
        ours = _Told(self._seen(*await self._stored()))
        text = generate_latest(ours) + generate_latest(self.process_registry)
        return Response(text, content_type=CONTENT_TYPE_LATEST)

    async def _stored(self) -> tuple[Watermark | None, int | None]:
        """How far history and snapshots have come, as far as the store says so in time."""
        service = self._edge.service
        watermark = snapshot_sequence = None
        with trio.move_on_after(_STORE_S_MAX):
            try:
                watermark = await service.history.watermark()
                snapshot_sequence = await service.snapshot_sequence()
            except EngineError as error:
                _log.debug("no word from the store", error=str(error))
        return watermark, snapshot_sequence

    def _seen(self, watermark: Watermark | None, snapshot_sequence: int | None) -> Scene:
        service = self._edge.service
        try:
            line: Any = service.line()
        except Halted:
            line = None
        return Scene(
            service,
            line,
            service.health(),
            watermark,
            snapshot_sequence,
            self._edge.counts,
            self._door.rates,
            self._edge.traffic,
            self._lag,
        )

    def _is_local(self) -> bool:
        """Whether the client needs no key.

        Behind a proxy of ours its own address counts. What a proxy that we do not know passes on
        comes from anywhere, however near the proxy itself may be.
        """
        settings = self._edge.settings
        if not is_within(self._door.peer(), settings.metrics_networks):
            return False
        proxied = any(name in request.headers for name in _PROXIED)
        return not proxied or is_within(request.remote_addr or "", settings.proxies)


class _Told(Collector):
    """All that is told of one scene."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene

    def collect(self) -> Iterator[Family]:
        """What the client library asks for."""
        scene = self._scene
        yield from families(ENGINE_METRICS, scene)
        if scene.line is not None:
            yield from families(LINE_METRICS, scene.line)
        yield from families(SERVER_METRICS, scene)

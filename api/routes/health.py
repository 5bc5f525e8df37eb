"""Is it alive, and what are its actors doing?"""

import contextlib
from typing import Any, Final

import msgspec
import trio
from quart import Response

from api.edge import Edge, answer, query
from api.queries import NoQuery
from api.routing import Routes
from engine.accounts.messages import Permission
from engine.errors import StorageError
from engine.service import Health, HealthStatus
from engine.units import SESSIONS_DESK, WITHDRAWALS_DESK, DeskId, InstrumentId

#: An operator who looks at a server in trouble does not wait longer for its store.
_HISTORY_S_MAX: Final = 0.5
_DESKS: Final = {WITHDRAWALS_DESK: "withdrawals", SESSIONS_DESK: "sessions"}


class LiveAnswer(msgspec.Struct, frozen=True):
    """The process answers; `lives` says how often its engine began from the journal."""

    lives: int


class ActorAnswer(msgspec.Struct, frozen=True):
    """The vitals of one actor; `busy_s` is the time it spent on messages."""

    name: str
    running: bool
    restarts: int
    batches: int
    messages: int
    busy_s: float
    mailbox_depth: int


class DeskAnswer(msgspec.Struct, frozen=True):
    """How one desk fares; the name of its instrument, or null for the others."""

    desk: str
    instrument: str | None
    health: str
    falls: int
    last_sequence: int


class HistoryAnswer(msgspec.Struct, frozen=True):
    """How far the history has come, and how far it is behind the journal."""

    sequence: int
    behind_records: int
    behind_s: float


class ActorsAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The engine's inner life; `history` is null while its store does not answer soon.

    `slots` are all there are, `slots_free` those of them that no command under way has, `admitted`
    counts the commands that had one since the process began.
    """

    sequence: int
    lives: int
    actors: list[ActorAnswer]
    desks: list[DeskAnswer]
    next_deadline_ns: int | None
    outstanding_follow_ups: int
    slots: dict[str, int]
    slots_free: dict[str, int]
    admitted: dict[str, int]
    history: HistoryAnswer | None
    connections: int
    websockets: int


class HealthRoutes:
    """What a probe and an operator ask of the process itself."""

    def __init__(self, edge: Edge) -> None:
        self._edge = edge

    def routes(self) -> Routes:
        """What is declared to the app."""
        routes = Routes("health", "/v1")
        routes.get("/health", self.health, None, answer=Health, other_statuses=(503,))
        routes.get("/health/live", self.live, None, answer=LiveAnswer)
        routes.get("/admin/actors", self.actors, Permission.ADMIN, answer=ActorsAnswer)
        return routes

    async def health(self) -> Response:
        """GET /v1/health: open to all; 200 while commands are answered, else 503."""
        query(NoQuery)
        health = self._edge.service.health()
        return answer(health, 200 if health.status is HealthStatus.UP else 503)

    async def live(self) -> Response:
        """GET /v1/health/live: open to all; 200 as long as the process answers at all."""
        query(NoQuery)
        return answer(LiveAnswer(self._edge.service.lives))

    async def actors(self) -> Response:
        """GET /v1/admin/actors: vitals of every actor, health of every desk."""
        query(NoQuery)
        service, counts = self._edge.service, self._edge.counts
        line, settings = service.line(), service.settings
        return answer(
            ActorsAnswer(
                sequence=line.released.sequence,
                lives=service.lives,
                actors=[
                    msgspec.convert(vitals.as_dict(), ActorAnswer)
                    for vitals in (*line.vitals.values(), service.feed.vitals)
                ],
                desks=[self._desk(*each) for each in line.desks.desks.items()],
                next_deadline_ns=line.deadlines.next_ns,
                outstanding_follow_ups=len(line.released.outstanding),
                slots={"orders": settings.order_slots_max, "cancels": settings.cancel_slots_max},
                slots_free=service.health().slots_free,
                admitted=service.admitted,
                history=await self._history(),
                connections=counts.connections_open,
                websockets=counts.sockets_open,
            )
        )

    async def _history(self) -> HistoryAnswer | None:
        service = self._edge.service
        seen = None
        with trio.move_on_after(_HISTORY_S_MAX), contextlib.suppress(StorageError):
            seen = await service.history.watermark()
        if seen is None:
            return None
        lag = seen.behind(service.released.sequence, service.now_ns())
        return HistoryAnswer(seen.sequence, lag.records, round(lag.seconds, 3))

    def _desk(self, desk_id: DeskId, desk: Any) -> DeskAnswer:
        instrument = self._edge.directory.instruments.get(InstrumentId(desk_id))
        return DeskAnswer(
            _DESKS.get(desk_id, "instrument"),
            None if instrument is None else instrument.symbol,
            desk.health.value,
            desk.falls,
            desk.last_sequence,
        )

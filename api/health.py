"""Is it alive, and what are its actors doing?"""

from typing import Any

from quart import Blueprint, Response

from api.edge import Edge, answer, query
from api.queries import NoQuery
from engine.accounts.messages import Role
from engine.service import HealthStatus
from engine.units import WITHDRAWALS_DESK, DeskId, InstrumentId


class HealthRoutes:
    """What a probe and an operator ask of the process itself."""

    def __init__(self, edge: Edge) -> None:
        self._edge = edge

    def blueprint(self) -> Blueprint:
        """The routes, to be registered with the app."""
        routes = Blueprint("health", __name__, url_prefix="/v1")
        routes.get("/health")(self.health)
        routes.get("/admin/actors")(self.actors)
        return routes

    async def health(self) -> Response:
        """GET /v1/health: open to all; 200 while commands are answered, else 503."""
        health = self._edge.service.health()
        return answer(health, 200 if health.status is HealthStatus.UP else 503)

    async def actors(self) -> Response:
        """GET /v1/admin/actors: vitals of every actor, health of every desk."""
        self._edge.caller(Role.ADMIN)
        query(NoQuery)
        service = self._edge.service
        line = service.line()
        return answer(
            {
                "lives": service.lives,
                "actors": [vitals.as_dict() for vitals in line.vitals.values()],
                "desks": [self._desk(*each) for each in line.desks.desks.items()],
                "next_deadline_ns": line.deadlines.next_ns,
                "outstanding_follow_ups": len(line.released.outstanding),
                "slots_free": service.health().slots_free,
            }
        )

    def _desk(self, desk_id: DeskId, desk: Any) -> dict[str, Any]:
        instrument = self._edge.directory.instruments.get(InstrumentId(desk_id))
        return {
            "desk": "withdrawals" if desk_id == WITHDRAWALS_DESK else "instrument",
            "instrument": None if instrument is None else instrument.symbol,
            "health": desk.health.value,
            "falls": desk.falls,
            "last_sequence": desk.last_sequence,
        }

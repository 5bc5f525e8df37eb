"""The HTTP app: every route, and one way for every error."""

import time
from typing import Final

from quart import Response, g
from quart_trio import QuartTrio

from api import problems
from api.accounts import AccountRoutes
from api.admin_directory import DirectoryRoutes
from api.admin_money import MoneyRoutes
from api.admin_risk import RiskRoutes
from api.edge import REPLAY_HEADER, Edge
from api.health import HealthRoutes
from api.markets import MarketRoutes
from api.orders import OrderRoutes
from api.rejected import Rejected
from api.settings import ApiSettings
from api.withdrawals import WithdrawalRoutes
from engine.errors import Halted
from engine.service import Service
from engine.units import TimeNs

_ROUTES: Final = (
    OrderRoutes,
    AccountRoutes,
    MarketRoutes,
    WithdrawalRoutes,
    DirectoryRoutes,
    MoneyRoutes,
    RiskRoutes,
    HealthRoutes,
)


class EdgeClock:
    """The engine's time, and the system's while there is no engine: an error always has one."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def now_ns(self) -> TimeNs:
        """Nanoseconds since the Unix epoch."""
        try:
            return TimeNs(self._service.now_ns())
        except Halted:
            return TimeNs(time.time_ns())


def create_app(service: Service, settings: ApiSettings | None = None) -> QuartTrio:
    """The app in front of a service; whoever serves it keeps the limits of bodies and sockets."""
    app = QuartTrio("outcry")
    answers = problems.install(app, EdgeClock(service))

    async def on_rejected(rejected: Rejected) -> Response:
        return answers.answer(rejected.problem)

    app.register_error_handler(Rejected, on_rejected)
    app.after_request(_mark_replay)
    edge = Edge(service, ApiSettings() if settings is None else settings)
    for routes in _ROUTES:
        app.register_blueprint(routes(edge).blueprint())
    return app


async def _mark_replay(response: Response) -> Response:
    """Say so when the answer is that of an earlier request with the same key."""
    if g.get("replayed", False):
        response.headers[REPLAY_HEADER] = "true"
    return response

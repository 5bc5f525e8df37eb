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
from api.edge import REPLAY_HEADER, Edge, answer
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
    app = QuartTrio("outcry", static_folder=None)
    answers = problems.install(app, EdgeClock(service))

    async def on_rejected(rejected: Rejected) -> Response:
        return answers.answer(rejected.problem)

    app.register_error_handler(Rejected, on_rejected)
    app.after_request(_mark_replay)
    edge = Edge(service, ApiSettings() if settings is None else settings)
    for routes in _ROUTES:
        app.register_blueprint(routes(edge).blueprint())
    overview = overview_of(app)

    async def show_overview() -> Response:
        """The overview itself, open to all."""
        return answer(overview)

    app.get("/v1")(show_overview)
    return app


def overview_of(app: QuartTrio) -> dict[str, list[dict[str, str]]]:
    """Every route with the first line of what its docstring says of it."""
    rows = [
        {"route": f"{method} {rule.rule}", "about": _about(app, rule.endpoint)}
        for rule in app.url_map.iter_rules()
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"})
        if rule.rule.startswith("/v1")
    ]
    return {"routes": sorted(rows, key=lambda row: row["route"].split()[::-1])}


def _about(app: QuartTrio, endpoint: str) -> str:
    return (app.view_functions[endpoint].__doc__ or "").partition("\n")[0]


async def _mark_replay(response: Response) -> Response:
    """Say so when the answer is that of an earlier request with the same key."""
    if g.get("replayed", False):
        response.headers[REPLAY_HEADER] = "true"
    return response

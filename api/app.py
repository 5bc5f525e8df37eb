"""The HTTP app: every route, and one way for every error."""

from typing import Final

from quart import Response, g
from quart_trio import QuartTrio
from werkzeug.exceptions import HTTPException

from api import problems
from api.door import Door
from api.edge import REPLAY_HEADER, Edge
from api.keys.auth import Doorkeeper
from api.keys.master_secret import MasterSecret
from api.metrics.scrape import Metrics
from api.rejected import Rejected
from api.routes.accounts import AccountRoutes
from api.routes.admin_directory import DirectoryRoutes
from api.routes.admin_keys import KeyRoutes
from api.routes.admin_money import MoneyRoutes
from api.routes.admin_risk import RiskRoutes
from api.routes.audit import AuditRoutes
from api.routes.dead_man import DeadManRoutes
from api.routes.documents import DocumentRoutes
from api.routes.health import HealthRoutes
from api.routes.markets import MarketRoutes
from api.routes.order_batches import OrderBatchRoutes
from api.routes.order_history import OrderHistoryRoutes
from api.routes.orders import OrderRoutes
from api.routes.statements import StatementRoutes
from api.routes.trades import TradeRoutes
from api.routes.withdrawals import WithdrawalRoutes
from api.routing import Route, Routes
from api.settings import ApiSettings
from api.web.quart_app import OutcryApp
from engine.service import Service

_SUBJECTS: Final = (
    OrderRoutes,
    OrderBatchRoutes,
    OrderHistoryRoutes,
    TradeRoutes,
    StatementRoutes,
    AuditRoutes,
    AccountRoutes,
    MarketRoutes,
    WithdrawalRoutes,
    DirectoryRoutes,
    KeyRoutes,
    MoneyRoutes,
    RiskRoutes,
    HealthRoutes,
    DeadManRoutes,
)


def create_app(
    service: Service, settings: ApiSettings | None = None, master: MasterSecret | None = None
) -> QuartTrio:
    """The app in front of a service; whoever serves it keeps the limits of bodies and sockets.

    Without a master secret, keys that sign by HMAC live as long as the app.
    """
    door = door_of(service, settings, master)
    return app_of(door.edge, door)


def door_of(
    service: Service, settings: ApiSettings | None = None, master: MasterSecret | None = None
) -> Door:
    """The one door of a server, for its app and its sockets."""
    settings = ApiSettings() if settings is None else settings
    edge = Edge(service, settings, master)
    return Door(edge, Doorkeeper(edge.master, settings, edge.clock.now_ns()))


def app_of(edge: Edge, door: Door, metrics: Metrics | None = None) -> QuartTrio:
    """The app behind a door."""
    app = OutcryApp("outcry", static_folder=None)
    answers = problems.install(app, edge.clock, edge.traffic.refused)

    async def on_rejected(rejected: Rejected) -> Response:
        return answers.answer(rejected.problem)

    async def on_http(error: HTTPException) -> Response:
        return answers.answer(door.stray() or problems.of_http(error))

    async def mark(response: Response) -> Response:
        door.mark(response)
        if g.get("replayed", False):  # the answer is that of an earlier request with the same key
            response.headers[REPLAY_HEADER] = "true"
        door.finish(response.status_code)
        return response

    app.register_error_handler(Rejected, on_rejected)
    app.register_error_handler(HTTPException, on_http)
    app.after_request(mark)
    for routes in subjects(edge):
        app.register_blueprint(routes.blueprint(door.guard))
    (Metrics(door) if metrics is None else metrics).add_to(app)
    return app


def subjects(edge: Edge) -> list[Routes]:
    """Everything that is declared, by subject."""
    known = [subject(edge).routes() for subject in _SUBJECTS]
    table = [route for routes in known for route in routes.table]
    return [*known, DocumentRoutes(table).routes()]


def all_routes(edge: Edge) -> list[Route]:
    """Every route of the app."""
    return [route for routes in subjects(edge) for route in routes.table]

"""Every order that an account ever placed, as far as the history has come."""

from quart import Response

from api.decimals import InstrumentText
from api.edge import Edge, answer, query
from api.orders import answers as order_answers
from api.orders.answers import OrderAnswer
from api.queries import AccountNumber
from api.routes.history_pages import (
    HISTORY_WEIGHT,
    HistoryAnswer,
    HistoryPages,
    SequencesQuery,
    sequences_page,
)
from api.routing import Routes
from engine.accounts.messages import Permission
from engine.history.rows import OrderRow


class OrderHistoryQuery(SequencesQuery, frozen=True, kw_only=True):
    """Whose orders, all or those on one instrument; `after` and `before` are order ids."""

    instrument: str | None = None
    account: AccountNumber | None = None


class OrderHistoryAnswer(HistoryAnswer, frozen=True, kw_only=True):
    """A page of orders, each as of the `sequence` that left it so."""

    orders: list[OrderAnswer]


class OrderHistoryRoutes:
    """What became of orders."""

    def __init__(self, edge: Edge) -> None:
        self._edge = edge
        self._pages = HistoryPages(edge)

    def routes(self) -> Routes:
        """What is declared to the app."""
        routes = Routes("order_history", "/v1/orders")
        routes.get(
            "/history",
            self.orders,
            Permission.READ,
            query=OrderHistoryQuery,
            answer=OrderHistoryAnswer,
            weight=HISTORY_WEIGHT,
        )
        return routes

    async def orders(self) -> Response:
        """GET /v1/orders/history: every order ever, ended or not, newest first, in pages."""
        wanted = query(OrderHistoryQuery)
        page = sequences_page(wanted)
        account_id = self._edge.caller.acts_for(wanted.account)
        instrument_id = None
        if wanted.instrument is not None:
            instrument_id = self._edge.instrument(wanted.instrument).instrument_id
        as_of = await self._pages.as_of(wanted)
        rows = await self._edge.service.history.orders(account_id, instrument_id, **page)
        orders = [self._order(row) for row in rows]
        return answer(OrderHistoryAnswer(**as_of._asdict(), orders=orders))

    def _order(self, row: OrderRow) -> OrderAnswer:
        directory = self._edge.directory
        text = InstrumentText.of(directory.instruments[row.order.instrument_id], directory)
        return order_answers.of_order(row.order, text, row.sequence)

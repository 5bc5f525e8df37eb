"""Orders over HTTP: place, replace, cancel, cancel all, look up."""

from itertools import islice

import msgspec
from quart import Blueprint, Response, g

from api import order_answers
from api.decimals import InstrumentText
from api.edge import Edge, answer, body, checked_key, numbered, query, sent_key
from api.order_commands import CommandsOf
from api.order_forms import (
    PLACE,
    REPLACE,
    CancelAllQuery,
    OrdersQuery,
    ReplaceForm,
)
from api.queries import AccountQuery
from api.rejected import refused
from engine.accounts.messages import CancelAll, CancelAllStarted, Role
from engine.errors import NotFound
from engine.orderbook.instrument import Instrument
from engine.orderbook.messages import CancelOrder
from engine.products.exchange.orders import Order
from engine.units import AccountId, InstrumentId, OrderId


class CancelAllAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """How far a cancel-all came; not `complete` after the deadline, and it goes on.

    `refused_instruments` counts books that could not do their part: look at their orders.
    """

    sequence: int
    complete: bool
    cancelled_orders: int
    open_instruments: int
    refused_instruments: int


class OrderRoutes:
    """What a trader does with orders."""

    def __init__(self, edge: Edge) -> None:
        self._edge = edge

    def blueprint(self) -> Blueprint:
        """The routes, to be registered with the app."""
        routes = Blueprint("orders", __name__, url_prefix="/v1/orders")
        routes.post("")(self.place)
        routes.get("")(self.open_orders)
        routes.delete("")(self.cancel_all)
        routes.get("/<order_id>")(self.one)
        routes.put("/<order_id>")(self.replace)
        routes.delete("/<order_id>")(self.cancel)
        routes.get("/by-client-id/<client_order_id>")(self.one_by_client_id)
        routes.put("/by-client-id/<client_order_id>")(self.replace_by_client_id)
        routes.delete("/by-client-id/<client_order_id>")(self.cancel_by_client_id)
        return routes

    async def place(self) -> Response:
        """POST /v1/orders: any type of order; its `client_order_id` is its idempotency key."""
        caller = self._edge.caller(Role.TRADE)
        form = await body(PLACE)
        account_id = caller.acts_for(form.account)
        text = self._text(self._edge.instrument(form.instrument))
        command = self._commands(account_id, text).place(form)
        record = await self._edge.submit(command, account_id, form.client_order_id)
        return answer(order_answers.of_placing(record, text), 201)

    async def replace(self, order_id: str) -> Response:
        """PUT /v1/orders/ID: new price and total quantity for a resting order."""
        account_id, form = await self._replacing()
        order = self._edge.service.order(numbered(order_id), account_id)
        return await self._replace(account_id, order.instrument_id, order.order_id, "", form)

    async def replace_by_client_id(self, client_order_id: str) -> Response:
        """PUT /v1/orders/by-client-id/ID: the same, also behind a place still in flight."""
        account_id, form = await self._replacing()
        key = checked_key(client_order_id, "client_order_id")
        instrument_id = self._edge.service.order_instrument(account_id, key)
        return await self._replace(account_id, instrument_id, OrderId(0), key, form)

    async def _replacing(self) -> tuple[AccountId, ReplaceForm]:
        caller = self._edge.caller(Role.TRADE)
        form = await body(REPLACE)
        return caller.acts_for(form.account), form

    async def _replace(
        self,
        account_id: AccountId,
        instrument_id: InstrumentId,
        order_id: OrderId,
        client_order_id: str,
        form: ReplaceForm,
    ) -> Response:
        text = self._text(self._edge.directory.instruments[instrument_id])
        command = self._commands(account_id, text).replace(order_id, client_order_id, form)
        record = await self._edge.submit(command, account_id, sent_key())
        return answer(order_answers.of_replacing(record, text))

    async def cancel(self, order_id: str) -> Response:
        """DELETE /v1/orders/ID."""
        account_id = self._edge.caller(Role.TRADE).acts_for(query(AccountQuery).account)
        order = self._edge.service.order(numbered(order_id), account_id)
        return await self._cancel(CancelOrder(account_id, order.instrument_id, order.order_id))

    async def cancel_by_client_id(self, client_order_id: str) -> Response:
        """DELETE /v1/orders/by-client-id/ID: also behind a place still in flight."""
        account_id = self._edge.caller(Role.TRADE).acts_for(query(AccountQuery).account)
        key = checked_key(client_order_id, "client_order_id")
        instrument_id = self._edge.service.order_instrument(account_id, key)
        return await self._cancel(CancelOrder(account_id, instrument_id, OrderId(0), key))

    async def _cancel(self, command: CancelOrder) -> Response:
        record = await self._edge.submit(command, command.account_id, sent_key())
        text = self._text(self._edge.directory.instruments[command.instrument_id])
        return answer(order_answers.of_cancelling(record, text))

    async def cancel_all(self) -> Response:
        """DELETE /v1/orders: every order placed before it. Waits until done, up to the deadline."""
        caller, wanted = self._edge.caller(Role.TRADE), query(CancelAllQuery)
        account_id = caller.acts_for(wanted.account)
        instrument_id = InstrumentId(0)
        if wanted.instrument is not None:
            instrument_id = self._edge.instrument(wanted.instrument).instrument_id
        command = CancelAll(account_id, instrument_id)
        record = await self._edge.submit(command, account_id, sent_key())
        [started] = [e for e in record.events if type(e) is CancelAllStarted]
        cancelled, refused_instruments, waiting = 0, 0, started.instruments
        if waiting:
            waiting, cancelled, refused_instruments = await self._edge.service.cancel_all_done(
                record.sequence
            )
        complete = CancelAllAnswer(
            sequence=record.sequence,
            complete=not waiting,
            cancelled_orders=cancelled,
            open_instruments=waiting,
            refused_instruments=refused_instruments,
        )
        return answer(complete, 202 if waiting else 200)

    async def one(self, order_id: str) -> Response:
        """GET /v1/orders/ID: an open or recently closed order."""
        account_id = self._edge.caller(Role.READ).acts_for(query(AccountQuery).account)
        return self._order_answer(self._edge.service.order(numbered(order_id), account_id))

    async def one_by_client_id(self, client_order_id: str) -> Response:
        """GET /v1/orders/by-client-id/ID: found, in flight, refused as recorded, or 404."""
        account_id = self._edge.caller(Role.READ).acts_for(query(AccountQuery).account)
        key = checked_key(client_order_id, "client_order_id")
        service = self._edge.service
        try:
            order = service.order_by_client_id(account_id, key)
        except NotFound:
            await self._raise_refusal(account_id, key)
            raise
        if order is None:
            return answer(order_answers.InFlightAnswer(key))
        return self._order_answer(order)

    async def _raise_refusal(self, account_id: AccountId, key: str) -> None:
        """If the command of a key was refused, that is what became of it."""
        answered = self._edge.service.released.keys.get(account_id, key)
        if answered is not None:
            record = await self._edge.service.record(answered.sequence)
            if record.refusal is not None:
                g.replayed = True
                raise refused(record.refusal, record.command)

    async def open_orders(self) -> Response:
        """GET /v1/orders: the account's open orders, oldest first, in pages."""
        caller, wanted = self._edge.caller(Role.READ), query(OrdersQuery)
        account_id = caller.acts_for(wanted.account)
        released = self._edge.service.released
        orders = released.orders.open_of(account_id).values()
        found = (order for order in orders if order.order_id > wanted.after)
        if wanted.instrument is not None:
            instrument_id = self._edge.instrument(wanted.instrument).instrument_id
            found = (order for order in found if order.instrument_id == instrument_id)
        texts = self._edge.directory.instruments
        rows = [
            order_answers.of_order(order, self._text(texts[order.instrument_id]), released.sequence)
            for order in islice(found, wanted.limit)
        ]
        return answer({"orders": rows, "as_of_sequence": released.sequence})

    def _order_answer(self, order: Order) -> Response:
        released = self._edge.service.released
        text = self._text(self._edge.directory.instruments[order.instrument_id])
        return answer(order_answers.of_order(order, text, released.sequence))

    def _commands(self, account_id: AccountId, text: InstrumentText) -> CommandsOf:
        reference = self._edge.service.released.reference_price_ticks(text.instrument.instrument_id)
        slippage_ppm = self._edge.settings.market_slippage_ppm
        return CommandsOf(account_id, text, reference, slippage_ppm)

    def _text(self, instrument: Instrument) -> InstrumentText:
        return InstrumentText.of(instrument, self._edge.directory)

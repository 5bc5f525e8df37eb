"""Orders over HTTP: place, replace, cancel, cancel all, look up."""

from itertools import islice
from typing import Any

import msgspec
from quart import Response, g

from api.decimals import InstrumentText
from api.edge import Edge, answer, body, checked_key, numbered, query, sent_json, sent_key
from api.orders import answers as order_answers
from api.orders.answers import CancelAnswer, InFlightAnswer, OrderAnswer, ReplaceAnswer
from api.orders.commands import CommandsOf
from api.orders.entry import OrderEntry, read_order
from api.orders.forms import (
    PLACE,
    REPLACE,
    AnyOrderForm,
    CancelAllQuery,
    OrdersQuery,
    ReplaceForm,
)
from api.queries import AccountQuery
from api.rejected import refused
from api.routing import Routes
from engine.accounts.messages import CancelAll, CancelAllStarted, Permission
from engine.errors import NotFound
from engine.history.rows import OrderRow
from engine.orderbook.instrument import Instrument
from engine.orderbook.messages import CancelOrder, PlaceOrder, ReplaceOrder
from engine.products.exchange.messages import PlaceConditional
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


class OrdersAnswer(msgspec.Struct, frozen=True):
    """A page of open orders."""

    orders: list[OrderAnswer]
    as_of_sequence: int


class OrderRoutes:
    """What a trader does with orders."""

    def __init__(self, edge: Edge) -> None:
        self._edge = edge
        self._entry = OrderEntry(edge)

    def routes(self) -> Routes:
        """What is declared to the app."""
        routes = Routes("orders", "/v1/orders")
        read, trade = Permission.READ, Permission.TRADE
        one: dict[str, Any] = {
            "query": AccountQuery,
            "answer": OrderAnswer | InFlightAnswer,
            "other_errors": (409, 422),
        }
        replace: dict[str, Any] = {"body": ReplaceForm, "answer": ReplaceAnswer}
        cancel: dict[str, Any] = {
            "query": AccountQuery,
            "answer": CancelAnswer,
            "is_calming": True,
        }
        routes.post("", self.place, trade, body=AnyOrderForm, answer=OrderAnswer, status=201)
        routes.get("", self.open_orders, read, query=OrdersQuery, answer=OrdersAnswer)
        routes.delete(
            "",
            self.cancel_all,
            trade,
            query=CancelAllQuery,
            answer=CancelAllAnswer,
            other_statuses=(202,),
            is_calming=True,
        )
        routes.get("/<order_id>", self.one, read, query=AccountQuery, answer=OrderAnswer)
        routes.put("/<order_id>", self.replace, trade, **replace)
        routes.delete("/<order_id>", self.cancel, trade, **cancel)
        by_client_id = "/by-client-id/<client_order_id>"
        routes.get(by_client_id, self.one_by_client_id, read, **one)
        routes.put(by_client_id, self.replace_by_client_id, trade, **replace)
        routes.delete(by_client_id, self.cancel_by_client_id, trade, **cancel)
        return routes

    async def place(self) -> Response:
        """POST /v1/orders: any type of order; its `client_order_id` is its idempotency key."""
        form, sent = read_order(await sent_json(), PLACE)
        entered = self._entry.order(form, sent, self._edge.caller)
        record = await self._edge.submit(
            entered.command, entered.account_id, entered.key, entered.body_digest
        )
        return answer(entered.answer(record), 201)

    async def replace(self, order_id: str) -> Response:
        """PUT /v1/orders/ID: new price and total quantity for a resting order."""
        account_id, form = await self._replacing()
        number = numbered(order_id)
        instrument_id = await self._instrument_of(account_id, number)
        return await self._replace(account_id, instrument_id, number, "", form)

    async def replace_by_client_id(self, client_order_id: str) -> Response:
        """PUT /v1/orders/by-client-id/ID: the same, also behind a place still in flight."""
        account_id, form = await self._replacing()
        key = checked_key(client_order_id, "client_order_id")
        instrument_id = await self._instrument_of(account_id, key)
        return await self._replace(account_id, instrument_id, OrderId(0), key, form)

    async def _replacing(self) -> tuple[AccountId, ReplaceForm]:
        form = await body(REPLACE)
        return self._edge.caller.acts_for(form.account), form

    async def _instrument_of(self, account_id: AccountId, name: OrderId | str) -> InstrumentId:
        """What the order trades that a request names, by either id.

        A repeat names it as the first request did, and is answered when nobody knows it any more.
        Raises: NotFound, what `Service.answered` raises.
        """
        service = self._edge.service
        try:
            if isinstance(name, str):
                return service.order_instrument(account_id, name)
            return service.order(name, account_id).instrument_id
        except NotFound:
            key = sent_key()
            answered = await service.answered(account_id, key) if key else None
            if answered is None:
                raise
            command = (await service.record(answered.sequence)).command
            if not isinstance(command, CancelOrder | ReplaceOrder):
                raise
            return command.instrument_id

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
        account_id = self._edge.caller.acts_for(query(AccountQuery).account)
        number = numbered(order_id)
        instrument_id = await self._instrument_of(account_id, number)
        return await self._cancel(CancelOrder(account_id, instrument_id, number))

    async def cancel_by_client_id(self, client_order_id: str) -> Response:
        """DELETE /v1/orders/by-client-id/ID: also behind a place still in flight."""
        account_id = self._edge.caller.acts_for(query(AccountQuery).account)
        key = checked_key(client_order_id, "client_order_id")
        instrument_id = await self._instrument_of(account_id, key)
        return await self._cancel(CancelOrder(account_id, instrument_id, OrderId(0), key))

    async def _cancel(self, command: CancelOrder) -> Response:
        record = await self._edge.submit(command, command.account_id, sent_key())
        text = self._text(self._edge.directory.instruments[command.instrument_id])
        return answer(order_answers.of_cancelling(record, text))

    async def cancel_all(self) -> Response:
        """DELETE /v1/orders: every order placed before it. Waits until done, up to the deadline."""
        wanted = query(CancelAllQuery)
        account_id = self._edge.caller.acts_for(wanted.account)
        instrument_id = InstrumentId(0)
        if wanted.instrument is not None:
            instrument_id = self._edge.instrument(wanted.instrument).instrument_id
        key_id = self._edge.caller.key_id if wanted.scope == "key" else 0
        command = CancelAll(account_id, instrument_id, key_id)
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
        """GET /v1/orders/ID: open, or ended however long ago."""
        account_id = self._edge.caller.acts_for(query(AccountQuery).account)
        return self._order_answer(
            await self._edge.service.order_ever(numbered(order_id), account_id)
        )

    async def one_by_client_id(self, client_order_id: str) -> Response:
        """GET /v1/orders/by-client-id/ID: found, in flight, refused as recorded, or 404."""
        account_id = self._edge.caller.acts_for(query(AccountQuery).account)
        key = checked_key(client_order_id, "client_order_id")
        service = self._edge.service
        try:
            order = service.order_by_client_id(account_id, key)
        except NotFound:
            return self._order_answer(await self._long_ago(account_id, key))
        if order is None:
            return answer(InFlightAnswer(key))
        return self._order_answer(OrderRow(service.released.sequence, order))

    async def _long_ago(self, account_id: AccountId, key: str) -> OrderRow:
        """What became of an order that is neither open nor among those that ended lately.

        Raises: Rejected if it was refused, what `Service.order_ever` raises.
        """
        service = self._edge.service
        answered = await service.answered(account_id, key)
        if answered is None:
            raise NotFound(f"no order {key}")
        record = await service.record(answered.sequence)
        if record.refusal is not None:
            g.replayed = True
            raise refused(record.refusal, record.command)
        if not isinstance(record.command, PlaceOrder | PlaceConditional):
            raise NotFound(f"no order {key}")
        return await service.order_ever(OrderId(answered.sequence), account_id)

    async def open_orders(self) -> Response:
        """GET /v1/orders: the account's open orders, oldest first, in pages."""
        wanted = query(OrdersQuery)
        account_id = self._edge.caller.acts_for(wanted.account)
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
        return answer(OrdersAnswer(rows, released.sequence))

    def _order_answer(self, row: OrderRow) -> Response:
        text = self._text(self._edge.directory.instruments[row.order.instrument_id])
        return answer(order_answers.of_order(row.order, text, row.sequence))

    def _commands(self, account_id: AccountId, text: InstrumentText) -> CommandsOf:
        reference = self._edge.service.released.reference_price_ticks(text.instrument.instrument_id)
        slippage_ppm = self._edge.settings.market_slippage_ppm
        key_id = self._edge.caller.key_id
        return CommandsOf(account_id, text, reference, slippage_ppm, key_id)

    def _text(self, instrument: Instrument) -> InstrumentText:
        return InstrumentText.of(instrument, self._edge.directory)

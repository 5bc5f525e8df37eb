"""An account's effects in the words of the private stream."""

from collections.abc import Iterator, Sequence
from copy import copy
from typing import assert_never

from api.decimals import InstrumentText
from api.orders import answers as order_answers
from api.orders.answers import OrderAnswer
from api.routes.accounts import BalanceAnswer
from api.sockets.stream_messages import (
    LAST_INDEX,
    BalanceEvent,
    FillEvent,
    OrderEvent,
    Snapshot,
)
from engine.history.effects import BalanceChanged, Effect, Filled, OrderChanged
from engine.history.rows import EffectsRow
from engine.ledger.amounts import format_minor
from engine.products.exchange.orders import Order
from engine.service import Service
from engine.units import AccountId, InstrumentId

#: Of a snapshot, in one message.
ORDERS_PER_PART_MAX = 200

#: Sequence and index.
Number = tuple[int, int]
AnyEvent = OrderEvent | FillEvent | BalanceEvent


class EventTexts:
    """Writes the events of one account, as of one life of the engine.

    Raises: Halted when there is none.
    """

    def __init__(self, service: Service, account_id: AccountId) -> None:
        self._released = service.released
        self._directory = service.released.rules.directory
        self._account_id = account_id
        self._instruments: dict[InstrumentId, InstrumentText] = {}

    def events(self, rows: Sequence[EffectsRow], last: Number) -> Iterator[AnyEvent]:
        """The events of rows, each after the one before; those up to `last` are left out."""
        for row in rows:
            for index, effect in enumerate(row.effects):
                number = (row.sequence, index)
                if number > last:
                    yield self._event(effect, number, last, row.time_ns)
                    last = number

    def snapshot(self) -> Iterator[Snapshot]:
        """The account as it is now, in parts that may be taken at leisure."""
        released = self._released
        orders = [copy(order) for order in released.orders.open_of(self._account_id).values()]
        return self._parts((int(released.sequence), LAST_INDEX), orders, self._balances())

    def _parts(
        self, number: Number, orders: list[Order], balances: list[BalanceAnswer]
    ) -> Iterator[Snapshot]:
        for start in range(0, max(1, len(orders)), ORDERS_PER_PART_MAX):
            part = orders[start : start + ORDERS_PER_PART_MAX]
            complete = start + ORDERS_PER_PART_MAX >= len(orders)
            yield Snapshot(
                account=self._account_id,
                number=number,
                orders=[self._order(order, number[0]) for order in part],
                balances=balances if complete else [],
                complete=complete,
            )

    def _event(self, effect: Effect, number: Number, previous: Number, time_ns: int) -> AnyEvent:
        match effect:
            case OrderChanged(order):
                return OrderEvent(
                    account=self._account_id,
                    number=number,
                    previous=previous,
                    time_ns=time_ns,
                    order=self._order(order, number[0]),
                )
            case Filled():
                return self._fill(effect, number, previous, time_ns)
            case BalanceChanged(asset_id, balance_minor, held_minor):
                asset = self._directory.assets[asset_id]
                return BalanceEvent(
                    account=self._account_id,
                    number=number,
                    previous=previous,
                    time_ns=time_ns,
                    asset=asset.code,
                    total=format_minor(balance_minor, asset.scale),
                    held=format_minor(held_minor, asset.scale),
                    available=format_minor(balance_minor - held_minor, asset.scale),
                )
            case _:
                assert_never(effect)

    def _fill(self, fill: Filled, number: Number, previous: Number, time_ns: int) -> FillEvent:
        text = self._text(fill.instrument_id)
        pays = fill.side.opposite if fill.fee_minor < 0 else fill.side
        fee_asset = text.received_asset(pays)
        return FillEvent(
            account=self._account_id,
            number=number,
            previous=previous,
            time_ns=time_ns,
            trade=f"{number[0]}-{fill.trade_index}",
            instrument=text.instrument.symbol,
            order_id=str(fill.order_id),
            client_order_id=fill.client_order_id,
            side=fill.side.name.lower(),
            price=text.price(fill.price_ticks),
            quantity=text.quantity(fill.quantity_lots),
            liquidity="maker" if fill.is_maker else "taker",
            fee=format_minor(fill.fee_minor, fee_asset.scale),
            fee_asset=fee_asset.code,
        )

    def _order(self, order: Order, sequence: int) -> OrderAnswer:
        return order_answers.of_order(order, self._text(order.instrument_id), sequence)

    def _balances(self) -> list[BalanceAnswer]:
        assets, rows = self._directory.assets, []
        for asset_id, balance in self._released.ledger.balances_of(self._account_id):
            asset = assets[asset_id]
            amounts = (balance.posted_minor, balance.held_minor, balance.available_minor)
            rows.append(
                BalanceAnswer(asset.code, *(format_minor(each, asset.scale) for each in amounts))
            )
        return rows

    def _text(self, instrument_id: InstrumentId) -> InstrumentText:
        text = self._instruments.get(instrument_id)
        if text is None:
            instrument = self._directory.instruments[instrument_id]
            text = InstrumentText.of(instrument, self._directory)
            self._instruments[instrument_id] = text
        return text

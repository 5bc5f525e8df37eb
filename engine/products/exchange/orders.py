"""The released state of orders: what a caller may see of each, folded from records.

Open orders are all here; of those that ended, only the most recent. Deciding never reads this,
except for what accounts must know of an order that is to be replaced.
"""

from collections import OrderedDict
from enum import StrEnum
from typing import Any, Final, Protocol

from engine.errors import InvariantViolated
from engine.messages import Refused
from engine.orderbook.messages import (
    CancelReason,
    OrderCancelled,
    OrderReplaced,
    PlaceOrder,
    SelfTradePrevented,
    Trade,
)
from engine.products.exchange.messages import (
    ConditionalPlaced,
    EnterTriggered,
    OrderTriggered,
    PlaceConditional,
)
from engine.units import AccountId, InstrumentId, OrderId, PriceTicks, QuantityLots, Side, TimeNs


class OrderStatus(StrEnum):
    """Where an order stands."""

    OPEN = "OPEN"  # in the book, partly filled or not
    WAITING = "WAITING"  # conditional, its trigger not crossed yet
    TRIGGERED = "TRIGGERED"  # crossed, on its way into the book
    FILLED = "FILLED"
    CANCELLED = "CANCELLED"  # ended with quantity still open, for the stated reason
    REJECTED = "REJECTED"  # triggered, but the book refused it


class Order:
    """One order as its owner sees it."""

    __slots__ = (
        "charged_minor",
        "ended_because",
        "filled_lots",
        "filled_tick_lots",
        "order_id",
        "placed_at_ns",
        "price_ticks",
        "status",
        "terms",
        "total_lots",
        "updated_at_ns",
    )

    def __init__(
        self,
        order_id: OrderId,
        terms: PlaceOrder | PlaceConditional,
        price_ticks: PriceTicks,
        now_ns: TimeNs,
    ) -> None:
        self.order_id = order_id
        self.terms = terms
        self.price_ticks = price_ticks  # 0 while a conditional order waits
        self.total_lots = terms.quantity_lots  # 0 for a market buy with a budget
        self.filled_lots = 0
        self.filled_tick_lots = 0  # sum of price x quantity over fills
        self.charged_minor = 0  # fees, in what the order receives
        self.status = OrderStatus.OPEN
        self.ended_because = ""
        self.placed_at_ns = now_ns
        self.updated_at_ns = now_ns

    @property
    def account_id(self) -> AccountId:
        """Whose order it is."""
        return self.terms.account_id

    @property
    def instrument_id(self) -> InstrumentId:
        """What it trades."""
        return self.terms.instrument_id

    @property
    def side(self) -> Side:
        """Which way it trades."""
        return self.terms.side

    @property
    def remaining_lots(self) -> QuantityLots:
        """What is still to be filled, or was when the order ended."""
        return QuantityLots(max(0, self.total_lots - self.filled_lots))


class Recorded(Protocol):
    """The part of a journal record that a fold of orders reads."""

    @property
    def sequence(self) -> int: ...
    @property
    def now_ns(self) -> int: ...
    @property
    def command(self) -> Any: ...
    @property
    def events(self) -> Any: ...


_PLACING: Final = frozenset((PlaceOrder, PlaceConditional, EnterTriggered))


class Orders:
    """Orders by id and by account. Look up: `get`, `open_of`. Fold: `apply`."""

    def __init__(self, closed_max: int = 100_000) -> None:
        self._open: dict[OrderId, Order] = {}
        self._open_by_account: dict[AccountId, dict[OrderId, Order]] = {}
        self._closed: OrderedDict[OrderId, Order] = OrderedDict()
        self._closed_max = closed_max

    def __repr__(self) -> str:
        return f"<Orders: {len(self._open)} open, {len(self._closed)} recently closed>"

    def get(self, order_id: OrderId) -> Order | None:
        """An open or recently closed order."""
        return self._open.get(order_id) or self._closed.get(order_id)

    def get_open(self, order_id: OrderId) -> Order | None:
        """An order that has not ended."""
        return self._open.get(order_id)

    def open_of(self, account_id: AccountId) -> dict[OrderId, Order]:
        """The open orders of an account, in order of placement; not to be changed."""
        return self._open_by_account.get(account_id, {})

    @property
    def open_count(self) -> int:
        """How many orders have not ended."""
        return len(self._open)

    def apply(self, record: Recorded) -> None:
        """Fold one record; those of other desks change nothing."""
        command = record.command
        now_ns = TimeNs(record.now_ns)
        if type(command) in _PLACING:
            self._apply_placing(record, now_ns)
        else:
            for event in record.events:
                self._apply_event(event, now_ns)

    def _apply_placing(self, record: Recorded, now_ns: TimeNs) -> None:
        command, events = record.command, record.events
        if type(command) is EnterTriggered:
            self._apply_triggered(command, events, now_ns)
            return
        if type(events[-1]) is Refused:
            return
        order_id = OrderId(record.sequence)
        price = command.price_ticks if type(command) is PlaceOrder else PriceTicks(0)
        order = Order(order_id, command, price, now_ns)
        self._open[order_id] = order
        of_account = self._open_by_account.get(command.account_id)
        if of_account is None:
            of_account = self._open_by_account[command.account_id] = {}
        of_account[order_id] = order
        # A reservation and a rest: nothing else happened, and that is the usual case.
        if len(events) > 2 or type(command) is not PlaceOrder:
            for event in events:
                self._apply_event(event, now_ns)

    def _apply_triggered(self, command: EnterTriggered, events: Any, now_ns: TimeNs) -> None:
        order = self._open.get(command.order_id)
        if order is None:
            return  # cancelled between trigger and arrival
        if type(events[-1]) is Refused:
            self._close(order, OrderStatus.REJECTED, events[-1].reason, now_ns)
            return
        order.status = OrderStatus.OPEN
        order.price_ticks = command.order.price_ticks
        for event in events:
            self._apply_event(event, now_ns)

    def _apply_event(self, event: Any, now_ns: TimeNs) -> None:
        kind = type(event)
        if kind is Trade:
            lots, tick_lots = event.quantity_lots, event.price_ticks * event.quantity_lots
            self._fill(event.maker_order_id, lots, tick_lots, now_ns)
            self._fill(event.taker_order_id, lots, tick_lots, now_ns)
        elif kind is OrderCancelled:
            order = self._open.get(event.order_id)
            if order is not None and event.reason != CancelReason.OTHER_LEG:
                self._cancel(order, event, now_ns)
        elif kind is OrderReplaced:
            order = self._open[event.order_id]
            order.price_ticks = event.price_ticks
            order.total_lots = event.total_lots
            order.updated_at_ns = now_ns
        elif kind is SelfTradePrevented:
            for order_id in (event.maker_order_id, event.taker_order_id):
                self._lessen(order_id, event.quantity_lots, now_ns)
        elif kind is OrderTriggered:
            self._open[event.order_id].status = OrderStatus.TRIGGERED
            self._open[event.order_id].updated_at_ns = now_ns
        elif kind is ConditionalPlaced:
            self._open[event.order_id].status = OrderStatus.WAITING

    def _fill(self, order_id: OrderId, lots: int, tick_lots: int, now_ns: TimeNs) -> None:
        order = self._open.get(order_id)
        if order is None:
            raise InvariantViolated(f"order {order_id} filled, but it is not open")
        order.filled_lots += lots
        order.filled_tick_lots += tick_lots
        order.updated_at_ns = now_ns
        if order.filled_lots == order.total_lots:
            self._close(order, OrderStatus.FILLED, "", now_ns)

    def _lessen(self, order_id: OrderId, lots: QuantityLots, now_ns: TimeNs) -> None:
        order = self._open.get(order_id)
        if order is None or not lots:
            return
        order.total_lots = QuantityLots(order.total_lots - lots)
        order.updated_at_ns = now_ns
        if order.filled_lots >= order.total_lots:
            self._close(order, OrderStatus.CANCELLED, CancelReason.SELF_TRADE, now_ns)

    def _cancel(self, order: Order, event: OrderCancelled, now_ns: TimeNs) -> None:
        spent = event.reason == CancelReason.BUDGET_SPENT and order.filled_lots > 0
        status = OrderStatus.FILLED if spent else OrderStatus.CANCELLED
        self._close(order, status, event.reason, now_ns)

    def _close(self, order: Order, status: OrderStatus, because: str, now_ns: TimeNs) -> None:
        order.status = status
        order.ended_because = because
        order.updated_at_ns = now_ns
        del self._open[order.order_id]
        del self._open_by_account[order.terms.account_id][order.order_id]
        self._closed[order.order_id] = order
        if len(self._closed) > self._closed_max:
            self._closed.popitem(last=False)

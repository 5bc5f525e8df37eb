"""The released state of orders: what a caller may see of each, folded from records.

Open orders are all here; of those that ended, only the most recent. Deciding never reads this,
except for what accounts must know of an order that is to be replaced.
"""

from collections import OrderedDict
from collections.abc import Callable
from enum import StrEnum
from typing import Any, Final

import msgspec

from engine.errors import InvariantViolated
from engine.messages import Deferred, Refused
from engine.orderbook.messages import (
    CancelReason,
    OrderCancelled,
    OrderReplaced,
    OrderRested,
    PlaceOrder,
    SelfTradePrevented,
    Trade,
)
from engine.products.decision import Recorded
from engine.products.exchange.messages import (
    ConditionalPlaced,
    EnterTriggered,
    OrderTriggered,
    PlaceConditional,
    TradeSettled,
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


#: Of an order that has not ended.
ALIVE: Final = frozenset((OrderStatus.OPEN, OrderStatus.WAITING, OrderStatus.TRIGGERED))


class Order(msgspec.Struct, gc=False, array_like=True):
    """One order as its owner sees it.

    Units: `price_ticks` is 0 while a conditional order waits, `total_lots` 0 for a market buy with
    a budget; `filled_tick_lots` is the sum of price times quantity over fills; `charged_minor` is
    in what the order receives, `rebate_minor` in what its takers received.
    """

    order_id: OrderId
    terms: PlaceOrder | PlaceConditional
    price_ticks: PriceTicks
    total_lots: QuantityLots
    placed_at_ns: TimeNs
    updated_at_ns: TimeNs
    filled_lots: int = 0
    filled_tick_lots: int = 0
    charged_minor: int = 0
    rebate_minor: int = 0
    status: OrderStatus = OrderStatus.OPEN
    ended_because: str = ""

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
    def has_ended(self) -> bool:
        """Whether nothing can happen to it any more."""
        return self.status not in ALIVE

    @property
    def remaining_lots(self) -> QuantityLots:
        """What is still to be filled, or was when the order ended."""
        return QuantityLots(max(0, self.total_lots - self.filled_lots))


class OrdersSnapshot(msgspec.Struct, frozen=True, array_like=True):
    """Every open order, oldest first, and the recently closed, in the order in which they ended.

    Refers to the live orders: to be encoded at once.
    """

    open: list[Order]
    closed: list[Order]


class Orders:
    """Orders by id and by account. Look up: `get`, `open_of`. Fold: `apply`."""

    def __init__(self, closed_max: int = 100_000) -> None:
        self._open: dict[OrderId, Order] = {}
        self._open_by_account: dict[AccountId, dict[OrderId, Order]] = {}
        self._closed: OrderedDict[OrderId, Order] = OrderedDict()
        self._closed_max = closed_max
        self._traded: tuple[Order, Order]  # maker and taker of the last trade folded
        self._folds: dict[type, Callable[[Any, TimeNs], None]] = {
            Trade: self._apply_trade,
            TradeSettled: self._apply_settled,
            OrderCancelled: self._apply_cancelled,
            OrderReplaced: self._apply_replaced,
            SelfTradePrevented: self._apply_prevented,
            OrderTriggered: self._apply_triggered,
            ConditionalPlaced: self._apply_waiting,
        }

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
    def closed_count(self) -> int:
        """How many that ended are still known."""
        return len(self._closed)

    @property
    def open_count(self) -> int:
        """How many orders have not ended."""
        return len(self._open)

    def apply(self, record: Recorded) -> None:
        """Fold one record of an instrument's desk.

        Until the next one every order that it touched is known, whatever is kept of closed ones.
        """
        closed = self._closed
        while len(closed) > self._closed_max:
            closed.popitem(last=False)
        command, events, now_ns = record.command, record.events, record.now_ns
        kind = type(command)
        if kind is PlaceOrder:
            last = events[-1]
            if type(last) is Refused:
                return
            self._open_new(record.sequence, command, command.price_ticks, now_ns)
            if type(last) is OrderRested and len(events) == 2:
                return  # reserved and rested: nothing else happened, and that is the usual case
        elif kind is PlaceConditional:
            if type(events[-1]) is Refused:
                return
            self._open_new(record.sequence, command, PriceTicks(0), now_ns)
        elif kind is EnterTriggered and not self._apply_entry(command, events[-1], now_ns):
            return
        for event in events:
            apply_event = self._folds.get(type(event))
            if apply_event is not None:
                apply_event(event, now_ns)
        if kind is PlaceOrder and command.budget_minor:
            self._end_spent(record.sequence, now_ns)

    def _open_new(
        self,
        order_id: OrderId,
        terms: PlaceOrder | PlaceConditional,
        price_ticks: PriceTicks,
        now_ns: TimeNs,
    ) -> None:
        order = Order(order_id, terms, price_ticks, terms.quantity_lots, now_ns, now_ns)
        self._open[order_id] = order
        of_account = self._open_by_account.get(terms.account_id)
        if of_account is None:
            of_account = self._open_by_account[terms.account_id] = {}
        of_account[order_id] = order

    def _apply_entry(self, command: EnterTriggered, last: Any, now_ns: TimeNs) -> bool:
        """A triggered order reached the book; whether its events concern an open order."""
        order = self._open.get(command.order_id)
        if order is None or order.status is not OrderStatus.TRIGGERED or type(last) is Deferred:
            return False  # ended or entered before, or not arrived yet
        if type(last) is Refused:
            self._close(order, OrderStatus.REJECTED, last.reason, now_ns)
            return False
        order.status = OrderStatus.OPEN
        order.price_ticks = command.order.price_ticks
        return True

    def _apply_trade(self, event: Trade, now_ns: TimeNs) -> None:
        lots, tick_lots = event.quantity_lots, event.price_ticks * event.quantity_lots
        self._traded = (
            self._fill(event.maker_order_id, lots, tick_lots, now_ns),
            self._fill(event.taker_order_id, lots, tick_lots, now_ns),
        )

    def _fill(self, order_id: OrderId, lots: int, tick_lots: int, now_ns: TimeNs) -> Order:
        order = self._open.get(order_id)
        if order is None:
            raise InvariantViolated(f"order {order_id} filled, but it is not open")
        order.filled_lots += lots
        order.filled_tick_lots += tick_lots
        order.updated_at_ns = now_ns
        if order.filled_lots == order.total_lots:
            self._close(order, OrderStatus.FILLED, "", now_ns)
        return order

    def _apply_settled(self, event: TradeSettled, _now_ns: TimeNs) -> None:
        """The fees of the trade just before."""
        maker, taker = self._traded
        taker.charged_minor += event.taker_fee_minor
        if event.maker_fee_minor >= 0:
            maker.charged_minor += event.maker_fee_minor
        else:
            maker.rebate_minor -= event.maker_fee_minor

    def _apply_replaced(self, event: OrderReplaced, now_ns: TimeNs) -> None:
        order = self._open[event.order_id]
        order.price_ticks = event.price_ticks
        # Not the book's own total, which counts what a prevented trade or another leg took.
        order.total_lots = QuantityLots(order.filled_lots + event.quantity_lots)
        order.updated_at_ns = now_ns

    def _apply_prevented(self, event: SelfTradePrevented, now_ns: TimeNs) -> None:
        for order_id in (event.maker_order_id, event.taker_order_id):
            self._lessen(order_id, event.quantity_lots, now_ns)

    def _apply_triggered(self, event: OrderTriggered, now_ns: TimeNs) -> None:
        order = self._open[event.order_id]
        order.status = OrderStatus.TRIGGERED
        order.updated_at_ns = now_ns

    def _apply_waiting(self, event: ConditionalPlaced, _now_ns: TimeNs) -> None:
        self._open[event.order_id].status = OrderStatus.WAITING

    def _lessen(self, order_id: OrderId, lots: QuantityLots, now_ns: TimeNs) -> None:
        order = self._open.get(order_id)
        if order is None or not lots or not order.total_lots:
            return  # a budget has no total to lessen
        order.total_lots = QuantityLots(order.total_lots - lots)
        order.updated_at_ns = now_ns
        if order.filled_lots >= order.total_lots:
            self._close(order, OrderStatus.CANCELLED, CancelReason.SELF_TRADE, now_ns)

    def _end_spent(self, order_id: OrderId, now_ns: TimeNs) -> None:
        """A budget that came out exactly leaves no remainder for an event to speak of."""
        order = self._open.get(order_id)
        if order is not None:
            status = OrderStatus.FILLED if order.filled_lots else OrderStatus.CANCELLED
            self._close(order, status, CancelReason.BUDGET_SPENT, now_ns)

    def _apply_cancelled(self, event: OrderCancelled, now_ns: TimeNs) -> None:
        order = self._open.get(event.order_id)
        if order is None or event.reason == CancelReason.OTHER_LEG:
            return
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

    def snapshot(self, closed_max: int) -> OrdersSnapshot:
        """Everything known, of closed orders the newest `closed_max`. O(orders)."""
        closed = list(self._closed.values())
        return OrdersSnapshot(list(self._open.values()), closed[max(0, len(closed) - closed_max) :])

    @classmethod
    def restore(cls, snapshot: OrdersSnapshot, closed_max: int) -> "Orders":
        """The orders that gave this snapshot, of the closed ones at most `closed_max`."""
        orders = cls(closed_max)
        for order in snapshot.open:
            orders._open[order.order_id] = order
            orders._open_by_account.setdefault(order.account_id, {})[order.order_id] = order
        recent = snapshot.closed[max(0, len(snapshot.closed) - closed_max) :]
        orders._closed.update((order.order_id, order) for order in recent)
        return orders

"""What a record changed, as references into the released state right after it.

The one walk through a record's events that both the private stream and the read models start from.
Every order record passes through here, so the usual ones leave early.
"""

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from engine.errors import InvariantViolated
from engine.journal.records import Record
from engine.journal.released import Released
from engine.messages import Deferred, Refused
from engine.orderbook.messages import (
    OrderCancelled,
    OrderReplaced,
    OrderRested,
    PlaceOrder,
    SelfTradePrevented,
    Trade,
)
from engine.products.exchange.messages import (
    EnterTriggered,
    OrderTriggered,
    PlaceConditional,
    Reserved,
    TradeSettled,
)
from engine.products.exchange.orders import Order, Orders, OrderStatus
from engine.units import AccountId, AssetId, OrderId

#: A trade, its fees, its maker and its taker.
SettledTrade = tuple[Trade, TradeSettled, Order, Order]
#: Names a balance.
BalanceKey = tuple[AccountId, AssetId]

_PLACES: Final = frozenset((PlaceOrder, PlaceConditional))
_ENTERS: Final = frozenset((PlaceOrder, PlaceConditional, EnterTriggered))


class Changes(msgspec.Struct, gc=False):
    """Orders in order of first touch, trades in their order, balances by account and asset.

    The orders are the released state's own, to be read at once: they go on changing.
    """

    orders: list[Order]
    trades: list[SettledTrade]
    balances: list[BalanceKey]


def touched_accounts(record: Record) -> set[AccountId]:
    """Every account that the record can have changed anything of, and perhaps a few more.

    Cheap, so that whoever is watched by nobody needs no effects.
    """
    touched = {hold.account_id for hold in record.holds}
    for entry in record.entries:
        touched.add(entry.debit_account_id)
        touched.add(entry.credit_account_id)
    command: Any = record.command
    kind = type(command)
    if kind in _PLACES:
        touched.add(command.account_id)
    elif kind is EnterTriggered:
        touched.add(command.order.account_id)
    return touched


def changes_of(record: Record, released: Released) -> Changes:
    """What a record changed, `released` being the state right after it.

    Complexity: O(what the record states).
    Raises: InvariantViolated if the state has already forgotten an order that traded.
    """
    events, orders = record.events, released.orders
    changed: dict[OrderId, Order] = {}
    trades: list[SettledTrade] = []
    if type(record.command) in _ENTERS:
        entered = _entered(record, orders)
        if entered is not None:
            changed[entered.order_id] = entered
    if len(events) != 2 or type(events[0]) is not Reserved or type(events[1]) is not OrderRested:
        _follow(record, orders, changed, trades)
    return Changes(list(changed.values()), trades, _balances_changed(record))


def _entered(record: Record, orders: Orders) -> Order | None:
    """The order that the record's command placed, or brought into the book after its trigger."""
    command: Any = record.command
    kind = type(record.events[-1])
    if type(command) is not EnterTriggered:
        return _known(orders, record.sequence) if kind is not Refused else None
    order = orders.get(command.order_id)
    if order is None or kind is Deferred:
        return None
    if kind is Refused:
        rejected_now = order.status is OrderStatus.REJECTED
        return order if rejected_now and order.updated_at_ns == record.now_ns else None
    return order


def _follow(
    record: Record,
    orders: Orders,
    changed: dict[OrderId, Order],
    trades: list[SettledTrade],
) -> None:
    """Add the orders that events speak of, and the trades."""
    events: Sequence[Any] = record.events
    for index, event in enumerate(events):
        kind = type(event)
        if kind is Trade:
            maker_id, taker_id = event.maker_order_id, event.taker_order_id
            maker = changed[maker_id] = changed.get(maker_id) or _known(orders, maker_id)
            taker = changed[taker_id] = changed.get(taker_id) or _known(orders, taker_id)
            trades.append((event, events[index + 1], maker, taker))
        elif kind is OrderCancelled:
            order = changed.get(event.order_id) or orders.get(event.order_id)
            # An order that had ended before stays as it was, and may be forgotten.
            if order is not None and order.updated_at_ns == record.now_ns:
                changed[event.order_id] = order
        elif kind is OrderReplaced or kind is OrderTriggered:
            changed[event.order_id] = changed.get(event.order_id) or _known(orders, event.order_id)
        elif kind is SelfTradePrevented and event.quantity_lots:
            for order_id in (event.maker_order_id, event.taker_order_id):
                changed[order_id] = changed.get(order_id) or _known(orders, order_id)


def _known(orders: Orders, order_id: OrderId) -> Order:
    order = orders.get(order_id)
    if order is None:
        raise InvariantViolated(f"order {order_id} is forgotten: too few closed ones are kept")
    return order


def _balances_changed(record: Record) -> list[BalanceKey]:
    holds, entries = record.holds, record.entries
    if not entries:
        if not holds:
            return []
        if len(holds) == 1:
            return [(holds[0].account_id, holds[0].asset_id)]
    changed = {(hold.account_id, hold.asset_id) for hold in holds}
    for entry in entries:
        changed.add((entry.debit_account_id, entry.asset_id))
        changed.add((entry.credit_account_id, entry.asset_id))
    return sorted(changed)

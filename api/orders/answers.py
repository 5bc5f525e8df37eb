"""What a caller is told of an order: right after placing it, and whenever it asks again.

The answer to a command is a function of its record alone, so a repeat gets the very same bytes.
"""

from itertools import pairwise
from typing import Any

import msgspec

from api.decimals import InstrumentText
from engine.errors import InvariantViolated
from engine.journal.records import Record
from engine.ledger.amounts import format_minor
from engine.orderbook.messages import (
    CancelReason,
    OrderCancelled,
    OrderKind,
    OrderReplaced,
    OrderRested,
    PlaceOrder,
    SelfTradePrevented,
    Trade,
)
from engine.products.exchange.messages import (
    ConditionalPlaced,
    Leg,
    OrderTriggered,
    PlaceConditional,
    Reserved,
    TradeSettled,
    TriggerWhen,
)
from engine.products.exchange.orders import Order, OrderStatus
from engine.units import OrderId, PriceTicks, QuantityLots, Side, TimeNs


class TradeAnswer(msgspec.Struct, frozen=True):
    """One trade of the order just placed or replaced, as its taker."""

    price: str
    quantity: str
    fee: str
    fee_asset: str
    liquidity: str = "taker"


class LegAnswer(msgspec.Struct, frozen=True, omit_defaults=True):
    """One way in which a conditional order may act."""

    type: str
    trigger_price: str | None = None
    price: str | None = None
    protection_price: str | None = None


class OrderAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """An order as of `sequence`.

    `price` is the limit, `protection_price` that of an order that trades at the market. `fee` is in
    `fee_asset`, what the order receives; `rebate` in `rebate_asset`, what its takers received.
    `notional` is the exact worth of what has filled, in the quote asset.
    """

    order_id: str
    client_order_id: str
    account: int
    instrument: str
    side: str
    type: str
    status: str
    reason: str | None
    price: str | None
    protection_price: str | None
    budget: str | None
    quantity: str | None
    filled: str
    remaining: str
    average_price: str | None
    notional: str
    fee: str
    fee_asset: str
    rebate: str
    rebate_asset: str
    time_in_force: str
    expires_at_ns: int
    placed_at_ns: int
    updated_at_ns: int
    sequence: int
    legs: list[LegAnswer] | msgspec.UnsetType = msgspec.UNSET
    trades: list[TradeAnswer] | msgspec.UnsetType = msgspec.UNSET


class InFlightAnswer(msgspec.Struct, frozen=True):
    """An order that was accepted and is not decided yet; ask again."""

    client_order_id: str
    status: str = "IN_FLIGHT"


class ReplaceAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What a replace did; `remaining` is what it left open after its trades."""

    order_id: str
    instrument: str
    status: str
    reason: str | None
    price: str
    remaining: str
    kept_priority: bool
    sequence: int
    trades: list[TradeAnswer]


class CancelAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What a cancel did; `remaining` was still open."""

    order_id: str
    instrument: str
    status: str
    reason: str
    remaining: str
    sequence: int


def of_placing(record: Record, text: InstrumentText) -> OrderAnswer:
    """The answer to an accepted order: what its own record says of it."""
    order = as_placed(record)
    return _answer(order, text, record.sequence, _trades(record, order.side, text))


def of_order(order: Order, text: InstrumentText, sequence: int) -> OrderAnswer:
    """An order as it stands at `sequence`."""
    return _answer(order, text, sequence, msgspec.UNSET)


def _answer(
    order: Order,
    text: InstrumentText,
    sequence: int,
    trades: list[TradeAnswer] | msgspec.UnsetType,
) -> OrderAnswer:
    terms = order.terms
    plain = terms if isinstance(terms, PlaceOrder) else None
    at_market = _is_at_market(order)
    price = text.price(order.price_ticks) if order.price_ticks else None
    budget = plain.budget_minor if plain is not None else 0
    side = terms.side
    receives, pays = text.received_asset(side), text.paid_asset(side)
    return OrderAnswer(
        order_id=str(order.order_id),
        client_order_id=terms.client_order_id,
        account=terms.account_id,
        instrument=text.instrument.symbol,
        side="sell" if side else "buy",
        type=_type_of(terms),
        status=order.status.value,
        reason=str(order.ended_because) or None,
        price=None if at_market else price,
        protection_price=price if at_market else None,
        budget=format_minor(budget, text.quote.scale) if budget else None,
        quantity=None if budget else text.quantity(order.total_lots),
        filled=text.quantity(order.filled_lots),
        remaining=text.quantity(order.remaining_lots),
        average_price=text.average_price(order.filled_tick_lots, order.filled_lots),
        notional=text.notional(order.filled_tick_lots),
        fee=format_minor(order.charged_minor, receives.scale),
        fee_asset=receives.code,
        rebate=format_minor(order.rebate_minor, pays.scale),
        rebate_asset=pays.code,
        time_in_force=plain.time_in_force.name if plain is not None else "GTC",
        expires_at_ns=terms.expires_at_ns,
        placed_at_ns=order.placed_at_ns,
        updated_at_ns=order.updated_at_ns,
        sequence=sequence,
        legs=msgspec.UNSET if isinstance(terms, PlaceOrder) else _legs(terms, text),
        trades=trades,
    )


def _is_at_market(order: Order) -> bool:
    """Whether its price is a protection, its own or that of the leg it became."""
    terms = order.terms
    if isinstance(terms, PlaceOrder):
        return terms.kind == OrderKind.MARKET
    taken = (OrderKind.MARKET, order.price_ticks)
    return order.status != OrderStatus.OPEN and any(
        (leg.kind, leg.price_ticks) == taken for leg in terms.legs
    )


def as_placed(record: Record) -> Order:
    """The order that a record placed, as that record left it."""
    terms = record.command
    if not isinstance(terms, (PlaceOrder, PlaceConditional)):
        raise InvariantViolated(f"record {record.sequence} placed nothing")
    price = terms.price_ticks if isinstance(terms, PlaceOrder) else PriceTicks(0)
    order_id, now_ns = OrderId(record.sequence), TimeNs(record.now_ns)
    order = Order(order_id, terms, price, terms.quantity_lots, now_ns, now_ns)
    for event in record.events:
        _follow(order, event)
    alive = order.status in (OrderStatus.OPEN, OrderStatus.WAITING)
    if alive and order.filled_lots == order.total_lots > 0:
        order.status = OrderStatus.FILLED
    elif alive and not order.total_lots:  # a budget that came out exactly: no event says so
        order.status = OrderStatus.FILLED if order.filled_lots else OrderStatus.CANCELLED
        order.ended_because = CancelReason.BUDGET_SPENT
    return order


def _follow(order: Order, event: Any) -> None:
    """Take in one event of the placing record; those about makers change nothing."""
    match event:
        case Reserved() | OrderRested():
            pass  # of nearly every order, so asked first
        case Trade():
            order.filled_lots += event.quantity_lots
            order.filled_tick_lots += event.price_ticks * event.quantity_lots
        case TradeSettled():
            order.charged_minor += event.taker_fee_minor
        case SelfTradePrevented() if event.quantity_lots and order.total_lots:
            order.total_lots = QuantityLots(max(0, order.total_lots - event.quantity_lots))
            if order.filled_lots >= order.total_lots:
                order.status = OrderStatus.CANCELLED
                order.ended_because = CancelReason.SELF_TRADE
        case OrderCancelled(reason=CancelReason.OTHER_LEG):
            pass  # its other leg goes on
        case OrderTriggered() if event.order_id == order.order_id:
            order.status = OrderStatus.TRIGGERED
        case OrderCancelled() if event.order_id == order.order_id:
            spent = event.reason == CancelReason.BUDGET_SPENT and order.filled_lots > 0
            order.status = OrderStatus.FILLED if spent else OrderStatus.CANCELLED
            order.ended_because = event.reason
        case ConditionalPlaced():
            order.status = OrderStatus.WAITING
        case _:
            pass


def of_replacing(record: Record, text: InstrumentText) -> ReplaceAnswer:
    """The answer to a replace."""
    [replaced] = [e for e in record.events if type(e) is OrderReplaced]
    cancelled = _own_cancel(record, replaced.order_id)
    traded = sum(e.quantity_lots for e in record.events if type(e) is Trade)
    prevented = sum(e.quantity_lots for e in record.events if type(e) is SelfTradePrevented)
    remaining = replaced.quantity_lots - traded - prevented
    status, reason = OrderStatus.OPEN, None
    if cancelled is not None:
        status, reason = OrderStatus.CANCELLED, cancelled.reason
    elif not remaining and prevented:
        status, reason = OrderStatus.CANCELLED, CancelReason.SELF_TRADE
    elif not remaining:
        status = OrderStatus.FILLED
    return ReplaceAnswer(
        order_id=str(replaced.order_id),
        instrument=text.instrument.symbol,
        status=status.value,
        reason=reason,
        price=text.price(replaced.price_ticks),
        remaining=text.quantity(remaining),
        kept_priority=replaced.kept_priority,
        sequence=record.sequence,
        trades=_trades(record, replaced.side, text),
    )


def of_cancelling(record: Record, text: InstrumentText) -> CancelAnswer:
    """The answer to a cancel."""
    [cancelled] = [e for e in record.events if type(e) is OrderCancelled]
    return CancelAnswer(
        order_id=str(cancelled.order_id),
        instrument=text.instrument.symbol,
        status=OrderStatus.CANCELLED.value,
        reason=cancelled.reason.value,
        remaining=text.quantity(cancelled.quantity_lots),
        sequence=record.sequence,
    )


def _own_cancel(record: Record, order_id: OrderId) -> OrderCancelled | None:
    cancels = (e for e in record.events if type(e) is OrderCancelled)
    return next((e for e in cancels if e.order_id == order_id), None)


def _trades(record: Record, side: Side, text: InstrumentText) -> list[TradeAnswer]:
    """The trades of a record; each is followed by its settlement."""
    receives = text.received_asset(side)
    events = record.events
    return [
        TradeAnswer(
            text.price(event.price_ticks),
            text.quantity(event.quantity_lots),
            format_minor(settled.taker_fee_minor, receives.scale),
            receives.code,
        )
        for event, settled in pairwise(events)
        if type(event) is Trade and type(settled) is TradeSettled
    ]


def _type_of(terms: PlaceOrder | PlaceConditional) -> str:
    if isinstance(terms, PlaceOrder):
        return terms.kind.name.lower()
    return "oco" if len(terms.legs) > 1 else _leg_type(terms.legs[0], terms.side)


def _leg_type(leg: Leg, side: Side) -> str:
    """What a caller calls a leg, from its trigger's direction."""
    if leg.when == TriggerWhen.AT_ONCE:
        return "limit"
    stops = (leg.when == TriggerWhen.AT_OR_ABOVE) is (side == Side.BUY)
    name = "stop" if stops else "take_profit"
    return name if leg.kind == OrderKind.MARKET else f"{name}_limit"


def _legs(terms: PlaceConditional, text: InstrumentText) -> list[LegAnswer]:
    return [
        LegAnswer(
            _leg_type(leg, terms.side),
            text.price(leg.trigger_price_ticks) if leg.trigger_price_ticks else None,
            text.price(leg.price_ticks) if leg.kind == OrderKind.LIMIT else None,
            text.price(leg.price_ticks) if leg.kind == OrderKind.MARKET else None,
        )
        for leg in terms.legs
    ]

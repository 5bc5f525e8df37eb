"""The rules of conditional orders: which are allowed, and which order a leg becomes."""

from typing import Protocol

from engine.messages import Refused
from engine.orderbook.instrument import Instrument
from engine.orderbook.messages import InstrumentState, OrderKind, PlaceOrder, TimeInForce
from engine.products.exchange.messages import Leg, PlaceConditional, TriggerWhen
from engine.refusals import Reason
from engine.units import INT64_MAX, PriceTicks, QuantityLots, Side, TimeNs


class Market(Protocol):
    """What the rules ask of the place where an order is to wait; an order book has it."""

    @property
    def instrument(self) -> Instrument:
        """What is traded there."""
        ...

    @property
    def state(self) -> InstrumentState:
        """Whether it takes orders."""
        ...

    @property
    def reference_price_ticks(self) -> PriceTicks:
        """The last price, or what stands in for it; 0 for none."""
        ...


def refusal(command: PlaceConditional, book: Market, now_ns: TimeNs) -> Refused | None:
    """Why a conditional order may not wait here, or None.

    A leg whose trigger the last price has already crossed is refused: its owner wants a plain
    order, or has the direction wrong.
    """
    if book.state != InstrumentState.OPEN:
        return Refused(Reason.INSTRUMENT_NOT_OPEN, "instrument")
    if command.expires_at_ns and command.expires_at_ns <= now_ns:
        return Refused(Reason.ALREADY_EXPIRED, "expires_at_ns")
    for refused in (_bad_shape(command), _bad_size(command, book.instrument)):
        if refused is not None:
            return refused
    price = book.reference_price_ticks
    if price and any(_is_crossed(leg, price) for leg in command.legs):
        return Refused(Reason.TRIGGER_ALREADY_CROSSED, "trigger_price")
    return None


def _bad_shape(command: PlaceConditional) -> Refused | None:
    whens = [leg.when for leg in command.legs]
    if not 1 <= len(whens) <= 2 or len(set(whens)) != len(whens):
        return Refused(Reason.INVALID_COMBINATION, "legs")
    if whens == [TriggerWhen.AT_ONCE]:
        return Refused(Reason.INVALID_COMBINATION, "legs")
    for leg in command.legs:
        if leg.price_ticks <= 0:
            return Refused(Reason.PRICE_NOT_POSITIVE, "price")
        if leg.when == TriggerWhen.AT_ONCE:
            if leg.kind != OrderKind.LIMIT or leg.time_in_force != TimeInForce.GTC:
                return Refused(Reason.INVALID_COMBINATION, "legs")
        elif leg.trigger_price_ticks <= 0:
            return Refused(Reason.PRICE_NOT_POSITIVE, "trigger_price")
        if leg.post_only and (
            leg.kind != OrderKind.LIMIT or leg.time_in_force in (TimeInForce.IOC, TimeInForce.FOK)
        ):
            return Refused(Reason.INVALID_COMBINATION, "post_only")
        if leg.time_in_force == TimeInForce.GTD:
            return Refused(Reason.INVALID_COMBINATION, "time_in_force")
    return None


def _bad_size(command: PlaceConditional, instrument: Instrument) -> Refused | None:
    lots, side = command.quantity_lots, command.side
    if lots < max(1, instrument.minimum_lots):
        return Refused(Reason.QUANTITY_TOO_SMALL, "quantity")
    if lots > (instrument.maximum_lots or INT64_MAX):
        return Refused(Reason.QUANTITY_TOO_LARGE, "quantity")
    for leg in command.legs:
        notional_minor = _worth_ticks(leg, side) * lots * instrument.tick_lot_minor
        if notional_minor < instrument.minimum_notional_minor:
            return Refused(Reason.NOTIONAL_TOO_SMALL, "quantity")
        if notional_minor > (instrument.maximum_notional_minor or INT64_MAX):
            return Refused(Reason.NOTIONAL_TOO_LARGE, "quantity")
    return None


def _worth_ticks(leg: Leg, side: Side) -> int:
    """The price at which a leg's notional is judged, as the book does once it is triggered."""
    if leg.kind == OrderKind.MARKET and side == Side.SELL:
        # The protection of a market sell bounds its worth from below and is often just 1.
        return max(leg.price_ticks, leg.trigger_price_ticks)
    return leg.price_ticks


def _is_crossed(leg: Leg, price_ticks: int) -> bool:
    if leg.when == TriggerWhen.AT_OR_ABOVE:
        return price_ticks >= leg.trigger_price_ticks
    return leg.when == TriggerWhen.AT_OR_BELOW and price_ticks <= leg.trigger_price_ticks


def order_of(command: PlaceConditional, leg: Leg, quantity_lots: QuantityLots) -> PlaceOrder:
    """The plain order a leg becomes, for what is left of the quantity."""
    time_in_force, expires_at_ns = leg.time_in_force, TimeNs(0)
    if command.expires_at_ns and leg.kind == OrderKind.LIMIT and time_in_force == TimeInForce.GTC:
        time_in_force, expires_at_ns = TimeInForce.GTD, command.expires_at_ns
    return PlaceOrder(
        command.account_id,
        command.instrument_id,
        command.side,
        leg.kind,
        leg.price_ticks,
        quantity_lots,
        time_in_force=time_in_force,
        expires_at_ns=expires_at_ns,
        post_only=leg.post_only,
        self_trade=command.self_trade,
        client_order_id=command.client_order_id,
        key_id=command.key_id,
    )


def crossing_price(leg: Leg, low_ticks: int, high_ticks: int) -> PriceTicks:
    """Which end of a record's traded prices crossed the leg's trigger."""
    return PriceTicks(high_ticks if leg.when == TriggerWhen.AT_OR_ABOVE else low_ticks)

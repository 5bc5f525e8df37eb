"""What an order must satisfy before the book is even looked at.

Pure functions of the instrument, its reference price and the order. Each returns the refusal, or
None. Rules about what rests in the book (post-only, liquidity, fill-or-kill) are in `matching`.
"""

from typing import Final

from engine.messages import Refused
from engine.orderbook.instrument import Instrument
from engine.orderbook.messages import OrderKind, PlaceOrder, TimeInForce
from engine.refusals import Reason
from engine.units import INT64_MAX, RATE_ONE_PPM, Side

_BUY: Final = Side.BUY
_LIMIT: Final = OrderKind.LIMIT
_MARKET: Final = OrderKind.MARKET
_GTC: Final = TimeInForce.GTC
_GTD: Final = TimeInForce.GTD
_FOK: Final = TimeInForce.FOK


def band_limit(instrument: Instrument, reference_ticks: int, side: Side) -> int:
    """The most aggressive price a side may name: INT64_MAX or 1 where there is no band.

    Within the band means price x 1e6 <= reference x (1e6 + band_ppm) for a buy, mirrored for a
    sell; the bound is rounded so that it is itself within.
    """
    if not instrument.band_ppm or not reference_ticks:
        return INT64_MAX if side is _BUY else 1
    if side is _BUY:
        return reference_ticks * (RATE_ONE_PPM + instrument.band_ppm) // RATE_ONE_PPM
    return max(1, -(reference_ticks * (instrument.band_ppm - RATE_ONE_PPM) // RATE_ONE_PPM))


def effective_price(instrument: Instrument, reference_ticks: int, order: PlaceOrder) -> int:
    """The price that binds the order: its own, a market order's clipped to the band."""
    if order.kind is _LIMIT or not instrument.band_ppm:
        return order.price_ticks
    limit = band_limit(instrument, reference_ticks, order.side)
    return min(order.price_ticks, limit) if order.side is _BUY else max(order.price_ticks, limit)


def not_open() -> Refused:
    """Why an instrument that is not open takes nothing new."""
    return Refused(Reason.INSTRUMENT_NOT_OPEN, "", "instrument.open")


def refusal_of_place(
    instrument: Instrument, reference_ticks: int, order: PlaceOrder, now_ns: int
) -> Refused | None:
    """Why an order cannot enter at all, or None.

    Checks form first (combinations, deadline), then price, quantity, worth and band.
    """
    if (
        order.kind is _MARKET
        or order.time_in_force is not _GTC
        or order.post_only
        or order.minimum_lots
        or order.budget_minor
        or order.expires_at_ns
    ) and (refused := _refusal_of_form(order, now_ns)):
        return refused
    if order.budget_minor:
        return refusal_of_price(order.price_ticks) or _refusal_of_notional(
            instrument, order.budget_minor, "budget_minor"
        )
    price = effective_price(instrument, reference_ticks, order)
    worth = price
    if order.kind is _MARKET and order.side is not _BUY:
        # The protection of a market sell bounds its worth from below and is often just 1.
        worth = max(price, reference_ticks)
    if refused := refusal_of_terms(instrument, order.price_ticks, worth, order.quantity_lots):
        return refused
    if order.kind is _LIMIT and instrument.band_ppm:
        return refusal_of_band(instrument, reference_ticks, order.side, price)
    return None


def refusal_of_terms(
    instrument: Instrument, price_ticks: int, worth_ticks: int, quantity_lots: int
) -> Refused | None:
    """Why a price and a quantity are outside the instrument's limits, or None.

    `worth_ticks` is the price at which the notional is judged.
    """
    if not 0 < price_ticks <= INT64_MAX:
        return refusal_of_price(price_ticks)
    if quantity_lots < instrument.minimum_lots or quantity_lots < 1:
        return Refused(Reason.QUANTITY_TOO_SMALL, "quantity_lots", "instrument.minimum_lots")
    if quantity_lots > (instrument.maximum_lots or INT64_MAX):
        return Refused(Reason.QUANTITY_TOO_LARGE, "quantity_lots", "instrument.maximum_lots")
    notional_minor = worth_ticks * quantity_lots * instrument.tick_lot_minor
    return _refusal_of_notional(instrument, notional_minor, "quantity_lots")


def refusal_of_price(price_ticks: int) -> Refused | None:
    """Why a number is no price, or None."""
    if price_ticks < 1:
        return Refused(Reason.PRICE_NOT_POSITIVE, "price_ticks", "price.positive")
    if price_ticks > INT64_MAX:
        return Refused(Reason.PRICE_TOO_LARGE, "price_ticks", "price.int64")
    return None


def refusal_of_band(
    instrument: Instrument, reference_ticks: int, side: Side, price_ticks: int
) -> Refused | None:
    """Why a limit price is too aggressive for the band, or None."""
    limit = band_limit(instrument, reference_ticks, side)
    if price_ticks > limit if side is _BUY else price_ticks < limit:
        return Refused(Reason.PRICE_OUT_OF_BAND, "price_ticks", "instrument.band_ppm")
    return None


def _refusal_of_notional(instrument: Instrument, notional_minor: int, field: str) -> Refused | None:
    if notional_minor < instrument.minimum_notional_minor:
        return Refused(Reason.NOTIONAL_TOO_SMALL, field, "instrument.minimum_notional_minor")
    if notional_minor > (instrument.maximum_notional_minor or INT64_MAX):
        return Refused(Reason.NOTIONAL_TOO_LARGE, field, "instrument.maximum_notional_minor")
    return None


def _refusal_of_form(order: PlaceOrder, now_ns: int) -> Refused | None:
    """Why the parts of an order contradict each other, or None."""
    in_force = order.time_in_force
    if order.budget_minor:
        if order.kind is not _MARKET or order.side is not _BUY or in_force is _FOK:
            return Refused(Reason.BUDGET_NOT_ALLOWED, "budget_minor", "budget.market_buy_only")
        if order.quantity_lots:
            return _contradiction("quantity_lots", "budget.instead_of_quantity")
        if order.budget_minor < 0:
            return Refused(Reason.INVALID_VALUE, "budget_minor", "budget.positive")
    if order.minimum_lots < 0:
        return Refused(Reason.INVALID_VALUE, "minimum_lots", "minimum.not_negative")
    if order.minimum_lots and order.minimum_lots > order.quantity_lots:
        return _contradiction("minimum_lots", "minimum.within_quantity")
    if order.post_only and (
        order.kind is _MARKET or in_force not in (_GTC, _GTD) or order.minimum_lots
    ):
        return _contradiction("post_only", "post_only.must_rest")
    if (in_force is _GTD) != (order.expires_at_ns != 0) or order.expires_at_ns < 0:
        return _contradiction("expires_at_ns", "deadline.with_gtd_only")
    if in_force is _GTD:
        if order.kind is _MARKET:
            return _contradiction("time_in_force", "market.never_rests")
        if order.expires_at_ns > INT64_MAX:
            return Refused(Reason.INVALID_VALUE, "expires_at_ns", "deadline.int64")
        if order.expires_at_ns <= now_ns:
            return Refused(Reason.ALREADY_EXPIRED, "expires_at_ns", "deadline.ahead")
    return None


def _contradiction(field: str, rule: str) -> Refused:
    return Refused(Reason.INVALID_COMBINATION, field, rule)

"""What an order's group must hold: the most it can still cost, fees apart.

Fees are taken from what is received, so a hold is principal alone.
"""

from engine.orderbook.instrument import Instrument
from engine.orderbook.messages import PlaceOrder
from engine.products.exchange.messages import PlaceConditional
from engine.units import AmountMinor, AssetId, PriceTicks, QuantityLots, Side


def pays_with(side: Side, instrument: Instrument) -> AssetId:
    """The asset an order of this side gives away."""
    return instrument.base_asset_id if side else instrument.quote_asset_id


def required_minor(
    side: Side, price_ticks: PriceTicks, quantity_lots: QuantityLots, instrument: Instrument
) -> AmountMinor:
    """The most that `quantity_lots` can cost at `price_ticks` or better.

    Units: quote minor units for a buy, base minor units for a sell. Exact by the instrument's
    construction.
    """
    # Called for every order: an `AmountMinor(...)` around the product would cost as much again.
    if side:
        return quantity_lots * instrument.lot_minor  # type: ignore[return-value]
    return price_ticks * quantity_lots * instrument.tick_lot_minor  # type: ignore[return-value]


def required_for_order(order: PlaceOrder, instrument: Instrument) -> AmountMinor:
    """What a new order must hold before its desk sees it."""
    if order.budget_minor:
        return order.budget_minor
    return required_minor(order.side, order.price_ticks, order.quantity_lots, instrument)


def required_for_conditional(
    order: PlaceConditional, quantity_lots: QuantityLots, instrument: Instrument
) -> AmountMinor:
    """The dearest leg of a conditional order for the quantity that remains."""
    return max(
        required_minor(order.side, leg.price_ticks, quantity_lots, instrument) for leg in order.legs
    )


def additional_for_replace(
    side: Side,
    price_ticks: PriceTicks,
    total_lots: QuantityLots,
    old_total_lots: QuantityLots,
    filled_lots: QuantityLots,
    held_minor: AmountMinor,
    instrument: Instrument,
) -> AmountMinor:
    """What a replace must add to the hold so that no race with a fill can leave it short.

    Fills that accounts has not seen yet spend the old hold at the old price while they shrink the
    new requirement at the new price. The shortfall is linear in their quantity, so its largest
    value stands at one of the ends: nothing more has filled, or everything old has.
    """
    if_none_filled = (
        required_minor(side, price_ticks, QuantityLots(total_lots - filled_lots), instrument)
        - held_minor
    )
    if_all_filled = required_minor(
        side, price_ticks, QuantityLots(total_lots - old_total_lots), instrument
    )
    return AmountMinor(max(0, if_none_filled, if_all_filled))

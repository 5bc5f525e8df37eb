"""What an instrument allows: tick, lot, limits, and the exact worth of a quantity at a price."""

from engine.messages import Message
from engine.units import AmountMinor, AssetId, InstrumentId, PriceTicks, QuantityLots


class Instrument(Message, frozen=True):
    """Static terms of one traded thing.

    Units: `lot_minor` base minor units per lot; `tick_lot_minor` quote minor units of one tick
    times one lot, always whole, so that a notional is exact:
    notional_minor = price_ticks x quantity_lots x tick_lot_minor.
    A maximum of 0 means no limit of that kind; `band_ppm` 0 means no price band.
    """

    instrument_id: InstrumentId
    symbol: str
    base_asset_id: AssetId
    quote_asset_id: AssetId
    lot_minor: AmountMinor
    tick_lot_minor: AmountMinor
    tick_size: str  # decimal text, for display and for parsing at the edge
    lot_size: str
    minimum_lots: QuantityLots = QuantityLots(1)
    maximum_lots: QuantityLots = QuantityLots(0)
    minimum_notional_minor: AmountMinor = AmountMinor(0)
    maximum_notional_minor: AmountMinor = AmountMinor(0)
    #: Stands in for the last trade's price until there is one; 0 means none.
    reference_price_ticks: PriceTicks = PriceTicks(0)
    #: How far from the reference price an order may trade, in parts per million.
    band_ppm: int = 0
    #: Bounds fills, expiries and prevented trades of one command together.
    makers_touched_max: int = 1_000

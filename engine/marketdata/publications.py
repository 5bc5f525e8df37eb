"""What the feed tells its listeners, in the engine's units: the contract between it and any wire.

Each publication belongs to one channel, and follows the one before it on that channel. One with
`is_fresh` set (the first after somebody began to follow, after a rebuild, after anything missed)
is whole in itself: whatever was told before it no longer counts.
"""

from collections.abc import Sequence
from enum import Enum
from typing import NamedTuple

from engine.marketdata.candles import Candle
from engine.marketdata.ticker import Ticker
from engine.messages import Message
from engine.units import InstrumentId, PriceTicks, QuantityLots, Side, TimeNs
from engine.units import Sequence as SequenceNumber


class ChannelKind(Enum):
    """What a channel tells of its instrument."""

    DEPTH = "depth"
    TRADES = "trades"
    TICKER = "ticker"
    CANDLES = "candles"


class Channel(NamedTuple):
    """One kind of news of one instrument; candles of one interval."""

    kind: ChannelKind
    instrument_id: InstrumentId
    interval_s: int = 0


class PublicTrade(Message, frozen=True):
    """One trade as everybody may see it; `index` counts the trades of its record, from 0."""

    sequence: SequenceNumber
    index: int
    time_ns: TimeNs
    price_ticks: PriceTicks
    quantity_lots: QuantityLots
    taker_side: Side


class DepthPublished(Message, frozen=True):
    """Levels as of `sequence`: all of them when fresh, else those that changed (0 lots: gone)."""

    channel: Channel
    is_fresh: bool
    sequence: SequenceNumber
    levels: Sequence[tuple[Side, PriceTicks, QuantityLots]]


class TradesPublished(Message, frozen=True):
    """Trades in order, through `sequence`: recent ones when fresh, else those since."""

    channel: Channel
    is_fresh: bool
    sequence: SequenceNumber
    trades: Sequence[PublicTrade]


class TickerPublished(Message, frozen=True):
    """The ticker as it is now; every one is whole in itself."""

    channel: Channel
    is_fresh: bool
    sequence: SequenceNumber
    ticker: Ticker


class CandlesPublished(Message, frozen=True):
    """Candles as they are now, oldest first: recent ones when fresh, else those that changed."""

    channel: Channel
    is_fresh: bool
    sequence: SequenceNumber
    candles: Sequence[Candle]


Publication = DepthPublished | TradesPublished | TickerPublished | CandlesPublished

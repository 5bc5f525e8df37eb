"""What is news on a channel that somebody follows: one class for each kind of channel.

The first news are fresh ones, and so are those after `is_fresh` was set again.
"""

from typing import ClassVar, Final, Protocol, TypeAlias

import msgspec

from engine.marketdata.market import Market
from engine.marketdata.publications import (
    CandlesPublished,
    Channel,
    ChannelKind,
    DepthPublished,
    PublicTrade,
    TickerPublished,
    TradesPublished,
)
from engine.marketdata.ticker import Ticker
from engine.orderbook.depth import Depth
from engine.units import Sequence, Side

_EVERYTHING: Final = 2**63


class Scene(Protocol):
    """What may be looked at for the news of one instrument, all of it as of one sequence."""

    @property
    def sequence(self) -> Sequence:
        """Through which record all of this is known."""
        ...

    @property
    def market(self) -> Market:
        """The instrument's trades."""
        ...

    @property
    def depth(self) -> Depth:
        """The instrument's levels."""
        ...

    def ticker(self) -> Ticker:
        """The instrument's last 24 hours."""
        ...


class DepthFollowing:
    """Levels that changed. Only one of these may ask a `Depth` for its deltas."""

    is_summary: ClassVar = False

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.is_fresh = True

    def news(self, scene: Scene) -> DepthPublished | None:
        """All levels, or what changed since the last news."""
        delta = scene.depth.take_delta()
        if self.is_fresh:
            self.is_fresh = False
            bids, asks = scene.depth.levels(_EVERYTHING)
            levels = [
                *((Side.BUY, price_ticks, lots) for price_ticks, lots in bids),
                *((Side.SELL, price_ticks, lots) for price_ticks, lots in asks),
            ]
            return DepthPublished(self.channel, True, scene.sequence, levels)
        if delta is None:
            return None
        return DepthPublished(self.channel, False, scene.sequence, delta.changes)


class TradesFollowing:
    """Trades, every one; `unheard` are those since the last news."""

    is_summary: ClassVar = False

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.is_fresh = True
        self.unheard: list[PublicTrade] = []

    def news(self, scene: Scene) -> TradesPublished | None:
        """The recent trades, or those since the last news."""
        trades, self.unheard = self.unheard, []
        if self.is_fresh:
            self.is_fresh = False
            return TradesPublished(self.channel, True, scene.sequence, list(scene.market.trades))
        return TradesPublished(self.channel, False, scene.sequence, trades) if trades else None


class TickerFollowing:
    """The last 24 hours."""

    is_summary: ClassVar = True

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.is_fresh = True
        self._heard: Ticker | None = None

    def news(self, scene: Scene) -> TickerPublished | None:
        """The ticker, unless it says what was heard before."""
        ticker = scene.ticker()
        heard, self._heard = self._heard, ticker
        is_fresh, self.is_fresh = self.is_fresh, False
        if heard is not None and not is_fresh:
            as_of = {"sequence": ticker.sequence, "time_ns": ticker.time_ns}
            if msgspec.structs.replace(heard, **as_of) == ticker:
                return None
        return TickerPublished(self.channel, is_fresh, scene.sequence, ticker)


class CandlesFollowing:
    """Candles of one interval."""

    is_summary: ClassVar = True

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.is_fresh = True
        self._heard = (0, 0)  # start and trades of the newest

    def news(self, scene: Scene) -> CandlesPublished | None:
        """The recent candles, or those that changed since the last news."""
        is_fresh, self.is_fresh = self.is_fresh, False
        start_s, trades = (0, 0) if is_fresh else self._heard
        candles = scene.market.candles(self.channel.interval_s, start_s)
        if candles and (candles[0].start_s, candles[0].trades) == (start_s, trades):
            del candles[0]
        if not candles and not is_fresh:
            return None
        if candles:
            self._heard = candles[-1].start_s, candles[-1].trades
        return CandlesPublished(self.channel, is_fresh, scene.sequence, candles)


Following: TypeAlias = DepthFollowing | TradesFollowing | TickerFollowing | CandlesFollowing
FOLLOWING: Final[dict[ChannelKind, type[Following]]] = {
    ChannelKind.DEPTH: DepthFollowing,
    ChannelKind.TRADES: TradesFollowing,
    ChannelKind.TICKER: TickerFollowing,
    ChannelKind.CANDLES: CandlesFollowing,
}

"""Every instrument's market data, which channels are followed, and what is news on them."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from engine.marketdata.following import FOLLOWING, Following, Scene, TradesFollowing
from engine.marketdata.market import Market, trades_among
from engine.marketdata.publications import Channel, ChannelKind, Publication
from engine.marketdata.ticker import Ticker
from engine.orderbook.depth import Depth
from engine.units import InstrumentId, PriceTicks, TimeNs
from engine.units import Sequence as SequenceNumber


class PublicState(Protocol):
    """What the released state shows of all markets."""

    @property
    def last_prices(self) -> Mapping[InstrumentId, PriceTicks]:
        """The price of the last trade, where there was one."""
        ...

    def depth(self, instrument_id: InstrumentId) -> Depth:
        """The levels of an instrument."""
        ...


class Followed:
    """Channels of one sort, and the instruments that moved since their news were taken."""

    def __init__(self) -> None:
        self.by_instrument: dict[InstrumentId, dict[Channel, Following]] = {}
        self.moved: set[InstrumentId] = set()

    def add(self, following: Following) -> None:
        """Follow a channel."""
        channel = following.channel
        self.by_instrument.setdefault(channel.instrument_id, {})[channel] = following
        self.moved.add(channel.instrument_id)

    def remove(self, channel: Channel) -> None:
        """Follow a channel no more."""
        channels = self.by_instrument.get(channel.instrument_id, {})
        channels.pop(channel, None)
        if not channels:
            self.by_instrument.pop(channel.instrument_id, None)
            self.moved.discard(channel.instrument_id)

    def news(self, scene_of: Callable[[InstrumentId], Scene]) -> list[Publication]:
        """What is new since this was asked last."""
        found = []
        moved, self.moved = self.moved, set()
        for instrument_id in moved:
            scene = scene_of(instrument_id)
            for following in self.by_instrument[instrument_id].values():
                publication = following.news(scene)
                if publication is not None:
                    found.append(publication)
        return found


class Board:
    """Fold: `fold`. Choose: `follow`, `unfollow`, `refresh`. Hear: `news`, `ticker`.

    Only trades are folded here. Depth is part of the released state, which must stand at the same
    sequence when news are taken.
    """

    def __init__(self, *, is_warming: bool = False) -> None:
        """While warming, what was before the first folded record is not known."""
        self.sequence = SequenceNumber(0)
        self.is_warming = is_warming
        #: Whether anybody follows any channel.
        self.is_followed = False
        self.markets: dict[InstrumentId, Market] = {}
        self._prompt = Followed()
        self._summaries = Followed()

    def market(self, instrument_id: InstrumentId) -> Market:
        """An instrument's trades."""
        market = self.markets.get(instrument_id)
        if market is None:
            market = self.markets[instrument_id] = Market()
        return market

    def fold(
        self,
        instrument_id: InstrumentId,
        sequence: SequenceNumber,
        time_ns: TimeNs,
        events: Sequence[Any],
    ) -> None:
        """Count what a record did to its instrument."""
        trades = trades_among(events, sequence, time_ns)
        if trades:
            trades = self.market(instrument_id).add(trades)
        if instrument_id in self._summaries.by_instrument:
            self._summaries.moved.add(instrument_id)
        followed = self._prompt.by_instrument.get(instrument_id)
        if followed is not None:
            self._prompt.moved.add(instrument_id)
            for one in followed.values() if trades else ():
                if isinstance(one, TradesFollowing):
                    one.unheard += trades

    @property
    def followed(self) -> list[Channel]:
        """Every channel that somebody follows."""
        return [
            channel
            for followed in (self._prompt, self._summaries)
            for channels in followed.by_instrument.values()
            for channel in channels
        ]

    def follow(self, channel: Channel) -> None:
        """Tell of this channel, from a fresh publication on."""
        following = FOLLOWING[channel.kind](channel)
        (self._summaries if following.is_summary else self._prompt).add(following)
        self.is_followed = True

    def unfollow(self, channel: Channel) -> None:
        """Tell no more of this channel."""
        self._prompt.remove(channel)
        self._summaries.remove(channel)
        self.is_followed = bool(self._prompt.by_instrument or self._summaries.by_instrument)

    def refresh(self, kind: ChannelKind) -> None:
        """Begin every channel of a kind anew: something may have been missed."""
        for channel in self.followed:
            if channel.kind is kind:
                self.follow(channel)

    def look_again(self) -> None:
        """Look at all tickers and candles again: time has gone by."""
        self._summaries.moved.update(self._summaries.by_instrument)

    @property
    def has_summaries(self) -> bool:
        """Whether a ticker or candle may have moved since the last summaries."""
        return bool(self._summaries.moved)

    def news(self, state: PublicState, now_ns: TimeNs, *, summaries: bool) -> list[Publication]:
        """What is new on followed channels, tickers and candles only with `summaries`."""

        def scene_of(instrument_id: InstrumentId) -> _Scene:
            return _Scene(self, instrument_id, state, now_ns)

        found = self._prompt.news(scene_of)
        return found + self._summaries.news(scene_of) if summaries else found

    def ticker(self, instrument_id: InstrumentId, state: PublicState, now_ns: TimeNs) -> Ticker:
        """An instrument's last 24 hours. O(levels), beside what `Window` says."""
        return _Scene(self, instrument_id, state, now_ns).ticker()


class _Scene:
    """One instrument, for those who look for its news."""

    def __init__(
        self, board: Board, instrument_id: InstrumentId, state: PublicState, now_ns: TimeNs
    ) -> None:
        self.sequence = board.sequence
        self.market = board.market(instrument_id)
        self.depth = state.depth(instrument_id)
        self._last_ticks = state.last_prices.get(instrument_id)
        self._instrument_id = instrument_id
        self._now_ns = now_ns
        self._is_warming = board.is_warming

    def ticker(self) -> Ticker:
        """The last 24 hours as of now: what has left the window is let go first."""
        window = self.market.window
        window.advance(self._now_ns)
        return Ticker(
            self._instrument_id,
            self.sequence,
            self._now_ns,
            self._last_ticks,
            window.open_ticks,
            window.high_ticks,
            window.low_ticks,
            window.volume_lots,
            window.tick_lots,
            window.trades,
            *self.depth.top,
            self._is_warming,
        )

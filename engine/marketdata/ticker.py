"""The last 24 hours of an instrument in a few numbers, kept by the minute.

The window is the minute at hand and the 1,439 before it, so a trade leaves with its whole minute.
"""

from collections import deque
from collections.abc import Iterable
from typing import Final

from engine.marketdata.candles import INTERVALS, Candle, start_s_of
from engine.messages import Message
from engine.orderbook.depth import Top
from engine.units import InstrumentId, PriceTicks, QuantityLots, Sequence, TimeNs

MINUTE_S: Final = INTERVALS["1m"]
WINDOW_S: Final = INTERVALS["1d"]


class Ticker(Message, frozen=True):
    """An instrument's last 24 hours, as of `sequence` and `time_ns`.

    `last_ticks` is the price of the last trade ever, the other prices are of the window and None
    without a trade in it. `tick_lots` is the sum of price x quantity. While `is_warming` what was
    before the process started is not counted yet.
    """

    instrument_id: InstrumentId
    sequence: Sequence
    time_ns: TimeNs
    last_ticks: PriceTicks | None
    open_ticks: PriceTicks | None
    high_ticks: PriceTicks | None
    low_ticks: PriceTicks | None
    volume_lots: int
    tick_lots: int
    trades: int
    bid: Top
    ask: Top
    is_warming: bool


class Window:
    """The minutes of the last 24 hours that had trades, and their sums.

    Complexity: O(1) per trade; O(minutes) to read once a minute has left with the highest or the
    lowest price, else O(1). Space: at most 1,440 minutes.

    >>> window = Window()
    >>> window.add(TimeNs(0), PriceTicks(7), QuantityLots(2))
    >>> window.add(TimeNs(60_000_000_000), PriceTicks(5), QuantityLots(1))
    >>> window.open_ticks, window.high_ticks, window.low_ticks, window.volume_lots
    (7, 7, 5, 3)
    >>> window.advance(TimeNs(86_400_000_000_000))
    >>> window.open_ticks, window.high_ticks, window.low_ticks, window.volume_lots
    (5, 5, 5, 1)
    """

    __slots__ = ("_high", "_low", "_minutes", "_now_s", "tick_lots", "trades", "volume_lots")

    def __init__(self, minutes: Iterable[Candle] = ()) -> None:
        """Of minutes in order; those a day before the last one are left out."""
        known = list(minutes)
        self._now_s = known[-1].start_s if known else 0
        self._minutes = deque(one for one in known if one.start_s > self._now_s - WINDOW_S)
        # None: to be found among the minutes when somebody reads
        self._high: PriceTicks | None = None
        self._low: PriceTicks | None = None
        self.volume_lots = sum(one.volume_lots for one in self._minutes)
        self.tick_lots = sum(one.tick_lots for one in self._minutes)
        self.trades = sum(one.trades for one in self._minutes)

    def add(self, time_ns: TimeNs, price_ticks: PriceTicks, quantity_lots: QuantityLots) -> None:
        """Count a trade, no older than any before it."""
        self.advance(time_ns)
        minutes, start_s = self._minutes, self._now_s
        if minutes and minutes[-1].start_s == start_s:
            minutes[-1].add(price_ticks, quantity_lots)
        else:
            minutes.append(Candle.of_trade(start_s, price_ticks, quantity_lots))
        if self._high is not None and price_ticks > self._high:
            self._high = price_ticks
        if self._low is not None and price_ticks < self._low:
            self._low = price_ticks
        self.volume_lots += quantity_lots
        self.tick_lots += price_ticks * quantity_lots
        self.trades += 1

    def advance(self, now_ns: TimeNs) -> None:
        """Let the minutes go that have left the window."""
        start_s = start_s_of(now_ns, MINUTE_S)
        if start_s <= self._now_s:
            return
        self._now_s = start_s
        minutes, gone_s = self._minutes, start_s - WINDOW_S
        while minutes and minutes[0].start_s <= gone_s:
            gone = minutes.popleft()
            self.volume_lots -= gone.volume_lots
            self.tick_lots -= gone.tick_lots
            self.trades -= gone.trades
            if gone.high_ticks == self._high:
                self._high = None
            if gone.low_ticks == self._low:
                self._low = None

    @property
    def open_ticks(self) -> PriceTicks | None:
        """The first price."""
        return self._minutes[0].open_ticks if self._minutes else None

    @property
    def high_ticks(self) -> PriceTicks | None:
        """The highest price."""
        if self._high is None:
            self._high = max((one.high_ticks for one in self._minutes), default=None)
        return self._high

    @property
    def low_ticks(self) -> PriceTicks | None:
        """The lowest price."""
        if self._low is None:
            self._low = min((one.low_ticks for one in self._minutes), default=None)
        return self._low

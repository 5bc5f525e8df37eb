"""What is known of one instrument's trades: the recent ones, the last 24 hours, the candles."""

from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec

from engine.marketdata.candles import INTERVALS, Candle, start_s_of
from engine.marketdata.publications import PublicTrade
from engine.marketdata.ticker import Window
from engine.orderbook.messages import Trade
from engine.units import Sequence as SequenceNumber
from engine.units import TimeNs

#: So many of the newest trades are known one by one.
TRADES_KEPT_MAX: Final = 100
#: So many of the newest candles of each interval are known.
CANDLES_KEPT_MAX: Final = 16


def trades_among(
    events: Sequence[Any], sequence: SequenceNumber, time_ns: TimeNs
) -> list[PublicTrade]:
    """The trades among the events of a record."""
    made: list[PublicTrade] = []
    for event in events:
        if type(event) is Trade:
            price_ticks, lots = event.price_ticks, event.quantity_lots
            made.append(
                PublicTrade(sequence, len(made), time_ns, price_ticks, lots, event.taker_side)
            )
    return made


class Market:
    """Fold: `add`. Look: the rest. Records through `through` are counted already.

    Complexity: O(intervals) per trade. Space: bounded, see the constants.
    """

    __slots__ = ("_candles", "through", "trades", "window")

    def __init__(
        self,
        through: int = 0,
        trades: Iterable[PublicTrade] = (),
        minutes: Iterable[Candle] = (),
        candles: Mapping[int, Iterable[Candle]] | None = None,
    ) -> None:
        """What was before: recent trades, minutes and candles of each interval, oldest first."""
        self.through = through
        self.trades = deque(trades, TRADES_KEPT_MAX)
        self.window = Window(minutes)
        before = candles or {}
        self._candles: dict[int, deque[Candle]] = {
            interval_s: deque(before.get(interval_s, ()), CANDLES_KEPT_MAX)
            for interval_s in INTERVALS.values()
        }

    def add(self, trades: list[PublicTrade]) -> list[PublicTrade]:
        """Count the trades of one record, unless that was done before; returns what was counted."""
        if trades[0].sequence <= self.through:
            return []
        for trade in trades:
            self._count(trade)
        return trades

    def _count(self, trade: PublicTrade) -> None:
        price_ticks, quantity_lots = trade.price_ticks, trade.quantity_lots
        self.trades.append(trade)
        self.window.add(trade.time_ns, price_ticks, quantity_lots)
        now_s = start_s_of(trade.time_ns, 1)
        for interval_s, candles in self._candles.items():
            start_s = now_s - now_s % interval_s
            if candles and candles[-1].start_s == start_s:
                candles[-1].add(price_ticks, quantity_lots)
            else:
                candles.append(Candle.of_trade(start_s, price_ticks, quantity_lots))

    def candles(self, interval_s: int, from_s: int = 0) -> list[Candle]:
        """The newest candles that start at `from_s` or later, oldest first; copies."""
        candles = self._candles[interval_s]
        return [msgspec.structs.replace(one) for one in candles if one.start_s >= from_s]

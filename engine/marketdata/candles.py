"""Candles: the trades of one instrument in equal intervals of time, from 1970 on, in UTC."""

from typing import Final, Protocol, TypeVar

import msgspec

from engine.units import PriceTicks, QuantityLots, TimeNs

#: Every interval there are candles of, by the name callers use, in seconds. All are multiples of
#: the first, so that coarser candles follow from the finest.
INTERVALS: Final[dict[str, int]] = {
    "1s": 1,
    "5s": 5,
    "1m": 60,
    "5m": 300,
    "15m": 900,
    "1h": 3_600,
    "4h": 14_400,
    "1d": 86_400,
}
_SECOND_NS: Final = 1_000_000_000


class Prices(Protocol):
    """What every kind of candle has; `tick_lots` is the sum of price x quantity."""

    @property
    def open_ticks(self) -> PriceTicks: ...
    @property
    def high_ticks(self) -> PriceTicks: ...
    @property
    def low_ticks(self) -> PriceTicks: ...
    @property
    def close_ticks(self) -> PriceTicks: ...
    @property
    def volume_lots(self) -> int: ...
    @property
    def tick_lots(self) -> int: ...
    @property
    def trades(self) -> int: ...


_Candle = TypeVar("_Candle", bound=Prices)


class Candle(msgspec.Struct, gc=False):
    """One candle while it grows; it begins with its first trade, `start_s` is its interval's.

    >>> candle = Candle.of_trade(60, PriceTicks(7), QuantityLots(2))
    >>> candle.add(PriceTicks(5), QuantityLots(1))
    >>> candle.open_ticks, candle.low_ticks, candle.close_ticks, candle.volume_lots
    (7, 5, 5, 3)
    """

    start_s: int
    open_ticks: PriceTicks
    high_ticks: PriceTicks
    low_ticks: PriceTicks
    close_ticks: PriceTicks
    volume_lots: int
    tick_lots: int
    trades: int

    @classmethod
    def of_trade(
        cls, start_s: int, price_ticks: PriceTicks, quantity_lots: QuantityLots
    ) -> "Candle":
        """The candle of one trade."""
        price, tick_lots = price_ticks, price_ticks * quantity_lots
        return cls(start_s, price, price, price, price, quantity_lots, tick_lots, 1)

    def add(self, price_ticks: PriceTicks, quantity_lots: QuantityLots) -> None:
        """Take in the next trade of the interval."""
        if price_ticks > self.high_ticks:
            self.high_ticks = price_ticks
        elif price_ticks < self.low_ticks:
            self.low_ticks = price_ticks
        self.close_ticks = price_ticks
        self.volume_lots += quantity_lots
        self.tick_lots += price_ticks * quantity_lots
        self.trades += 1


def start_s_of(now_ns: TimeNs, interval_s: int) -> int:
    """When the interval began in which a time lies.

    >>> start_s_of(TimeNs(61_999_999_999), INTERVALS["1m"])
    60
    """
    return now_ns // _SECOND_NS // interval_s * interval_s


def merged(earlier: _Candle, later: _Candle) -> _Candle:
    """What two candles of one interval are together, of whatever kind they are."""
    both: _Candle = msgspec.structs.replace(
        later,  # type: ignore[type-var]
        open_ticks=earlier.open_ticks,
        high_ticks=max(earlier.high_ticks, later.high_ticks),
        low_ticks=min(earlier.low_ticks, later.low_ticks),
        volume_lots=earlier.volume_lots + later.volume_lots,
        tick_lots=earlier.tick_lots + later.tick_lots,
        trades=earlier.trades + later.trades,
    )
    return both

"""Candles: trade by trade, or of parts, they come to the same."""

from random import Random

import pytest

from engine.marketdata.candles import INTERVALS, Candle, merged, start_s_of
from engine.units import PriceTicks, QuantityLots, TimeNs

TRADES = [
    (PriceTicks(Random(seed).randint(1, 9)), QuantityLots(Random(-seed - 1).randint(1, 5)))
    for seed in range(40)
]


def candle_of(trades: list[tuple[PriceTicks, QuantityLots]]) -> Candle:
    candle = Candle.of_trade(60, *trades[0])
    for trade in trades[1:]:
        candle.add(*trade)
    return candle


def test_a_candle_says_first_highest_lowest_last_and_how_much() -> None:
    prices = [price for price, _ in TRADES]
    lots = [lots for _, lots in TRADES]
    turnover = sum(price * lots for price, lots in TRADES)
    expected = (prices[0], max(prices), min(prices), prices[-1], sum(lots), turnover, 40)
    assert candle_of(TRADES) == Candle(60, *expected)


@pytest.mark.parametrize("place", [1, 2, 20, 39])
def test_the_candle_of_two_parts_is_that_of_the_whole(place: int) -> None:
    first, second = candle_of(TRADES[:place]), candle_of(TRADES[place:])
    assert merged(first, second) == candle_of(TRADES)
    assert (first, second) == (candle_of(TRADES[:place]), candle_of(TRADES[place:]))


def test_every_interval_consists_of_whole_finest_ones() -> None:
    finest = min(INTERVALS.values())
    assert all(interval_s % finest == 0 for interval_s in INTERVALS.values())
    assert list(INTERVALS.values()) == sorted(INTERVALS.values())


def test_a_day_begins_at_midnight_utc() -> None:
    noon_ns = TimeNs(1_700_049_600 * 10**9)  # 2023-11-15 12:00 UTC
    assert start_s_of(noon_ns, INTERVALS["1d"]) == 1_700_006_400
    last_ns = TimeNs(1_700_092_800 * 10**9 - 1)
    assert start_s_of(last_ns, INTERVALS["1d"]) == 1_700_006_400

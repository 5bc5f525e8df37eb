"""The rolling 24 hours, against a recomputation from every trade."""

from typing import NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from engine.marketdata.candles import Candle, start_s_of
from engine.marketdata.ticker import MINUTE_S, WINDOW_S, Window
from engine.units import PriceTicks, QuantityLots, TimeNs

NS = 1_000_000_000


class Traded(NamedTuple):
    """One trade."""

    time_ns: TimeNs
    price: PriceTicks
    lots: QuantityLots


#: Short and long pauses, so that trades share minutes and leave the window one by one.
_PAUSES_S = st.one_of(st.integers(0, 90), st.integers(0, 2 * WINDOW_S))


@st.composite
def histories(draw: st.DrawFn) -> list[Traded]:
    """Trades in order of time."""
    now_s, trades = 10 * WINDOW_S, []
    for _ in range(draw(st.integers(1, 40))):
        now_s += draw(_PAUSES_S)
        price = PriceTicks(draw(st.integers(1, 9)))
        lots = QuantityLots(draw(st.integers(1, 5)))
        trades.append(Traded(TimeNs(now_s * NS), price, lots))
    return trades


def in_window(trades: list[Traded], now_ns: int) -> list[Traded]:
    """The trades of the minute at hand and of the 1,439 before it."""
    first_s = start_s_of(TimeNs(now_ns), MINUTE_S) - WINDOW_S + MINUTE_S
    return [trade for trade in trades if trade.time_ns >= first_s * NS]


def figures(window: Window) -> tuple[int | None, ...]:
    """Everything a window says."""
    return (
        window.open_ticks,
        window.high_ticks,
        window.low_ticks,
        window.volume_lots,
        window.tick_lots,
        window.trades,
    )


def recomputed(trades: list[Traded]) -> tuple[int | None, ...]:
    """The same from the trades themselves."""
    prices = [trade.price for trade in trades]
    return (
        prices[0] if prices else None,
        max(prices, default=None),
        min(prices, default=None),
        sum(trade.lots for trade in trades),
        sum(trade.price * trade.lots for trade in trades),
        len(trades),
    )


@given(histories(), st.booleans())
def test_the_window_says_what_its_trades_say(trades: list[Traded], is_read: bool) -> None:
    window = Window()
    for number, trade in enumerate(trades, 1):
        window.add(*trade)
        if is_read:
            expected = recomputed(in_window(trades[:number], trade.time_ns))
            assert figures(window) == expected
    assert figures(window) == recomputed(in_window(trades, trades[-1].time_ns))


@given(histories(), st.integers(0, 2 * WINDOW_S))
def test_trades_leave_the_window_although_no_new_ones_come(
    trades: list[Traded], pause_s: int
) -> None:
    window = Window()
    for trade in trades:
        window.add(*trade)
    now_ns = TimeNs(trades[-1].time_ns + pause_s * NS)
    window.advance(now_ns)
    assert figures(window) == recomputed(in_window(trades, now_ns))


@given(histories())
def test_a_window_made_of_minutes_goes_on_like_the_one_that_counted_them(
    trades: list[Traded],
) -> None:
    half = len(trades) // 2
    counted = Window()
    minutes: dict[int, Candle] = {}
    for trade in trades[:half]:
        counted.add(*trade)
        start_s = start_s_of(trade.time_ns, MINUTE_S)
        if start_s in minutes:
            minutes[start_s].add(trade.price, trade.lots)
        else:
            minutes[start_s] = Candle.of_trade(start_s, trade.price, trade.lots)
    made = Window(minutes.values())
    for trade in trades[half:]:
        counted.add(*trade)
        made.add(*trade)
        assert figures(made) == figures(counted)


def test_a_window_never_holds_more_than_a_day_of_minutes() -> None:
    window = Window()
    for minute in range(3_000):
        window.add(TimeNs(minute * MINUTE_S * NS), PriceTicks(1), QuantityLots(1))
    assert window.trades == WINDOW_S // MINUTE_S

"""What a board tells adds up to what happened, whenever it is asked."""

from random import Random

import pytest

from engine.marketdata.candles import INTERVALS, Candle, start_s_of
from engine.marketdata.market import CANDLES_KEPT_MAX, TRADES_KEPT_MAX, Market, trades_among
from engine.marketdata.publications import (
    CandlesPublished,
    Channel,
    ChannelKind,
    DepthPublished,
    PublicTrade,
    TickerPublished,
    TradesPublished,
)
from engine.orderbook.messages import Trade
from engine.units import InstrumentId, PriceTicks, QuantityLots, Sequence, Side, TimeNs
from tests.marketdata.told import Told
from tests.products.line import HERE

DEPTH = Channel(ChannelKind.DEPTH, HERE)
TRADES = Channel(ChannelKind.TRADES, HERE)
TICKER = Channel(ChannelKind.TICKER, HERE)
SECONDS = Channel(ChannelKind.CANDLES, HERE, 1)


def levels_of(told: Told) -> dict[tuple[Side, int], int]:
    """Every level that stands."""
    bids, asks = told.released.depth(HERE).levels(1_000)
    return {
        **{(Side.BUY, price): lots for price, lots in bids},
        **{(Side.SELL, price): lots for price, lots in asks},
    }


def recorded(told: Told, after: int = 0) -> list[PublicTrade]:
    """Every trade of the journal."""
    return [
        trade
        for record in told.records
        if record.sequence > after
        for trade in trades_among(record.events, record.sequence, record.now_ns)
    ]


@pytest.mark.parametrize("seed", range(6))
def test_changes_of_depth_add_up_to_the_book(seed: int) -> None:
    told, random = Told(seed), Random(seed)
    told.follow(DEPTH)
    heard: dict[tuple[Side, int], int] = {}
    for round_ in range(40):
        told.trade_on(random.randint(0, 6))
        if random.random() < 0.1:
            told.rebuild()
        for one in told.tell():
            assert isinstance(one, DepthPublished)
            assert one.is_fresh or round_
            if one.is_fresh:
                heard.clear()
            for side, price, lots in one.levels:
                heard[side, price] = lots
                if not lots:
                    del heard[side, price]
        assert heard == levels_of(told)


@pytest.mark.parametrize("seed", range(3))
def test_every_trade_is_told_once_and_in_order(seed: int) -> None:
    told, random = Told(seed), Random(seed)
    told.trade_on(30)
    told.follow(TRADES)
    heard: list[PublicTrade] = []
    for _ in range(30):
        for one in told.tell():
            assert isinstance(one, TradesPublished)
            assert one.is_fresh == (not heard)
            heard += one.trades
        told.trade_on(random.randint(0, 40))
    for one in told.tell():
        assert isinstance(one, TradesPublished)
        heard += one.trades
    assert heard == recorded(told)[-len(heard) :]
    assert len(heard) > TRADES_KEPT_MAX // 3


def test_candles_as_told_are_those_of_the_trades() -> None:
    told = Told(5)
    told.follow(SECONDS)
    heard: dict[int, Candle] = {}
    for _ in range(20):
        told.trade_on(30, after_s=1)
        for one in told.tell():
            assert isinstance(one, CandlesPublished)
            heard.update((candle.start_s, candle) for candle in one.candles)
    naive: dict[int, Candle] = {}
    for trade in recorded(told):
        start_s = start_s_of(trade.time_ns, 1)
        if start_s in naive:
            naive[start_s].add(trade.price_ticks, trade.quantity_lots)
        else:
            naive[start_s] = Candle.of_trade(start_s, trade.price_ticks, trade.quantity_lots)
    assert heard == naive
    assert len(naive) > 5


def test_a_ticker_is_told_when_it_says_something_new() -> None:
    told = Told(1)
    told.follow(TICKER)
    told.trade_on(40)
    [first] = told.tell()
    assert isinstance(first, TickerPublished)
    assert first.ticker.trades == len(recorded(told))
    assert (first.ticker.bid, first.ticker.ask) == told.released.depth(HERE).top
    told.board.look_again()
    assert told.tell() == []


def test_tickers_and_candles_wait_for_the_summaries_and_are_not_forgotten() -> None:
    told = Told(2)
    for channel in (TICKER, SECONDS):
        told.follow(channel)
    told.trade_on(20)
    assert told.tell(summaries=False) == []
    assert told.board.has_summaries
    assert {one.channel for one in told.tell()} == {TICKER, SECONDS}
    assert not told.board.has_summaries


def test_candles_are_told_only_when_something_was_traded() -> None:
    told = Told(7)
    told.follow(SECONDS)
    told.trade_on(40)
    [first] = told.tell()
    assert isinstance(first, CandlesPublished)
    told.board.look_again()
    assert told.tell() == []


def test_what_nobody_follows_is_neither_told_nor_kept() -> None:
    told = Told(3)
    told.follow(DEPTH)
    told.tell()
    told.unfollow(DEPTH)
    told.trade_on(30)
    assert told.tell() == []
    told.follow(DEPTH)
    [fresh] = told.tell()
    assert isinstance(fresh, DepthPublished)
    assert fresh.is_fresh
    assert {(side, price): lots for side, price, lots in fresh.levels} == levels_of(told)


def test_a_market_skips_what_it_has_counted() -> None:
    trade = PublicTrade(Sequence(7), 0, TimeNs(1), PriceTicks(5), QuantityLots(1), Side.BUY)
    market = Market(through=7)
    assert market.add([trade]) == []
    assert market.window.trades == 0


def test_what_a_market_keeps_is_bounded() -> None:
    told = Told(4)
    trade = Trade(Sequence(1), Sequence(2), PriceTicks(5), QuantityLots(1), Side.BUY)
    here = InstrumentId(9)
    for second in range(300):
        sequence = Sequence(told.board.sequence + 1 + second)
        told.board.fold(here, sequence, TimeNs(second * 1_000_000_000), [trade])
    market = told.board.market(here)
    assert len(market.trades) == TRADES_KEPT_MAX
    assert all(len(market.candles(one)) <= CANDLES_KEPT_MAX for one in INTERVALS.values())
    assert [one.start_s for one in market.candles(1, 298)] == [298, 299]

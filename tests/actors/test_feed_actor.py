"""The feed tells every trade once and every book whole, and its falls are its own."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from engine.actors.envelope import Envelope
from engine.actors.feed import Feed
from engine.actors.supervisor import RestartLimit, restarting
from engine.errors import InvariantViolated, OutcomeUnknown
from engine.journal.blocks import Block
from engine.marketdata.market import trades_among
from engine.marketdata.publications import (
    Channel,
    ChannelKind,
    DepthPublished,
    Publication,
    PublicTrade,
    TickerPublished,
    TradesPublished,
)
from engine.settings import EngineSettings
from engine.storage.memory import MemoryJournal, MemoryJournalStore
from engine.storage.memory_history import FollowingHistory
from tests.flows.house import ONE, TWO, House, buy, house, records_of, sell

DEPTH = Channel(ChannelKind.DEPTH, ONE)
TRADES = Channel(ChannelKind.TRADES, ONE)
TICKER = Channel(ChannelKind.TICKER, ONE)
QUICK = RestartLimit(100, 60.0)


class Listener:
    """Remembers what it was told; may be told to fail."""

    def __init__(self) -> None:
        self.heard: list[Publication] = []
        self.fails = False

    def __call__(self, publications: Sequence[Publication]) -> None:
        if self.fails:
            self.fails = False
            raise RuntimeError("planned")
        self.heard += publications

    def of(self, kind: type[Any]) -> list[Any]:
        """What was told of one kind."""
        return [one for one in self.heard if isinstance(one, kind)]

    @property
    def trades(self) -> list[PublicTrade]:
        """Every trade told, recent ones of fresh beginnings included."""
        return [trade for one in self.of(TradesPublished) for trade in one.trades]

    @property
    def book(self) -> dict[tuple[int, int], int]:
        """What the depth that was told adds up to."""
        levels: dict[tuple[int, int], int] = {}
        for one in self.of(DepthPublished):
            if one.is_fresh:
                levels.clear()
            levels.update({(side, price): lots for side, price, lots in one.levels})
        return {place: lots for place, lots in levels.items() if lots}


def book_of(one: House) -> dict[tuple[int, int], int]:
    """The released book."""
    sides = one.service.released.depth(ONE).levels(100)
    return {(side, price): lots for side, levels in enumerate(sides) for price, lots in levels}


def recorded(journal: MemoryJournal) -> list[PublicTrade]:
    """Every trade on the first instrument that a journal has."""
    return [
        trade
        for record in records_of(journal)
        if getattr(record.command, "instrument_id", 0) == ONE
        for trade in trades_among(record.events, record.sequence, record.now_ns)
    ]


def follow(feed: Feed, *channels: Channel) -> Listener:
    """Listen to channels of a feed."""
    listener = Listener()
    feed.listen(listener)
    for channel in channels or (DEPTH, TRADES):
        feed.follow(channel)
    return listener


class FallsAfterCommit(MemoryJournalStore):
    """A store after whose next commit, once told to, the journal's actor falls."""

    falls = False

    async def append(self, block: Block) -> None:
        await super().append(block)
        if self.falls:
            self.falls = False
            raise InvariantViolated("planned")


async def told(seconds: float = 1.0) -> None:
    """Wait until everything that is released has been told."""
    await trio.sleep(seconds)


async def trade(one: House, count: int = 3) -> None:
    """Let a few trades happen."""
    for number in range(count):
        await one.submit(sell(2, 100 + number))
        await one.submit(buy(2, 100 + number))


@asynccontextmanager
async def beside(one: House, **settings: Any) -> AsyncIterator[Feed]:
    """A second feed on a house's journal, that is told only what the test tells it."""
    feed = Feed(MemoryJournalStore(one.journal), None, EngineSettings(**settings))
    async with trio.open_nursery() as nursery:
        await nursery.start(restarting("feed", feed.run, QUICK))
        feed.begin(one.service.released, one.engine.line.clock)
        await told()
        yield feed
        nursery.cancel_scope.cancel()


async def test_trades_on_the_feed_are_those_of_the_journal(
    autojump_clock: MockClock,
) -> None:
    async with house() as one:
        await one.founded()
        listener = follow(one.engine.feed)
        await trade(one, 20)
        await told()
        assert listener.trades == recorded(one.journal)
        assert listener.book == book_of(one)
        assert listener.of(DepthPublished)[0].is_fresh


async def test_a_quiet_feed_tells_at_once_and_a_busy_one_once_in_an_interval(
    autojump_clock: MockClock,
) -> None:
    async with house(feed_interval_s=5.0) as one:
        await one.founded()
        listener = follow(one.engine.feed, DEPTH)
        await told(11.0)
        await one.submit(sell(3, 100))
        await told(0.1)
        assert listener.book == {(1, 100): 3}
        for price in (101, 102, 103):
            await one.submit(sell(3, price))
        await told(1.0)
        assert listener.book == {(1, 100): 3}
        await told(5.0)
        assert len(listener.of(DepthPublished)) == 3
        assert listener.book == book_of(one)


async def test_tickers_wait_for_their_own_longer_interval(
    autojump_clock: MockClock,
) -> None:
    async with house(feed_summary_interval_s=5.0) as one:
        await one.founded()
        listener = follow(one.engine.feed, TICKER)
        await told(6.0)
        for _ in range(4):
            await trade(one, 1)
            await told(1.0)
        assert len(listener.of(TickerPublished)) <= 3  # one more if a minute ended meanwhile
        await told(5.0)
        last = listener.of(TickerPublished)[-1].ticker
        assert last.trades == len(recorded(one.journal)) == 4


async def test_a_ticker_moves_when_its_oldest_minute_has_gone(
    autojump_clock: MockClock,
) -> None:
    async with house() as one:
        await one.founded()
        await trade(one, 1)
        listener = follow(one.engine.feed, TICKER)
        await told(24 * 3_600 + 61)
        tickers = [published.ticker for published in listener.of(TickerPublished)]
        assert [ticker.trades for ticker in tickers] == [1, 0]
        assert tickers[-1].last_ticks == 100


async def test_a_block_that_was_never_observed_is_read_from_the_journal(
    autojump_clock: MockClock,
) -> None:
    async with house() as one:
        await one.founded()
        async with beside(one) as feed:
            listener = follow(feed)
            await told()
            await trade(one, 5)  # committed, and nobody tells the feed
            blocks: list[list[Envelope]] = []
            one.engine.observe(blocks.append)
            await trade(one, 5)
            for block in blocks:
                feed.observe(block)
            await told()
            assert listener.trades == recorded(one.journal)
            assert len(listener.trades) == 10
            assert feed.sequence == one.service.released.sequence


async def test_after_the_line_was_rebuilt_books_begin_anew_and_no_trade_is_missing(
    autojump_clock: MockClock,
) -> None:
    store = FallsAfterCommit(MemoryJournal())
    async with house(store=store) as one:
        await one.founded()
        listener = follow(one.engine.feed)
        await trade(one, 5)
        await told()
        await one.submit(sell(2, 100))
        store.falls = True
        with pytest.raises(OutcomeUnknown):
            await one.submit(buy(2, 100))
        await told()
        assert one.engine.lives == 2
        assert len(listener.trades) == 6
        assert listener.of(DepthPublished)[-1].is_fresh
        assert [published.is_fresh for published in listener.of(TradesPublished)].count(True) == 1
        await trade(one, 5)
        await told()
        assert listener.trades == recorded(one.journal)
        assert listener.book == book_of(one)


async def test_a_feed_that_falls_begins_anew_and_the_line_trades_on(
    autojump_clock: MockClock,
) -> None:
    async with house() as one:
        await one.founded()
        listener = follow(one.engine.feed)
        await trade(one, 3)
        await told()
        listener.fails = True
        await trade(one, 3)
        await told()
        assert one.engine.lives == 1
        assert one.engine.feed.vitals.lives == 2
        assert listener.of(DepthPublished)[-1].is_fresh
        assert listener.book == book_of(one)
        fresh = [published for published in listener.of(TradesPublished) if published.is_fresh]
        assert list(fresh[-1].trades) == recorded(one.journal)  # learned again from what was


async def test_a_feed_that_is_outrun_begins_anew(
    autojump_clock: MockClock,
) -> None:
    async with house(feed_inbox_records_max=20, feed_interval_s=5.0) as one:
        await one.founded()
        listener = follow(one.engine.feed)
        await told(6.0)
        await trade(one, 40)
        await told(20.0)
        assert one.engine.feed.vitals.lives == 2
        assert listener.book == book_of(one)


async def test_what_was_before_is_learned_from_the_history(
    autojump_clock: MockClock,
) -> None:
    journal = MemoryJournal()
    async with house(journal) as before:
        await before.founded()
        await trade(before, 40)
        await told()
        feed = before.engine.feed
        seen = feed.ticker(ONE), feed.ticker(TWO)
    store = MemoryJournalStore(journal)
    async with house(store=store, history=FollowingHistory(store)) as after:
        listener = follow(after.engine.feed)
        await told()
        assert listener.trades[-40:] == recorded(journal)
        await trade(after, 1)
        await told()
        ticker = after.engine.feed.ticker(ONE)
        assert not ticker.is_warming
        assert ticker.trades == seen[0].trades + 1 == 41
        assert ticker.open_ticks == seen[0].open_ticks
        assert ticker.volume_lots == seen[0].volume_lots + 2
        assert after.engine.feed.ticker(TWO).trades == seen[1].trades == 0


async def test_until_the_history_answers_the_ticker_says_that_it_is_warming(
    autojump_clock: MockClock,
) -> None:
    journal = MemoryJournal()
    async with house(journal) as before:
        await before.founded()
        await trade(before, 5)
    store = MemoryJournalStore(journal)
    history = Silent(store)
    async with house(store=store, history=history) as after:
        await trade(after, 1)
        await told()
        early = after.engine.feed.ticker(ONE)
        assert (early.is_warming, early.trades) == (True, 1)
        history.answers.set()
        await told()
        late = after.engine.feed.ticker(ONE)
        assert (late.is_warming, late.trades) == (False, 6)


class Silent(FollowingHistory):
    """A history that answers nothing until it is let."""

    def __init__(self, store: MemoryJournalStore) -> None:
        super().__init__(store)
        self.answers = trio.Event()

    async def watermark(self) -> Any:
        await self.answers.wait()
        return await super().watermark()


async def test_whoever_waits_for_the_feed_sees_what_was_answered_before(
    autojump_clock: MockClock,
) -> None:
    async with house() as one:
        await one.founded()
        for number in range(1, 6):
            await trade(one, 1)
            [ticker] = await one.service.tickers([ONE])
            assert ticker.trades == number
            assert ticker.sequence == one.service.released.sequence


@pytest.mark.parametrize("kind", list(ChannelKind))
async def test_a_channel_nobody_follows_any_more_is_silent(
    kind: ChannelKind, autojump_clock: MockClock
) -> None:
    async with house() as one:
        await one.founded()
        channel = Channel(kind, ONE, 1 if kind is ChannelKind.CANDLES else 0)
        listener = follow(one.engine.feed, channel)
        await told()
        assert listener.heard
        one.engine.feed.unfollow(channel)
        listener.heard.clear()
        await trade(one, 3)
        await told()
        assert listener.heard == []

"""A client's book against the server's own messages, over a line that loses, merges and alters."""

import time
from random import Random
from typing import Any
from zlib import crc32

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api.client import Book, OutOfStep
from api.decimals import InstrumentText
from api.sockets.codec import Frame
from api.sockets.depth_topic import DepthTopic
from api.sockets.outbox import NOTHING
from engine.ledger.amounts import Asset, AssetKind
from engine.marketdata.publications import Channel, ChannelKind, DepthPublished
from engine.orderbook.instrument import Instrument
from engine.units import (
    AmountMinor,
    AssetId,
    InstrumentId,
    PriceTicks,
    QuantityLots,
    Sequence,
    Side,
)

ONE = AmountMinor(1)
ASSET = Asset(AssetId(1), "A", AssetKind.COIN, 0)
#: Prices from 9.5 over 10.0 to 100.0: as text they sort otherwise than as numbers.
TEXT = InstrumentText(
    Instrument(InstrumentId(1), "A-A", AssetId(1), AssetId(1), ONE, ONE, "0.5", "0.1"), ASSET, ASSET
)
PRICES = range(1, 40)


class Market:
    """A book that changes, and the server's messages about it."""

    def __init__(self, rng: Random) -> None:
        self.topic = DepthTopic(TEXT)
        self._rng = rng
        self._levels: dict[tuple[Side, int], int] = {}
        self._sequence = 0

    def change(self, *, fresh: bool = False, changes_max: int = 4) -> dict[str, Any]:
        """Change some levels; the message that tells it."""
        changed = {}
        for _ in range(self._rng.randint(1, changes_max)):
            price = self._rng.choice(PRICES)
            side = Side.BUY if price < 20 else Side.SELL
            changed[side, price] = self._rng.choice((0, self._rng.randint(1, 500)))
        self._levels.update(changed)
        self._levels = {place: lots for place, lots in self._levels.items() if lots}
        self._sequence += 1
        told = self._levels if fresh else changed
        levels = tuple((s, PriceTicks(p), QuantityLots(q)) for (s, p), q in told.items())
        channel = Channel(ChannelKind.DEPTH, InstrumentId(1))
        published = DepthPublished(channel, fresh, Sequence(self._sequence), levels)
        [(frame, _)] = self.topic.apply(published)
        return plain(frame)

    def since(self, update_id: int) -> dict[str, Any]:
        """What a client that was left behind is told."""
        frame = self.topic.since(update_id)
        assert frame is not None
        return plain(frame)

    def sides(self) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
        """The levels as they are, best first."""

        def told(side: Side, *, falling: bool) -> list[tuple[str, str]]:
            rows = sorted((p, q) for (s, p), q in self._levels.items() if s == side)
            ordered = rows[::-1] if falling else rows
            return [(TEXT.price(PriceTicks(p)), TEXT.quantity(QuantityLots(q))) for p, q in ordered]

        return told(Side.BUY, falling=True), told(Side.SELL, falling=False)


def plain(frame: Frame) -> dict[str, Any]:
    """A message as a client decodes it."""
    decoded: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(frame.message))
    return decoded


def in_step(book: Book, market: Market) -> bool:
    """Whether a book is the market's, to the last letter."""
    bids, asks = market.sides()
    shown = [tuple(level) for level in book.bids], [tuple(level) for level in book.asks]
    assert book.best == (bids[0] if bids else None, asks[0] if asks else None)
    return shown == (bids, asks)


@settings(max_examples=20, deadline=None)
@given(st.randoms(use_true_random=False))
def test_a_book_is_the_markets_or_says_that_it_is_not(rng: Random) -> None:
    market, book = Market(rng), Book("A-A")
    book.apply(market.change(fresh=True))
    for _ in range(40):
        message = market.change(fresh=rng.random() < 0.05)
        fate = rng.random()
        try:
            if fate < 0.6:
                book.apply(message)
            elif fate < 0.75:
                pass  # lost
            elif fate < 0.9 and book.is_ready:
                book.apply(market.since(book.update_id))  # merged with what was lost before
            else:
                book.apply({**message, "checksum": message["checksum"] ^ 1})
        except OutOfStep:
            assert not book.is_ready
            assert (book.bids, book.asks, book.best) == ([], [], (None, None))
            book.apply(market.change())  # passed over
            assert not book.is_ready
            book.apply(market.since(NOTHING))
        if book.is_ready and book.update_id == market.topic.update_id:
            assert in_step(book, market)


def test_what_comes_before_the_first_snapshot_is_passed_over() -> None:
    market, book = Market(Random(1)), Book("A-A")
    market.change(fresh=True)
    book.apply(market.change())
    assert (book.is_ready, book.update_id) == (False, 0)
    book.apply(market.since(NOTHING))
    assert book.is_ready
    assert book.sequence == 2


@pytest.mark.parametrize("altered", ["bids", "asks"])
def test_an_altered_quantity_among_the_best_is_noticed(altered: str) -> None:
    market, book = Market(Random(2)), Book("A-A")
    snapshot = market.change(fresh=True, changes_max=40)
    for _ in range(20):
        market.change(changes_max=40)
    snapshot = market.since(NOTHING)
    snapshot[altered][5][1] = "0.7"
    with pytest.raises(OutOfStep, match="checksum"):
        book.apply(snapshot)


def test_an_update_told_twice_or_late_is_a_gap() -> None:
    market, book = Market(Random(3)), Book("A-A")
    book.apply(market.change(fresh=True))
    update = market.change()
    book.apply(update)
    with pytest.raises(OutOfStep, match="came after"):
        book.apply(update)


def test_a_price_written_otherwise_is_the_same_level() -> None:
    book = Book("A-A")
    levels: dict[str, Any] = {"sequence": 1, "asks": [], "checksum": 0}
    snapshot = {"type": "depth_snapshot", "update_id": 1, "bids": [["10.50", "1"]], **levels}
    with pytest.raises(OutOfStep):
        book.apply(snapshot)  # no checksum of ours, so it is not taken
    update = {"type": "depth", "first_update_id": 2, "update_id": 2, "bids": [["10.5", "0.0"]]}
    book = Book("A-A")
    book.apply({**snapshot, "checksum": _crc("10.50:1")})
    book.apply({**levels, **update})
    assert book.bids == []


def _crc(text: str) -> int:
    return crc32(text.encode())


@pytest.mark.slow
def test_a_book_follows_ten_thousand_updates_a_second() -> None:
    """Far more than any feed tells: 100 a second leave a maker 99 % of its time."""
    rng = Random(4)
    market = Market(rng)
    messages = [market.change(fresh=True)] + [market.change() for _ in range(10_000)]
    book, began_s = Book("A-A"), time.perf_counter()
    for message in messages:
        book.apply(message)
    assert in_step(book, market)
    assert time.perf_counter() - began_s < 1.0

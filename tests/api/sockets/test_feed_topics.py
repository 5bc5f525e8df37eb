"""Whatever is conflated, a client that keeps a book by the documented rule has the engine's."""

from collections import Counter
from decimal import Decimal
from random import Random
from typing import Any
from zlib import crc32

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.frames import Frame as WireFrame
from websockets.frames import Opcode
from websockets.streams import StreamReader

from api.decimals import InstrumentText
from api.sockets import depth_topic, market_topics
from api.sockets.codec import JSON, MSGPACK, Codec
from api.sockets.depth_topic import DepthTopic
from api.sockets.feed_messages import (
    DepthSnapshot,
    DepthUpdate,
    TradesSnapshot,
    TradesUpdate,
)
from api.sockets.market_topics import TRADES_KEPT_MAX, TradesTopic
from api.sockets.outbox import Outbox, OutboxLimits
from api.sockets.topics import FeedTopic, Topics
from engine.marketdata.market import trades_among
from engine.marketdata.publications import (
    Channel,
    ChannelKind,
    DepthPublished,
    PublicTrade,
    TradesPublished,
)
from engine.units import PriceTicks, QuantityLots, Sequence, Side, TimeNs
from tests.marketdata.told import Told
from tests.products.line import HERE

DEPTH = Channel(ChannelKind.DEPTH, HERE)
TRADES = Channel(ChannelKind.TRADES, HERE)
TICKER = Channel(ChannelKind.TICKER, HERE)
SECONDS = Channel(ChannelKind.CANDLES, HERE, 1)
EVERYTHING = (DEPTH, TRADES, TICKER, SECONDS)

Sides = tuple[dict[str, str], dict[str, str]]


class BookKeeper:
    """The rule of the documentation, word by word."""

    def __init__(self) -> None:
        self.update_id = 0
        self.sequence = 0
        self.sides: Sides = ({}, {})

    def hear(self, message: dict[str, Any]) -> None:
        """Take in a message about depth, and compare the checksum."""
        if message["type"] == "depth_snapshot":
            self.sides = dict(message["bids"]), dict(message["asks"])
        else:
            assert message["first_update_id"] == self.update_id + 1
            for levels, changes in zip(self.sides, (message["bids"], message["asks"]), strict=True):
                for price, quantity in changes:
                    if quantity == "0":
                        levels.pop(price, None)
                    else:
                        levels[price] = quantity
        self.update_id = message["update_id"]
        self.sequence = message["sequence"]
        assert self.checksum() == message["checksum"]

    def checksum(self) -> int:
        """CRC-32 of the ten best levels of each side."""
        bids = sorted(self.sides[0].items(), key=lambda level: -Decimal(level[0]))[:10]
        asks = sorted(self.sides[1].items(), key=lambda level: Decimal(level[0]))[:10]
        return crc32("|".join(f"{price}:{quantity}" for price, quantity in bids + asks).encode())


class Reader:
    """A client behind an outbox, which reads as much as it is let."""

    def __init__(self, codec: Codec, conflate_bytes: int, books: dict[int, Sides]) -> None:
        limits = OutboxLimits(conflate_bytes=conflate_bytes)
        self.outbox = Outbox(codec, limits, now_s=lambda: 0.0, on_pending=lambda: None)
        self.book = BookKeeper()
        self.counts: Counter[str] = Counter()
        self.trades: list[str] = []
        self.left_out = 0
        self.candles: dict[int, Any] = {}
        self.ticker: dict[str, Any] = {}
        self._codec = codec
        self._books = books

    def read(self) -> list[dict[str, Any]]:
        """Take one write's worth and hear every message in it."""
        messages = list(decoded(self._codec, self.outbox.take()))
        for message in messages:
            self._hear(message)
        return messages

    def read_all(self) -> None:
        """Read until nothing is pending and no topic is behind."""
        while self.outbox.pending_bytes or self.outbox.is_behind:
            self.read()

    def _hear(self, message: dict[str, Any]) -> None:
        kind = message["type"]
        self.counts[kind] += 1
        if kind in ("depth", "depth_snapshot"):
            self.book.hear(message)
            assert self.book.sides == self._books[self.book.sequence]
        elif kind == "trades_snapshot":
            self.trades = [trade["trade"] for trade in message["trades"]]
        elif kind == "trades":
            self.left_out += message["left_out"]
            self.trades += [trade["trade"] for trade in message["trades"]]
        elif kind == "ticker":
            self.ticker = message
        else:
            self.candles.update((one["start_ns"], one) for one in message["candles"])


def decoded(codec: Codec, written: bytes) -> Any:
    """The messages in the frames that were written."""
    reader = StreamReader()
    reader.feed_data(written)
    left = len(written)
    while left:
        parse = WireFrame.parse(reader.read_exact, mask=False)
        with pytest.raises(StopIteration) as stop:
            next(parse)
        payload = bytes(stop.value.value.data)
        left -= len(stop.value.value.serialize(mask=False))
        decode = msgspec.json.decode if codec is not MSGPACK else msgspec.msgpack.decode
        yield decode(payload)


def kind_since(topic: FeedTopic, last_id: int) -> type[Any]:
    """What kind of message covers what came after `last_id`."""
    frame = topic.since(last_id)
    assert frame is not None
    return type(frame.message)


def counting_codec() -> Codec:
    """JSON, with a count of its own of what was encoded."""
    return Codec("count", Opcode.TEXT, msgspec.json.Encoder(), msgspec.json.Decoder)


class Exchange:
    """A told market, its topics, and how the book stood at each sequence that was told."""

    def __init__(self, seed: int) -> None:
        self.told = Told(seed)
        self.topics = Topics(self.told)
        directory = self.told.released.rules.directory
        self.text = InstrumentText.of(directory.instruments[HERE], directory)
        self.books: dict[int, Sides] = {}

    def subscribe(self, reader: Reader, *channels: Channel) -> None:
        for channel in channels or EVERYTHING:
            self.topics.subscribe(channel, self.text, reader.outbox)

    def trade_on(self, steps: int) -> None:
        """Let things happen and be told."""
        self.told.trade_on(steps, after_s=1)
        self.books[self.told.released.sequence] = self.book()
        self.told.tell()

    def rebuild(self) -> None:
        """The engine begins again from its journal."""
        self.told.rebuild()
        self.told.tell()

    def trades(self) -> list[str]:
        """The name of every trade in the journal."""
        return [
            f"{trade.sequence}-{trade.index}"
            for record in self.told.records
            for trade in trades_among(record.events, record.sequence, record.now_ns)
        ]

    def book(self) -> Sides:
        """The engine's book as text."""
        bids, asks = self.told.released.depth(HERE).levels(1_000)
        price, quantity = self.text.price, self.text.quantity
        return (
            {price(ticks): quantity(lots) for ticks, lots in bids},
            {price(ticks): quantity(lots) for ticks, lots in asks},
        )


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from((0, 300, 2_000)), st.integers(1, 6))
def test_a_clients_book_equals_the_engines_after_every_message(
    seed: int, conflate_bytes: int, kept: int
) -> None:
    exchange, random = Exchange(seed), Random(seed)
    readers = [Reader(codec, conflate_bytes, exchange.books) for codec in (JSON, MSGPACK, JSON)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(depth_topic, "UPDATES_KEPT_MAX", kept)
        for round_ in range(30):
            if round_ < len(readers):
                exchange.subscribe(readers[round_])
            exchange.trade_on(random.randint(0, 12))
            if random.random() < 0.1:
                exchange.rebuild()
            for reader in readers:
                if random.random() < 0.3:
                    reader.read()
        for reader in readers:
            reader.read_all()
            assert reader.book.sides == exchange.book()


def test_a_client_who_keeps_up_gets_one_snapshot_and_then_updates_alone() -> None:
    exchange = Exchange(1)
    reader = Reader(JSON, 65_536, exchange.books)
    exchange.subscribe(reader, DEPTH)
    for _ in range(50):
        exchange.trade_on(6)
        reader.read()
    assert reader.counts["depth_snapshot"] == 1
    assert reader.counts["depth"] > 30


def test_a_client_who_missed_a_few_updates_gets_them_merged_into_one() -> None:
    exchange = Exchange(2)
    reader = Reader(JSON, 0, exchange.books)
    exchange.subscribe(reader, DEPTH)
    for _ in range(20):
        exchange.trade_on(6)
    reader.read_all()
    assert reader.counts == {"depth_snapshot": 1, "depth": 1}


def test_a_client_who_missed_too_many_updates_gets_a_snapshot(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(depth_topic, "CHANGES_KEPT_MAX", 5)
    exchange = Exchange(2)
    reader = Reader(JSON, 0, exchange.books)
    exchange.subscribe(reader, DEPTH)
    for _ in range(20):
        exchange.trade_on(6)
    reader.read_all()
    assert reader.counts == {"depth_snapshot": 2}


def test_the_trades_of_a_client_who_keeps_up_are_those_of_the_journal() -> None:
    exchange = Exchange(3)
    reader = Reader(MSGPACK, 65_536, exchange.books)
    exchange.subscribe(reader, TRADES)
    for _ in range(30):
        exchange.trade_on(20)
        reader.read()
    assert reader.trades == exchange.trades()
    assert reader.left_out == 0
    assert len(reader.trades) > 100


@pytest.mark.slow
def test_a_slow_client_gets_the_newest_trades_and_how_many_it_missed() -> None:
    exchange = Exchange(4)
    reader = Reader(JSON, 0, exchange.books)
    exchange.subscribe(reader, TRADES)
    exchange.trade_on(0)
    for _ in range(60):
        exchange.trade_on(20)
    reader.read_all()
    assert len(reader.trades) == TRADES_KEPT_MAX
    assert reader.trades == exchange.trades()[-TRADES_KEPT_MAX:]
    assert reader.left_out + len(reader.trades) == len(exchange.trades())


def test_many_trades_at_once_come_in_several_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(market_topics, "TRADES_PER_MESSAGE_MAX", 10)
    exchange = Exchange(5)
    reader = Reader(JSON, 1_000_000, exchange.books)
    exchange.subscribe(reader, TRADES)
    exchange.told.tell()
    exchange.trade_on(150)
    reader.read_all()
    assert reader.counts["trades"] > 1
    assert reader.trades == exchange.trades()


def test_a_slow_client_gets_the_ticker_as_it_is_and_how_candles_ended() -> None:
    exchange = Exchange(6)
    slow, quick = (Reader(JSON, size, exchange.books) for size in (0, 65_536))
    for reader in (slow, quick):
        exchange.subscribe(reader, TICKER, SECONDS)
    for _ in range(30):
        exchange.trade_on(20)
        quick.read()
    slow.read_all()
    assert slow.ticker == quick.ticker
    assert slow.candles == quick.candles
    assert len(quick.candles) > 10
    assert slow.counts["ticker"] < quick.counts["ticker"]


def test_a_message_is_encoded_once_however_many_hear_it() -> None:
    exchange = Exchange(7)
    counting = counting_codec()
    readers = [Reader(counting, 65_536, exchange.books) for _ in range(50)]
    for reader in readers:
        exchange.subscribe(reader)
    for _ in range(20):
        exchange.trade_on(10)
    heard = sum(len(reader.read()) for reader in readers)
    assert heard == 50 * counting.encodings
    assert counting.encodings > 20


def test_clients_who_are_behind_alike_share_what_they_get() -> None:
    exchange = Exchange(8)
    counting = counting_codec()
    readers = [Reader(counting, 0, exchange.books) for _ in range(50)]
    for reader in readers:
        exchange.subscribe(reader, DEPTH)
    for _ in range(20):
        exchange.trade_on(10)
    for reader in readers:
        reader.read_all()
    assert counting.encodings == 2  # the snapshot, and one update for all that followed


def test_subscribing_again_begins_anew() -> None:
    exchange = Exchange(9)
    reader = Reader(JSON, 65_536, exchange.books)
    for _ in range(2):
        exchange.subscribe(reader, DEPTH)
        exchange.trade_on(6)
        exchange.subscribe(reader, DEPTH)
        exchange.trade_on(6)
        reader.read()
    assert reader.counts["depth_snapshot"] == 4
    assert reader.book.sides == exchange.book()


def test_whoever_missed_a_new_beginning_of_a_book_gets_a_snapshot() -> None:
    topic = DepthTopic(Exchange(11).text)
    here, there = (
        (Side.BUY, PriceTicks(9), QuantityLots(1)),
        (Side.BUY, PriceTicks(8), QuantityLots(2)),
    )
    ids = [
        topic.apply(DepthPublished(DEPTH, is_fresh, Sequence(sequence), levels))[-1][1]
        for sequence, (is_fresh, levels) in enumerate(
            ((True, []), (False, [here]), (True, [there]), (False, [here])), 1
        )
    ]
    kinds = [kind_since(topic, id_) for id_ in ids]
    assert kinds == [DepthSnapshot, DepthSnapshot, DepthUpdate, DepthUpdate]


def test_whoever_missed_a_new_beginning_of_trades_gets_a_snapshot() -> None:
    topic = TradesTopic(Exchange(12).text)
    made = PublicTrade(Sequence(1), 0, TimeNs(0), PriceTicks(9), QuantityLots(1), Side.BUY)
    ids = [
        topic.apply(TradesPublished(TRADES, is_fresh, Sequence(1), [made]))[-1][1]
        for is_fresh in (True, False, True, False)
    ]
    kinds = [kind_since(topic, id_) for id_ in ids]
    assert kinds == [TradesSnapshot, TradesSnapshot, TradesUpdate, TradesUpdate]


def test_what_nobody_subscribes_to_any_more_is_not_followed() -> None:
    exchange = Exchange(10)
    readers = [Reader(JSON, 65_536, exchange.books) for _ in range(2)]
    for reader in readers:
        exchange.subscribe(reader)
    for reader in readers:
        assert list(exchange.told.board.followed)
        for channel in EVERYTHING:
            exchange.topics.unsubscribe(channel, reader.outbox)
            exchange.topics.unsubscribe(channel, reader.outbox)
    assert len(exchange.topics) == 0
    assert list(exchange.told.board.followed) == []
    exchange.trade_on(20)
    assert readers[0].read() == []

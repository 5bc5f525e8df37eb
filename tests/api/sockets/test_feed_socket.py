"""`/v1/feed` behind a real server over a whole engine, as a bot author meets it."""

import json
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
import trio
from websockets.frames import Opcode

from api.client.book import Book
from api.serving import run_server
from api.settings import ApiSettings
from api.sockets.feed import feed_session
from config import Settings
from config.settings import LogSettings, ServerSettings
from engine.errors import OutcomeUnknown
from engine.service import Service
from tests.actors.test_feed_actor import FallsAfterCommit
from tests.flows.house import House, buy, house, sell

PATH = "/v1/feed"


class Visitor:
    """A client of the feed that keeps the book of one instrument."""

    def __init__(self, caller: Any) -> None:
        self.caller = caller
        self.book = Book("ONE")

    async def ask(self, **message: Any) -> Any:
        """Send an operation and hear its answer, which comes before any news of it."""
        await self.caller.say({"id": 1, **message})
        while (heard := await self.hear())["type"] != "answer":
            pass
        return heard

    async def subscribe(self, *channels: str) -> Any:
        """Subscribe to channels of the first instrument."""
        return await self.ask(op="subscribe", channels=channels, instruments=["ONE"])

    async def hear(self) -> Any:
        """The next message; one about depth goes into the book."""
        heard = await self.caller.hear()
        if heard["type"].startswith("depth"):
            self.book.apply(heard)
        return heard

    async def hear_until(self, sequence: int) -> None:
        """Listen until the book stands at a sequence or later."""
        while self.book.sequence < sequence:
            await self.hear()


def levels(one: House) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """The released book, as text."""
    bids, asks = one.service.released.depth(ONE_ID).levels(1_000)
    return [(str(p), str(q)) for p, q in bids], [(str(p), str(q)) for p, q in asks]


ONE_ID: Any = 1


@pytest.fixture
async def open_house(serving: Any) -> Any:
    """Opens a house with the feed at its door."""

    @asynccontextmanager
    async def start(store: Any = None, **settings: Any) -> AsyncIterator[tuple[House, Any]]:
        async with house(store=store) as one:
            await one.founded()
            session = feed_session(one.service, ApiSettings(**settings))
            async with serving({PATH: session}, websocket_messages_per_s=10_000.0) as hall:
                yield one, hall

    return start


@pytest.mark.slow
async def test_a_book_kept_by_the_rule_is_the_engines(open_house: Any) -> None:
    async with open_house() as (one, hall), hall.socket(PATH) as caller:
        visitor = Visitor(caller)
        await one.submit(sell(5, 110))
        answer = await visitor.subscribe("depth")
        assert answer["result"] == {"subscriptions": {"depth": ["ONE"]}}
        for number in range(30):
            await one.submit(sell(2, 101 + number % 7))
            await one.submit(buy(1 + number % 3, 95 + number % 9))
            while (visitor.book.bids, visitor.book.asks) != levels(one):
                assert (await visitor.hear())["type"] != "depth_snapshot" or not number


@pytest.mark.slow
async def test_after_the_engine_fell_the_book_begins_anew(open_house: Any) -> None:
    store = FallsAfterCommit()
    async with open_house(store) as (one, hall), hall.socket(PATH) as caller:
        visitor = Visitor(caller)
        await visitor.subscribe("depth")
        record = await one.submit(sell(2, 101))
        await visitor.hear_until(record.sequence)
        store.falls = True
        with pytest.raises(OutcomeUnknown):
            await one.submit(sell(2, 102))
        await visitor.hear_until(record.sequence + 1)
        assert visitor.book.asks == [("101", "2"), ("102", "2")] == levels(one)[1]
        record = await one.submit(sell(2, 103))
        await visitor.hear_until(record.sequence)
        assert visitor.book.asks == levels(one)[1]


@pytest.mark.slow
async def test_every_channel_tells_of_a_trade(open_house: Any) -> None:
    async with open_house() as (one, hall), hall.socket(PATH) as caller:
        visitor = Visitor(caller)
        await visitor.subscribe("depth", "trades", "ticker", "candles:1m")
        first = {(await visitor.hear())["type"] for _ in range(4)}
        assert first == {"depth_snapshot", "trades_snapshot", "ticker", "candles"}
        await one.submit(sell(2, 101))
        record = await one.submit(buy(2, 101))
        heard: dict[str, Any] = {}
        while heard.get("candles", {}).get("sequence", 0) < record.sequence:
            message = await visitor.hear()
            heard[message["type"]] = message
        [trade] = heard["trades"]["trades"]
        assert trade["trade"] == f"{record.sequence}-0"
        assert (trade["price"], trade["quantity"], trade["taker_side"]) == ("101", "2", "buy")
        assert heard["ticker"]["last"] == heard["candles"]["candles"][0]["close"] == "101"


async def test_messagepack_says_the_same(open_house: Any) -> None:
    protocol = "Sec-WebSocket-Protocol: outcry.msgpack"
    async with open_house() as (_, hall), hall.socket(PATH, protocol) as caller:
        wish = {"id": "x", "op": "subscribe", "channels": ["depth"], "instruments": ["ONE"]}
        await caller.frame(Opcode.BINARY, msgspec.msgpack.encode(wish))
        frames = [await caller.hear_frame() for _ in range(2)]
        heard = [msgspec.msgpack.decode(bytes(frame.data)) for frame in frames]
        assert [message["type"] for message in heard] == ["answer", "depth_snapshot"]
        assert heard[0]["id"] == "x"


async def test_what_is_no_operation_is_answered_with_what_is_wrong(open_house: Any) -> None:
    async with open_house() as (_, hall), hall.socket(PATH) as caller:
        visitor = Visitor(caller)
        wrong = {
            "field": (
                {"op": "subscribe", "channels": ["orders"], "instruments": ["ONE"]},
                {"op": "subscribe", "channels": ["depth"], "instruments": []},
                {"op": "subscribe", "channels": ["depth"], "instruments": ["ONE"], "more": 1},
                {"op": "buy"},
                {"op": "ping", "id": [1]},
            )
        }
        for message in wrong["field"]:
            answer = await visitor.ask(**message)
            assert answer["status"] == 400, answer
            assert answer["error"]["code"] == "INVALID_FIELD"
            assert answer["error"]["request_id"]
        answer = await visitor.ask(op="subscribe", channels=["depth"], instruments=["NIX"])
        assert (answer["status"], answer["error"]["code"]) == (404, "UNKNOWN_INSTRUMENT")
        assert answer["error"]["field"] == "instruments"
        await caller.raw(b"")
        await caller.frame(Opcode.TEXT, b"{")
        assert (await visitor.hear())["error"]["code"] == "MALFORMED_JSON"
        assert (await visitor.ask(op="list"))["result"] == {"subscriptions": {}}


async def test_a_request_is_done_whole_or_not_at_all(open_house: Any) -> None:
    async with open_house(feed_subscriptions_max=3) as (_, hall), hall.socket(PATH) as caller:
        visitor = Visitor(caller)
        both = ["ONE", "TWO"]
        await visitor.ask(op="subscribe", channels=["depth"], instruments=both)
        answer = await visitor.ask(op="subscribe", channels=["trades"], instruments=both)
        assert (answer["status"], answer["error"]["field"]) == (400, "instruments")
        await visitor.ask(op="subscribe", channels=["depth", "trades"], instruments=["ONE"])
        answer = await visitor.ask(op="list")
        assert answer["result"]["subscriptions"] == {"depth": both, "trades": ["ONE"]}
        answer = await visitor.ask(op="unsubscribe", channels=["depth"], instruments=both)
        assert answer["result"]["subscriptions"] == {"trades": ["ONE"]}


async def test_what_a_client_leaves_behind_is_given_up(open_house: Any) -> None:
    async with open_house() as (one, hall):
        feed = one.service.feed
        async with hall.socket(PATH) as caller:
            await Visitor(caller).subscribe("depth", "ticker")
            assert len(feed.followed) == 2
        await hall.empty()
        assert feed.followed == []


async def test_an_address_has_so_many_subscriptions_and_no_more(open_house: Any) -> None:
    one_message = {"op": "subscribe", "channels": ["depth", "trades"], "instruments": ["ONE"]}
    async with open_house(feed_subscriptions_per_address_max=3) as (_, hall):
        async with hall.socket(PATH) as first, hall.socket(PATH) as second:
            assert (await Visitor(first).ask(**one_message))["status"] == 200
            assert (await Visitor(first).ask(**one_message))["status"] == 200
            refused = await Visitor(second).ask(**one_message)
            assert (refused["status"], refused["error"]["code"]) == (429, "RATE_LIMITED")
            await Visitor(first).ask(**{**one_message, "op": "unsubscribe"})
            assert (await Visitor(second).ask(**one_message))["status"] == 200
        await hall.empty()
        async with hall.socket(PATH) as third:
            assert (await Visitor(third).ask(**one_message))["status"] == 200


@pytest.mark.slow
async def test_a_client_that_pauses_gets_what_it_missed_merged(
    open_house: Any, serving: Any
) -> None:
    async with house(feed_interval_s=0.0001) as one:
        await one.founded()
        session = feed_session(one.service, ApiSettings())
        limits = {"websocket_conflate_bytes": 1_000, "websocket_buffer_bytes": 4_096}
        async with (
            serving({PATH: session}, **limits) as hall,
            hall.socket(PATH, receive_bytes=2_048) as caller,
        ):
            visitor = Visitor(caller)
            await visitor.subscribe("depth")
            for number in range(1_500):
                record = await one.submit(sell(1, 101 + number % 400))
            merged = 0
            while visitor.book.sequence < record.sequence:
                message = await visitor.hear()
                merged += message.get("first_update_id") != message["update_id"]
            assert merged > 1
            assert (visitor.book.bids, visitor.book.asks) == levels(one)


async def test_a_ping_is_answered_with_the_time(open_house: Any) -> None:
    async with open_house() as (_, hall), hall.socket(PATH) as caller:
        answer = await Visitor(caller).ask(op="ping", id="me")
        assert answer["id"] == "me"
        assert answer["result"]["server_time_ns"] > 0


@pytest.mark.slow
async def test_the_server_as_it_is_started_has_a_feed() -> None:
    heard: list[Any] = []

    async def greet(_service: Service, url: str) -> str:
        host, _, port = url.removeprefix("http://").partition(":")
        async with await trio.open_tcp_stream(host, int(port)) as stream:
            await stream.send_all(
                b"GET /v1/feed HTTP/1.1\r\nHost: test\r\nUpgrade: websocket\r\n"
                b"Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
                b"Sec-WebSocket-Version: 13\r\n\r\n"
            )
            heard.append(await stream.receive_some(1_000))
        os.kill(os.getpid(), signal.SIGTERM)
        return json.dumps(url)

    settings = Settings(server=ServerSettings(port=0), log=LogSettings(level="error"))
    with trio.fail_after(5):
        await run_server(settings, greet, in_memory=True)
    assert heard[0].startswith(b"HTTP/1.1 101 ")

"""What the page says of the feed is complete and true: its rule, run as printed, keeps the book."""

import json
import re
import zlib
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any

import pytest

import api
from api.routes.tickers import TickerAnswer
from api.sockets import depth_topic, feed_messages
from api.sockets.codec import JSON
from api.sockets.topics import CHANNELS
from tests.api.sockets.test_feed_topics import DEPTH, Exchange, Reader

PAGE = Path(api.__file__).parents[1] / "docs" / "api.md"
SECTION = PAGE.read_text("utf-8").partition("## The feed\n")[2].partition("\n## Limits")[0]
MESSAGES = (
    feed_messages.DepthSnapshot,
    feed_messages.DepthUpdate,
    feed_messages.TradesSnapshot,
    feed_messages.TradesUpdate,
    feed_messages.TickerMessage,
    feed_messages.CandlesMessage,
)


def shown() -> list[Any]:
    """What the example shows the server saying."""
    block = SECTION.partition("    -> ")[2].partition("\n\n")[0]
    texts = re.findall(r"<- (\{.*?\})(?=\n    [-<]|\Z)", block, re.DOTALL)
    return [json.loads(text.replace("[...]", "[]")) for text in texts]


def printed_rule() -> Any:
    """The page's own book keeper."""
    names: dict[str, Any] = {"zlib": zlib, "Decimal": Decimal}
    exec(re.findall(r"```python\n(.*?)```", SECTION, re.DOTALL)[0], names)
    return names["apply"]


def empty() -> dict[str, Any]:
    """A book before the first message."""
    return {"bids": {}, "asks": {}, "update_id": 0}


def test_the_printed_messages_follow_the_printed_rule() -> None:
    book, apply = empty(), printed_rule()
    depth = [message for message in shown() if message["type"].startswith("depth")]
    assert [apply(book, message) for message in depth] == [True, True]
    assert book["asks"] == {"60000.00": "0.1000", "60000.50": "2.0000"}


@pytest.mark.parametrize("seed", range(4))
def test_the_printed_rule_keeps_the_book_of_a_client_that_pauses(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(depth_topic, "UPDATES_KEPT_MAX", 6)
    exchange, random, apply = Exchange(seed), Random(seed), printed_rule()
    reader, book, heard = Reader(JSON, 300, exchange.books), empty(), []
    exchange.subscribe(reader, DEPTH)
    for _ in range(60):
        exchange.trade_on(random.randint(0, 6))
        if random.random() < 0.2:
            heard += reader.read()
            while len(heard) > 2:
                assert apply(book, heard.pop(0))
    while reader.outbox.pending_bytes or reader.outbox.is_behind:
        heard += reader.read()
    assert all(apply(book, message) for message in heard)
    assert (book["bids"], book["asks"]) == exchange.book()


def test_the_printed_rule_notices_what_is_missing_or_altered() -> None:
    apply, snapshot, update = printed_rule(), *(one for one in shown() if "checksum" in one)
    book = empty()
    assert apply(book, snapshot)
    assert not apply(book, {**update, "first_update_id": 9, "update_id": 9})
    assert not apply(book, {**update, "asks": []})


def test_every_channel_operation_and_message_is_named() -> None:
    for name in CHANNELS:
        assert f"`{name}`" in SECTION, name
    for operation in ("subscribe", "unsubscribe", "list", "ping"):
        assert f"| `{operation}` |" in SECTION
    for message in MESSAGES:
        assert str(message.__struct_config__.tag) in SECTION


def test_every_field_of_a_message_is_named_on_the_page() -> None:
    page = PAGE.read_text("utf-8")
    for kind in (*MESSAGES, TickerAnswer, feed_messages.TradeText, feed_messages.CandleText):
        for name in kind.__struct_fields__:
            assert re.search(rf'[`"]{name}[`"]', page), f"{kind.__name__}.{name}"

"""Clients of the feed that keep books by the documented rule and note every trade."""

from collections.abc import Sequence
from contextlib import suppress
from random import Random
from typing import Any, Final, NamedTuple, Protocol

import trio

from api.client import Book, OutOfStep, keep_books, open_socket
from api.client.errors import ClientError
from tests.crash.stream_followers import TIRELESS

_PAUSE_S: Final = 0.05
_STAY_S_MAX: Final = 6.0


class ToldTrade(NamedTuple):
    """One trade as told to everybody."""

    trade: str
    price: str
    quantity: str
    taker_side: str


class TradeRun(NamedTuple):
    """Trades that one connection was told of one instrument, in one piece."""

    instrument: str
    trades: list[ToldTrade]


class FeedClient(Protocol):
    """Somebody who keeps books."""

    books: dict[str, Book]
    contradictions: list[str]

    async def run(self) -> None:
        """Listen for ever, over all connections."""
        ...


class BookKeeper:
    """The client package's `keep_books`, left and begun anew at random moments."""

    def __init__(
        self, url: str, instruments: Sequence[str], seed: int, *, msgpack: bool = False
    ) -> None:
        self.books = {name: Book(name) for name in instruments}
        self.contradictions: list[str] = []
        self.changes = 0
        self._url = url
        self._msgpack = msgpack
        self._random = Random(f"{seed} keeper {msgpack}")

    async def run(self) -> None:
        """Keep the books for ever."""
        while True:
            with trio.move_on_after(self._random.uniform(0.05, _STAY_S_MAX)):
                await keep_books(
                    self._url,
                    list(self.books.values()),
                    changed=self._changed,
                    patience=TIRELESS,
                    msgpack=self._msgpack,
                )

    def _changed(self, _: Book) -> None:
        self.changes += 1


class FeedListener:
    """Keeps books and trades by hand; a server in its senses never leaves it out of step."""

    def __init__(self, url: str, instruments: Sequence[str], seed: int) -> None:
        self.books = {name: Book(name) for name in instruments}
        self.runs: list[TradeRun] = []
        self.contradictions: list[str] = []
        self.messages = 0
        self.conflated = 0
        self.connections = 0
        self._url = url
        self._random = Random(f"{seed} listener")
        #: What this connection is being told, by instrument.
        self._now: dict[str, TradeRun] = {}

    async def run(self) -> None:
        """Listen, leave, come back. Never returns."""
        while True:
            with trio.move_on_after(self._random.uniform(0.05, _STAY_S_MAX)):
                with suppress(ClientError, OSError):
                    await self._listen()
                await trio.sleep(_PAUSE_S)
            for book in self.books.values():
                book.clear()

    async def _listen(self) -> None:
        async with open_socket(self._url, "/v1/feed") as socket:
            self.connections += 1
            self._now.clear()
            names = list(self.books)
            reply = await socket.tell("subscribe", channels=["depth", "trades"], instruments=names)
            await reply.result()
            async for message in socket:
                self.messages += 1
                self._hear(message)

    def _hear(self, message: dict[str, Any]) -> None:
        match message["type"]:
            case "depth" | "depth_snapshot":
                self._keep_book(message)
            case "trades_snapshot":
                self._begin_run(message)
            case "trades":
                if message["left_out"]:
                    self.conflated += 1
                    self._begin_run(message)
                else:
                    self._now[message["instrument"]].trades.extend(map(_trade, message["trades"]))

    def _keep_book(self, message: dict[str, Any]) -> None:
        if message.get("first_update_id", 0) < message["update_id"]:
            self.conflated += message["type"] == "depth"
        try:
            self.books[message["instrument"]].apply(message)
        except OutOfStep as error:
            self.contradictions.append(f"feed: {error}")

    def _begin_run(self, message: dict[str, Any]) -> None:
        name = message["instrument"]
        run = TradeRun(name, [_trade(trade) for trade in message["trades"]])
        self._now[name] = run
        self.runs.append(run)


def _trade(trade: dict[str, str]) -> ToldTrade:
    return ToldTrade(*(trade[name] for name in ToldTrade._fields))

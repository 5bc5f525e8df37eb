"""Following an account and the books: whatever breaks, each event once, each book the engine's."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from itertools import pairwise
from typing import Any

import pytest
import trio

from api.client import (
    Bearer,
    Book,
    Gap,
    OutOfStep,
    Patience,
    Refused,
    SocketClosed,
    TrioClient,
    calls,
    follow_account,
    following,
    keep_books,
    open_socket,
)
from api.client.conversation import Cursor, Message, Number
from tests.api.client.server import (
    ADMIN_KEY,
    ALICE,
    ALICE_KEY,
    BOB_KEY,
    Server,
    limit,
    server_running,
    until,
)

QUICK = Patience(attempts_max=1_000, pause_s_min=0.01, pause_s_max=0.05)
HASTY = Patience(attempts_max=3, pause_s_min=0.001, pause_s_max=0.002)


class Ear:
    """What it was told, with proof that nothing was left out or told twice."""

    def __init__(self) -> None:
        self.snapshots: list[Message] = []
        self.events: list[Message] = []

    async def hear(self, message: Message) -> None:
        """One message."""
        if message["type"] == "snapshot":
            self.snapshots.append(message)
        else:
            self.events.append(message)

    @property
    def last(self) -> Number:
        """Where to resume."""
        return tuple((self.events or self.snapshots)[-1]["number"])

    @property
    def fills(self) -> list[str]:
        """The trades told."""
        return [event["trade"] for event in self.events if event["type"] == "fill"]

    def check(self) -> None:
        """Every event follows the one before."""
        for before, event in pairwise(self.events):
            assert event["previous"] == before["number"]

    async def through(self, sequence: int) -> None:
        """Wait until it was told of a record."""
        await until(lambda: bool(self.events) and self.last[0] >= sequence)


@asynccontextmanager
async def following_alice(server: Server, ear: Ear, **terms: Any) -> AsyncIterator[None]:
    """Alice's account is followed during the block."""
    async with trio.open_nursery() as nursery:
        follow = partial(follow_account, patience=QUICK, **terms)
        nursery.start_soon(follow, server.url, Bearer(ALICE_KEY), ear.hear)
        yield
        nursery.cancel_scope.cancel()


async def trade(server: Server, name: str) -> int:
    """Let Bob make and Alice take; the record's sequence."""
    async with (
        TrioClient(server.url, Bearer(BOB_KEY), patience=QUICK) as bob,
        TrioClient(server.url, Bearer(ALICE_KEY), patience=QUICK) as alice,
    ):
        await bob.send(calls.place(limit(f"{name}-b", "sell")))
        return (await alice.send(calls.place(limit(f"{name}-a")))).sequence


async def all_fills(server: Server) -> list[str]:
    """Every trade of Alice's, by the history."""
    async with TrioClient(server.url, Bearer(ALICE_KEY)) as client:
        return [fill.trade async for fill in client.each(calls.fills(after="0-0"))]


@pytest.mark.slow
async def test_every_fill_is_told_once_over_stops_and_deaths_of_the_server(server: Server) -> None:
    ear = Ear()
    async with following_alice(server, ear):
        await until(lambda: bool(ear.snapshots))
        for number, end in enumerate((server.stop, server.kill, server.stop, server.kill)):
            await ear.through(await trade(server, f"{number}"))
            await trade(server, f"{number}-unheard")  # perhaps not told before the end
            await end()
            await server.start()
        await ear.through(await trade(server, "last"))
    ear.check()
    assert ear.fills == await all_fills(server)
    assert len(ear.fills) == 9
    assert len(ear.snapshots) == 1


@pytest.mark.slow
async def test_what_happened_in_between_is_told_to_whoever_resumes(server: Server) -> None:
    first, second = Ear(), Ear()
    async with following_alice(server, first):
        await until(lambda: bool(first.snapshots))
        await first.through(await trade(server, "a"))
    for name in "bcd":
        last = await trade(server, name)
    async with following_alice(server, second, after=first.last, msgpack=True):
        await second.through(last)
    assert second.snapshots == []
    assert first.fills + second.fills == await all_fills(server)
    assert second.events[0]["previous"] == list(first.last)


async def test_the_very_first_event_can_be_resumed_from(server: Server) -> None:
    ear = Ear()
    last = await trade(server, "a")
    async with following_alice(server, ear, after=(0, 0)):
        await ear.through(last)
    ear.check()
    assert ear.snapshots == []
    assert ear.events[0]["type"] == "balance"  # the deposits


@pytest.mark.slow
async def test_whoever_was_away_too_long_gets_one_whole_snapshot() -> None:
    async with server_running(rows_kept_max=20) as server:
        async with TrioClient(server.url, Bearer(ALICE_KEY)) as client:
            for start in range(0, 450, 90):
                orders = [limit(f"o-{n}", price="50.00") for n in range(start, start + 90)]
                await client.send(calls.place_batch(orders))
        ear = Ear()
        async with following_alice(server, ear, after=(3, 0)):
            await until(lambda: bool(ear.snapshots))
            await ear.through(await trade(server, "after"))
        [snapshot] = ear.snapshots
        ids = [order["client_order_id"] for order in snapshot["orders"]]
        assert ids == [f"o-{n}" for n in range(450)]  # of three parts
        assert ear.events[0]["previous"] == snapshot["number"]


async def test_an_admin_follows_an_account_of_its_choice(server: Server) -> None:
    ear = Ear()
    async with trio.open_nursery() as nursery:
        follow = partial(follow_account, account=ALICE)
        nursery.start_soon(follow, server.url, Bearer(ADMIN_KEY), ear.hear)
        await until(lambda: bool(ear.snapshots))
        await ear.through(await trade(server, "a"))
        nursery.cancel_scope.cancel()
    assert ear.fills == await all_fills(server)


async def test_a_key_that_is_not_let_in_ends_it_at_once(server: Server) -> None:
    with trio.fail_after(2), pytest.raises(SocketClosed) as closed:
        await follow_account(server.url, Bearer("ock_no"), Ear().hear)
    assert closed.value.code == 4001
    with trio.fail_after(2), pytest.raises(Refused, match="FORBIDDEN"):
        await follow_account(server.url, Bearer(BOB_KEY), Ear().hear, account=ALICE)
    with trio.fail_after(2), pytest.raises(Refused, match="INVALID_FIELD"):
        await follow_account(server.url, Bearer(BOB_KEY), Ear().hear, after=(10**6, 0))


async def test_a_server_that_never_comes_back_is_given_up() -> None:
    url = "http://127.0.0.1:9"
    with trio.fail_after(2), pytest.raises(OSError, match=r"9|refused"):
        await follow_account(url, Bearer("x"), Ear().hear, patience=HASTY)
    with trio.fail_after(2), pytest.raises(OSError, match=r"9|refused"):
        await keep_books(url, [Book("BTC-USD")], patience=HASTY)


@pytest.mark.parametrize(
    "error", [OSError("disk full"), Gap("mine"), SocketClosed(1006, "another"), ValueError("x")]
)
async def test_what_the_listener_raises_is_no_matter_for_another_try(
    server: Server, error: Exception
) -> None:
    async def fail(_: Message) -> None:
        raise error

    def fail_at_once(_: Book) -> None:
        raise error

    with trio.fail_after(2), pytest.raises(type(error)) as raised:
        await follow_account(server.url, Bearer(ALICE_KEY), fail)
    assert raised.value is error
    with trio.fail_after(2), pytest.raises(type(error)) as raised:
        await keep_books(server.url, [Book("BTC-USD")], changed=fail_at_once)
    assert raised.value is error


async def test_an_event_too_many_or_too_few_is_noticed() -> None:
    def event(number: list[int], previous: list[int]) -> dict[str, Any]:
        return {"type": "order", "number": number, "previous": previous}

    cursor = Cursor((5, 1))
    assert cursor.take({"type": "closing", "reason": "soon", "in_s": 0.0}) is None
    assert cursor.take(event([5, 1], [5, 0])) is None
    assert cursor.take(event([6, 0], [5, 1])) is not None
    with pytest.raises(Gap):
        cursor.take(event([8, 0], [7, 0]))
    assert cursor.last == (6, 0)
    part = {"type": "snapshot", "number": [9, 65_535], "orders": [1], "complete": False}
    assert cursor.take(part) is None
    other = {**part, "number": [10, 65_535], "orders": [2]}  # after a reconnection
    assert cursor.take(other) is None
    assert cursor.last == (6, 0)
    whole = cursor.take({**other, "orders": [3], "complete": True})
    assert whole is not None
    assert whole["orders"] == [2, 3]
    assert cursor.last == (10, 65_535)


def engines(server: Server) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """The released book of BTC-USD."""
    book: Any = server.service.released.depth(1)  # type: ignore[arg-type]
    bids, asks = book.levels(1_000)
    return [(f"{p / 100:.2f}", f"{q / 1000:.3f}") for p, q in bids], [
        (f"{p / 100:.2f}", f"{q / 1000:.3f}") for p, q in asks
    ]


def same(book: Book, server: Server) -> bool:
    """Whether a book is the engine's."""
    shown = [tuple(one) for one in book.bids], [tuple(one) for one in book.asks]
    return book.is_ready and shown == engines(server)


@pytest.mark.slow
async def test_books_are_the_engines_before_and_after_it_was_gone(server: Server) -> None:
    books, told = [Book("BTC-USD"), Book("BTC/USD")], list[bool]()

    def changed(book: Book) -> None:
        told.append(book.is_ready)

    async with trio.open_nursery() as nursery:
        keep = partial(keep_books, changed=changed, patience=QUICK, msgpack=True)
        nursery.start_soon(keep, server.url, books)
        for end in (server.stop, server.kill):
            await quote(server)
            await until(lambda: same(books[0], server))
            assert books[1].is_ready
            told.clear()
            await end()
            await until(lambda: told == [False, False])
            assert books[0].best == (None, None)
            await server.start()
        await quote(server)
        await until(lambda: same(books[0], server))
        nursery.cancel_scope.cancel()


async def quote(server: Server) -> None:
    """Change the book."""
    number = server.service.released.sequence
    async with TrioClient(server.url, Bearer(ALICE_KEY), patience=QUICK) as client:
        for step in range(5):
            price = f"{90 + step}.{number % 100:02}"
            await client.send(calls.place(limit(f"q-{number}-{step}", price=price)))


@pytest.mark.slow
async def test_a_book_out_of_step_is_asked_for_anew_on_the_same_connection(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    book, opened = Book("BTC-USD"), []
    really_open = open_socket

    def counting(*args: Any, **named: Any) -> Any:
        opened.append(args)
        return really_open(*args, **named)

    monkeypatch.setattr(following, "open_socket", counting)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(keep_books, patience=QUICK), server.url, [book])
        await until(lambda: book.is_ready)
        for _ in range(3):
            book.update_id += 7  # as if something had been missed
            await quote(server)
            await until(lambda: same(book, server))
        nursery.cancel_scope.cancel()
    assert len(opened) == 1


async def test_a_book_that_is_never_in_step_is_given_up(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Book, "checksum", property(lambda _: -1))
    with trio.fail_after(5), pytest.raises(OutOfStep, match="checksum"):
        await keep_books(server.url, [Book("BTC-USD")])


async def test_an_instrument_that_does_not_exist_is_refused(server: Server) -> None:
    with trio.fail_after(2), pytest.raises(Refused, match="UNKNOWN_INSTRUMENT"):
        await keep_books(server.url, [Book("BTC-USD"), Book("NO-SUCH")])

"""Following an account or the books over every reconnection, for trio."""

from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, contextmanager
from functools import partial
from random import uniform
from typing import Any, Final

import trio

from api.client.book import Book
from api.client.conversation import Cursor, Message, Number
from api.client.credentials import Credentials
from api.client.errors import ClientError, OutOfStep, Refused, SocketClosed
from api.client.resending import Patience, is_definite
from api.client.trio_socket import Reply, TrioSocket, open_socket

#: Close codes after which coming back would not help: bad message, unauthorized, forbidden.
HOPELESS: Final = frozenset((4000, 4001, 4003))
#: So often in a row a book may be asked for anew before something must be wrong with it.
RESYNCS_MAX: Final = 10
#: Of one request; the server takes no more.
INSTRUMENTS_PER_REQUEST_MAX: Final = 100
_STUBBORN: Final = Patience(attempts_max=30, pause_s_max=5.0)

Heard = Callable[[Message], Awaitable[Any]]
_Connected = Callable[[TrioSocket, "Tries"], Awaitable[None]]


async def follow_account(
    url: str,
    credentials: Credentials,
    heard: Heard,
    *,
    after: Number | None = None,
    account: int | None = None,
    patience: Patience = _STUBBORN,
    msgpack: bool = False,
) -> None:
    """Tell `heard` an account's snapshots and events, each once and in order. Never returns.

    Begins with a snapshot, or resumes behind `after`. A later snapshot means that the server no
    longer had what was missed: it replaces what was known. What `heard` raises ends it.
    Raises: ClientError, OSError when coming back does not help, or failed too often in a row.
    """
    cursor, whose = Cursor(after), {} if account is None else {"account": account}

    async def connected(socket: TrioSocket, tries: Tries) -> None:
        if cursor.last is None:
            reply = await socket.tell("subscribe", **whose)
        else:
            reply = await socket.tell("resume", after=cursor.last, **whose)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_check, reply)
            async for message in socket:
                news = cursor.take(message)
                if news is not None:
                    tries.begin_anew()
                    with _of_the_caller():
                        await heard(news)

    opened = partial(open_socket, url, "/v1/stream", credentials, msgpack=msgpack)
    await _for_ever(opened, connected, patience)


async def keep_books(
    url: str,
    books: Sequence[Book],
    *,
    credentials: Credentials | None = None,
    changed: Callable[[Book], Any] = bool,
    patience: Patience = _STUBBORN,
    msgpack: bool = False,
) -> None:
    """Keep books in step with the feed; `changed` hears of each change. Never returns.

    A book that is out of step is asked for anew, and so are all after a reconnection; until it is
    here, the book is empty and not ready, which `changed` hears of too. What it raises ends it.
    Raises: ClientError, OSError when coming back does not help, or failed too often in a row.
    """
    keeper = _Keeper(books, changed)
    opened = partial(open_socket, url, "/v1/feed", credentials, msgpack=msgpack)
    await _for_ever(opened, keeper.keep, patience)


class _Keeper:
    """Books, and how often each was asked for anew in a row."""

    def __init__(self, books: Sequence[Book], changed: Callable[[Book], Any]) -> None:
        self._books = {book.instrument: book for book in books}
        self._changed = changed
        self._resyncs = dict.fromkeys(self._books, 0)

    async def keep(self, socket: TrioSocket, tries: "Tries") -> None:
        """Keep them in step by one connection."""
        names = list(self._books)
        try:
            async with trio.open_nursery() as nursery:
                for start in range(0, len(names), INSTRUMENTS_PER_REQUEST_MAX):
                    some = names[start : start + INSTRUMENTS_PER_REQUEST_MAX]
                    await self._ask(nursery, socket, some)
                async for message in socket:
                    if message["type"] in ("depth", "depth_snapshot"):
                        tries.begin_anew()
                        if not self._take_in(message):
                            await self._ask(nursery, socket, [message["instrument"]])
        finally:
            self._lose_all()

    async def _ask(self, nursery: trio.Nursery, socket: TrioSocket, names: list[str]) -> None:
        reply = await socket.tell("subscribe", channels=["depth"], instruments=names)
        nursery.start_soon(_check, reply)

    def _take_in(self, message: Message) -> bool:
        """Whether the book is in step, or will be by itself. Raises: OutOfStep."""
        name = message["instrument"]
        book = self._books[name]
        try:
            book.apply(message)
        except OutOfStep:
            self._resyncs[name] += 1
            self._tell(book)
            if self._resyncs[name] > RESYNCS_MAX:
                raise
            return False
        if book.is_ready:
            if message["type"] == "depth":
                self._resyncs[name] = 0
            self._tell(book)
        return True

    def _lose_all(self) -> None:
        for book in self._books.values():
            if book.is_ready:
                book.clear()
                self._tell(book)

    def _tell(self, book: Book) -> None:
        with _of_the_caller():
            changed, self._changed = self._changed, bool  # once it fails, it hears no more
            changed(book)
            self._changed = changed


async def _check(reply: Reply) -> None:
    """Fail with a refused request, unless a snapshot follows that answers it after all."""
    try:
        await reply.result()
    except Refused as refusal:
        if refusal.code != "RESUME_TOO_OLD":
            raise


class Tries:
    """Counts failures in a row, and says how long to wait after each."""

    def __init__(self, patience: Patience) -> None:
        self._patience = patience
        self._failures = 0

    def begin_anew(self) -> None:
        """It works."""
        self._failures = 0

    def pause_s(self, error: BaseException) -> float:
        """How long to wait after a failure.

        Raises: `error` itself, if it is no use or the caller's own.
        """
        if isinstance(error, _OfTheCaller):
            raise error.error
        self._failures += 1
        if _is_hopeless(error) or self._failures >= self._patience.attempts_max:
            raise error
        return self._patience.pause_s(self._failures, _asked_s(error), uniform(0.5, 1.0))


def _is_hopeless(error: BaseException) -> bool:
    if isinstance(error, SocketClosed):
        refusal = error.refusal
        return error.code in HOPELESS or (refusal is not None and _is_hopeless(refusal))
    if isinstance(error, Refused):
        return is_definite(error.status, error.code)
    return isinstance(error, OutOfStep)


def _asked_s(error: BaseException) -> float:
    refusal = error.refusal if isinstance(error, SocketClosed) else error
    return refusal.error.retry_after_s if isinstance(refusal, Refused) else 0.0


class _OfTheCaller(Exception):
    """What the caller's own function raised; no business of ours."""

    def __init__(self, error: Exception) -> None:
        super().__init__(error)
        self.error = error


@contextmanager
def _of_the_caller() -> Iterator[None]:
    try:
        yield
    except Exception as error:
        raise _OfTheCaller(error) from error


async def _for_ever(
    opened: Callable[[], AbstractAsyncContextManager[TrioSocket]],
    connected: _Connected,
    patience: Patience,
) -> None:
    tries = Tries(patience)
    while True:
        failure: BaseException = SocketClosed(1006, "nothing was said")
        try:
            async with opened() as socket:
                await connected(socket, tries)
        except* (ClientError, OSError, _OfTheCaller) as group:
            failure = _gravest(group)
        await trio.sleep(tries.pause_s(failure))


def _gravest(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The caller's own error; else one after which it is no use; else the first."""
    leaves = list(_leaves(group))
    return max(leaves, key=lambda one: (isinstance(one, _OfTheCaller), _is_hopeless(one)))


def _leaves(group: BaseExceptionGroup[BaseException]) -> Iterator[BaseException]:
    for one in group.exceptions:
        if isinstance(one, BaseExceptionGroup):
            yield from _leaves(one)
        else:
            yield one

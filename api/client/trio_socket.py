"""The sockets for trio: requests, pipelined or not, and what the server says of its own accord."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final, Self

import trio

from api.client.conversation import JSON, MSGPACK, Conversation, Message, is_answer, result_of
from api.client.credentials import Anonymous, Credentials
from api.client.errors import SocketClosed, Unanswered
from api.client.exchange import WRONG_CLOCK
from api.client.wire import CLOSING_S_MAX, Wire

#: Events that wait for us; beyond them reading stops, and in the end the server hangs up.
EVENTS_WAITING_MAX: Final = 10_000
#: Requests without an answer; the next one waits. The server takes so many commands at once.
UNDER_WAY_MAX: Final = 1_000
_NS_OF_MS: Final = 1_000_000


class Reply:
    """The answer to one request, perhaps still to come."""

    def __init__(self) -> None:
        self._done = trio.Event()
        self._answer: Message | None = None
        self._error: Exception | None = None

    def settle(self, answer: Message | None, error: Exception | None = None) -> None:
        """It is here; or there will be none."""
        self._answer, self._error = answer, error
        self._done.set()

    async def result(self) -> Any:
        """What the answer brings. Waits for it.

        Raises: Refused; Unanswered when the connection ended first.
        """
        await self._done.wait()
        if self._answer is None:
            raise self._error or Unanswered("no answer came")
        return result_of(self._answer)


class TrioSocket:
    """One connection to `/v1/feed` or `/v1/stream`; made by `open_socket`.

    Iterate for what the server says of its own accord; ends by raising SocketClosed. Requests still
    unanswered when the connection ends are Unanswered: ask for them by their keys.
    """

    def __init__(self, wire: Wire, talk: Conversation) -> None:
        self._wire = wire
        self._talk = talk
        self._replies: dict[int, Reply] = {}
        self._room = trio.Semaphore(UNDER_WAY_MAX, max_value=UNDER_WAY_MAX)
        self._put, self._events = trio.open_memory_channel[dict[str, Any]](EVENTS_WAITING_MAX)
        self._ended = trio.Event()

    async def tell(self, op: str, **fields: Any) -> Reply:
        """Have a request sent and go on at once; ask the reply for its result.

        Waits only while too many are under way. Cancelled, nothing was sent.
        Raises: SocketClosed.
        """
        await self._room.acquire()
        number, content = self._talk.request(op, **fields)
        try:
            self._wire.put(content)
        except SocketClosed:
            self._room.release()
            raise self.closed() from None
        reply = self._replies[number] = Reply()
        return reply

    async def request(self, op: str, **fields: Any) -> Any:
        """Send a request and wait for its result. Cancelled, it may have happened.

        Raises: Refused, Unanswered, SocketClosed.
        """
        return await (await self.tell(op, **fields)).result()

    def __aiter__(self) -> Self:
        """What comes next."""
        return self

    async def __anext__(self) -> dict[str, Any]:
        """The next message that is no answer. Waits for it.

        Raises: SocketClosed.
        """
        try:
            return await self._events.receive()
        except (trio.EndOfChannel, trio.ClosedResourceError):
            raise self.closed() from None

    def closed(self) -> SocketClosed:
        """Why the connection ended."""
        closed = self._wire.closed()
        return SocketClosed(closed.code, closed.reason, self._talk.refusal)

    async def run(self) -> None:
        """Send, and sort what arrives, until the connection ends."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._wire.write_all)
                await self._read()
                nursery.cancel_scope.deadline = trio.current_time() + CLOSING_S_MAX
        finally:
            self._ended.set()
            self._put.close()
            with trio.CancelScope(shield=True):
                await self._wire.close()
            for reply in self._replies.values():
                reply.settle(None, Unanswered(f"the connection ended: {self.closed()}"))

    async def hang_up(self) -> None:
        """Say farewell behind all that was told, and wait for the end, not for long."""
        self._events.close()
        self._wire.hang_up()
        with trio.move_on_after(CLOSING_S_MAX):
            await self._ended.wait()

    async def _read(self) -> None:
        try:
            while True:
                for content in await self._wire.get():
                    message = self._talk.take(content)
                    if not is_answer(message):
                        await self._deliver(message)
                    elif (reply := self._replies.pop(message["id"], None)) is not None:
                        self._room.release()
                        reply.settle(message)
        except SocketClosed:
            pass

    async def _deliver(self, message: dict[str, Any]) -> None:
        try:
            self._put.send_nowait(message)
        except trio.WouldBlock:
            await self._put.send(message)
        except trio.BrokenResourceError:
            pass  # nobody listens any more


@asynccontextmanager
async def open_socket(
    url: str, path: str, credentials: Credentials | None = None, *, msgpack: bool = False
) -> AsyncIterator[TrioSocket]:
    """A socket of the server at `url` (`http://...`), for the length of the block.

    It is open once the server has let us in. Left in peace, it says farewell behind everything that
    was told; left by an exception or cancelled, it is dropped.
    Raises: OSError; SocketClosed when the server refuses it.
    """
    proof = credentials or Anonymous()
    with _bare():
        async with trio.open_nursery() as nursery:
            socket = await _let_in(nursery, url, path, proof, msgpack=msgpack)
            yield socket
            await socket.hang_up()
            nursery.cancel_scope.cancel()


async def _let_in(
    nursery: trio.Nursery, url: str, path: str, credentials: Credentials, *, msgpack: bool
) -> TrioSocket:
    """A socket that the server answers on; tried again once if our clock was wrong."""
    socket = await _opened(nursery, url, path, credentials, msgpack=msgpack)
    try:
        await socket.request("ping")
        return socket
    except (Unanswered, SocketClosed):
        closed = socket.closed()
    if not sets_clock(closed, credentials):
        raise closed
    socket = await _opened(nursery, url, path, credentials, msgpack=msgpack)
    try:
        await socket.request("ping")
    except (Unanswered, SocketClosed):
        raise socket.closed() from None
    return socket


async def _opened(
    nursery: trio.Nursery, url: str, path: str, credentials: Credentials, *, msgpack: bool
) -> TrioSocket:
    talk = Conversation(MSGPACK if msgpack else JSON)
    wire = await Wire.dial(url, path, credentials.headers("GET", path, b""), talk.language)
    socket = TrioSocket(wire, talk)
    nursery.start_soon(socket.run)
    return socket


def sets_clock(closed: SocketClosed, credentials: Credentials) -> bool:
    """Whether another handshake, by the server's time, may do better."""
    refusal = closed.refusal
    if refusal is None or refusal.code != WRONG_CLOCK or not refusal.error.server_time_ns:
        return False
    return credentials.set_clock(refusal.error.server_time_ns // _NS_OF_MS)


@contextmanager
def _bare() -> Iterator[None]:
    """Take what a block raises out of the wrapping that the nursery of ours puts around it."""
    try:
        yield
    except BaseExceptionGroup as group:
        if len(group.exceptions) > 1:
            raise
        [inner] = group.exceptions
        context = inner.__context__
        try:
            raise inner
        finally:
            inner.__context__ = context
            del inner, context

"""One client's connection: hypercorn's, guarded against the clients that it cannot survive.

hypercorn 0.18 on trio lets a malformed websocket upgrade end the process, cannot time a client that
stops reading, and keeps sockets of clients that left. Each guard below names its fault; the tests
show each fault on the stock server. HTTP/1.1 and websockets only: TLS and HTTP/2 belong to the
proxy in front.
"""

import contextlib
import logging
import math
import socket
import struct
from collections.abc import Awaitable, Callable
from typing import Final

import h11
import trio
import wsproto.utilities
from hypercorn.config import Config
from hypercorn.events import Closed, Event, RawData, Updated
from hypercorn.trio.task_group import TaskGroup
from hypercorn.trio.tcp_server import MAX_RECV, TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import AppWrapper, ASGIReceiveEvent, ASGISendEvent, ConnectionState, Scope
from hypercorn.utils import parse_socket_addr

from api.http11 import Http11, MessageTooLarge, json_error
from api.limits import ServerCounts, ServerLimits

log = logging.getLogger(__name__)

#: Closes at once and throws away what the client has not read, instead of lingering on it.
_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)
_PROTOCOL_ERRORS: Final = (h11.ProtocolError, wsproto.utilities.ProtocolError)
_MINUTE_S: Final = 60.0


class FaultLog:
    """Logs each broken connection once, at most so many a minute; what is left out is counted."""

    def __init__(self, lines_per_minute_max: int) -> None:
        self._lines_max = lines_per_minute_max
        self._lines = 0
        self._left_out = 0
        self._minute_ends_s = 0.0

    def note(self, peer: object, fault: BaseException) -> None:
        """Log `fault`; with its traceback unless the client merely broke the protocol."""
        now_s = trio.current_time()
        if now_s >= self._minute_ends_s:
            self._minute_ends_s = now_s + _MINUTE_S
            self._lines = 0
        if self._lines >= self._lines_max:
            self._left_out += 1
            return
        self._lines += 1
        left_out, self._left_out = self._left_out, 0
        trace = None if isinstance(fault, (*_PROTOCOL_ERRORS, MessageTooLarge)) else fault
        log.warning(
            "connection of %s broken by %r (%d like it not logged)",
            peer,
            fault,
            left_out,
            exc_info=trace,
        )


class House:
    """What all connections of one server share."""

    def __init__(
        self,
        app: AppWrapper,
        config: Config,
        limits: ServerLimits,
        counts: ServerCounts,
        state: ConnectionState,
    ) -> None:
        self.app = app
        self.config = config
        self.limits = limits
        self.counts = counts
        self.state = state
        self.context = WorkerContext(max_requests=None)
        self.faults = FaultLog(limits.fault_logs_per_minute_max)
        self._connections: set[Connection] = set()

    async def welcome(self, stream: trio.SocketStream) -> None:
        """Serve one accepted client, or refuse it at once when the house is full."""
        if len(self._connections) >= self.limits.connections_max:
            self.counts.connections_refused += 1
            await _refuse(stream)
            return
        # A websocket client that vanished is found by the pings that nobody acknowledges.
        silence_ms = int(self.limits.peer_silence_s_max * 1_000)
        stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, silence_ms)
        connection = Connection(self, stream)
        self._connections.add(connection)
        self.counts.connections_accepted += 1
        self.counts.connections_open += 1
        try:
            await connection.run()
        finally:
            self._connections.remove(connection)
            self.counts.connections_open -= 1

    async def close_when_idle(self) -> None:
        """Close connections that wait for a request now, and the others after their answer."""
        await self.context.terminated.set()
        for connection in list(self._connections):
            connection.close_when_idle()


async def _refuse(stream: trio.SocketStream) -> None:
    headers, body = json_error(503)
    lines = [b"HTTP/1.1 503 ", *(b"%s: %s" % header for header in headers), b"", body]
    with trio.move_on_after(1.0), contextlib.suppress(trio.BrokenResourceError):
        await stream.send_all(b"\r\n".join(lines))


class Connection(TCPServer):
    """Serves one client until either side has enough; never raises what a client caused."""

    stream: trio.SocketStream  # type: ignore[assignment]  # stated as TLS, works with both

    def __init__(self, house: House, stream: trio.SocketStream) -> None:
        super().__init__(
            house.app,
            house.config,
            house.context,
            house.state,
            stream,  # type: ignore[arg-type]
        )
        self._house = house
        self._awaits_head = True
        self._head_begun = False
        #: Its deadline moves with each request; the stock server starts a task for each instead.
        self._patience = trio.CancelScope()
        self._reading = trio.CancelScope()

    async def run(self) -> None:
        """Serve until the connection ends; whatever breaks it is counted and logged, not raised.

        The one place beside supervision that catches everything: in a nursery that serves all
        clients, one client's error must not reach the others.
        """
        peer: object = "an unknown address"
        try:
            peer = self.stream.socket.getpeername()
            await self._serve_client()
        except* OSError:
            pass  # the client has left
        except* Exception as broken:
            self._house.counts.connection_faults += 1
            for fault in _leaves(broken):
                self._house.faults.note(peer, fault)

    def close_when_idle(self) -> None:
        """Take no further request; a connection that waits for one is closed now."""
        if self._awaits_head:
            self._patience.cancel()

    async def _serve_client(self) -> None:
        sock = self.stream.socket
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            self._http = Http11(
                self.app,
                self.config,
                self.context,
                AppTasks(nursery, self._house.limits.write_s_max),
                ConnectionState(self.state.copy()),
                False,
                parse_socket_addr(sock.family, sock.getpeername()),
                parse_socket_addr(sock.family, sock.getsockname()),
                self.protocol_send,
            )
            self.protocol = self._http  # type: ignore[assignment]  # never switches to HTTP/2
            self._wait_for_head()
            nursery.start_soon(self._close_out_of_patience)
            with self._reading:
                await self._read_data()
            # The stock server's idle timer would go on holding what its client has left.
            self._head_begun = False
            self._patience.cancel()
            nursery.cancel_scope.deadline = trio.current_time() + self._house.limits.write_s_max

    async def protocol_send(self, event: Event) -> None:
        """Write, close, or note whether the connection waits for a request."""
        if isinstance(event, RawData):
            await self._write(event.data)
        elif not isinstance(event, Updated):
            await super().protocol_send(event)
            # The stock reader would wait for its turn to read a request that came too late.
            self._reading.cancel()
        elif event.idle:
            self._wait_for_head()
        else:
            self._awaits_head = self._head_begun = False
            self._patience.deadline = math.inf

    def _wait_for_head(self) -> None:
        self._awaits_head = True
        self._patience.deadline = trio.current_time() + self._house.limits.idle_s_max

    async def _close_out_of_patience(self) -> None:
        with self._patience:
            await trio.sleep_forever()
        if self._head_begun:
            self._house.counts.heads_too_slow += 1
        await self._initiate_server_close()

    async def _write(self, data: bytes) -> None:
        """Send all of `data` before the deadline, or cut the client off.

        Shielded as in the stock server, since half a write would spoil the stream, but not for
        ever: there a client that reads nothing holds its writer beyond every cancellation. A
        cancellation is felt between two writes, where the lock is taken.
        """
        async with self.send_lock:
            with trio.move_on_after(self._house.limits.write_s_max, shield=True) as deadline:
                try:
                    await self.stream.send_all(data)
                except (trio.BrokenResourceError, trio.ClosedResourceError):
                    await self._http.handle(Closed())
            if deadline.cancelled_caught:
                self._house.counts.readers_too_slow += 1
                self._cut_off()

    async def _close(self) -> None:
        """Say goodbye after whatever is being written, cancelled or not.

        The stock server is often cancelled here by the very app whose answer it ends, and leaves
        the connection open but dead; and trio refuses to close while another task writes.
        """
        with trio.move_on_after(self._house.limits.write_s_max, shield=True):
            async with self.send_lock:
                await super()._close()

    def _cut_off(self) -> None:
        """End the connection and every task of it, now."""
        self.stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        self._nursery.cancel_scope.cancel()

    async def _read_data(self) -> None:
        while True:
            try:
                data = await self.stream.receive_some(MAX_RECV)
            except (trio.ClosedResourceError, trio.BrokenResourceError):
                break
            await self._http.handle(RawData(bytes(data)))
            if not data:
                break
            self._watch_head()
        await self._http.handle(Closed())

    def _watch_head(self) -> None:
        """Give a request whose head has begun less time than an idle connection has."""
        if self._awaits_head and not self._head_begun and self._http.connection.trailing_data[0]:
            self._head_begun = True
            self._patience.deadline = trio.current_time() + self._house.limits.head_read_s_max


def _leaves(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    found: list[BaseException] = []
    for member in group.exceptions:
        found.extend(_leaves(member) if isinstance(member, BaseExceptionGroup) else [member])
    return found


class AppTasks(TaskGroup):
    """The tasks of one connection, in its own nursery.

    The stock group lets the cancellation of its own scope escape, waits without end to tell an app
    that does not listen that its client has left, and lets a feed that only sends to such a client
    spin without ever giving way, which stops the whole process.
    """

    def __init__(self, nursery: trio.Nursery, tell_s_max: float) -> None:
        super().__init__()
        self._nursery: trio.Nursery = nursery
        self._tell_s_max = tell_s_max

    async def spawn_app(
        self,
        app: AppWrapper,
        config: Config,
        scope: Scope,
        send: Callable[[ASGISendEvent | None], Awaitable[None]],
    ) -> Callable[[ASGIReceiveEvent], Awaitable[None]]:
        """Start the app for one request; returns the way to tell it what the client does."""

        async def send_and_give_way(event: ASGISendEvent | None) -> None:
            await send(event)
            await trio.lowlevel.checkpoint()

        tell = await super().spawn_app(app, config, scope, send_and_give_way)

        async def tell_in_time(event: ASGIReceiveEvent) -> None:
            if not event["type"].endswith(".disconnect"):
                await tell(event)
                return
            with trio.move_on_after(self._tell_s_max) as deadline:
                await tell(event)
            if deadline.cancelled_caught:
                self._nursery.cancel_scope.cancel()

        return tell_in_time

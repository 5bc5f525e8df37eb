"""One client's connection: hypercorn's, guarded against the clients that it cannot survive.

hypercorn 0.18 on trio lets a malformed websocket upgrade end the process, cannot time a client that
stops reading, and keeps sockets of clients that left. Each guard below names its fault; the tests
show each fault on the stock server. HTTP/1.1 and websockets only: TLS and HTTP/2 belong to the
proxy in front.

A request for a websocket at which a session is served leaves hypercorn here: its stream goes to the
switchboard, and everything that spoke HTTP on it is forgotten.
"""

import contextlib
import math
import socket
import struct
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping
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

from api.rates import network_of
from api.sockets.handshake import Accepted, SocketAsked, judge
from api.sockets.switchboard import Switchboard
from api.sockets.wire import Session
from api.web.faults import FaultLog, leaves
from api.web.http11 import Http11, MessageTooLarge, json_error
from api.web.limits import ServerCounts, ServerLimits

#: Closes at once and throws away what the client has not read, instead of lingering on it.
_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)
#: A client that breaks the protocol is no fault of ours.
_HARMLESS: Final = (h11.ProtocolError, wsproto.utilities.ProtocolError, MessageTooLarge)
#: For a client to take an answer after which we close.
_REFUSAL_S_MAX: Final = 1.0
#: What an app may send without end, beside parts of a body.
_FEEDING: Final = frozenset(("websocket.send", "http.response.early_hint"))
_RETRY_SOON: Final = ((b"retry-after", b"1"),)


class House:
    """What all connections of one server share."""

    def __init__(
        self,
        app: AppWrapper,
        config: Config,
        limits: ServerLimits,
        counts: ServerCounts,
        state: ConnectionState,
        sessions: Mapping[str, Session],
    ) -> None:
        self.app = app
        self.config = config
        self.limits = limits
        self.counts = counts
        self.state = state
        self.context = WorkerContext(max_requests=None)
        self.faults = FaultLog(limits.fault_logs_per_minute_max, _HARMLESS)
        self.switchboard = Switchboard(sessions, limits, counts, self.faults)
        self._connections: set[Connection] = set()
        #: Connections of each address; an IPv6 network of 64 bits counts as one.
        self._by_network: Counter[str] = Counter()

    async def welcome(self, stream: trio.SocketStream) -> None:
        """Serve one accepted client, or refuse it at once when the house is full."""
        try:
            address = stream.socket.getpeername()[0]
        except OSError:
            return  # it has left already
        network = network_of(address)
        if status := self._refusal(network):
            self.counts.connections_refused += 1
            await _answer(stream, status, more_headers=_RETRY_SOON)
            return
        self.counts.connections_accepted += 1
        self.counts.connections_open += 1
        self._by_network[network] += 1
        try:
            await self._serve(stream, address)
        finally:
            self.counts.connections_open -= 1
            self._by_network[network] -= 1
            if not self._by_network[network]:
                del self._by_network[network]

    async def close_when_idle(self) -> None:
        """Close connections that wait for a request now, and the others after their answer."""
        await self.context.terminated.set()
        self.switchboard.stop()
        for connection in list(self._connections):
            connection.close_when_idle()

    def _refusal(self, network: str) -> int:
        """The status to refuse a new client with; 0 when there is room."""
        if self.counts.connections_open >= self.limits.connections_max:
            return 503
        most = self.limits.connections_per_address_max
        return 429 if most and self._by_network[network] >= most else 0

    async def _serve(self, stream: trio.SocketStream, address: str) -> None:
        """Speak HTTP, and then perhaps as a websocket."""
        # A websocket client that vanished is found by the pings that nobody acknowledges.
        silence_ms = int(self.limits.peer_silence_s_max * 1_000)
        stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, silence_ms)
        with self._guarded(address):
            if asked := await self._speak_http(stream):
                paths = self.switchboard.sessions
                judged = judge(asked, paths, self.limits.websocket_origins)
                if isinstance(judged, Accepted):
                    await self.switchboard.connect(stream, judged, address)
                else:
                    self.counts.sockets_refused += 1
                    await _answer(stream, judged.status, judged.message, judged.headers)
                    await _linger(stream)

    async def _speak_http(self, stream: trio.SocketStream) -> SocketAsked | None:
        connection = Connection(self, stream)
        self._connections.add(connection)
        try:
            return await connection.serve()
        finally:
            self._connections.remove(connection)

    @contextlib.contextmanager
    def _guarded(self, peer: object) -> Iterator[None]:
        """Count and log whatever breaks one client's connection, and raise nothing.

        The one place beside supervision that catches everything: in a nursery that serves all
        clients, one client's error must not reach the others.
        """
        try:
            yield
        except* OSError:
            pass  # the client has left
        except* Exception as broken:
            self.counts.connection_faults += 1
            for fault in leaves(broken):
                self.faults.note(peer, fault)


async def _answer(
    stream: trio.SocketStream,
    status: int,
    message: str = "",
    more_headers: tuple[tuple[bytes, bytes], ...] = (),
) -> None:
    """Answer with an error what no app is to see."""
    headers, body = json_error(status, message)
    lines = [b"HTTP/1.1 %d " % status, *(b"%s: %s" % pair for pair in (*headers, *more_headers))]
    with trio.move_on_after(_REFUSAL_S_MAX), contextlib.suppress(trio.BrokenResourceError):
        await stream.send_all(b"\r\n".join([*lines, b"", body]))


async def _linger(stream: trio.SocketStream) -> None:
    """Let the client take our answer: closing on what it still sends would take it back."""
    with trio.move_on_after(_REFUSAL_S_MAX), contextlib.suppress(trio.BrokenResourceError):
        await stream.send_eof()
        while await stream.receive_some(MAX_RECV):
            pass


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
        self._is_handed_over = False
        #: Its deadline moves with each request; the stock server starts a task for each instead.
        self._patience = trio.CancelScope()
        self._reading = trio.CancelScope()

    def close_when_idle(self) -> None:
        """Take no further request; a connection that waits for one is closed now."""
        if self._awaits_head:
            self._patience.cancel()

    async def serve(self) -> SocketAsked | None:
        """Serve until the connection ends, or is asked to become a socket and is ours no more."""
        sock = self.stream.socket
        asked = None
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
                socket_paths=self._house.switchboard.sessions,
            )
            self.protocol = self._http  # type: ignore[assignment]  # never switches to HTTP/2
            self._wait_for_head()
            nursery.start_soon(self._close_out_of_patience)
            with self._reading:
                asked = await self._read_until_over()
            # The stock server's idle timer would go on holding what its client has left.
            self._head_begun = False
            self._is_handed_over = asked is not None
            self._patience.cancel()
            nursery.cancel_scope.deadline = trio.current_time() + self._house.limits.write_s_max
        return asked

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
        if self._is_handed_over:
            return
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

    async def _read_until_over(self) -> SocketAsked | None:
        try:
            await self._read_data()
        except SocketAsked as asked:
            return asked
        return None

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
            if event is not None and (event["type"] in _FEEDING or event.get("more_body", False)):
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

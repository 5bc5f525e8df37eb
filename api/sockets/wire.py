"""One accepted websocket: what its session sees, and how its bytes come and go.

The inbox and the outbox know what the bytes mean; this file moves them. Nobody waits for a write:
the switchboard calls `flush` when something is pending, which hands the kernel what it takes at
once, and only a socket whose client does not keep up gets a task that waits (`write_blocked`).
"""

import os
import socket as system
from collections.abc import Awaitable, Callable, Hashable
from typing import Final, Protocol

import trio
from websockets.frames import Frame as WireFrame
from websockets.frames import Opcode

from api.sockets.codes import CloseCode
from api.sockets.handshake import Accepted
from api.sockets.inbox import Inbox
from api.sockets.outbox import Outbox, OutboxLimits
from api.sockets.rate import Rate
from api.web.limits import ServerCounts, ServerLimits

#: One system call; a pipelining client gives way to the others after each.
_RECEIVE_BYTES_MAX: Final = 65_536
#: For a client to answer our close frame, or to take the last of what we sent.
_GOODBYE_S_MAX: Final = 2.0
#: Between two attempts to write to a client whose system takes less than it calls writable.
_RETRY_S: Final = 0.5
#: Between the notice that a socket's lifetime is over and its end.
_NOTICE_S: Final = 10.0
_PING: Final = WireFrame(Opcode.PING, b"").serialize(mask=False)
#: The client has gone without a close frame; never sent.
_LOST: Final = 1006


class SocketClosed(Exception):
    """Nothing more will be received: the client has left, or the socket is being closed."""

    def __init__(self, code: int) -> None:
        super().__init__(f"closed with {code}")
        self.code = code


class Desk(Protocol):
    """What a socket needs of the switchboard that holds it."""

    @property
    def limits(self) -> ServerLimits:
        """What the server grants."""
        ...

    @property
    def counts(self) -> ServerCounts:
        """What happened at the server."""
        ...

    def note_pending(self, socket: "Socket") -> None:
        """Have `flush` called soon."""
        ...

    def note_blocked(self, socket: "Socket") -> None:
        """Have `write_blocked` run in a task."""
        ...

    def claim(self, owner: Hashable, sockets_max: int) -> bool:
        """Count one more socket for `owner`; False when it has too many."""
        ...


class Socket:
    """One accepted websocket.

    A session is an async function that gets one, and whose return closes it: with 1000, or as
    `close` said. What was sent until then still goes out.
    """

    def __init__(
        self, stream: trio.SocketStream, accepted: Accepted, peer: str, desk: Desk
    ) -> None:
        limits = desk.limits
        self.peer: Final = peer
        self.path: Final = accepted.path
        self.target: Final = accepted.target
        self.headers: Final = accepted.headers
        self.codec: Final = accepted.codec
        self.outbox: Final = Outbox(
            accepted.codec,
            OutboxLimits(
                bytes_max=limits.websocket_pending_bytes_max,
                age_s_max=limits.websocket_pending_s_max,
                conflate_bytes=limits.websocket_conflate_bytes,
            ),
            trio.current_time,
            self._note_pending,
        )
        #: Whether the client may stay silent: set it once it has subscribed or logged in.
        self.may_be_silent = False
        #: Why the socket ends, once it does.
        self.closed_with: int | None = None
        #: Ends the session, whatever it does.
        self.scope: Final = trio.CancelScope()
        self._stream = stream
        self._desk = desk
        rate = Rate(limits.websocket_messages_per_s, limits.websocket_messages_burst_max)
        self._inbox = Inbox(accepted.codec, limits.websocket_message_bytes_max, rate)
        self._reason = ""
        self._reading: trio.CancelScope | None = None
        self._is_noted = False
        self._empty: trio.Event | None = None
        self._claims: list[Hashable] = []
        now_s = trio.current_time()
        self._opened_s = self._heard_s = now_s
        self._ping_due_s = now_s + limits.websocket_ping_s
        self._pong_due_s: float | None = None
        self._is_noticed = False

    # What a session does.

    async def receive(self) -> list[bytes]:
        """Every whole message that is here, at least one, in order.

        Raises: SocketClosed when the client has left, or `close` was called by anybody.
        """
        while True:
            if self.closed_with is not None:
                raise SocketClosed(self.closed_with)
            arrived = b""
            with trio.CancelScope() as self._reading:
                arrived = await self._read()
            self._reading = None
            if self.closed_with is None and (messages := self._take_in(arrived)):
                return messages

    def close(self, code: CloseCode, reason: str = "") -> None:
        """Receive nothing more; the close frame goes out when the session has returned.

        So what is in flight can still be answered. The first call counts.
        """
        if self.closed_with is None:
            self._reason = reason
            self._end(code)

    async def drained(self) -> None:
        """Wait until everything sent so far was handed over; for long replays, in portions.

        Raises: SocketClosed when that will never be.
        """
        while self.closed_with is None and self.outbox.pending_bytes:
            if self._empty is None:
                self._empty = trio.Event()
            await self._empty.wait()
        if self.closed_with is not None:
            raise SocketClosed(self.closed_with)

    def limit_messages(self, per_s: float, burst_max: float) -> None:
        """Close with TOO_MANY_REQUESTS a client that sends more than this from now on."""
        self._inbox.rate = Rate(per_s, burst_max)

    def claim(self, owner: Hashable) -> bool:
        """Count this socket for `owner` (a key, say) while it lives; False if it has too many."""
        if not self._desk.claim(owner, self._desk.limits.websockets_per_key_max):
            return False
        self._claims.append(owner)
        return True

    def announce(self, reason: str, in_s: float = 0.0) -> None:
        """Tell the client that the socket will be closed, and why."""
        self.outbox.send({"type": "closing", "reason": reason, "in_s": in_s})

    # What the switchboard does.

    @property
    def claims(self) -> list[Hashable]:
        """Whom this socket is counted for."""
        return self._claims

    def flush(self) -> None:
        """Hand the kernel what it takes now, and see to it that the rest follows."""
        self._is_noted = False
        if not self._write():
            self._is_noted = True  # until all is written, news needs no further flush
            self._desk.note_blocked(self)

    async def write_blocked(self) -> None:
        """Write as the client makes room for it; one that makes none is cut off."""
        try:
            await self._write_all()
        finally:
            self._is_noted = False

    async def _write_all(self) -> None:
        limit_s = self._desk.limits.websocket_pending_s_max
        progress_s, written = trio.current_time(), self.outbox.written_bytes
        while not self._write():
            now_s = trio.current_time()
            if self.outbox.written_bytes > written:
                progress_s, written = now_s, self.outbox.written_bytes
            elif now_s - progress_s > limit_s:
                self._cut_off()
                break
            with trio.move_on_after(_RETRY_S):
                await self._wait_writable()

    def tick(self, now_s: float) -> None:
        """Do what is due: pings, and the end of what lasts too long. Called about once a second."""
        limits = self._desk.limits
        if self.closed_with is not None:
            return
        if self.outbox.is_too_slow(now_s):
            self._cut_off()
        elif self._pong_due_s is not None and now_s >= self._pong_due_s:
            self.close(CloseCode.IDLE, "pings unanswered")
        elif not self.may_be_silent and now_s >= self._heard_s + limits.websocket_idle_s_max:
            self.close(CloseCode.IDLE, "silent and subscribed to nothing")
        elif now_s >= self._opened_s + limits.websocket_lifetime_s_max:
            self.close(CloseCode.SESSION_EXPIRED, "lifetime over")
        elif now_s >= self._ping_due_s:
            self._ping(now_s)
        if now_s >= self._opened_s + limits.websocket_lifetime_s_max - _NOTICE_S:
            self._notice_end()

    async def say_goodbye(self) -> None:
        """After the session: send what is pending and the close frame, and wait for the client's.

        Never longer than the client gets for one write and for its own goodbye.
        """
        if self.closed_with is None:
            self._end(CloseCode.NORMAL)
        code = self.closed_with or CloseCode.NORMAL
        if code != _LOST and (farewell := self._inbox.farewell(code, self._reason)):
            self.outbox.send_control(farewell)
        self.outbox.seal()
        with trio.move_on_after(self._desk.limits.write_s_max):
            while self.outbox.pending_bytes and self.closed_with != _LOST:
                self._empty = trio.Event()
                await self._empty.wait()
        await self._hang_up()

    # How it is done.

    async def _read(self) -> bytes:
        try:
            return bytes(await self._stream.receive_some(_RECEIVE_BYTES_MAX))
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return b""

    def _take_in(self, arrived: bytes) -> list[bytes]:
        """The whole messages in what arrived; whatever ends the socket is noted for later."""
        inbox, now_s = self._inbox, trio.current_time()
        if not arrived:
            self._end(_LOST)
            return []
        messages = inbox.take(arrived, now_s)
        if inbox.has_pong:
            inbox.has_pong = False
            self._pong_due_s = None
        if replies := inbox.replies():
            self.outbox.send_control(replies)
        if inbox.ended_with is not None:
            self.close(inbox.ended_with, inbox.reason)
        if messages:
            self._heard_s = now_s
            self._desk.counts.socket_messages_in += len(messages)
        return messages

    def _end(self, code: int) -> None:
        if self.closed_with is None:
            self.closed_with = int(code)
        if self._reading is not None:
            self._reading.cancel()
        if self._empty is not None:
            self._empty.set()
        self.scope.deadline = trio.current_time() + self._desk.limits.write_s_max

    def _note_pending(self) -> None:
        if not self._is_noted:
            self._is_noted = True
            self._desk.note_pending(self)

    def _write(self) -> bool:
        """Write until nothing is pending (True) or the kernel takes no more (False)."""
        counts, outbox = self._desk.counts, self.outbox
        if outbox.is_too_slow(trio.current_time()) and self.closed_with != CloseCode.SLOW_CONSUMER:
            self._cut_off()
        try:
            while buffers := outbox.buffers():
                count = os.writev(self._stream.socket.fileno(), buffers)
                outbox.wrote(count)
                counts.socket_bytes_out += count
        except BlockingIOError:
            return False
        except OSError:
            self._lose()
        counts.updates_conflated += outbox.take_conflated()
        if self._empty is not None:
            self._empty.set()
            self._empty = None
        return True

    async def _wait_writable(self) -> None:
        try:
            await trio.lowlevel.wait_writable(self._stream.socket)
        except (OSError, trio.ClosedResourceError):
            self._lose()

    def _lose(self) -> None:
        """The client has gone: what is pending will never arrive."""
        self.outbox.rest_of_frame()
        self._end(_LOST)

    def _cut_off(self) -> None:
        """Give up on a client that does not keep up, yet tell it so if its system takes that.

        What it has not been sent is dropped, but for the end of the frame it is in the middle of:
        behind it the close frame is understood. The buffer grows once to make room for both.
        """
        rest = self.outbox.rest_of_frame()
        if self.closed_with == _LOST:
            return
        self.closed_with = None
        self._reason = "read too slowly"
        self._end(CloseCode.SLOW_CONSUMER)
        try:
            last = rest + self._inbox.farewell(CloseCode.SLOW_CONSUMER, self._reason)
            room = self._desk.limits.websocket_buffer_bytes + len(last)
            self._stream.setsockopt(system.SOL_SOCKET, system.SO_SNDBUF, 2 * room)
            # trio lets the system hold 16 KiB not yet sent; beyond them the farewell would not fit.
            self._stream.setsockopt(system.IPPROTO_TCP, system.TCP_NOTSENT_LOWAT, 2 * room)
            os.write(self._stream.socket.fileno(), last)
        except OSError:
            pass  # it does not even take that

    def _ping(self, now_s: float) -> None:
        self._ping_due_s = now_s + self._desk.limits.websocket_ping_s
        if self._pong_due_s is None:
            self._pong_due_s = now_s + self._desk.limits.websocket_pong_s_max
        self.outbox.send_control(_PING)

    def _notice_end(self) -> None:
        if not self._is_noticed:
            self._is_noticed = True
            self.announce("lifetime over", _NOTICE_S)

    async def _hang_up(self) -> None:
        """End our half of the connection, and wait a little for the client to end its own."""
        with trio.move_on_after(_GOODBYE_S_MAX):
            try:
                await self._stream.send_eof()
                while await self._stream.receive_some(_RECEIVE_BYTES_MAX):
                    pass
            except (trio.BrokenResourceError, trio.ClosedResourceError, trio.BusyResourceError):
                pass


Session = Callable[[Socket], Awaitable[None]]

"""All websockets of one server: who writes, who looks after them, and how they end together."""

import socket as system
from collections import Counter
from collections.abc import Hashable, Mapping
from typing import Final

import trio

from api.sockets.codes import CloseCode
from api.sockets.handshake import Accepted
from api.sockets.wire import Session, Socket, SocketClosed
from api.web.faults import FaultLog, leaves
from api.web.limits import ServerCounts, ServerLimits

#: Between two looks at every socket.
_TICK_S: Final = 1.0
#: Sockets written to before other tasks get their turn.
_SOCKETS_PER_TURN: Final = 64


class Switchboard:
    """Connects clients with sessions.

    One task writes for all sockets: a message for a thousand of them costs a thousand system calls
    but wakes one task. One task looks at all of them once a second.
    """

    def __init__(
        self,
        sessions: Mapping[str, Session],
        limits: ServerLimits,
        counts: ServerCounts,
        faults: FaultLog,
    ) -> None:
        self.sessions: Final = sessions
        self.limits: Final = limits
        self.counts: Final = counts
        self._faults = faults
        self._open: set[Socket] = set()
        self._claimed: Counter[Hashable] = Counter()
        self._pending: list[Socket] = []
        self._wakes = trio.Event()
        self._is_stopping = False
        self._writers: trio.Nursery | None = None

    async def run(self, *, task_status: "trio.TaskStatus[None]" = trio.TASK_STATUS_IGNORED) -> None:
        """Write and look after the sockets until cancelled."""
        async with trio.open_nursery() as self._writers:
            self._writers.start_soon(self._tick_all)
            task_status.started()
            await self._flush_pending()

    async def connect(self, stream: trio.SocketStream, accepted: Accepted, peer: str) -> None:
        """Hold one accepted websocket until either side has enough."""
        # Left to itself the system would hold megabytes for a client that does not read.
        for buffer in (system.SO_SNDBUF, system.SO_RCVBUF):
            stream.setsockopt(system.SOL_SOCKET, buffer, self.limits.websocket_buffer_bytes)
        socket = Socket(stream, accepted, peer, self)
        socket.outbox.send_control(accepted.answer)
        self._open.add(socket)
        self.counts.sockets_accepted += 1
        self.counts.sockets_open += 1
        if self._is_stopping:
            self._stop(socket)
        try:
            await self._hold(socket)
        finally:
            self._open.remove(socket)
            self._claimed.subtract(socket.claims)
            self._claimed += Counter()  # forgets those that hold nothing
            self.counts.sockets_open -= 1
            code = socket.closed_with or 0
            self.counts.sockets_closed[code] = self.counts.sockets_closed.get(code, 0) + 1

    def stop(self) -> None:
        """Tell every client that the server stops, and let its session finish what is in flight."""
        self._is_stopping = True
        for socket in list(self._open):
            self._stop(socket)

    def note_pending(self, socket: Socket) -> None:
        """Have what is pending at `socket` written soon."""
        self._pending.append(socket)
        self._wakes.set()

    def note_blocked(self, socket: Socket) -> None:
        """Give a socket whose client does not keep up a task that waits for it."""
        if self._writers is not None:
            self._writers.start_soon(self._write_blocked, socket)

    def claim(self, owner: Hashable, sockets_max: int) -> bool:
        """Count one more socket for `owner`; False when it has too many."""
        if self._claimed[owner] >= sockets_max:
            return False
        self._claimed[owner] += 1
        return True

    def _stop(self, socket: Socket) -> None:
        socket.announce("server stopping")
        socket.close(CloseCode.SERVER_STOPPING, "server stopping")

    async def _hold(self, socket: Socket) -> None:
        with socket.scope:
            try:
                await self.sessions[socket.path](socket)
            except* SocketClosed:
                pass
            except* Exception as broken:
                self._note_fault(socket, *leaves(broken))
        await socket.say_goodbye()

    def _note_fault(self, socket: Socket, *faults: BaseException) -> None:
        """Close one socket for our own bug, and leave all others alone."""
        self.counts.connection_faults += 1
        for fault in faults:
            self._faults.note(socket.peer, fault)
        socket.close(CloseCode.INTERNAL_ERROR, "the server failed")

    async def _write_blocked(self, socket: Socket) -> None:
        try:
            await socket.write_blocked()
        except Exception as fault:
            self._note_fault(socket, fault)

    async def _flush_pending(self) -> None:
        while True:
            await self._wakes.wait()
            self._wakes = trio.Event()
            sockets, self._pending = self._pending, []
            for place, socket in enumerate(sockets, 1):
                try:
                    socket.flush()
                except Exception as fault:  # of a topic that could not say what was missed
                    self._note_fault(socket, fault)
                if place % _SOCKETS_PER_TURN == 0:
                    await trio.lowlevel.checkpoint()

    async def _tick_all(self) -> None:
        while True:
            await trio.sleep(_TICK_S)
            now_s = trio.current_time()
            for place, socket in enumerate(list(self._open), 1):
                socket.tick(now_s)
                if place % _SOCKETS_PER_TURN == 0:
                    await trio.lowlevel.checkpoint()

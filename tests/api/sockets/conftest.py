"""Sessions behind a real server on a free port, and clients that speak frames byte by byte."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import Any

import pytest
import trio
from quart_trio import QuartTrio
from websockets.frames import Close, Frame, Opcode
from websockets.protocol import Protocol, Side, State

from api.sockets.wire import Session
from api.web.limits import Bind, ServerCounts, ServerLimits
from api.web.server import serve


class Hall:
    """A running server: where it is, what it counted, how to stop it."""

    def __init__(self) -> None:
        self.bind = Bind(port=0)
        self.counts = ServerCounts()
        self.stopping = trio.Event()
        self.stopped = trio.Event()

    async def run(
        self, sessions: Mapping[str, Session], limits: ServerLimits, task_status: Any
    ) -> None:
        """Serve until stopped."""
        await serve(
            QuartTrio("nothing"),
            self.bind,
            limits,
            sessions=sessions,
            stopping=self.stopping,
            counts=self.counts,
            task_status=task_status,
        )
        self.stopped.set()

    @asynccontextmanager
    async def dial(self, receive_bytes: int = 0) -> AsyncIterator[Caller]:
        """A TCP connection; with `receive_bytes` the client's system holds no more than that."""
        sock = trio.socket.socket()
        if receive_bytes:
            sock.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_RCVBUF, receive_bytes)
        await sock.connect((self.bind.host, self.bind.port))
        async with trio.SocketStream(sock) as stream:
            yield Caller(stream)

    @asynccontextmanager
    async def socket(self, path: str = "/toy", *headers: str, **dial: int) -> AsyncIterator[Caller]:
        """A connection that has become a websocket."""
        async with self.dial(**dial) as caller:
            await caller.upgrade(path, *headers)
            assert (await caller.head()).startswith("HTTP/1.1 101 ")
            yield caller

    async def empty(self) -> None:
        """Wait, not for long, until no connection is left."""
        with trio.fail_after(4):
            while self.counts.connections_open:  # noqa: ASYNC110  # a count wakes nobody
                await trio.sleep(0.001)


class Caller:
    """A client of websockets that can also misbehave."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self.framing = Protocol(Side.CLIENT, state=State.OPEN, max_size=None)
        self.frames: list[Frame] = []
        self._early = b""

    async def upgrade(self, path: str, *headers: str, method: str = "GET") -> None:
        """Ask for a websocket, with these headers beside or instead of the usual ones."""
        usual = {
            "host": "Host: test",
            "upgrade": "Upgrade: websocket",
            "connection": "Connection: Upgrade",
            "sec-websocket-key": "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
            "sec-websocket-version": "Sec-WebSocket-Version: 13",
        }
        for header in headers:
            name, _, text = header.partition(":")
            usual[name.lower()] = header
            if not text:
                del usual[name.lower()]
        lines = [f"{method} {path} HTTP/1.1", *usual.values(), "", ""]
        await self.raw("\r\n".join(lines).encode())

    async def head(self) -> str:
        """The head of the answer; what follows it is kept."""
        got = b""
        with trio.fail_after(2):
            while b"\r\n\r\n" not in got:
                part = await self.stream.receive_some(65_536)
                assert part, got
                got += part
        head, _, self._early = got.partition(b"\r\n\r\n")
        return head.decode()

    async def body(self) -> Any:
        """The JSON after `head`, up to the end of the connection."""
        got = self._early
        with trio.fail_after(2):
            while part := await self.stream.receive_some(65_536):
                got += part
        return json.loads(got)

    async def raw(self, data: bytes) -> None:
        """Send bytes as they are."""
        await self.stream.send_all(data)

    async def say(self, *messages: object) -> None:
        """Send messages in text frames, in one write."""
        for message in messages:
            self.framing.send_text(json.dumps(message).encode())
        await self.raw(b"".join(self.framing.data_to_send()))

    async def frame(self, opcode: Opcode, payload: bytes = b"", *, fin: bool = True) -> None:
        """Send one frame."""
        await self.raw(Frame(opcode, payload, fin).serialize(mask=True))

    async def hear_frame(self, wait_s: float = 4.0, at_most: int = 65_536) -> Frame | None:
        """The next frame; None when the server has ended the connection."""
        with trio.fail_after(wait_s):
            while not self.frames:
                data = self._early
                self._early = b""
                try:
                    data = data or await self.stream.receive_some(at_most)
                except trio.BrokenResourceError:
                    return None
                if not data:
                    return None
                self.framing.receive_data(data)
                assert self.framing.parser_exc is None, self.framing.parser_exc
                self.frames += [f for f in self.framing.events_received() if isinstance(f, Frame)]
        return self.frames.pop(0)

    async def hear(self, wait_s: float = 4.0) -> Any:
        """The next message, decoded."""
        frame = await self.hear_frame(wait_s)
        assert frame is not None, "closed"
        assert frame.opcode is Opcode.TEXT, frame
        return json.loads(bytes(frame.data))

    async def hear_end(self, wait_s: float = 4.0) -> int:
        """Pass over messages; the code of the close frame, or 1006 without one."""
        while (frame := await self.hear_frame(wait_s)) is not None:
            if frame.opcode is Opcode.CLOSE:
                return int(Close.parse(frame.data).code)
        return 1006


Serving = Callable[..., AbstractAsyncContextManager[Hall]]


@pytest.fixture
async def serving() -> Serving:
    """Serves sessions, `/toy` if only one is given, with the limits given."""

    @asynccontextmanager
    async def start(
        sessions: Session | Mapping[str, Session], **limits: Any
    ) -> AsyncIterator[Hall]:
        by_path = sessions if isinstance(sessions, Mapping) else {"/toy": sessions}
        hall = Hall()
        async with trio.open_nursery() as nursery:
            [hall.bind] = await nursery.start(partial(hall.run, by_path, ServerLimits(**limits)))
            yield hall
            nursery.cancel_scope.cancel()

    return start

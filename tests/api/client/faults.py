"""A door in front of a real server that loses, refuses and breaks what it is told to."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from enum import Enum
from typing import Any, NamedTuple

import msgspec
import trio

from tests.api.client.server import Server


class Fault(Enum):
    """What can happen to a request on its way."""

    LOSE_REQUEST = "the connection breaks before it arrives"
    LOSE_ANSWER = "it is done, and the connection breaks before the answer"


class Said(NamedTuple):
    """An answer that the server did not give; `body` may be no JSON of ours."""

    status: int
    code: str
    headers: tuple[str, ...] = ()
    body: bytes = b""


class Request(NamedTuple):
    """One request as it came."""

    head: str
    body: bytes

    def header(self, name: str) -> str:
        """A header, "" if it is not there."""
        for line in self.head.split("\r\n")[1:]:
            key, _, text = line.partition(": ")
            if key.lower() == name.lower():
                return text
        return ""


class Door:
    """Where it listens, what comes, and what is to go wrong next; then all goes well."""

    def __init__(self, server: Server) -> None:
        self.url = ""
        self.script: deque[Fault | Said | None] = deque()
        self.requests: list[Request] = []
        self._server = server

    async def serve(self, stream: trio.SocketStream) -> None:
        """One connection of a client."""
        async with stream, await trio.open_tcp_stream("127.0.0.1", self._server.bind.port) as back:
            while True:
                request = await _read(stream)
                if request is None:
                    return
                head, body = request
                self.requests.append(Request(head.decode(), body))
                planned = self.script.popleft() if self.script else None
                if planned is Fault.LOSE_REQUEST:
                    return
                if isinstance(planned, Said):
                    await stream.send_all(_raw(planned))
                    continue
                await back.send_all(head + body)
                answer = await _read(back)
                if planned is Fault.LOSE_ANSWER or answer is None:
                    return
                await stream.send_all(b"".join(answer))


async def _read(stream: trio.SocketStream) -> tuple[bytes, bytes] | None:
    """Head and body of one HTTP message; None at the end."""
    got = b""
    while b"\r\n\r\n" not in got:
        part = await stream.receive_some()
        if not part:
            return None
        got += part
    head, _, body = got.partition(b"\r\n\r\n")
    size = 0
    for line in head.decode().split("\r\n"):
        if line.lower().startswith("content-length:"):
            size = int(line.partition(":")[2])
    while len(body) < size:
        body += await stream.receive_some()
    return head + b"\r\n\r\n", body


def _raw(said: Said) -> bytes:
    told: Any = {"error": {"code": said.code, "message": "as planned", "server_time_ns": 1}}
    body = said.body or msgspec.json.encode(told)
    lines = (f"HTTP/1.1 {said.status} X", f"Content-Length: {len(body)}", *said.headers, "", "")
    return "\r\n".join(lines).encode() + body


@asynccontextmanager
async def faulty(server: Server, *script: Fault | Said | None) -> AsyncIterator[Door]:
    """A door that does this to one request after the other, and lets all later ones pass."""
    door = Door(server)
    door.script.extend(script)
    async with trio.open_nursery() as nursery:
        [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
        door.url = f"http://127.0.0.1:{listener.socket.getsockname()[1]}"
        nursery.start_soon(trio.serve_listeners, door.serve, [listener])
        yield door
        nursery.cancel_scope.cancel()

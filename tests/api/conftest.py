"""A server on a free port, ours or the stock one, and a client that speaks raw bytes."""

import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import NoReturn

import hypercorn.trio
import pytest
import trio
from hypercorn.config import Config
from quart import Response, request, websocket
from quart_trio import QuartTrio

from api.web.limits import Bind, ServerCounts, ServerLimits
from api.web.server import serve


class Client:
    """One raw connection to a server."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream

    async def send(self, sent: bytes) -> None:
        """Send raw bytes."""
        await self.stream.send_all(sent)

    async def send_for_ever(self) -> NoReturn:
        """Send until the connection breaks."""
        while True:
            await self.send(bytes(65_536))

    async def send_head(self, first_line: str, *headers: str, end: bytes = b"\r\n\r\n") -> None:
        """Send a request line and headers, and nothing else."""
        lines = [f"{first_line} HTTP/1.1", "Host: test", *headers]
        await self.send("\r\n".join(lines).encode() + end)

    async def send_upgrade(self, path: str, *headers: str, followed_by: bytes = b"") -> None:
        """Ask for a websocket; `followed_by` is sent in the same packet."""
        await self.send_head(
            f"GET {path}",
            "Upgrade: websocket",
            "Connection: Upgrade",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
            "Sec-WebSocket-Version: 13",
            *headers,
            end=b"\r\n\r\n" + followed_by,
        )

    async def hear(self, until: bytes | None = None, wait_s: float = 2.0) -> bytes:
        """What the server says until it says `until`, closes, or is silent for `wait_s`."""
        heard = b""
        while until is None or until not in heard:
            part = b"<silent>"
            with trio.move_on_after(wait_s):
                try:
                    part = await self.stream.receive_some(65_536) or b"<closed>"
                except trio.BrokenResourceError:
                    part = b"<reset>"
            heard += part
            if part in {b"<silent>", b"<closed>", b"<reset>"}:
                break
        return heard

    async def get_hello(self, wait_s: float = 2.0) -> bytes:
        """A plain request and its answer, which ends with `hello`."""
        await self.send_head("GET /hello")
        return await self.hear(until=b"hello", wait_s=wait_s)

    async def reset(self) -> None:
        """Leave without goodbye."""
        self.stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        await trio.aclose_forcefully(self.stream)


class Site:
    """A running server: where it is, what it counted, how to stop it."""

    def __init__(self) -> None:
        self.bind = Bind(port=0)
        self.counts = ServerCounts()
        self.stopping = trio.Event()
        self.stopped = trio.Event()
        self._clients: list[Client] = []

    async def connect(self) -> Client:
        """A new raw connection; the test's end closes it."""
        client = Client(await trio.open_tcp_stream(self.bind.host, self.bind.port))
        self._clients.append(client)
        return client

    async def empty(self) -> None:
        """Wait, not for long, until no connection is left."""
        with trio.fail_after(2):
            while self.counts.connections_open:  # noqa: ASYNC110  # a count wakes nobody
                await trio.sleep(0.001)

    async def forget_clients(self) -> None:
        """Close what the test left open."""
        for client in self._clients:
            await trio.aclose_forcefully(client.stream)

    async def says_hello(self) -> bool:
        """Whether a new client is served."""
        return (await (await self.connect()).get_hello()).endswith(b"hello")


class ExampleApp(QuartTrio):
    """Says hello, echoes, is slow, and has feeds that end, do not end, do not listen."""

    def __init__(self) -> None:
        super().__init__("example")
        self.feed_ended = trio.Event()
        self.get("/hello")(self.hello)
        self.post("/echo")(self.echo)
        self.get("/slow")(self.slow)
        self.websocket("/feed")(self.feed)
        self.websocket("/stubborn")(self.stubborn)
        self.websocket("/deaf")(self.deaf)

    async def hello(self) -> str:
        return "hello"

    async def echo(self) -> Response:
        return Response(await request.get_data(as_text=False))

    async def slow(self) -> str:
        await trio.sleep(0.1)
        return "slow but hello"

    async def feed(self) -> None:
        await websocket.accept()
        try:
            with trio.move_on_after(0.25):
                while True:
                    await websocket.send(bytes(1 << 24))  # more than any socket buffers
                    await trio.lowlevel.checkpoint()
        finally:
            self.feed_ended.set()

    async def stubborn(self) -> None:
        await websocket.accept()
        while True:
            await websocket.send(b"still there?")

    async def deaf(self) -> None:
        await websocket.accept()
        await trio.sleep_forever()


Start = Callable[..., Awaitable[Site]]


@pytest.fixture
async def sites() -> AsyncIterator[list[Site]]:
    """The servers of a test, whose clients are closed after it."""
    started: list[Site] = []
    yield started
    for site in started:
        await site.forget_clients()


@pytest.fixture
async def guarded(nursery: trio.Nursery, sites: list[Site]) -> Start:
    """Starts our server around an app, with the limits given."""

    async def start(app: QuartTrio, **limits: float) -> Site:
        site = Site()
        sites.append(site)

        async def run(task_status: trio.TaskStatus[list[Bind]]) -> None:
            await serve(
                app,
                site.bind,
                ServerLimits(**limits),  # type: ignore[arg-type]
                stopping=site.stopping,
                counts=site.counts,
                task_status=task_status,
            )
            site.stopped.set()

        [site.bind] = await nursery.start(run)
        return site

    return start


@pytest.fixture
async def stock(sites: list[Site]) -> Callable[[trio.Nursery, QuartTrio], Awaitable[Site]]:
    """Starts hypercorn's own server around an app, in a nursery that its faults may bring down."""

    async def start(nursery: trio.Nursery, app: QuartTrio) -> Site:
        config = Config()
        config.bind = ["127.0.0.1:0"]
        config.errorlog = None
        [url] = await nursery.start(partial(hypercorn.trio.serve, app, config))
        site = Site()
        sites.append(site)
        site.bind = Bind(port=int(url.rpartition(":")[2]))
        return site

    return start


@pytest.fixture
async def example() -> ExampleApp:
    """A fresh example app."""
    return ExampleApp()

"""Who gets a websocket, in which language, and what the others are told."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio
from websockets.trio.client import connect

from api.sockets.codec import JSON, MSGPACK

if TYPE_CHECKING:
    from api.sockets.wire import Socket
    from tests.api.sockets.conftest import Serving


async def echo(socket: Socket) -> None:
    """Says what it heard, and first what it is."""
    socket.limit_messages(1e9, 1e9)
    socket.outbox.send({"codec": str(socket.codec), "target": socket.target})
    while True:
        for payload in await socket.receive():
            socket.outbox.send({"heard": socket.codec.decode(payload, object)})


@pytest.mark.parametrize(
    ("offered", "chosen", "codec"),
    [
        ("", None, JSON),
        ("outcry.json", "outcry.json", JSON),
        ("outcry.msgpack", "outcry.msgpack", MSGPACK),
        ("chat, outcry.msgpack", "outcry.msgpack", MSGPACK),
        ("outcry.msgpack, outcry.json", "outcry.json", JSON),
    ],
)
async def test_the_subprotocol_chooses_the_language_and_json_is_the_default(
    serving: Serving, offered: str, chosen: str | None, codec: object
) -> None:
    headers = [f"Sec-WebSocket-Protocol: {offered}"] if offered else []
    async with serving(echo) as hall, hall.dial() as caller:
        await caller.upgrade("/toy?a=%20b", *headers)
        head = await caller.head()
        assert "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in head
        assert (f"Sec-WebSocket-Protocol: {chosen}" in head) is (chosen is not None)
        frame = await caller.hear_frame()
        assert frame is not None
        told = {"codec": str(codec), "target": "/toy?a=%20b"}
        assert frame.data == codec.encode(told)  # type: ignore[attr-defined]


async def test_a_stock_client_speaks_with_us(serving: Serving) -> None:
    async with serving(echo) as hall:
        uri = f"ws://{hall.bind.host}:{hall.bind.port}/toy"
        async with connect(uri) as client:
            await client.recv()
            await client.send('"hello"')
            assert await client.recv() == '{"heard":"hello"}'
            await client.ping()
        assert client.close_code == 1000
        await hall.empty()
        assert hall.counts.sockets_closed == {1000: 1}
        assert hall.counts.sockets_open == 0


async def test_compression_is_not_agreed_to(serving: Serving) -> None:
    async with serving(echo) as hall, hall.dial() as caller:
        await caller.upgrade("/toy", "Sec-WebSocket-Extensions: permessage-deflate")
        head = await caller.head()
        assert head.startswith("HTTP/1.1 101 ")
        assert "deflate" not in head


@pytest.mark.parametrize(
    ("header", "status", "code"),
    [
        ("Sec-WebSocket-Version: 12", 400, "BAD_REQUEST"),
        ("Sec-WebSocket-Version:", 400, "BAD_REQUEST"),
        ("Sec-WebSocket-Key: short", 400, "BAD_REQUEST"),
        ("Sec-WebSocket-Key:", 400, "BAD_REQUEST"),
        ("Upgrade:", 426, "UPGRADE_REQUIRED"),
        ("Upgrade: h2c", 426, "UPGRADE_REQUIRED"),
        ("Connection: close", 426, "UPGRADE_REQUIRED"),
        ("Sec-WebSocket-Protocol: chat", 400, "BAD_REQUEST"),
        ("Origin: https://evil.example", 403, "FORBIDDEN"),
        ("Origin: null", 403, "FORBIDDEN"),
        ("Origin: http://test.evil.example", 403, "FORBIDDEN"),
    ],
)
async def test_a_bad_handshake_is_answered_in_json_and_closed(
    serving: Serving, header: str, status: int, code: str
) -> None:
    async with serving(echo) as hall, hall.dial() as caller:
        await caller.upgrade("/toy", header)
        head = await caller.head()
        assert head.startswith(f"HTTP/1.1 {status} ")
        assert "content-type: application/json" in head
        assert (await caller.body())["error"]["code"] == code
        assert hall.counts.sockets_refused == 1
        assert hall.counts.sockets_accepted == hall.counts.connection_faults == 0


@pytest.mark.parametrize("origin", ["http://test", "https://test", "https://friend.example:8443"])
async def test_our_own_pages_and_those_of_listed_origins_may_connect(
    serving: Serving, origin: str
) -> None:
    listed = ("https://friend.example:8443",)
    async with serving(echo, websocket_origins=listed) as hall, hall.dial() as caller:
        await caller.upgrade("/toy", f"Origin: {origin}")
        assert (await caller.head()).startswith("HTTP/1.1 101 ")


async def test_a_plain_get_is_told_to_upgrade_and_another_method_what_is_allowed(
    serving: Serving,
) -> None:
    async with serving(echo) as hall:
        async with hall.dial() as caller:
            await caller.raw(b"GET /toy HTTP/1.1\r\nHost: test\r\n\r\n")
            head = await caller.head()
            assert head.startswith("HTTP/1.1 426 ")
            assert "Upgrade: websocket" in head
            assert (await caller.body())["error"]["code"] == "UPGRADE_REQUIRED"
        async with hall.dial() as caller:
            await caller.upgrade("/toy", method="POST")
            head = await caller.head()
            assert head.startswith("HTTP/1.1 405 ")
            assert "Allow: GET" in head


async def test_no_host_and_http_1_0_are_refused(serving: Serving) -> None:
    async with serving(echo) as hall:
        async with hall.dial() as caller:
            await caller.upgrade("/toy", "Host:")
            assert (await caller.head()).startswith("HTTP/1.1 400 ")
        async with hall.dial() as caller:
            await caller.raw(b"GET /toy HTTP/1.0\r\nHost: test\r\nUpgrade: websocket\r\n\r\n")
            assert (await caller.head()).startswith("HTTP/1.1 505 ")


async def test_another_path_is_answered_404(serving: Serving) -> None:
    async with serving(echo) as hall, hall.dial() as caller:
        await caller.upgrade("/toys")
        assert (await caller.head()).startswith("HTTP/1.1 404 ")
        assert (await caller.body())["error"]["code"] == "NOT_FOUND"


async def test_bytes_that_do_not_wait_for_the_acceptance_are_refused(serving: Serving) -> None:
    async with serving(echo) as hall, hall.dial() as caller:
        request = b"GET /toy HTTP/1.1\r\nHost: t\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        await caller.raw(request + b"\r\n\x81")
        assert (await caller.head()).startswith("HTTP/1.1 400 ")
        assert "acceptance" in (await caller.body())["error"]["message"]


async def test_a_websocket_can_follow_requests_on_the_same_connection(serving: Serving) -> None:
    async with serving(echo) as hall, hall.dial() as caller:
        for _ in range(3):
            await caller.raw(b"GET /nothing HTTP/1.1\r\nHost: test\r\n\r\n")
            assert (await caller.head()).startswith("HTTP/1.1 404 ")
        await caller.upgrade("/toy")
        assert (await caller.head()).startswith("HTTP/1.1 101 ")
        assert (await caller.hear())["target"] == "/toy"


async def test_a_socket_outlives_every_patience_that_http_has(serving: Serving) -> None:
    limits = {"idle_s_max": 0.05, "head_read_s_max": 0.05, "body_read_s_max": 0.05}
    async with serving(echo, **limits) as hall, hall.socket() as caller:
        await caller.hear()
        await trio.sleep(0.15)
        await caller.say("still there?")
        assert await caller.hear() == {"heard": "still there?"}


async def test_a_full_house_refuses_with_503_and_a_full_address_with_429(serving: Serving) -> None:
    for limits, status in (
        ({"connections_max": 2}, 503),
        ({"connections_per_address_max": 2}, 429),
    ):
        async with serving(echo, **limits) as hall:
            async with hall.socket(), hall.socket(), hall.dial() as third:
                assert (await third.head()).startswith(f"HTTP/1.1 {status} ")
                assert hall.counts.connections_refused == 1
            await hall.empty()
            async with hall.socket() as caller:
                assert await caller.hear()


async def test_no_limit_per_address_is_zero(serving: Serving) -> None:
    async with (
        serving(echo, connections_per_address_max=0) as hall,
        hall.socket(),
        hall.socket(),
        hall.socket(),
    ):
        assert hall.counts.sockets_open == 3


async def test_headers_are_found_whatever_their_case(serving: Serving) -> None:
    async def tell(socket: Socket) -> None:
        socket.outbox.send([socket.headers["OUTCRY-key"], socket.headers.get("none"), socket.peer])

    async with serving(tell) as hall, hall.socket("/toy", "Outcry-Key: 7") as caller:
        assert await caller.hear() == ["7", None, "127.0.0.1"]
        assert await caller.hear_end() == 1000

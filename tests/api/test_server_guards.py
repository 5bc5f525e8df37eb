"""The three faults of the stock server: each shown on it, and shown to be gone on ours.

When a test of the stock server fails, hypercorn has repaired the fault and our guard may go.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest
import trio
from quart_trio import QuartTrio

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.api.conftest import ExampleApp, Site, Start

    StartStock = Callable[[trio.Nursery, QuartTrio], Awaitable[Site]]

faulty = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@faulty
async def test_the_stock_server_dies_of_one_byte_after_a_websocket_request(
    stock: StartStock, example: ExampleApp
) -> None:
    async def attack() -> None:
        async with trio.open_nursery() as nursery:
            site = await stock(nursery, example)
            client = await site.connect()
            await client.send_upgrade("/feed", followed_by=b"x")
            await client.hear()

    with pytest.raises(BaseExceptionGroup, match="nursery"), trio.fail_after(5):
        await attack()


async def test_our_server_survives_one_byte_after_a_websocket_request(
    guarded: Start, example: ExampleApp, caplog: pytest.LogCaptureFixture
) -> None:
    site = await guarded(example)
    client = await site.connect()
    await client.send_upgrade("/feed", followed_by=b"x")
    assert (await client.hear()).endswith(b"<closed>")
    assert await site.says_hello()
    assert site.counts.connection_faults == 1
    [line] = caplog.messages
    assert "bytes arrived before the websocket was accepted" in line


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x00\xff\xfe garbage \r\n\r\n",
        b"GET /hello HTTP/1.1\r\nHost: test\r\nContent-Length: -1\r\n\r\n",
        b"GET /hello HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ],
)
async def test_a_request_that_is_none_is_answered_with_a_json_error_and_closed(
    garbage: bytes, guarded: Start, example: ExampleApp
) -> None:
    site = await guarded(example)
    client = await site.connect()
    await client.send(garbage)
    heard = await client.hear()
    assert heard.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 501 ", b"HTTP/1.1 505 "))
    assert b'{"error":{"code":"' in heard
    assert heard.endswith(b"<closed>")
    assert await site.says_hello()


@pytest.mark.parametrize(
    "frame", [b"\xff\xff\xff\xff", b"\x81\x05hello", b"\x81\xff" + b"\xff" * 8]
)
async def test_garbage_frames_end_their_own_websocket_only(
    frame: bytes, guarded: Start, example: ExampleApp
) -> None:
    site = await guarded(example)
    client = await site.connect()
    await client.send_upgrade("/deaf")
    await client.hear(until=b"\r\n\r\n")
    await client.send(frame)
    await client.hear(wait_s=0.05)
    await client.reset()
    assert await site.says_hello()


async def test_a_client_that_resets_in_the_middle_is_no_fault(
    guarded: Start, example: ExampleApp
) -> None:
    site = await guarded(example)
    for path in ("/slow", "/hello"):
        client = await site.connect()
        await client.send_head(f"GET {path}")
        await client.reset()
    assert await site.says_hello()
    assert site.counts.connection_faults == 0


async def test_faults_beyond_the_limit_are_counted_but_not_logged(
    guarded: Start, example: ExampleApp, caplog: pytest.LogCaptureFixture
) -> None:
    site = await guarded(example, fault_logs_per_minute_max=2)
    for _ in range(5):
        client = await site.connect()
        await client.send_upgrade("/feed", followed_by=b"x")
        await client.hear()
    assert site.counts.connection_faults == 5
    assert len(caplog.records) == 2


async def test_a_bug_in_the_app_is_logged_with_its_traceback(
    guarded: Start, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(QuartTrio):
        async def __call__(self, *args: object) -> None:
            raise ZeroDivisionError("ours")

    site = await guarded(Broken("broken"))
    heard = await (await site.connect()).get_hello()
    assert heard.startswith(b"HTTP/1.1 500 ")
    assert b'"code":"INTERNAL_ERROR"' in heard
    assert any(record.exc_info for record in caplog.records if record.levelno == logging.ERROR)


@faulty
@pytest.mark.slow
async def test_the_stock_server_cannot_time_a_client_that_does_not_read(
    stock: StartStock, example: ExampleApp
) -> None:
    async with trio.open_nursery() as nursery:
        site = await stock(nursery, example)
        client = await site.connect()
        await client.send_upgrade("/feed")
        with trio.move_on_after(1.0) as patience:
            await example.feed_ended.wait()
        assert patience.cancelled_caught, "the feed is to end after 0.25 s, yet hangs in its write"
        await client.reset()
        nursery.cancel_scope.cancel()


@pytest.mark.slow
async def test_our_server_cuts_off_a_client_that_does_not_read(
    guarded: Start, example: ExampleApp
) -> None:
    site = await guarded(example, write_s_max=0.1)
    client = await site.connect()
    await client.send_upgrade("/feed")
    with trio.fail_after(2.0):
        await example.feed_ended.wait()
    await site.empty()
    assert site.counts.readers_too_slow == 1
    assert (await client.hear()).endswith(b"<reset>")
    assert await site.says_hello()


async def test_a_feed_that_only_sends_does_not_stop_the_server_when_its_client_leaves(
    guarded: Start, example: ExampleApp
) -> None:
    site = await guarded(example)
    client = await site.connect()
    await client.send_upgrade("/stubborn")
    await client.hear(until=b"still there?")
    await client.reset()
    assert await site.says_hello()


async def test_a_feed_that_does_not_listen_ends_with_its_client(
    guarded: Start, example: ExampleApp
) -> None:
    site = await guarded(example, write_s_max=0.05, websocket_ping_s=0.05)
    client = await site.connect()
    await client.send_upgrade("/deaf")
    await client.hear(until=b"\r\n\r\n")
    await client.send(b"\x81\x80\x00\x00\x00\x00" * 100)  # more messages than queues hold
    await trio.sleep(0.01)
    await client.reset()
    await site.empty()


@faulty
@pytest.mark.slow
@pytest.mark.parametrize("path", ["/nowhere", "/hello"])
async def test_the_stock_server_leaves_a_connection_dead_when_it_answers_before_the_body(
    path: str, stock: StartStock, example: ExampleApp
) -> None:
    async with trio.open_nursery() as nursery:
        site = await stock(nursery, example)
        client = await site.connect()
        await client.send_head(f"POST {path}", "Content-Length: 3")
        await trio.sleep(0.02)
        await client.send(b"abc")
        await client.hear(until=b"</p>")
        assert await client.get_hello(wait_s=0.5) == b"<silent>"
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("path", ["/nowhere", "/hello"])
async def test_our_server_keeps_a_connection_alive_whose_body_comes_late(
    path: str, guarded: Start, example: ExampleApp
) -> None:
    site = await guarded(example)
    client = await site.connect()
    await client.send_head(f"POST {path}", "Content-Length: 3")
    await trio.sleep(0.02)
    await client.send(b"abc")
    await client.hear(until=b"</p>")
    assert (await client.get_hello()).endswith(b"hello")

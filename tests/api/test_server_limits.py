"""What our server grants: bodies, heads, patience, connections, messages, and time to finish."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio

if TYPE_CHECKING:
    from tests.api.conftest import ExampleApp, Start


async def test_a_body_announced_too_large_is_answered_413_unread(
    guarded: Start, example: ExampleApp
) -> None:
    site = await guarded(example, body_bytes_max=10)
    client = await site.connect()
    await client.send_head("POST /echo", "Content-Length: 11", "X-Request-Id: mine-1")
    heard = await client.hear(until=b"}}")
    assert heard.startswith(b"HTTP/1.1 413 ")
    assert b'"code":"BODY_TOO_LARGE"' in heard
    assert b'"request_id":"mine-1"' in heard
    assert b"connection: close" in heard
    await client.stream.send_eof()
    assert await client.hear() == b"<closed>"
    assert site.counts.bodies_too_large == 1


async def test_a_chunked_body_that_grows_too_large_is_answered_413(
    guarded: Start, example: ExampleApp
) -> None:
    site = await guarded(example, body_bytes_max=10)
    client = await site.connect()
    await client.send_head("POST /echo", "Transfer-Encoding: chunked")
    await client.send(b"6\r\nabcdef\r\n6\r\nabcdef\r\n0\r\n\r\n")
    assert (await client.hear(until=b"}}")).startswith(b"HTTP/1.1 413 ")


async def test_a_body_of_two_lengths_is_answered_400_and_ends_the_connection(
    guarded: Start, example: ExampleApp
) -> None:
    site = await guarded(example)
    client = await site.connect()
    await client.send_head("POST /echo", "Content-Length: 4", "Transfer-Encoding: chunked")
    await client.send(b"0\r\n\r\nGET /hello HTTP/1.1\r\nHost: test\r\n\r\n")
    heard = await client.hear(until=b"<closed>")
    assert heard.startswith(b"HTTP/1.1 400 ")
    assert b"hello" not in heard
    assert await site.says_hello()


@pytest.mark.slow
async def test_a_client_that_goes_on_sending_after_413_is_cut_off(
    guarded: Start, example: ExampleApp
) -> None:
    site = await guarded(example, body_bytes_max=10, write_s_max=0.05)
    client = await site.connect()
    await client.send_head("POST /echo", "Content-Length: 1000000000")
    with pytest.raises(trio.BrokenResourceError), trio.fail_after(5):
        await client.send_for_ever()


async def test_a_body_of_exactly_the_limit_arrives_whole(
    guarded: Start, example: ExampleApp
) -> None:
    site = await guarded(example, body_bytes_max=10)
    client = await site.connect()
    await client.send_head("POST /echo", "Content-Length: 10", "Expect: 100-continue")
    assert (await client.hear(until=b"\r\n\r\n")).startswith(b"HTTP/1.1 100 ")
    await client.send(b"01234")
    await client.send(b"56789")
    assert (await client.hear(until=b"56789")).endswith(b"\r\n\r\n0123456789")


async def test_a_body_that_does_not_arrive_is_answered_408(
    guarded: Start, example: ExampleApp
) -> None:
    site = await guarded(example, body_read_s_max=0.02)
    client = await site.connect()
    await client.send_head("POST /echo", "Content-Length: 10")
    await client.send(b"012")
    heard = await client.hear()
    assert heard.startswith(b"HTTP/1.1 408 ")
    assert heard.endswith(b"}}\n<closed>")
    assert site.counts.bodies_too_slow == 1


async def test_a_head_over_the_limit_is_answered_431_though_it_came_in_one_piece(
    guarded: Start, example: ExampleApp
) -> None:
    site = await guarded(example, head_bytes_max=1_000)
    client = await site.connect()
    await client.send_head("GET /hello", "X-Long: " + "x" * 1_000)
    heard = await client.hear(until=b"<closed>")
    assert heard.startswith(b"HTTP/1.1 431 ")
    assert await site.says_hello()


async def test_a_head_over_the_limit_is_answered_431(guarded: Start, example: ExampleApp) -> None:
    site = await guarded(example, head_bytes_max=500)
    client = await site.connect()
    await client.send_head("GET /hello", f"X-Long: {'x' * 600}", end=b"")
    heard = await client.hear()
    assert heard.startswith(b"HTTP/1.1 431 ")
    assert b'"code":"HEAD_TOO_LARGE"' in heard


async def test_a_head_that_comes_too_slowly_is_closed_though_idling_would_be_allowed(
    guarded: Start, example: ExampleApp
) -> None:
    site = await guarded(example, head_read_s_max=0.02, idle_s_max=5)
    client = await site.connect()
    await client.get_hello()
    await client.send(b"GET ")
    assert await client.hear() == b"<closed>"
    assert site.counts.heads_too_slow == 1


async def test_an_idle_connection_is_closed_after_its_time(
    guarded: Start, example: ExampleApp
) -> None:
    site = await guarded(example, idle_s_max=0.05)
    fresh = await site.connect()
    used = await site.connect()
    assert (await used.get_hello()).endswith(b"hello")
    assert await fresh.hear() == b"<closed>"
    assert await used.hear() == b"<closed>"
    assert site.counts.heads_too_slow == 0


async def test_a_request_may_take_longer_than_a_connection_may_idle(
    guarded: Start, example: ExampleApp
) -> None:
    site = await guarded(example, idle_s_max=0.02)
    client = await site.connect()
    await client.send_head("GET /slow")
    assert (await client.hear(until=b"hello")).endswith(b"slow but hello")


async def test_one_connection_more_than_the_maximum_is_answered_503_and_closed(
    guarded: Start, example: ExampleApp
) -> None:
    site = await guarded(example, connections_max=2)
    clients = [await site.connect() for _ in range(2)]
    for client in clients:
        await client.get_hello()
    refused = await (await site.connect()).hear()
    assert refused.startswith(b"HTTP/1.1 503 ")
    assert refused.endswith(b"}}\n<closed>")
    assert site.counts.connections_refused == 1
    await clients[0].stream.aclose()
    await trio.sleep(0.01)
    assert await site.says_hello()


async def test_a_connection_whose_client_leaves_is_let_go_at_once(
    guarded: Start, example: ExampleApp
) -> None:
    site = await guarded(example)
    client = await site.connect()
    await client.get_hello()
    await client.stream.aclose()
    await site.empty()


async def test_pipelined_requests_are_answered_in_order(
    guarded: Start, example: ExampleApp
) -> None:
    site = await guarded(example)
    client = await site.connect()
    await client.send_head("GET /slow")
    await client.send_head("GET /nowhere")
    heard = await client.hear(until=b"404 Not Found</title>")
    assert heard.index(b"slow but hello") < heard.index(b"404")


async def test_websockets_are_not_compressed(guarded: Start, example: ExampleApp) -> None:
    site = await guarded(example)
    client = await site.connect()
    await client.send_upgrade("/deaf", "Sec-WebSocket-Extensions: permessage-deflate")
    heard = await client.hear(until=b"\r\n\r\n")
    assert heard.startswith(b"HTTP/1.1 101 ")
    assert b"deflate" not in heard


async def test_a_websocket_message_too_large_is_refused_and_the_next_part_ends_the_connection(
    guarded: Start, example: ExampleApp
) -> None:
    site = await guarded(example, websocket_message_bytes_max=100)
    client = await site.connect()
    await client.send_upgrade("/deaf")
    await client.hear(until=b"\r\n\r\n")
    part = b"\x02\xe5" + bytes(4) + bytes(101)  # binary, to be continued, 101 bytes
    await client.send(part)
    assert (await client.hear(until=b"\x03\xf1")).endswith(b"\x88\x02\x03\xf1")  # close, 1009
    await client.send(b"\x00" + part[1:])
    assert (await client.hear()) in {b"<closed>", b"<reset>"}
    assert site.counts.connection_faults == 1


async def test_a_refused_websocket_is_closed_after_its_json_error(
    guarded: Start, example: ExampleApp
) -> None:
    site = await guarded(example)
    client = await site.connect()
    await client.send_head("GET /feed", "Upgrade: websocket", "Connection: Upgrade")
    heard = await client.hear()
    assert heard.startswith(b"HTTP/1.1 400 ")
    assert heard.endswith(b"}}\n<closed>")


async def test_stopping_refuses_new_clients_and_finishes_requests_in_flight(
    guarded: Start, example: ExampleApp
) -> None:
    site = await guarded(example)
    idle, busy = await site.connect(), await site.connect()
    await idle.get_hello()
    await busy.send_head("GET /slow")
    await trio.sleep(0.02)
    site.stopping.set()
    assert await idle.hear() == b"<closed>"
    with pytest.raises(OSError, match="connect"):
        await site.connect()
    assert (await busy.hear()).endswith(b"slow but hello<closed>")
    with trio.fail_after(1):
        await site.stopped.wait()


async def test_stopping_cuts_off_what_takes_too_long(
    guarded: Start, example: ExampleApp, caplog: pytest.LogCaptureFixture
) -> None:
    site = await guarded(example, shutdown_s_max=0.02)
    busy = await site.connect()
    await busy.send_head("GET /slow")
    await trio.sleep(0.02)
    site.stopping.set()
    with trio.fail_after(1):
        await site.stopped.wait()
    assert await busy.hear() in {b"<closed>", b"<reset>"}
    assert "cut off" in caplog.text


async def test_answers_do_not_name_the_server_and_leave_in_one_piece(
    guarded: Start, example: ExampleApp
) -> None:
    site = await guarded(example)
    client = await site.connect()
    await client.send_head("GET /hello")
    heard = bytes(await client.stream.receive_some(65_536))
    assert heard.endswith(b"hello")
    assert b"server:" not in heard.lower()


async def test_a_head_request_gets_a_head_only(guarded: Start, example: ExampleApp) -> None:
    site = await guarded(example)
    client = await site.connect()
    await client.send_head("HEAD /hello")
    assert (await client.hear(until=b"\r\n\r\n")).endswith(b"\r\n\r\n")
    assert (await client.get_hello()).endswith(b"hello")

"""The sockets of the client against a real server, and against ones that behave badly."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec
import pytest
import trio
import trio.testing
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.server import ServerProtocol

from api.client import (
    Bearer,
    Refused,
    Socket,
    SocketClosed,
    Unanswered,
    open_socket,
    trio_socket,
    wire,
)
from api.client import socket as thread_socket
from tests.api.client.server import ALICE_KEY, BOB_KEY, Server, in_thread, limit, until

ALICE, BOB = Bearer(ALICE_KEY), Bearer(BOB_KEY)
STREAM, FEED = "/v1/stream", "/v1/feed"


@pytest.mark.parametrize("msgpack", [False, True])
async def test_orders_and_events_come_in_either_language(server: Server, msgpack: bool) -> None:
    async with open_socket(server.url, STREAM, ALICE, msgpack=msgpack) as socket:
        await socket.request("subscribe")
        assert (await anext(socket))["type"] == "snapshot"
        placed = await socket.request("place", order=limit("a"))
        event = await anext(socket)
        assert (event["type"], event["order"]["order_id"]) == ("order", placed["order_id"])

    def by_thread() -> None:
        with Socket(server.url, STREAM, BOB, msgpack=msgpack) as plain:
            plain.request("subscribe")
            placed = plain.request("place", order=limit("b"))
            snapshot, event = plain.event(1.0), plain.event(1.0)
            assert snapshot is not None
            assert event is not None
            assert (snapshot["type"], event["order"]["order_id"]) == (
                "snapshot",
                placed["order_id"],
            )
            while plain.event(0.05) is not None:
                pass  # balances

    await in_thread(by_thread)


async def test_pipelined_requests_are_answered_each_by_itself(server: Server) -> None:
    async with open_socket(server.url, STREAM, ALICE) as socket:
        orders = [limit(f"p-{n}", price=f"{50 + n}.00") for n in range(300)]
        replies = [await socket.tell("place", order=order) for order in orders]
        bad = await socket.tell("place", order=limit("bad", price="1.005"))
        assert [(await one.result())["price"] for one in replies] == [o.price for o in orders]
        with pytest.raises(Refused, match="NOT_A_MULTIPLE"):
            await bad.result()
        with pytest.raises(Refused, match="NOT_A_MULTIPLE"):
            await bad.result()  # as often as it is asked


async def test_no_more_requests_are_under_way_than_the_server_takes(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trio_socket, "UNDER_WAY_MAX", 5)
    with trio.fail_after(5):
        await _fill_the_room(server)


async def _fill_the_room(server: Server) -> None:
    async with open_socket(server.url, STREAM, ALICE) as socket:
        server.store.stall()
        for number in range(5):
            await socket.tell("place", order=limit(f"u-{number}"))
        with trio.move_on_after(0.05) as waiting:
            await socket.tell("place", order=limit("u-5"))
        assert waiting.cancelled_caught
        server.store.move_on()
        await socket.request("place", order=limit("u-6"))
        with pytest.raises(Refused, match="NOT_FOUND"):
            await socket.request("cancel", client_order_id="u-5")  # cancelled: not sent


async def test_replies_still_pending_when_the_connection_breaks_are_unanswered(
    server: Server,
) -> None:
    async with open_socket(server.url, STREAM, ALICE) as socket:
        server.store.stall()
        reply = await socket.tell("place", order=limit("pending"))
        await server.arrived()
        await server.kill()
        with trio.fail_after(2), pytest.raises(Unanswered):
            await reply.result()
        with pytest.raises(SocketClosed):
            await socket.tell("ping")
        with pytest.raises(SocketClosed):
            await anext(socket)


async def test_a_server_that_stops_says_so_and_answers_first(server: Server) -> None:
    async with open_socket(server.url, STREAM, ALICE) as socket:
        server.store.stall()
        reply = await socket.tell("place", order=limit("last"))
        await server.arrived()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.stop)
            assert (await anext(socket))["type"] == "closing"
            server.store.move_on()
            assert (await reply.result())["status"] == "OPEN"
            with pytest.raises(SocketClosed) as closed:
                await anext(socket)
    assert closed.value.code == 1001


async def test_what_was_told_is_sent_before_the_farewell(server: Server) -> None:
    async with open_socket(server.url, STREAM, ALICE) as socket:
        for number in range(50):
            await socket.tell("place", order=limit(f"f-{number}"))
    released = server.service.released
    await until(lambda: len(released.orders.open_of(_ALICE)) == 50)


_ALICE: Any = 100


@pytest.mark.parametrize(
    ("path", "key", "code", "told"),
    [
        (STREAM, "ock_wrong", 4001, "UNAUTHORIZED"),
        ("/v1/nothing", ALICE_KEY, 1006, "NOT_FOUND"),
    ],
)
async def test_a_refused_socket_says_why(
    server: Server, path: str, key: str, code: int, told: str
) -> None:
    with pytest.raises(SocketClosed) as closed:
        async with open_socket(server.url, path, Bearer(key)):
            pass
    refusal = closed.value.refusal
    assert (closed.value.code, refusal and refusal.code) == (code, told)

    def by_thread() -> None:
        with pytest.raises(SocketClosed) as closed, Socket(server.url, path, Bearer(key)):
            pass
        refusal = closed.value.refusal
        assert (closed.value.code, refusal and refusal.code) == (code, told)

    await in_thread(by_thread)


async def test_a_wrong_clock_is_set_at_the_handshake(server: Server) -> None:
    async with open_socket(server.url, STREAM, server.signed(now_ms=lambda: 9)) as socket:
        await socket.request("place", order=limit("clock"))

    def by_thread() -> None:
        with Socket(server.url, STREAM, server.signed(now_ms=lambda: 9)) as socket:
            assert socket.request("cancel", client_order_id="clock")["status"] == "CANCELLED"

    await in_thread(by_thread)


async def test_nobody_there_is_an_os_error() -> None:
    with pytest.raises(OSError, match=r"9|refused"):
        async with open_socket("http://127.0.0.1:9", STREAM):
            pass


async def test_what_the_block_raises_comes_out_as_it_is(server: Server) -> None:
    cause = KeyError("cause")
    with pytest.raises(ValueError, match="mine") as raised:
        async with open_socket(server.url, FEED):
            raise ValueError("mine") from cause
    assert raised.value.__cause__ is cause
    with pytest.raises(ExceptionGroup) as group:
        async with open_socket(server.url, FEED):
            raise ExceptionGroup("two of mine", [ValueError("a"), ValueError("b")])
    assert group.value.message == "two of mine"


async def test_cancelling_the_block_ends_at_once_whatever_the_server_does() -> None:
    async with silent_server() as url:
        with trio.fail_after(1), trio.move_on_after(0.1) as scope:
            async with open_socket(url, FEED):
                await trio.sleep_forever()
        assert scope.cancelled_caught


async def test_a_server_that_reads_nothing_holds_nobody_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(trio_socket, "CLOSING_S_MAX", 0.1)
    async with silent_server(pongs=1) as url:
        with trio.fail_after(2):
            async with open_socket(url, FEED) as socket:
                for _ in range(900):
                    await socket.tell("ping", filler="x" * 10_000)


async def test_silence_is_an_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "SILENCE_S_MAX", 0.1)
    async with silent_server(pongs=1) as url:
        with trio.fail_after(2):
            async with open_socket(url, FEED) as socket:
                with pytest.raises(SocketClosed) as closed:
                    await anext(socket)
        assert closed.value.code == 1006


async def test_a_message_in_pieces_is_one_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trio_socket, "CLOSING_S_MAX", 0.1)

    async def talk(say: Say, _: Any) -> None:
        told = msgspec.json.encode({"type": "news", "text": "whole"})
        await say(Frame(Opcode.TEXT, told[:5], fin=False), Frame(Opcode.PING, b"?"))
        await say(Frame(Opcode.CONT, told[5:9], fin=False), Frame(Opcode.CONT, told[9:]))
        await say(Frame(Opcode.TEXT, told))

    async with strange_server(talk) as url, open_socket(url, FEED) as socket:
        assert [(await anext(socket))["text"] for _ in range(2)] == ["whole", "whole"]


@pytest.mark.parametrize("raw", [b"\x81\xff\xff", b"\xf1\x01x", b"\x81\x7f" + b"\xff" * 8])
async def test_broken_frames_end_the_connection(raw: bytes) -> None:
    async def talk(_: "Say", stream: trio.SocketStream) -> None:
        await stream.send_all(raw)

    async with strange_server(talk) as url:
        with trio.fail_after(2):
            async with open_socket(url, FEED) as socket:
                with pytest.raises(SocketClosed) as closed:
                    await anext(socket)
    assert closed.value.code == 1006


async def test_whoever_does_not_listen_stops_reading_but_loses_nothing(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trio_socket, "EVENTS_WAITING_MAX", 3)
    async with open_socket(server.url, STREAM, ALICE) as socket:
        await socket.tell("subscribe")
        replies = [await socket.tell("place", order=limit(f"e-{n}")) for n in range(20)]
        await trio.testing.wait_all_tasks_blocked(0.02)
        numbers: list[Any] = []
        await anext(socket)
        while len(numbers) < 40:  # each order tells of itself and of a balance
            numbers.append((await anext(socket))["number"])
        for reply in replies:
            await reply.result()
        assert numbers == sorted(numbers)


async def test_a_thread_that_does_not_listen_hangs_up_rather_than_leave_out(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(thread_socket, "EVENTS_WAITING_MAX", 3)

    def deaf() -> None:
        with Socket(server.url, STREAM, ALICE) as socket:
            socket.request("subscribe")
            for number in range(5):
                socket.request("place", order=limit(f"t-{number}"))

    with pytest.raises(SocketClosed) as closed:
        await in_thread(deaf)
    assert closed.value.code == 4008


async def test_opening_and_closing_leaves_nothing_behind(server: Server) -> None:
    tasks = trio.lowlevel.current_statistics().tasks_living
    for number in range(60):
        with trio.move_on_after(0.004 * (number % 4)):
            async with open_socket(server.url, STREAM, ALICE) as socket:
                await socket.request("ping")
    await until(lambda: trio.lowlevel.current_statistics().tasks_living <= tasks)


Say = Callable[..., Any]
Talk = Callable[[Say, trio.SocketStream], Any]


@asynccontextmanager
async def strange_server(talk: Talk, pongs: int = 1) -> AsyncIterator[str]:
    """A server that answers the first ping, then does as it is told, then nothing."""

    async def serve(stream: trio.SocketStream) -> None:
        protocol = ServerProtocol()
        pending = pongs

        async def say(*frames: Frame) -> None:
            await stream.send_all(b"".join(frame.serialize(mask=False) for frame in frames))

        while data := await stream.receive_some():
            protocol.receive_data(data)
            for event in protocol.events_received():
                if isinstance(event, Request):
                    protocol.send_response(protocol.accept(event))
                    await stream.send_all(b"".join(protocol.data_to_send()))
                elif isinstance(event, Frame) and event.opcode is Opcode.TEXT and pending:
                    pending -= 1
                    asked = msgspec.json.decode(event.data)
                    answer = {"type": "answer", "id": asked["id"], "status": 200, "result": {}}
                    await say(Frame(Opcode.TEXT, msgspec.json.encode(answer)))
                    await talk(say, stream)
            if not pending:
                await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(trio.serve_listeners, serve, [listener])
        yield f"http://127.0.0.1:{listener.socket.getsockname()[1]}"
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def silent_server(pongs: int = 1) -> AsyncIterator[str]:
    """A server that lets in, and then neither reads nor writes."""

    async def nothing(_: Say, __: trio.SocketStream) -> None:
        pass

    async with strange_server(nothing, pongs) as url:
        yield url

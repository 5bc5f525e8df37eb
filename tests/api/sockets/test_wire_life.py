"""How long a socket lives: pings, silence, lifetime, the end of the server, the limit per key."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio
from websockets.frames import Close, Opcode

from api.sockets.codec import JSON
from api.sockets.codes import CloseCode
from api.sockets.handshake import Accepted, HeaderTexts
from api.sockets.switchboard import Switchboard
from api.sockets.wire import SocketClosed
from api.web.faults import FaultLog
from api.web.limits import ServerCounts, ServerLimits
from tests.api.sockets.conftest import Caller

if TYPE_CHECKING:
    from api.sockets.wire import Socket
    from tests.api.sockets.conftest import Serving


async def listen(socket: Socket) -> None:
    """Subscribed, and says nothing."""
    socket.may_be_silent = True
    while True:
        await socket.receive()


@pytest.fixture
def _ticks_are_short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.sockets.switchboard._TICK_S", 0.01)


pytestmark = pytest.mark.usefixtures("_ticks_are_short")


async def test_clients_are_pinged_and_stay_as_long_as_they_answer(serving: Serving) -> None:
    limits = {"websocket_ping_s": 0.03, "websocket_pong_s_max": 0.08}
    async with serving(listen, **limits) as hall, hall.socket() as caller:
        for _ in range(6):
            ping = await caller.hear_frame()
            assert ping is not None
            assert ping.opcode is Opcode.PING
            await caller.raw(b"".join(caller.framing.data_to_send()))
        assert hall.counts.sockets_open == 1


async def test_a_client_that_answers_no_ping_is_closed(serving: Serving) -> None:
    limits = {"websocket_ping_s": 0.02, "websocket_pong_s_max": 0.05}
    async with serving(listen, **limits) as hall, hall.socket() as caller:
        assert await caller.hear_end() == CloseCode.IDLE
        assert hall.counts.sockets_open == 1  # until the client has hung up


async def test_a_client_that_says_nothing_and_subscribes_to_nothing_is_closed(
    serving: Serving,
) -> None:
    async def wait(socket: Socket) -> None:
        while True:
            await socket.receive()

    async with serving(wait, websocket_idle_s_max=0.05) as hall:
        async with hall.socket() as silent:
            assert await silent.hear_end() == CloseCode.IDLE
        async with hall.socket() as talker:
            for _ in range(8):
                await talker.say("hello")
                await trio.sleep(0.02)
            assert hall.counts.sockets_closed == {CloseCode.IDLE: 1}
            await talker.frame(Opcode.TEXT, b"begun and never ended", fin=False)
            assert await talker.hear_end() == CloseCode.IDLE


async def test_a_subscriber_may_be_silent(serving: Serving) -> None:
    async with serving(listen, websocket_idle_s_max=0.03) as hall, hall.socket():
        await trio.sleep(0.1)
        assert hall.counts.sockets_open == 1


async def test_the_end_of_a_lifetime_is_announced(serving: Serving) -> None:
    async with serving(listen, websocket_lifetime_s_max=0.1) as hall, hall.socket() as caller:
        notice = await caller.hear()
        assert notice == {"type": "closing", "reason": "lifetime over", "in_s": 10.0}
        farewell = await caller.hear_frame()  # and no second notice
        assert farewell is not None
        assert Close.parse(farewell.data).code == CloseCode.SESSION_EXPIRED


async def test_stopping_is_announced_and_what_is_in_flight_is_answered_first(
    serving: Serving,
) -> None:
    async def answer_late(socket: Socket) -> None:
        async with trio.open_nursery() as in_flight:
            while True:
                try:
                    batch = await socket.receive()
                except SocketClosed:
                    break
                in_flight.start_soon(_answer, socket, len(batch))

    async with serving(answer_late) as hall, hall.socket() as busy, hall.socket() as idle:
        await busy.say("order")
        await trio.sleep(0.02)
        hall.stopping.set()
        for caller in (busy, idle):
            assert await caller.hear() == {
                "type": "closing",
                "reason": "server stopping",
                "in_s": 0.0,
            }
        assert await busy.hear() == {"answered": 1}
        for caller in (busy, idle):
            assert await caller.hear_end() == CloseCode.SERVER_STOPPING
            await caller.stream.aclose()
        with trio.fail_after(1):
            await hall.stopped.wait()


async def _answer(socket: Socket, count: int) -> None:
    await trio.sleep(0.1)
    socket.outbox.send({"answered": count})


async def test_a_socket_that_comes_while_the_server_stops_is_told_so_at_once() -> None:
    board = Switchboard({"/toy": listen}, ServerLimits(), ServerCounts(), FaultLog(1))
    board.stop()
    ours, theirs = map(trio.SocketStream, trio.socket.socketpair())
    accepted = Accepted("/toy", "/toy", HeaderTexts([]), JSON, b"")
    async with ours, theirs, trio.open_nursery() as nursery:
        await nursery.start(board.run)
        nursery.start_soon(board.connect, ours, accepted, "here")
        caller = Caller(theirs)
        assert (await caller.hear())["reason"] == "server stopping"
        assert await caller.hear_end() == CloseCode.SERVER_STOPPING
        nursery.cancel_scope.cancel()


async def test_clients_that_do_not_hang_up_hold_the_server_no_longer_than_allowed(
    serving: Serving,
) -> None:
    async def stubborn(socket: Socket) -> None:
        await trio.sleep_forever()

    limits = {"shutdown_s_max": 0.1}
    async with (
        serving({"/toy": stubborn, "/b": listen}, **limits) as hall,
        hall.socket(),
        hall.socket("/b"),
    ):
        hall.stopping.set()
        with trio.fail_after(1):
            await hall.stopped.wait()
        assert hall.counts.sockets_open == 0


async def test_a_session_that_does_not_listen_is_ended_after_its_client_was_cut_off(
    serving: Serving,
) -> None:
    async def deaf(socket: Socket) -> None:
        socket.close(CloseCode.FORBIDDEN, "go away")
        await trio.sleep_forever()

    async with serving(deaf, write_s_max=0.05) as hall, hall.socket() as caller:
        assert await caller.hear_end() == CloseCode.FORBIDDEN


async def test_a_close_code_reaches_the_client_after_everything_sent_before(
    serving: Serving,
) -> None:
    async def refuse(socket: Socket) -> None:
        socket.outbox.send("first")
        socket.close(CloseCode.UNAUTHORIZED, "no such key")
        socket.close(CloseCode.FORBIDDEN, "too late")
        socket.outbox.send("second")
        with pytest.raises(SocketClosed):
            await socket.receive()
        with pytest.raises(SocketClosed):
            await socket.drained()

    async with serving(refuse) as hall, hall.socket() as caller:
        assert [await caller.hear(), await caller.hear()] == ["first", "second"]
        assert await caller.hear_end() == CloseCode.UNAUTHORIZED
        assert hall.counts.sockets_closed == {}
        await caller.stream.aclose()
        await hall.empty()
        assert hall.counts.sockets_closed == {CloseCode.UNAUTHORIZED: 1}


async def test_a_key_may_hold_only_so_many_sockets_and_gets_them_back(serving: Serving) -> None:
    async def claim(socket: Socket) -> None:
        socket.outbox.send(socket.claim(("key", 7)))
        await listen(socket)

    async def told(caller: Caller) -> bool:
        return bool(await caller.hear())

    async with serving(claim, websockets_per_key_max=2) as hall:
        async with hall.socket() as one, hall.socket() as two, hall.socket() as three:
            assert [await told(caller) for caller in (one, two, three)] == [True, True, False]
        await hall.empty()
        async with hall.socket() as again:
            assert await told(again)

"""What clients send arrives whole and in order, or closes their socket with the right code."""

from __future__ import annotations

import random
import struct
from typing import TYPE_CHECKING

import pytest
import trio
from websockets.frames import Close, Frame, Opcode

from api.sockets.codes import CloseCode
from api.sockets.wire import SocketClosed

if TYPE_CHECKING:
    from api.sockets.wire import Socket
    from tests.api.sockets.conftest import Serving


async def repeat(socket: Socket) -> None:
    """Says the sizes of what came together."""
    socket.limit_messages(1e9, 1e9)
    while True:
        batch = await socket.receive()
        assert batch
        socket.outbox.send([len(payload) for payload in batch])


async def test_messages_that_came_together_are_received_together(serving: Serving) -> None:
    async with serving(repeat) as hall, hall.socket() as caller:
        await caller.say(*range(200))
        assert len(await caller.hear()) == 200
        assert hall.counts.socket_messages_in == 200


async def test_a_message_in_many_pieces_and_packets_arrives_whole(serving: Serving) -> None:
    async with serving(repeat) as hall, hall.socket() as caller:
        await caller.frame(Opcode.TEXT, b"ab", fin=False)
        await caller.frame(Opcode.PING, b"between")
        for byte in Frame(Opcode.CONT, b"cd\xc3", fin=False).serialize(mask=True):
            await caller.raw(bytes([byte]))
        await caller.frame(Opcode.CONT, b"\xa9", fin=False)  # the second half of a letter
        await caller.frame(Opcode.CONT, b"")
        pong = await caller.hear_frame()
        assert pong is not None
        assert (pong.opcode, bytes(pong.data)) == (Opcode.PONG, b"between")
        assert await caller.hear() == [6]


async def test_text_and_binary_messages_are_both_taken_in_json(serving: Serving) -> None:
    async with serving(repeat) as hall, hall.socket() as caller:
        await caller.frame(Opcode.BINARY, b"\xff\xff")
        assert await caller.hear() == [2]


async def test_a_message_of_exactly_the_limit_is_taken(serving: Serving) -> None:
    async with serving(repeat) as hall, hall.socket() as caller:
        await caller.frame(Opcode.TEXT, b"x" * 65_536)
        assert await caller.hear() == [65_536]


@pytest.mark.parametrize(
    ("frames", "code"),
    [
        (Frame(Opcode.TEXT, b"x" * 65_537).serialize(mask=True), 1009),
        (
            Frame(Opcode.TEXT, b"x" * 65_536, fin=False).serialize(mask=True)
            + Frame(Opcode.CONT, b"x").serialize(mask=True),
            1009,
        ),
        (b"\x81\xff" + struct.pack("!Q", 2**63 - 1), 1009),
        (Frame(Opcode.TEXT, b"\xff").serialize(mask=True), 1007),
        (
            Frame(Opcode.TEXT, b"\xc3", fin=False).serialize(mask=True)
            + Frame(Opcode.CONT, b"x").serialize(mask=True),
            1007,
        ),
        (Frame(Opcode.TEXT, b"unmasked").serialize(mask=False), 1002),
        (b"\xc1\x80\0\0\0\0", 1002),  # a reserved bit, as compression sets it
        (b"\x83\x80\0\0\0\0", 1002),  # an opcode of the future
        (b"\x09\x80\0\0\0\0", 1002),  # a ping in pieces
        (b"\x89\xfe\x00\x7e\0\0\0\0" + bytes(126), 1002),  # a ping too long
        (Frame(Opcode.CONT, b"x").serialize(mask=True), 1002),  # of nothing
        (Frame(Opcode.TEXT, b"x", fin=False).serialize(mask=True) * 2, 1002),  # another begun
        (b"\x88\x81\0\0\0\0x", 1002),  # half a close code
        (Frame(Opcode.CLOSE, struct.pack("!H", 1005)).serialize(mask=True), 1002),
    ],
)
async def test_broken_frames_close_with_the_code_of_what_is_wrong(
    serving: Serving, frames: bytes, code: int, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(repeat) as hall, hall.socket() as caller:
        await caller.raw(frames)
        assert await caller.hear_end() == code
        await caller.stream.aclose()
        await hall.empty()
        assert hall.counts.sockets_closed == {code: 1}
        assert hall.counts.connection_faults == 0
        assert caplog.messages == []


async def test_text_is_refused_where_messagepack_was_agreed(serving: Serving) -> None:
    async with serving(repeat) as hall, hall.dial() as caller:
        await caller.upgrade("/toy", "Sec-WebSocket-Protocol: outcry.msgpack")
        await caller.head()
        await caller.frame(Opcode.BINARY, b"\xc0")
        await caller.frame(Opcode.TEXT, b"{}")
        await caller.frame(Opcode.BINARY, b"\xc0")
        assert await caller.hear_end() == CloseCode.UNSUPPORTED_DATA
        assert hall.counts.socket_messages_in == 1


@pytest.mark.slow
async def test_what_came_before_a_close_frame_is_received_and_answered(serving: Serving) -> None:
    async with serving(repeat) as hall, hall.socket() as caller:
        text = Frame(Opcode.TEXT, b"last words").serialize(mask=True)
        farewell = Frame(Opcode.CLOSE, Close(3_333, "bye").serialize()).serialize(mask=True)
        await caller.raw(text + farewell)
        assert await caller.hear() == [10]
        assert await caller.hear_end() == 3_333
        assert await caller.hear_frame() is None
        await hall.empty()
        assert hall.counts.sockets_closed == {1000: 1}


async def test_the_session_is_told_when_its_client_leaves(serving: Serving) -> None:
    told: list[int] = []

    async def listen(socket: Socket) -> None:
        try:
            while True:
                await socket.receive()
        except SocketClosed as closed:
            told.append(closed.code)

    async with serving(listen) as hall:
        async with hall.socket() as caller:
            await caller.frame(Opcode.CLOSE, Close(1001, "").serialize())
            await caller.hear_end()
        async with hall.socket() as caller:
            await caller.raw(Frame(Opcode.TEXT, b"in the middle").serialize(mask=True)[:7])
        async with hall.socket() as caller:
            reset = struct.pack("ii", 1, 0)
            caller.stream.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_LINGER, reset)
        await hall.empty()
        assert sorted(told) == [1000, 1006, 1006]
        assert hall.counts.sockets_closed == {1000: 1, 1006: 2}
        assert hall.counts.connection_faults == 0


async def test_more_messages_than_the_session_allows_close_the_socket(serving: Serving) -> None:
    async def choosy(socket: Socket) -> None:
        socket.limit_messages(per_s=1, burst_max=10)
        while True:
            socket.outbox.send(len(await socket.receive()))

    async with serving(choosy) as hall, hall.socket() as caller:
        await caller.say(*range(10))
        assert await caller.hear() == 10
        await caller.frame(Opcode.PING)  # counts as well
        assert await caller.hear_end() == CloseCode.TOO_MANY_REQUESTS


async def test_a_session_that_chooses_no_rate_has_that_of_the_settings(serving: Serving) -> None:
    async def listen(socket: Socket) -> None:
        while True:
            await socket.receive()

    async with (
        serving(listen, websocket_messages_burst_max=3) as hall,
        hall.socket() as caller,
    ):
        await caller.say(*range(4))
        assert await caller.hear_end() == CloseCode.TOO_MANY_REQUESTS


async def test_a_session_that_fails_is_logged_and_closes_its_own_socket_only(
    serving: Serving, caplog: pytest.LogCaptureFixture
) -> None:
    async def failing(socket: Socket) -> None:
        async with trio.open_nursery():
            await socket.receive()
            raise ZeroDivisionError("ours")

    async with serving({"/toy": failing, "/good": repeat}) as hall, hall.socket("/good") as other:
        async with hall.socket() as caller:
            await caller.say("go")
            assert await caller.hear_end() == CloseCode.INTERNAL_ERROR
        assert hall.counts.connection_faults == 1
        assert "ZeroDivisionError" in caplog.text
        await other.say("still there?")
        assert await other.hear() == [14]


async def test_closed_inside_a_nursery_of_the_session_is_no_fault(serving: Serving) -> None:
    async def nested(socket: Socket) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            while True:
                await socket.receive()

    async with serving(nested) as hall:
        async with hall.socket() as caller:
            await caller.frame(Opcode.CLOSE, Close(1000, "").serialize())
            assert await caller.hear_end() == 1000
        await hall.empty()
        assert hall.counts.connection_faults == 0


@pytest.mark.slow
async def test_random_and_mutated_frames_never_break_more_than_their_own_socket(
    serving: Serving, caplog: pytest.LogCaptureFixture
) -> None:
    chance = random.Random(6)

    def garbage() -> bytes:
        frames = b""
        for _ in range(chance.randint(1, 6)):
            opcode = Opcode(chance.choice([0, 1, 2, 8, 9, 10]))
            is_control = opcode >= Opcode.CLOSE
            payload = chance.randbytes(
                chance.choice([0, 1, 2, 125, 126, 4_000][: 4 if is_control else 6])
            )
            frames += Frame(opcode, payload, is_control or chance.random() < 0.8).serialize(
                mask=True
            )
        mutated = bytearray(frames)
        for _ in range(chance.randint(0, 4)):
            mutated[chance.randrange(len(mutated))] = chance.randrange(256)
        return bytes(mutated)[: chance.randint(1, len(mutated))]

    async with serving(repeat) as hall:
        async with hall.socket() as good:
            for _ in range(250):
                async with hall.socket() as caller:
                    try:
                        for _ in range(chance.randint(1, 3)):
                            await caller.raw(garbage())
                    except trio.BrokenResourceError:
                        continue
            await good.say("still there?")
            assert await good.hear() == [14]
        await hall.empty()
        assert hall.counts.connection_faults == 0
        assert sum(hall.counts.sockets_closed.values()) == 251
        assert set(hall.counts.sockets_closed) <= {1000, 1002, 1006, 1007, 1009}
        assert caplog.messages == []

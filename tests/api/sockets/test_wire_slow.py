"""Clients that read slowly or never harm themselves alone, and are told why they are cut off."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio
from websockets.frames import Opcode

from api.sockets.codec import Frame
from api.sockets.codes import CloseCode
from api.sockets.wire import SocketClosed

if TYPE_CHECKING:
    from api.sockets.wire import Socket
    from tests.api.sockets.conftest import Caller, Hall, Serving

QUICK = {"websocket_pending_s_max": 0.3, "websocket_buffer_bytes": 4_096}


class Counter:
    """A toy topic: how far it has counted."""

    def __init__(self) -> None:
        self.update_id = 0
        self.subscribers: set[Socket] = set()
        self.encoded = 0

    def since(self, last_id: int) -> Frame:
        """All after `last_id` in one message."""
        return Frame({"from": last_id + 1 if last_id > 0 else 1, "to": self.update_id})

    def count(self, pad: str = "") -> None:
        """One step, told to all subscribers."""
        self.update_id += 1
        frame = Frame({"from": self.update_id, "to": self.update_id, "pad": pad})
        for socket in self.subscribers:
            socket.outbox.publish(self, frame, self.update_id)

    async def session(self, socket: Socket) -> None:
        """Subscribes whoever comes."""
        socket.may_be_silent = True
        self.subscribers.add(socket)
        try:
            while True:
                await socket.receive()
        finally:
            self.subscribers.remove(socket)


async def follow(caller: Caller, up_to: int, known: int = 0) -> int:
    """Read updates without a gap up to `up_to`; how many messages they were."""
    messages = 0
    while known < up_to:
        update = await caller.hear()
        assert update["from"] == known + 1
        known = update["to"]
        messages += 1
    return messages


async def subscribed(hall: Hall, topic: Counter, count: int) -> None:
    """Wait until so many have subscribed."""
    with trio.fail_after(2):
        while len(topic.subscribers) < count:  # noqa: ASYNC110  # a set wakes nobody
            await trio.sleep(0.001)


async def test_a_reader_that_pauses_misses_nothing_but_gets_it_conflated(serving: Serving) -> None:
    topic = Counter()
    limits = {"websocket_buffer_bytes": 4_096, "websocket_conflate_bytes": 4_096}
    async with (
        serving(topic.session, **limits) as hall,
        hall.socket(receive_bytes=2_048) as slow,
        hall.socket() as quick,
    ):
        await subscribed(hall, topic, 2)
        for _ in range(500):
            topic.count("x" * 200)
            await trio.lowlevel.checkpoint()
        assert await follow(quick, 500) > 20
        assert 2 < await follow(slow, 500) < 250
        topic.count()
        assert await follow(slow, 501, known=500) == 1
        assert hall.counts.updates_conflated > 200


async def test_what_is_pending_for_a_reader_that_never_reads_is_bounded(serving: Serving) -> None:
    topic = Counter()
    limits = {"websocket_buffer_bytes": 4_096, "websocket_conflate_bytes": 10_000}
    async with serving(topic.session, **limits) as hall, hall.socket(receive_bytes=2_048):
        await subscribed(hall, topic, 1)
        [socket] = topic.subscribers
        for _ in range(2_000):
            topic.count("x" * 500)
        for _ in range(20):
            await trio.sleep(0.001)
            topic.count("x" * 500)
        assert socket.outbox.pending_bytes < 10_000 + 2 * 600


@pytest.mark.slow
async def test_a_reader_of_market_data_that_never_reads_is_cut_off_and_finds_out_why(
    serving: Serving,
) -> None:
    topic = Counter()
    async with serving(topic.session, **QUICK) as hall, hall.socket(receive_bytes=2_048) as slow:
        await subscribed(hall, topic, 1)
        with trio.fail_after(4):
            while topic.subscribers:
                topic.count("x" * 5_000)
                await trio.sleep(0.005)
        assert await slow.hear_end() == CloseCode.SLOW_CONSUMER
        await hall.empty()
        assert hall.counts.sockets_closed == {CloseCode.SLOW_CONSUMER: 1}


@pytest.mark.slow
async def test_a_reader_that_never_reads_is_cut_off_also_when_nothing_new_is_published(
    serving: Serving,
) -> None:
    topic = Counter()
    async with serving(topic.session, **QUICK) as hall, hall.socket(receive_bytes=2_048) as slow:
        await subscribed(hall, topic, 1)
        for _ in range(40):
            topic.count("x" * 5_000)
        with trio.fail_after(4):
            while topic.subscribers:  # noqa: ASYNC110  # a set wakes nobody
                await trio.sleep(0.01)
        assert await slow.hear_end() == CloseCode.SLOW_CONSUMER


@pytest.mark.slow
async def test_a_reader_of_one_byte_a_second_is_cut_off_like_one_of_none(serving: Serving) -> None:
    topic = Counter()
    async with serving(topic.session, **QUICK) as hall, hall.socket(receive_bytes=2_048) as slow:
        await subscribed(hall, topic, 1)
        with trio.fail_after(4):
            while topic.subscribers:
                topic.count("x" * 5_000)
                await trio.sleep(0.02)
                await slow.stream.receive_some(1)
        await slow.stream.aclose()
        await hall.empty()
        assert hall.counts.sockets_closed == {CloseCode.SLOW_CONSUMER: 1}


@pytest.mark.slow
async def test_a_reader_that_is_slow_but_steady_is_kept(serving: Serving) -> None:
    topic = Counter()
    async with serving(topic.session, **QUICK) as hall, hall.socket(receive_bytes=2_048) as slow:
        await subscribed(hall, topic, 1)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(count_for, topic, 1.5)
            known = 0
            with trio.move_on_after(1.5):
                while True:
                    frame = await slow.hear_frame(at_most=1_500)
                    assert frame is not None
                    assert frame.opcode is Opcode.TEXT
                    known += 1
                    await trio.sleep(0.02)
        assert topic.subscribers
        assert known > 10


async def count_for(topic: Counter, duration_s: float) -> None:
    """Count, faster than a slow reader can follow."""
    with trio.move_on_after(duration_s):
        while True:
            topic.count("x" * 3_000)
            await trio.sleep(0.002)


async def test_private_data_beyond_the_bytes_closes_the_socket_and_is_not_dropped_before(
    serving: Serving,
) -> None:
    sent = 0
    ended: list[int] = []

    async def private(socket: Socket) -> None:
        nonlocal sent
        try:
            while True:
                socket.outbox.send({"number": sent, "pad": "x" * 1_000})
                sent += 1
                await trio.lowlevel.checkpoint()
                if socket.closed_with is not None:
                    await socket.receive()
        except SocketClosed as closed:
            ended.append(closed.code)

    limits = {"websocket_buffer_bytes": 4_096, "websocket_pending_bytes_max": 100_000}
    async with serving(private, **limits) as hall, hall.socket(receive_bytes=2_048) as slow:
        with trio.fail_after(4):
            while not ended:  # noqa: ASYNC110  # a list wakes nobody
                await trio.sleep(0.001)
        assert ended == [CloseCode.SLOW_CONSUMER]
        assert sent > 100
        heard = 0
        while (frame := await slow.hear_frame()) is not None and frame.opcode is Opcode.TEXT:
            assert f'"number":{heard},'.encode() in bytes(frame.data)
            heard += 1
        assert frame is not None
        assert frame.opcode is Opcode.CLOSE


@pytest.mark.slow
async def test_private_data_that_grows_old_closes_the_socket(serving: Serving) -> None:
    async def private(socket: Socket) -> None:
        socket.may_be_silent = True
        for number in range(50):
            socket.outbox.send({"number": number, "pad": "x" * 1_000})
        await socket.receive()

    async with serving(private, **QUICK) as hall, hall.socket(receive_bytes=2_048) as slow:
        with trio.fail_after(4):
            while not hall.counts.sockets_closed:
                await slow.stream.receive_some(400)  # progress, but far too little
                await trio.sleep(0.05)
        assert hall.counts.sockets_closed == {CloseCode.SLOW_CONSUMER: 1}


async def test_a_long_replay_in_portions_reaches_even_a_slow_reader(serving: Serving) -> None:
    async def replay(socket: Socket) -> None:
        for first in range(0, 2_000, 20):
            for number in range(first, first + 20):
                socket.outbox.send({"number": number, "pad": "x" * 500})
            await socket.drained()

    limits = {"websocket_buffer_bytes": 4_096, "websocket_pending_bytes_max": 20_000}
    async with serving(replay, **limits) as hall, hall.socket(receive_bytes=4_096) as slow:
        for number in range(2_000):
            assert (await slow.hear())["number"] == number
        assert await slow.hear_end() == 1000


async def test_waiting_for_a_drain_ends_when_the_client_leaves(serving: Serving) -> None:
    ended = trio.Event()

    async def replay(socket: Socket) -> None:
        try:
            for _ in range(100):
                socket.outbox.send("x" * 1_000)
            await socket.drained()
        except SocketClosed:
            ended.set()

    async with serving(replay, websocket_buffer_bytes=4_096) as hall:
        async with hall.socket(receive_bytes=2_048):
            await trio.sleep(0.05)
        with trio.fail_after(2):
            await ended.wait()
        await hall.empty()


async def test_waiting_for_a_drain_ends_when_the_socket_is_closed_by_another(
    serving: Serving,
) -> None:
    ended: list[int] = []

    async def replay(socket: Socket) -> None:
        socket.outbox.send("x" * 500_000)
        try:
            await socket.drained()
        except SocketClosed as closed:
            ended.append(closed.code)

    async with (
        serving(replay, shutdown_s_max=0.2, websocket_buffer_bytes=4_096) as hall,
        hall.socket(receive_bytes=2_048),
    ):
        await trio.sleep(0.02)
        hall.stopping.set()
        with trio.fail_after(1):
            await hall.stopped.wait()
        assert ended == [CloseCode.SERVER_STOPPING]


async def test_a_topic_that_fails_in_the_middle_of_a_burst_does_not_stop_the_writing(
    serving: Serving,
) -> None:
    class Broken(Counter):
        def since(self, last_id: int) -> Frame:
            raise ZeroDivisionError(f"nothing since {last_id}")

    topic, good = Broken(), Counter()
    sessions = {"/toy": topic.session, "/good": good.session}
    limits = {"websocket_conflate_bytes": 1_000}
    async with (
        serving(sessions, **limits) as hall,
        hall.socket() as unlucky,
        hall.socket("/good") as other,
    ):
        await subscribed(hall, topic, 1)
        await subscribed(hall, good, 1)
        for _ in range(10):  # more than the outbox takes, less than the system does
            topic.count("x" * 500)
        assert await unlucky.hear_end() == CloseCode.INTERNAL_ERROR
        good.count()
        assert (await other.hear())["to"] == 1


async def test_a_topic_that_cannot_say_what_was_missed_closes_the_slow_reader_alone(
    serving: Serving, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken(Counter):
        def since(self, last_id: int) -> Frame:
            raise ZeroDivisionError(f"nothing since {last_id}")

    topic = Broken()
    limits = {"websocket_buffer_bytes": 4_096, "websocket_conflate_bytes": 4_096}
    async with (
        serving(topic.session, **limits) as hall,
        hall.socket(receive_bytes=2_048) as slow,
        hall.socket() as quick,
    ):
        await subscribed(hall, topic, 2)
        for number in range(1, 200):
            topic.count("x" * 500)
            assert (await quick.hear())["to"] == number
        assert await slow.hear_end() == CloseCode.INTERNAL_ERROR
        assert "ZeroDivisionError" in caplog.text
        topic.count()
        assert (await quick.hear())["to"] == 200


async def test_a_slow_reader_does_not_delay_the_others(serving: Serving) -> None:
    topic = Counter()
    async with (
        serving(topic.session) as hall,
        hall.socket() as good,
        hall.socket(receive_bytes=2_048),
        hall.socket(receive_bytes=2_048),
    ):
        await subscribed(hall, topic, 3)
        for number in range(1, 300):
            topic.count("x" * 2_000)
            with trio.fail_after(0.5):
                assert (await good.hear())["to"] == number

"""The outbox: nothing private is lost, no topic has a gap, and memory is bounded whatever comes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Frame as WireFrame
from websockets.protocol import Protocol, Side, State

from api.sockets.codec import JSON, MSGPACK, Frame
from api.sockets.outbox import NOTHING, Outbox, OutboxLimits

if TYPE_CHECKING:
    from collections.abc import Callable

SMALL = OutboxLimits(bytes_max=2_000, age_s_max=5.0, conflate_bytes=500)


class Counting:
    """A topic whose whole content is how far it has counted."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.update_id = 0

    def count(self, size: int = 0) -> Frame:
        """The next update, `size` bytes larger than it must be."""
        self.update_id += 1
        return self._frame(self.update_id, size)

    def since(self, last_id: int) -> Frame | None:
        """What a reader who knows `last_id` missed."""
        return self._frame(max(last_id, 0) + 1) if last_id < self.update_id else None

    def _frame(self, first: int, size: int = 0) -> Frame:
        return Frame({"of": self.name, "from": first, "to": self.update_id, "pad": "x" * size})


class Reader:
    """A client: checks that what it reads has no gap, and knows how far it is."""

    def __init__(self) -> None:
        self._framing = Protocol(Side.CLIENT, state=State.OPEN, max_size=None)
        self.known: dict[str, int] = {}
        self.private: list[int] = []

    def read(self, data: bytes) -> None:
        """Take in bytes; any gap is an error."""
        self._framing.receive_data(data)
        assert self._framing.parser_exc is None
        for frame in self._framing.events_received():
            assert isinstance(frame, WireFrame)
            message = json.loads(bytes(frame.data))
            if "private" in message:
                self.private.append(message["private"])
            else:
                assert message["from"] == self.known.get(message["of"], 0) + 1
                self.known[message["of"]] = message["to"]


class Desk:
    """An outbox with a clock that stands still until it is set."""

    def __init__(self, limits: OutboxLimits = SMALL) -> None:
        self.now_s = 100.0
        self.news = 0
        self.reader = Reader()
        self.outbox = Outbox(JSON, limits, lambda: self.now_s, self._count)

    def _count(self) -> None:
        self.news += 1

    def write(self, room: int = 10**9) -> int:
        """Let the reader have `room` bytes at most; how many it had."""
        buffers = self.outbox.buffers()
        data = b"".join(buffers)[:room]
        self.outbox.wrote(len(data))
        self.reader.read(data)
        return len(data)

    def drain(self) -> None:
        """Write until nothing is left."""
        while self.write():
            pass

    @property
    def is_too_slow(self) -> bool:
        """What the wire would ask now."""
        return self.outbox.is_too_slow(self.now_s)


def test_what_is_sent_leaves_in_one_piece_and_in_order() -> None:
    desk = Desk()
    for number in range(5):
        desk.outbox.send({"private": number})
    assert desk.news == 5
    taken = desk.outbox.take()
    assert taken == b"".join(JSON.framed({"private": number}) for number in range(5))
    assert desk.outbox.pending_bytes == 0
    assert desk.outbox.take() == b""


def test_a_private_message_is_never_dropped_before_the_limit_and_closes_beyond_it() -> None:
    desk = Desk()
    sent = 0
    while not desk.is_too_slow:
        desk.outbox.send({"private": sent})
        sent += 1
    assert 2_000 < desk.outbox.pending_bytes < 2_000 + 50
    desk.drain()
    assert desk.reader.private == list(range(sent - 1))


def test_one_message_over_the_limit_is_sent_when_nothing_else_is_pending() -> None:
    desk = Desk()
    desk.outbox.send({"private": 1, "pad": "x" * 5_000})
    assert not desk.is_too_slow
    desk.drain()
    assert desk.reader.private == [1]


def test_a_large_message_of_market_data_leaves_room_for_the_answers_behind_it() -> None:
    desk, topic = Desk(), Counting("deep")
    desk.outbox.publish(topic, topic.count(size=5_000), 1)
    desk.outbox.send({"private": 1})
    desk.write(room=100)
    desk.outbox.send({"private": 2})
    assert not desk.is_too_slow
    desk.drain()
    assert desk.reader.private == [1, 2]


def test_private_data_is_bounded_behind_a_large_message_of_market_data_too() -> None:
    desk, topic = Desk(), Counting("deep")
    desk.outbox.publish(topic, topic.count(size=5_000), 1)
    while not desk.is_too_slow:
        desk.outbox.send({"private": 1})
    assert desk.outbox.pending_bytes < 5_000 + 2_000 + 200


@pytest.mark.parametrize(("waited_s", "too_slow"), [(5.0, False), (5.1, True)])
def test_private_data_that_waits_too_long_closes(waited_s: float, too_slow: bool) -> None:
    desk = Desk()
    desk.outbox.send({"private": 0})
    desk.now_s += waited_s
    assert desk.is_too_slow is too_slow


def test_the_age_is_that_of_the_oldest_message_not_yet_written() -> None:
    desk = Desk()
    for number in range(3):
        desk.outbox.send({"private": number})
        desk.now_s += 2
    desk.write(len(JSON.framed({"private": 0})))
    assert not desk.is_too_slow  # the oldest left has waited 4 s, the first one would have 6 s
    desk.now_s += 1.1
    assert desk.is_too_slow


def test_the_age_is_not_renewed_by_messages_that_come_one_after_the_other() -> None:
    desk = Desk()
    for _ in range(24):
        desk.outbox.send({"private": 0})
        desk.now_s += 0.2
        assert not desk.is_too_slow
    desk.now_s += 0.3
    assert desk.is_too_slow


def test_the_age_counts_from_a_message_half_written_too() -> None:
    desk = Desk()
    desk.outbox.send({"private": 0})
    desk.write(3)
    desk.now_s += 5.1
    assert desk.is_too_slow


def test_control_frames_have_no_age_but_are_bounded() -> None:
    desk = Desk()
    desk.outbox.send_control(b"\x89\x00")
    desk.now_s += 100
    assert not desk.is_too_slow
    for _ in range(2_000):
        desk.outbox.send_control(b"\x8a\x00")
    assert desk.is_too_slow


def test_market_data_beyond_the_threshold_is_conflated_into_one_message() -> None:
    desk, topic = Desk(), Counting("a")
    for _ in range(1_000):
        desk.outbox.publish(topic, topic.count(), topic.update_id)
    assert desk.outbox.pending_bytes < 600
    assert desk.outbox.is_behind
    desk.drain()
    assert desk.reader.known == {"a": 1_000}
    assert desk.outbox.take_conflated() > 900
    assert desk.outbox.take_conflated() == 0


def test_while_any_topic_is_behind_what_is_pending_only_shrinks_whoever_publishes() -> None:
    desk, topic, steady = Desk(), Counting("a"), Counting("steady")
    while not desk.outbox.is_behind:
        desk.outbox.publish(topic, topic.count(), topic.update_id)
    pending = desk.outbox.pending_bytes
    while pending:
        pending -= desk.write(30)
        desk.outbox.publish(steady, steady.count(), steady.update_id)
        assert desk.outbox.pending_bytes == pending
    desk.drain()
    assert desk.reader.known == {"a": topic.update_id, "steady": steady.update_id}


def test_topics_catch_up_a_few_at_a_time_in_the_order_in_which_they_fell_behind() -> None:
    desk = Desk()
    desk.outbox.send({"private": 0, "pad": "x" * 600})
    topics = [Counting(name) for name in "cabd"]
    for topic in (*topics, *reversed(topics)):
        desk.outbox.publish(topic, topic.count(), topic.update_id)
    asked: list[str] = []
    for topic in topics:
        pad = topic.count(300)
        topic.since = lambda _, name=topic.name, pad=pad: asked.append(name) or pad  # type: ignore
    desk.outbox.take()
    assert asked == []
    for told in ("ca", "cabd"):
        desk.outbox.take()
        assert "".join(asked) == told


def test_a_topic_that_fell_behind_catches_up_however_busy_another_one_is() -> None:
    desk = Desk()
    busy, quiet = Counting("busy"), Counting("quiet")
    while not desk.outbox.is_behind:
        desk.outbox.publish(busy, busy.count(), busy.update_id)
    desk.outbox.publish(quiet, quiet.count(), quiet.update_id)
    for _ in range(100):  # the reader takes less than the busy topic publishes
        desk.outbox.publish(busy, busy.count(), busy.update_id)
        desk.write(20)
    assert desk.reader.known["quiet"] == 1


def test_a_slow_reader_of_many_topics_holds_no_more_than_the_limits_allow() -> None:
    desk = Desk()
    topics = [Counting(str(number)) for number in range(200)]
    for _ in range(20):
        for topic in topics:
            desk.outbox.publish(topic, topic.count(), topic.update_id)
        desk.write(50)
        assert desk.outbox.pending_bytes < 500 + 2 * 60
    desk.drain()
    assert desk.reader.known == {topic.name: 20 for topic in topics}


def test_a_topic_first_published_to_a_full_outbox_is_told_that_nothing_is_known() -> None:
    desk, topic = Desk(), Counting("a")
    desk.outbox.send({"private": 0, "pad": "x" * 600})
    asked: list[int] = []
    topic.since = lambda last_id: asked.append(last_id)  # type: ignore[method-assign]
    desk.outbox.publish(topic, topic.count(), topic.update_id)
    desk.drain()
    assert asked == [NOTHING]


def test_an_update_that_is_already_covered_is_left_out() -> None:
    desk, topic = Desk(), Counting("a")
    first, second = topic.count(), topic.count()
    desk.outbox.publish(topic, topic.since(NOTHING) or first, topic.update_id)
    desk.outbox.publish(topic, first, 1)
    desk.outbox.publish(topic, second, 2)
    desk.drain()
    assert desk.reader.known == {"a": 2}


def test_a_forgotten_topic_says_nothing_more_and_starts_anew() -> None:
    desk, topic = Desk(), Counting("a")
    while not desk.outbox.is_behind:
        desk.outbox.publish(topic, topic.count(), topic.update_id)
    desk.outbox.forget(topic)
    desk.drain()
    before = desk.reader.known["a"]
    assert before < topic.update_id
    desk.reader.known.clear()
    snapshot = topic.since(NOTHING)
    assert snapshot is not None
    desk.outbox.publish(topic, snapshot, topic.update_id)
    desk.drain()
    assert desk.reader.known == {"a": topic.update_id}


def test_a_sealed_outbox_takes_nothing_more_but_gives_out_what_is_pending() -> None:
    desk, topic = Desk(), Counting("a")
    desk.outbox.send({"private": 0})
    desk.outbox.seal()
    desk.outbox.send({"private": 1})
    desk.outbox.publish(topic, topic.count(), 1)
    desk.drain()
    assert desk.reader.private == [0]
    assert desk.reader.known == {}


@pytest.mark.parametrize(("written", "rest"), [(0, 0), (3, 12), (15, 0), (18, 12)])
def test_giving_up_keeps_only_the_rest_of_a_half_written_frame(written: int, rest: int) -> None:
    desk = Desk()
    frame = JSON.framed({"private": 0})
    assert len(frame) == 15
    for _ in range(3):
        desk.outbox.send({"private": 0})
    desk.write(written)
    assert desk.outbox.written_bytes == written
    assert desk.outbox.rest_of_frame() == (frame[-rest:] if rest else b"")
    assert desk.outbox.pending_bytes == 0
    assert desk.outbox.take() == b""


def test_no_write_has_more_buffers_than_one_system_call_takes() -> None:
    desk = Desk(OutboxLimits())
    for number in range(3_000):
        desk.outbox.send({"private": number})
    assert len(desk.outbox.buffers()) == 1_024
    desk.drain()
    assert desk.reader.private == list(range(3_000))


def test_all_subscribers_of_one_language_get_the_same_bytes_object() -> None:
    topic, frame = Counting("a"), Counting("a").count()
    outboxes = [
        Outbox(codec, SMALL, lambda: 0.0, lambda: None) for codec in (JSON, JSON, MSGPACK, MSGPACK)
    ]
    for outbox in outboxes:
        outbox.publish(topic, frame, 1)
    [first], [second], [third], [fourth] = (outbox.buffers() for outbox in outboxes)
    assert first is second
    assert third is fourth
    assert first != third


ACTIONS = st.lists(
    st.one_of(
        st.tuples(st.just("send"), st.integers(0, 300)),
        st.tuples(st.sampled_from(["a", "b", "c"]), st.integers(0, 300)),
        st.tuples(st.just("write"), st.integers(0, 900)),
        st.tuples(st.just("wait"), st.integers(0, 3)),
        st.tuples(st.just("forget"), st.sampled_from([0, 1, 2])),
    ),
    max_size=120,
)


@given(ACTIONS)
def test_whatever_happens_the_reader_misses_nothing_and_memory_is_bounded(
    actions: list[tuple[str, int]],
) -> None:
    desk = Desk()
    topics = {name: Counting(name) for name in "abc"}
    sent: list[int] = []
    for action, amount in actions:
        _ACT.get(action, _publish)(desk, topics, sent, action, amount)
        assert desk.outbox.pending_bytes <= 2_000 + 400
        if desk.is_too_slow:
            break
    desk.drain()
    assert desk.reader.private == sent
    if not desk.is_too_slow:
        assert desk.outbox.pending_bytes == 0
        assert not desk.outbox.is_behind
        for name in desk.reader.known.keys() & topics.keys():
            assert desk.reader.known[name] == topics[name].update_id


def _send(desk: Desk, _: dict[str, Counting], sent: list[int], __: str, size: int) -> None:
    number = len(sent)
    desk.outbox.send({"private": number, "pad": "x" * size})
    if not desk.is_too_slow:
        sent.append(number)


def _publish(desk: Desk, topics: dict[str, Counting], _: list[int], name: str, size: int) -> None:
    topic = topics[name]
    desk.outbox.publish(topic, topic.count(size), topic.update_id)


def _write(desk: Desk, _: dict[str, Counting], __: list[int], ___: str, room: int) -> None:
    desk.write(room)


def _wait(desk: Desk, _: dict[str, Counting], __: list[int], ___: str, wait_s: int) -> None:
    desk.now_s += wait_s


def _forget(desk: Desk, topics: dict[str, Counting], _: list[int], __: str, place: int) -> None:
    """A client that unsubscribes hears the rest first, and forgets as well."""
    desk.drain()
    name = "abc"[place]
    desk.outbox.forget(topics[name])
    topics[name] = Counting(name)
    desk.reader.known.pop(name, None)


_ACT: dict[str, Callable[[Desk, dict[str, Counting], list[int], str, int], None]] = {
    "send": _send,
    "write": _write,
    "wait": _wait,
    "forget": _forget,
}

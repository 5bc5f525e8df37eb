"""A key that falls silent or hangs up loses its orders, and no others, whatever else falls."""

import time
from collections.abc import Callable

import msgspec
import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from engine.actors.envelope import Envelope
from engine.errors import InvariantViolated
from engine.journal.records import Record
from engine.orderbook.messages import CancelReason
from engine.products.sessions.messages import (
    ArmSession,
    DeadManFired,
    DisarmSession,
    EndSession,
    SetDeadMan,
)
from engine.storage.memory import MemoryJournal
from engine.units import AccountId, OrderId, TimeNs
from tests.flows.house import ANN, BOB, House, buy, house, records_of

MINE, OTHERS = 1, 2
SECOND = 1_000_000_000
TIMEOUT_S = 10


async def orders_of_two_keys(one: House) -> tuple[OrderId, OrderId, OrderId]:
    """One order of my key, one of another key of my account, one of another account."""
    placed = []
    for key_id, by in ((MINE, ANN), (OTHERS, ANN), (MINE, BOB)):
        command = msgspec.structs.replace(buy(1, 50, by=by), key_id=key_id)
        placed.append(OrderId((await one.submit(command)).sequence))
    return placed[0], placed[1], placed[2]


async def set_timer(one: House, timeout_s: float = TIMEOUT_S, by: AccountId = ANN) -> Record:
    """Set my key's timer."""
    return await one.submit(SetDeadMan(by, MINE, TimeNs(int(timeout_s * SECOND))))


def statuses(one: House, orders: tuple[OrderId, ...]) -> list[str]:
    """How orders stand."""
    return [one.service.order(order).status.value for order in orders]


ALL_OPEN = ["OPEN", "OPEN", "OPEN"]
MINE_ENDED = ["CANCELLED", "OPEN", "OPEN"]


async def test_a_key_that_falls_silent_loses_its_own_orders(autojump_clock: MockClock) -> None:
    async with house() as one:
        await one.founded()
        orders = await orders_of_two_keys(one)
        await set_timer(one)
        await trio.sleep(TIMEOUT_S - 0.01)
        assert statuses(one, orders) == ALL_OPEN
        await trio.sleep(0.02)
        assert statuses(one, orders) == MINE_ENDED
        assert one.service.order(orders[0]).ended_because == CancelReason.CANCEL_ALL
        assert one.service.released.sessions.timers == []


async def test_a_key_that_keeps_speaking_keeps_its_orders(autojump_clock: MockClock) -> None:
    async with house() as one:
        await one.founded()
        orders = await orders_of_two_keys(one)
        for _ in range(5):
            await set_timer(one)
            await trio.sleep(TIMEOUT_S - 1)
        await set_timer(one, 0)
        await trio.sleep(2 * TIMEOUT_S)
        assert statuses(one, orders) == ALL_OPEN


async def test_a_timer_outlives_a_kill_and_fires_when_it_would_have(
    autojump_clock: MockClock,
) -> None:
    journal = MemoryJournal()
    async with house(journal) as first:
        await first.founded()
        orders = await orders_of_two_keys(first)
        await set_timer(first)
        first.kill()
    async with house(journal) as second:
        assert statuses(second, orders) == ALL_OPEN
        await trio.sleep(TIMEOUT_S + 1)
        assert statuses(second, orders) == MINE_ENDED


async def test_a_timer_that_ran_out_while_the_server_was_down_fires_at_once(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = MemoryJournal()
    async with house(journal) as first:
        await first.founded()
        orders = await orders_of_two_keys(first)
        record = await set_timer(first)
        first.kill()
    later_ns = record.now_ns + (TIMEOUT_S + 60) * SECOND
    monkeypatch.setattr(time, "time_ns", lambda: later_ns)
    async with house(journal) as second:
        await wait_all_tasks_blocked()
        assert statuses(second, orders) == MINE_ENDED
    fired = [r for r in records_of(journal) if any(type(e) is DeadManFired for e in r.events)]
    assert [r.now_ns for r in fired] == [later_ns]


async def arm(one: House, session_id: int = 11) -> None:
    """Let my key's orders end with a session that is here."""
    one.service.attendance.arrive(session_id)
    await one.submit(ArmSession(ANN, MINE, session_id))


async def test_a_session_that_leaves_takes_its_keys_orders_along(
    autojump_clock: MockClock,
) -> None:
    async with house() as one:
        await one.founded()
        orders = await orders_of_two_keys(one)
        await arm(one)
        one.service.attendance.leave(11)
        await wait_all_tasks_blocked()
        assert statuses(one, orders) == MINE_ENDED
        assert one.service.released.sessions.armed == {}


async def test_a_session_that_was_disarmed_leaves_its_orders_standing(
    autojump_clock: MockClock,
) -> None:
    async with house() as one:
        await one.founded()
        orders = await orders_of_two_keys(one)
        await arm(one)
        await one.submit(DisarmSession(11))
        one.service.attendance.leave(11)
        await wait_all_tasks_blocked()
        assert statuses(one, orders) == ALL_OPEN


async def test_a_session_that_leaves_while_it_is_being_armed_is_ended_afterwards(
    autojump_clock: MockClock,
) -> None:
    async with house() as one:
        await one.founded()
        orders = await orders_of_two_keys(one)
        attendance = one.service.attendance
        attendance.arrive(11)
        arming = one.service.admit(ArmSession(ANN, MINE, 11), int(ANN))
        assert isinstance(arming, Envelope)
        one.service.send([arming])
        attendance.leave(11, arming.ticket)
        await wait_all_tasks_blocked()
        assert statuses(one, orders) == MINE_ENDED
        kinds = [type(record.command) for record in records_of(one.journal)]
        assert kinds.index(ArmSession) < kinds.index(EndSession)


async def test_sessions_of_a_killed_server_are_over_before_anybody_is_heard(
    autojump_clock: MockClock,
) -> None:
    journal = MemoryJournal()
    async with house(journal) as first:
        await first.founded()
        orders = await orders_of_two_keys(first)
        await arm(first)
        first.kill()
    known = len(records_of(journal))
    async with house(journal) as second:
        await second.submit(buy(1, 40, by=BOB))
        await wait_all_tasks_blocked()
        assert statuses(second, orders) == MINE_ENDED
    assert type(records_of(journal)[known].command) is EndSession


def fall_once(one: House, when: Callable[[Record], bool]) -> None:
    """Let the engine fall right after it released a record."""
    falls = [InvariantViolated("planned")]

    def fall(block: list[Envelope]) -> None:
        if falls and any(when(envelope.record) for envelope in block):  # type: ignore[arg-type]
            raise falls.pop()

    one.engine.observe(fall)


async def test_a_session_that_is_here_outlives_the_fall_of_the_engine(
    autojump_clock: MockClock,
) -> None:
    async with house() as one:
        await one.founded()
        orders = await orders_of_two_keys(one)
        await arm(one)
        fall_once(one, lambda record: record.key == "falls")
        await one.submit(buy(1, 40, by=BOB), key="falls")
        await trio.sleep(1)
        assert (one.engine.lives, statuses(one, orders)) == (2, ALL_OPEN)
        one.service.attendance.leave(11)
        await wait_all_tasks_blocked()
        assert statuses(one, orders) == MINE_ENDED


async def test_a_session_that_leaves_between_two_lives_is_ended_in_the_next(
    autojump_clock: MockClock,
) -> None:
    async with house() as one:
        await one.founded()
        orders = await orders_of_two_keys(one)
        await arm(one)
        left: list[int] = []

        def fall(block: list[Envelope]) -> None:
            if not left and any(envelope.key == "falls" for envelope in block):
                left.append(11)
                one.service.attendance.leave(11)
                raise InvariantViolated("planned")

        one.engine.observe(fall)
        await one.submit(buy(1, 40, by=BOB), key="falls")
        await trio.sleep(1)
        assert (one.engine.lives, statuses(one, orders)) == (2, MINE_ENDED)

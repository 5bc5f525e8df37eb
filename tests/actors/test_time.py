"""Time inside: a clock that never goes back, deadlines that wake, and waiting for a sequence."""

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from engine.actors.accounts import AccountsMessage
from engine.actors.clock import TrioClock
from engine.actors.deadlines import Deadlines, keep_waking
from engine.actors.envelope import Envelope, Lane
from engine.actors.mailbox import Mailbox
from engine.actors.waiting import Progress
from engine.messages import Wake
from engine.units import DeskId, Sequence, TimeNs

SECOND = 10**9
ONE, TWO = DeskId(1), DeskId(2)


async def test_the_clock_follows_triotime_from_the_wall(autojump_clock: MockClock) -> None:
    clock = TrioClock(wall_ns=5 * SECOND)
    assert clock.now_ns() == 5 * SECOND
    await trio.sleep(2)
    assert clock.now_ns() == pytest.approx(7 * SECOND, abs=1_000)


async def test_the_clock_goes_on_from_the_journal_when_the_wall_was_set_back(
    autojump_clock: MockClock,
) -> None:
    clock = TrioClock(wall_ns=5 * SECOND, not_before_ns=9 * SECOND)
    assert clock.now_ns() == 9 * SECOND
    await trio.sleep(1)
    assert clock.now_ns() == pytest.approx(10 * SECOND, abs=1_000)


def due(deadlines: Deadlines, now_s: float) -> list[DeskId]:
    return deadlines.take_due(TimeNs(int(now_s * SECOND)))


async def test_deadlines_come_due_in_order_and_once() -> None:
    deadlines = Deadlines()
    deadlines.set(ONE, TimeNs(3 * SECOND))
    deadlines.set(TWO, TimeNs(2 * SECOND))
    assert deadlines.next_ns == 2 * SECOND
    assert due(deadlines, 1.9) == []
    assert due(deadlines, 3) == [TWO, ONE]
    assert due(deadlines, 9) == []
    assert deadlines.next_ns is None


async def test_a_desk_has_one_deadline_which_it_may_move_or_take_back() -> None:
    deadlines = Deadlines()
    deadlines.set(ONE, TimeNs(3 * SECOND))
    deadlines.set(ONE, TimeNs(5 * SECOND))
    assert deadlines.next_ns == 5 * SECOND
    deadlines.set(ONE, None)
    assert due(deadlines, 9) == []


async def test_desks_are_woken_when_their_time_comes(autojump_clock: MockClock) -> None:
    clock, deadlines = TrioClock(wall_ns=0), Deadlines()
    accounts = Mailbox[AccountsMessage]("accounts", 10)
    async with trio.open_nursery() as nursery:
        await nursery.start(keep_waking, deadlines, clock, accounts)
        await wait_all_tasks_blocked()
        deadlines.set(ONE, TimeNs(60 * SECOND))
        await trio.sleep(10)
        deadlines.set(TWO, TimeNs(20 * SECOND))  # an earlier one, while it sleeps
        for woken, expected_s in ((TWO, 20), (ONE, 60)):
            (message,) = await accounts.take()
            assert isinstance(message, list)
            assert message == [Envelope(Wake(woken), Lane.WAKE)]
            assert expected_s * SECOND <= clock.now_ns() <= (expected_s + 1) * SECOND
        nursery.cancel_scope.cancel()


async def test_waiters_go_on_when_their_sequence_is_released() -> None:
    progress, reached = Progress(Sequence(5)), list[int]()

    async def wait(sequence: int) -> None:
        await progress.reached(Sequence(sequence))
        reached.append(sequence)

    async with trio.open_nursery() as nursery:
        for sequence in (9, 7, 5):
            nursery.start_soon(wait, sequence)
        await wait_all_tasks_blocked()
        assert reached == [5]
        progress.advance(Sequence(8))
        await wait_all_tasks_blocked()
        assert reached == [5, 7]
        progress.advance(Sequence(9))
    assert reached == [5, 7, 9]

"""Waiting for the history: everybody learns how far it is, and one of them looks."""

import pytest
import trio
from trio.testing import MockClock

from engine.actors.waiting import LOOK_AGAIN_S, HistoryProgress
from engine.errors import StorageError
from engine.ports import Watermark
from engine.storage.memory_history import MemoryHistory


class SlowHistory(MemoryHistory):
    """A history that comes one sequence further with every look, and counts them."""

    looks = 0
    fails = False

    async def watermark(self) -> Watermark:
        """One further than last time."""
        await trio.sleep(0.001)
        if self.fails:
            raise StorageError("gone")
        self.looks += 1
        return Watermark(self.looks, self.looks)


async def test_many_who_wait_look_no_more_often_than_one(autojump_clock: MockClock) -> None:
    history = SlowHistory()
    progress = HistoryProgress(history)
    reached: list[Watermark] = []

    async def wait(sequence: int) -> None:
        reached.append(await progress.reached(sequence))

    began = trio.current_time()
    async with trio.open_nursery() as nursery:
        for number in range(500):
            nursery.start_soon(wait, 1 + number % 10)
    assert history.looks == 10
    assert len(reached) == 500
    assert trio.current_time() - began >= 9 * LOOK_AGAIN_S


async def test_what_was_reached_before_needs_no_look(autojump_clock: MockClock) -> None:
    history = SlowHistory()
    progress = HistoryProgress(history)
    await progress.reached(3)
    assert (await progress.reached(2)).sequence == 3
    assert history.looks == 3


async def test_a_look_that_fails_is_told_and_the_next_one_looks_again(
    autojump_clock: MockClock,
) -> None:
    history = SlowHistory()
    progress = HistoryProgress(history)
    history.fails = True
    with pytest.raises(StorageError):
        await progress.reached(1)
    history.fails = False
    assert (await progress.reached(1)).sequence == 1


async def test_who_gives_up_while_looking_leaves_the_look_to_others(
    autojump_clock: MockClock,
) -> None:
    history = SlowHistory()
    progress = HistoryProgress(history)
    with trio.move_on_after(0.000_1):
        await progress.reached(1)
    with trio.fail_after(1):
        assert (await progress.reached(1)).sequence == 1


async def test_a_look_wakes_one_of_those_who_have_to_go_on_waiting(
    autojump_clock: MockClock,
) -> None:
    progress = HistoryProgress(SlowHistory())
    async with trio.open_nursery() as nursery:
        for _ in range(200):
            nursery.start_soon(progress.reached, 1_000_000)
        await trio.sleep(10 * LOOK_AGAIN_S)
        wakes = _Wakes()
        trio.lowlevel.add_instrument(wakes)
        await trio.sleep(10 * LOOK_AGAIN_S)
        trio.lowlevel.remove_instrument(wakes)
        nursery.cancel_scope.cancel()
    assert wakes.steps < 200, "were all awake at each look, there were over 2,000"


class _Wakes(trio.abc.Instrument):
    """Counts how often any task goes on."""

    def __init__(self) -> None:
        self.steps = 0

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self.steps += 1


async def test_the_turn_to_look_is_passed_on_by_whoever_leaves(autojump_clock: MockClock) -> None:
    progress = HistoryProgress(SlowHistory())

    async def leave_soon(after_s: float) -> None:
        with trio.move_on_after(after_s):
            await progress.reached(1_000_000)

    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            for number in range(50):
                nursery.start_soon(leave_soon, number * 0.007)
            assert (await progress.reached(100)).sequence == 100
            nursery.cancel_scope.cancel()

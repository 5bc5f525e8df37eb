"""OTP's strategies out of two combinators: who falls with whom, and how often."""

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from engine.actors.supervisor import (
    Child,
    GaveUp,
    RestartHistory,
    RestartLimit,
    restarting,
    together,
)

OFTEN = RestartLimit(100, 60)


class Stage:
    """Children that write down when they start and stop, and fall when told to."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.falls: dict[str, trio.Event] = {}
        self.lives: dict[str, int] = {}

    def child(self, name: str, *, fails_at_start: int = 0) -> Child:
        """One that lives until `fall`; so many of its first lives fail before they are ready."""

        async def life(*, task_status: "trio.TaskStatus[None]" = trio.TASK_STATUS_IGNORED) -> None:
            self.lives[name] = self.lives.get(name, 0) + 1
            await trio.lowlevel.checkpoint()
            if self.lives[name] <= fails_at_start:
                raise ValueError(f"{name} cannot start")
            self.log.append(f"{name} up")
            self.falls[name] = trio.Event()
            task_status.started()
            try:
                await self.falls[name].wait()
                raise ValueError(f"{name} fell")
            finally:
                self.log.append(f"{name} down")

        return life

    async def fall(self, name: str) -> list[str]:
        """Let a child fall; returns what happened then."""
        self.log.clear()
        self.falls[name].set()
        await trio.sleep(0.001)
        await wait_all_tasks_blocked()
        return self.log


async def test_together_starts_in_order_and_each_waits_until_the_one_before_is_ready(
    autojump_clock: MockClock,
) -> None:
    stage = Stage()
    async with trio.open_nursery() as nursery:
        await nursery.start(together(stage.child("a"), stage.child("b"), stage.child("c")))
        assert stage.log == ["a up", "b up", "c up"]
        nursery.cancel_scope.cancel()
    assert sorted(stage.log[3:]) == ["a down", "b down", "c down"]


async def test_one_for_one_restarts_only_the_one_that_fell(autojump_clock: MockClock) -> None:
    stage = Stage()
    tree = together(
        restarting("a", stage.child("a"), OFTEN), restarting("b", stage.child("b"), OFTEN)
    )
    async with trio.open_nursery() as nursery:
        await nursery.start(tree)
        assert await stage.fall("a") == ["a down", "a up"]
        assert await stage.fall("b") == ["b down", "b up"]
        nursery.cancel_scope.cancel()


async def test_one_for_all_restarts_all(autojump_clock: MockClock) -> None:
    stage = Stage()
    tree = restarting("pair", together(stage.child("a"), stage.child("b")), OFTEN)
    async with trio.open_nursery() as nursery:
        await nursery.start(tree)
        assert await stage.fall("b") == ["b down", "a down", "a up", "b up"]
        assert await stage.fall("a") == ["a down", "b down", "a up", "b up"]
        nursery.cancel_scope.cancel()


async def test_rest_for_one_restarts_what_depends_on_the_one_that_fell(
    autojump_clock: MockClock,
) -> None:
    stage = Stage()
    books = restarting("books", stage.child("books"), OFTEN)
    tree = restarting("engine", together(stage.child("journal"), books), OFTEN)
    async with trio.open_nursery() as nursery:
        await nursery.start(tree)
        assert await stage.fall("books") == ["books down", "books up"]
        fallen = await stage.fall("journal")
        assert fallen[-2:] == ["journal up", "books up"]
        nursery.cancel_scope.cancel()


async def test_failures_spread_over_time_never_escalate(autojump_clock: MockClock) -> None:
    stage = Stage()
    async with trio.open_nursery() as nursery:
        await nursery.start(restarting("a", stage.child("a"), RestartLimit(2, 10)))
        for _ in range(20):
            await trio.sleep(5.1)
            assert await stage.fall("a") == ["a down", "a up"]
        nursery.cancel_scope.cancel()


async def test_too_many_failures_in_the_period_give_up(autojump_clock: MockClock) -> None:
    stage = Stage()
    with pytest.RaisesGroup(GaveUp) as raised:
        async with trio.open_nursery() as nursery:
            await nursery.start(restarting("a", stage.child("a"), RestartLimit(2, 10)))
            for _ in range(3):
                await stage.fall("a")
    assert stage.lives["a"] == 3
    assert str(raised.value.exceptions[0]) == "a"


async def test_one_that_gave_up_makes_its_supervisor_decide(autojump_clock: MockClock) -> None:
    stage = Stage()
    inner = restarting("inner", stage.child("a"), RestartLimit(1, 10))
    async with trio.open_nursery() as nursery:
        await nursery.start(restarting("outer", together(stage.child("b"), inner), OFTEN))
        assert await stage.fall("a") == ["a down", "a up"]
        assert await stage.fall("a") == ["a down", "b down", "b up", "a up"]
        nursery.cancel_scope.cancel()


async def test_beyond_its_limit_the_last_resort_lives_in_the_childs_place(
    autojump_clock: MockClock,
) -> None:
    stage = Stage()
    async with trio.open_nursery() as nursery:
        await nursery.start(
            restarting(
                "a", stage.child("a"), RestartLimit(1, 10), last_resort=stage.child("halted")
            )
        )
        await stage.fall("a")
        assert await stage.fall("a") == ["a down", "halted up"]
        nursery.cancel_scope.cancel()


async def test_a_fatal_failure_passes_through_at_once_even_inside_a_group(
    autojump_clock: MockClock,
) -> None:
    stage = Stage()
    tree = restarting("a", together(stage.child("a")), OFTEN, fatal=(ValueError,))
    with pytest.RaisesGroup(ValueError, flatten_subgroups=True):
        async with trio.open_nursery() as nursery:
            await nursery.start(tree)
            stage.falls["a"].set()
    assert stage.lives["a"] == 1


async def test_a_child_that_cannot_start_is_tried_again_and_reports_ready_late(
    autojump_clock: MockClock,
) -> None:
    stage = Stage()
    limit = RestartLimit(5, 60, pause_s_min=1, pause_s_max=1)
    async with trio.open_nursery() as nursery:
        began = trio.current_time()
        await nursery.start(restarting("a", stage.child("a", fails_at_start=3), limit))
        assert stage.log == ["a up"]
        assert 1.5 <= trio.current_time() - began <= 3
        nursery.cancel_scope.cancel()


async def test_a_child_that_never_starts_fails_whoever_starts_it(autojump_clock: MockClock) -> None:
    stage = Stage()
    with pytest.RaisesGroup(GaveUp, flatten_subgroups=True):
        async with trio.open_nursery() as nursery:
            await nursery.start(
                restarting("a", stage.child("a", fails_at_start=9), RestartLimit(2, 60))
            )


async def test_a_child_that_returns_is_done(autojump_clock: MockClock) -> None:
    async def life(*, task_status: "trio.TaskStatus[None]" = trio.TASK_STATUS_IGNORED) -> None:
        await trio.lowlevel.checkpoint()
        task_status.started()

    with trio.fail_after(1):
        await restarting("a", life, OFTEN)()


async def test_cancellation_is_no_failure(autojump_clock: MockClock) -> None:
    stage = Stage()
    async with trio.open_nursery() as nursery:
        await nursery.start(restarting("a", stage.child("a"), OFTEN))
        nursery.cancel_scope.cancel()
    assert stage.lives["a"] == 1


async def test_a_failure_that_coincides_with_cancellation_surfaces(
    autojump_clock: MockClock,
) -> None:
    lives = []

    async def stumbles(*, task_status: "trio.TaskStatus[None]" = trio.TASK_STATUS_IGNORED) -> None:
        lives.append(1)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            task_status.started()
            try:
                await trio.sleep_forever()
            finally:
                raise ValueError("while stopping")

    with pytest.RaisesGroup(ValueError, flatten_subgroups=True):
        async with trio.open_nursery() as nursery:
            await nursery.start(restarting("a", stumbles, OFTEN))
            nursery.cancel_scope.cancel()
    assert len(lives) == 1


def test_the_pause_doubles_with_each_recent_failure_up_to_its_bound() -> None:
    history = RestartHistory(RestartLimit(10, 60, pause_s_min=0.5, pause_s_max=3))
    pauses = []
    for now_s in range(5):
        assert history.allows(now_s)
        pauses.append(history.pause_s())
    assert pauses == [0.5, 1, 2, 3, 3]
    assert history.allows(1_000)
    assert history.pause_s() == 0.5


@pytest.mark.parametrize(
    ("failures", "allowed"),
    [
        ((0, 1, 2), (True, True, False)),
        ((0, 1, 10), (True, True, True)),  # the first has left the period
        ((0, 1, 9.9), (True, True, False)),
    ],
)
def test_intensity_counts_the_failures_of_one_period(
    failures: tuple[float, ...], allowed: tuple[bool, ...]
) -> None:
    history = RestartHistory(RestartLimit(2, 10))
    assert tuple(history.allows(now_s) for now_s in failures) == allowed


async def test_restarts_pause_in_virtual_time(autojump_clock: MockClock) -> None:
    stage = Stage()
    limit = RestartLimit(5, 600, pause_s_min=8, pause_s_max=8)
    async with trio.open_nursery() as nursery:
        await nursery.start(restarting("a", stage.child("a"), limit))
        assert await stage.fall("a") == ["a down"]
        await trio.sleep(8)
        assert stage.log == ["a down", "a up"]
        nursery.cancel_scope.cancel()

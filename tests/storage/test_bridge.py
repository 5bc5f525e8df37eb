"""The crossing from trio to the asyncio thread: results, cancellation, shutdown."""

import asyncio
import threading

import pytest
import trio

from engine.errors import StorageError
from engine.storage.bridge import AsyncioThread


async def answer(number: int) -> int:
    await asyncio.sleep(0)
    return number


async def never() -> None:
    await asyncio.Event().wait()


def storage_threads() -> set[threading.Thread]:
    """Threads of all bridges, those of shared fixtures included."""
    return {thread for thread in threading.enumerate() if thread.name == "storage-asyncio"}


async def test_many_operations_at_once_each_get_their_own_result() -> None:
    results: dict[int, int] = {}

    async def ask(bridge: AsyncioThread, number: int) -> None:
        results[number] = await bridge.run(answer, number)

    async with AsyncioThread() as bridge, trio.open_nursery() as nursery:
        for number in range(50):
            nursery.start_soon(ask, bridge, number)
    assert results == {number: number for number in range(50)}


async def test_an_exception_over_there_is_raised_here() -> None:
    async def fail() -> None:
        raise LookupError("over there")

    async with AsyncioThread() as bridge:
        with pytest.raises(LookupError, match="over there"):
            await bridge.run(fail)


async def test_cancelling_waits_until_the_operation_has_cleaned_up() -> None:
    cleaned_up = False

    async def operate() -> None:
        nonlocal cleaned_up
        try:
            await never()
        finally:
            await asyncio.sleep(0.02)
            cleaned_up = True

    async with AsyncioThread() as bridge:
        with trio.move_on_after(0.01) as scope:
            await bridge.run(operate)
        assert scope.cancelled_caught
        assert cleaned_up


async def test_an_operation_that_finishes_despite_cancellation_keeps_its_result() -> None:
    async def commit() -> str:
        try:
            await never()
        except asyncio.CancelledError:
            return "committed"
        return "unreachable"

    async with AsyncioThread() as bridge:
        with trio.move_on_after(0.01):
            assert await bridge.run(commit) == "committed"


async def test_a_cancelled_caller_starts_nothing() -> None:
    started = False

    async def operate() -> None:
        nonlocal started
        started = True

    async with AsyncioThread() as bridge:
        with trio.CancelScope() as scope:
            scope.cancel()
            await bridge.run(operate)
        await bridge.run(answer, 1)
    assert not started


async def test_a_cancellation_that_is_not_ours_is_an_outage() -> None:
    async def closing_pool() -> None:
        raise asyncio.CancelledError

    async with AsyncioThread() as bridge:
        with pytest.raises(StorageError):
            await bridge.run(closing_pool)


async def test_closing_ends_operations_under_way_as_outages() -> None:
    async def expect_outage(bridge: AsyncioThread) -> None:
        with pytest.raises(StorageError):
            await bridge.run(never)

    async with trio.open_nursery() as nursery, AsyncioThread() as bridge:
        nursery.start_soon(expect_outage, bridge)
        await trio.testing.wait_all_tasks_blocked()


async def test_an_operation_that_refuses_to_end_does_not_hang_the_shutdown() -> None:
    release = threading.Event()

    async def stubborn() -> None:
        while not release.is_set():
            try:
                await asyncio.sleep(10)
            except asyncio.CancelledError:
                continue

    async def expect_outage(bridge: AsyncioThread) -> None:
        with pytest.raises(StorageError):
            await bridge.run(stubborn)

    async with trio.open_nursery() as nursery:
        async with AsyncioThread(close_s=0.05) as bridge:
            nursery.start_soon(expect_outage, bridge)
            await trio.testing.wait_all_tasks_blocked()
            closing = trio.current_time()
        release.set()
        assert trio.current_time() - closing < 1.0


async def test_a_closed_bridge_refuses_work_and_leaves_no_thread() -> None:
    others = storage_threads()
    async with AsyncioThread() as bridge:
        assert await bridge.run(answer, 7) == 7
        assert len(storage_threads() - others) == 1
    assert storage_threads() == others
    with pytest.raises(StorageError):
        await bridge.run(answer, 7)


async def test_closing_works_inside_a_cancelled_scope() -> None:
    others = storage_threads()
    with trio.CancelScope() as scope:
        async with AsyncioThread():
            scope.cancel()
    assert storage_threads() == others

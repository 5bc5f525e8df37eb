"""How trio reaches asyncio: one event loop in one thread, and one crossing per whole operation.

Everything that belongs to the loop (connections, pools, tasks) is created, used and closed inside
its thread. A crossing costs about a tenth of a millisecond when the machine is quiet and much more
when the trio thread keeps the GIL, so callers cross per batch, never per order.
"""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from types import TracebackType
from typing import Any, Final, Generic, Self, TypeVar, TypeVarTuple

import outcome
import trio

from engine.errors import StorageError

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

#: How long tasks may take to end after they were cancelled at shutdown.
CLOSE_S: Final = 5.0


class AsyncioThread:
    """An asyncio loop in its own thread, open for the length of an `async with` block.

    >>> async def double(number: int) -> int:
    ...     await asyncio.sleep(0)
    ...     return number * 2
    >>> async def main() -> int:
    ...     async with AsyncioThread() as bridge:
    ...         return await bridge.run(double, 21)
    >>> trio.run(main)
    42
    """

    def __init__(self, close_s: float = CLOSE_S) -> None:
        self._close_s = close_s
        self._loop: asyncio.AbstractEventLoop | None = None
        self._crossings: set[_Crossing[Any]] = set()  # touched by the loop's thread alone

    async def __aenter__(self) -> Self:
        """Start the thread; returns once its loop runs."""
        self._token = trio.lowlevel.current_trio_token()
        self._started, self._ended = trio.Event(), trio.Event()
        self._thread = threading.Thread(target=self._main, name="storage-asyncio", daemon=True)
        self._thread.start()
        with trio.CancelScope(shield=True):  # a thread half started could not be ended
            await self._started.wait()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Cancel what still runs, close the loop, end the thread. Waits `close_s` at the most."""
        loop, self._loop = self._loop, None
        if loop is not None:
            with suppress(RuntimeError):  # the loop has ended by itself
                loop.call_soon_threadsafe(self._stop.set)
        with trio.move_on_after(2 * self._close_s, shield=True):
            await self._ended.wait()
            self._thread.join()

    async def run(self, operation: Callable[[*Ts], Awaitable[T]], *args: *Ts) -> T:
        """Await `operation(*args)` in the loop's thread and return what it returns.

        Waits for the operation, also when cancelled: it is then cancelled over there and waited
        for, so that no connection is left half used. If it finishes all the same, its result is
        returned and trio cancels at the next checkpoint.

        Raises: what the operation raises; StorageError when the loop, not the caller, cancelled
        it, or when the thread is closed.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        loop = self._loop
        if loop is None:
            raise StorageError("the storage thread is closed")
        crossing = _Crossing[T](self._token, trio.lowlevel.current_task(), self._crossings)
        raise_cancel: Callable[[], Any] | None = None

        def cancel_over_there(raise_it: Callable[[], Any]) -> trio.lowlevel.Abort:
            nonlocal raise_cancel
            raise_cancel = raise_it
            with suppress(RuntimeError):  # loop closed: the answer is already on its way
                loop.call_soon_threadsafe(crossing.cancel)
            return trio.lowlevel.Abort.FAILED

        try:
            loop.call_soon_threadsafe(crossing.start, operation, args)
        except RuntimeError as error:
            raise StorageError("the storage thread has ended") from error
        try:
            result: T = await trio.lowlevel.wait_task_rescheduled(cancel_over_there)
        except asyncio.CancelledError as error:
            if raise_cancel is not None:
                raise_cancel()
            raise StorageError("the storage loop is closing") from error
        return result

    def _main(self) -> None:
        self._loop = loop = asyncio.new_event_loop()
        self._stop = asyncio.Event()
        _tell(self._token, self._started.set)
        try:
            loop.run_until_complete(self._serve())
        finally:
            loop.close()
            for crossing in tuple(self._crossings):
                crossing.settle(outcome.Error(asyncio.CancelledError()))
            _tell(self._token, self._ended.set)

    async def _serve(self) -> None:
        await self._stop.wait()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=self._close_s)


class _Crossing(Generic[T]):
    """One operation under way; all methods run in the loop's thread."""

    def __init__(
        self,
        token: trio.lowlevel.TrioToken,
        waiter: trio.lowlevel.Task,
        open_: "set[_Crossing[Any]]",
    ) -> None:
        self._token = token
        self._waiter = waiter
        self._open = open_
        self._task: asyncio.Task[T] | None = None

    def start(self, operation: Callable[..., Awaitable[T]], args: tuple[Any, ...]) -> None:
        async def operate() -> T:
            return await operation(*args)

        self._open.add(self)
        self._task = asyncio.get_running_loop().create_task(operate())
        self._task.add_done_callback(self._done)

    def cancel(self) -> None:
        # The loop runs callbacks in order, so `start` always came first.
        if self._task is not None:
            self._task.cancel()

    def _done(self, task: "asyncio.Task[T]") -> None:
        self.settle(outcome.capture(task.result))

    def settle(self, result: "outcome.Outcome[T]") -> None:
        """Hand the result to the waiting trio task, once."""
        if self in self._open:
            self._open.discard(self)
            _tell(self._token, trio.lowlevel.reschedule, self._waiter, result)


def _tell(token: trio.lowlevel.TrioToken, function: Callable[[*Ts], object], *args: *Ts) -> None:
    with suppress(trio.RunFinishedError):  # nobody is left to hear it
        token.run_sync_soon(function, *args)

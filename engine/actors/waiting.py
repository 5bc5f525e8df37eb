"""Waiting for the released state, or the read models behind it, to have come so far."""

import heapq
from typing import Final

import trio

from engine.ports import History, Watermark

#: How long after one look at the history's watermark the next one is worth while.
LOOK_AGAIN_S: Final = 0.02


class Progress:
    """Lets tasks wait until a sequence is released. Complexity: O(log waiters)."""

    def __init__(self, sequence: int) -> None:
        self._sequence = sequence
        self._waiters: list[tuple[int, int, trio.Event]] = []
        self._count = 0

    def advance(self, sequence: int) -> None:
        """Wake everybody who waits for `sequence` or less."""
        self._sequence = sequence
        while self._waiters and self._waiters[0][0] <= sequence:
            heapq.heappop(self._waiters)[2].set()

    async def reached(self, sequence: int) -> None:
        """Wait until `sequence` is released."""
        if sequence > self._sequence:
            self._count += 1
            waiter = (sequence, self._count, trio.Event())
            heapq.heappush(self._waiters, waiter)
            try:
                await waiter[2].wait()
            except trio.Cancelled:
                self._waiters.remove(waiter)
                heapq.heapify(self._waiters)
                raise


class HistoryProgress:
    """Lets tasks wait until the history has come so far. However many wait, one of them looks.

    Complexity: O(log waiters) for each who waits and for each look; a look wakes whoever is done,
    and one more who may look next.
    """

    def __init__(self, history: History) -> None:
        self._history = history
        self._seen = Watermark()
        self._looked_at_s = -LOOK_AGAIN_S
        self._is_looking = False
        self._waiters: list[tuple[int, int, trio.Event]] = []
        self._count = 0

    async def reached(self, sequence: int) -> Watermark:
        """A watermark at `sequence` or beyond. Waits for it, for ever if need be.

        Raises: StorageError.
        """
        while self._seen.sequence < sequence:
            if self._is_looking:
                await self._wait(sequence)
            else:
                await self._look()
        return self._seen

    async def _look(self) -> None:
        """See how far the history has come, not too soon after the last look."""
        self._is_looking = True
        try:
            await trio.sleep_until(self._looked_at_s + LOOK_AGAIN_S)
            self._seen = await self._history.watermark()
            self._looked_at_s = trio.current_time()
        finally:
            self._is_looking = False
            self._wake()

    async def _wait(self, sequence: int) -> None:
        """Wait until somebody saw `sequence`, or it is our turn to look."""
        self._count += 1
        waiter = (sequence, self._count, trio.Event())
        heapq.heappush(self._waiters, waiter)
        try:
            await waiter[2].wait()
        except trio.Cancelled:
            if waiter in self._waiters:
                self._waiters.remove(waiter)
                heapq.heapify(self._waiters)
            else:  # woken and gone: the turn is another's
                self._wake()
            raise

    def _wake(self) -> None:
        waiters = self._waiters
        while waiters and waiters[0][0] <= self._seen.sequence:
            heapq.heappop(waiters)[2].set()
        if waiters and not self._is_looking:
            heapq.heappop(waiters)[2].set()

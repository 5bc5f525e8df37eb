"""Waiting for the released state to have come so far."""

import heapq

import trio


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

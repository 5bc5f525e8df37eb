"""One deadline for many waiters: what a cancel scope per order would cost, once per outage."""

from collections import deque

import trio

from engine.actors.envelope import Ticket
from engine.journal.records import Record


class Patience:
    """Lets callers wait for their tickets, each no longer than the edge's deadline.

    All have the same deadline, so they run out in the order in which they came.
    Complexity: O(1) per wait.
    """

    def __init__(self, deadline_s: float) -> None:
        self._deadline_s = deadline_s
        self._waits: deque[tuple[float, Ticket]] = deque()
        self._somebody_waits = trio.Event()

    async def answer(self, ticket: Ticket) -> Record:
        """The ticket's record. Waits for it up to the deadline.

        Raises: OutcomeUnknown at the deadline, or what the ticket failed with.
        """
        if ticket.record is not None:
            return ticket.record
        waits = self._waits
        while waits and waits[0][1].is_settled:
            waits.popleft()
        if not waits:
            self._somebody_waits.set()
        waits.append((trio.current_time() + self._deadline_s, ticket))
        return await ticket.wait()

    async def run(self, *, task_status: "trio.TaskStatus[None]" = trio.TASK_STATUS_IGNORED) -> None:
        """Send those home whose time is up. Waits for ever."""
        task_status.started()
        waits = self._waits
        while True:
            if not waits:
                self._somebody_waits = trio.Event()
                await self._somebody_waits.wait()
            deadline_s, ticket = waits[0]
            if ticket.is_settled:
                waits.popleft()
            elif trio.current_time() >= deadline_s:
                waits.popleft()
                ticket.give_up()
            else:
                await trio.sleep_until(deadline_s)

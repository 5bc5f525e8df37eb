"""The earliest deadline of every desk, and the scheduler that wakes desks when theirs has come."""

import trio
from sortedcontainers import SortedList

from engine.actors.accounts import AccountsMessage
from engine.actors.envelope import Envelope, Lane
from engine.actors.mailbox import Mailbox
from engine.messages import Wake
from engine.ports import Clock
from engine.units import DeskId, TimeNs


class Deadlines:
    """Deadlines are fields of the machines' state; this ranks the earliest of each desk.

    Complexity: O(log desks) per change.
    """

    def __init__(self) -> None:
        self._by_desk: dict[DeskId, TimeNs] = {}
        self._ranked: SortedList[tuple[TimeNs, DeskId]] = SortedList()
        self._changed = trio.Event()

    def set(self, desk_id: DeskId, deadline_ns: TimeNs | None) -> None:
        """State a desk's earliest deadline, or that it has none."""
        old = self._by_desk.get(desk_id)
        if old == deadline_ns:
            return
        if old is not None:
            self._ranked.remove((old, desk_id))
            del self._by_desk[desk_id]
        if deadline_ns is not None:
            self._by_desk[desk_id] = deadline_ns
            self._ranked.add((deadline_ns, desk_id))
        self._changed.set()

    @property
    def next_ns(self) -> TimeNs | None:
        """The earliest deadline of all."""
        return self._ranked[0][0] if self._ranked else None

    def take_due(self, now_ns: TimeNs) -> list[DeskId]:
        """Desks whose deadline has come; each must state its next one before it is woken again."""
        due: list[DeskId] = []
        while self._ranked and self._ranked[0][0] <= now_ns:
            _, desk_id = self._ranked.pop(0)
            del self._by_desk[desk_id]
            due.append(desk_id)
        return due

    async def wait_changed(self) -> None:
        """Wait for the next change."""
        self._changed = trio.Event()
        await self._changed.wait()


async def keep_waking(
    deadlines: Deadlines,
    clock: Clock,
    accounts: Mailbox[AccountsMessage],
    *,
    task_status: "trio.TaskStatus[None]" = trio.TASK_STATUS_IGNORED,
) -> None:
    """Send each desk its `Wake` when its deadline comes. Waits for ever."""
    task_status.started()
    while True:
        now_ns = clock.now_ns()
        due = deadlines.take_due(now_ns)
        if due:
            accounts.tell([Envelope(Wake(desk_id), Lane.WAKE) for desk_id in due])
        next_ns = deadlines.next_ns
        wait_s = float("inf") if next_ns is None else (next_ns - clock.now_ns()) / 1e9
        with trio.move_on_after(max(0.0, wait_s)):
            await deadlines.wait_changed()

"""Which armed sessions are still connected; those that are not are reported as ended.

Whoever holds connections says `arrive` and `leave`. A session that is armed in the journal and not
present here is over, whether its client hung up, or the engine or the whole process fell meanwhile.
"""

from collections import deque
from collections.abc import Collection, Iterable
from contextlib import suppress

import trio

from engine.actors.accounts import AccountsMessage
from engine.actors.envelope import Envelope, Lane, Ticket
from engine.actors.keys_recall import Held
from engine.actors.mailbox import Mailbox
from engine.errors import EngineError
from engine.products.sessions.messages import EndSession


class Attendance:
    """Who is here. It outlives the engine's lives, and is empty at the start of a process."""

    def __init__(self) -> None:
        self._present: set[int] = set()
        self._left: deque[tuple[int, tuple[Ticket | Held | None, ...]]] = deque()
        self._news = trio.Event()

    def __repr__(self) -> str:
        return f"<Attendance: {len(self._present)} present>"

    def arrive(self, session_id: int) -> None:
        """A session is here; to be said before it is armed."""
        self._present.add(session_id)

    def leave(self, session_id: int, *under_way: Ticket | Held | None) -> None:
        """A session is gone for good; `under_way` is what it still has on its way to the journal.

        To be stated: what arms it, and what waits at the gate. Its end comes after them.
        """
        if session_id in self._present:
            self._present.remove(session_id)
            self._left.append((session_id, under_way))
            self._news.set()

    def forget(self, session_id: int) -> None:
        """A session that was disarmed has ended."""
        self._present.discard(session_id)

    def begin(self, armed: Collection[int]) -> list[Envelope]:
        """What to report at the start of a life: every armed session that is not here."""
        self._left.clear()
        return [_ended(one) for one in sorted(armed) if one not in self._present]

    async def report(
        self,
        accounts: Mailbox[AccountsMessage],
        *,
        task_status: "trio.TaskStatus[None]" = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Report who leaves during one life. Waits for ever."""
        async with trio.open_nursery() as nursery:
            task_status.started()
            while True:
                while self._left:  # whoever waits for the gate makes nobody else wait
                    nursery.start_soon(_end, *self._left.popleft(), accounts)
                self._news = trio.Event()
                await self._news.wait()


async def _end(
    session_id: int, under_way: Iterable[Ticket | Held | None], accounts: Mailbox[AccountsMessage]
) -> None:
    for one in under_way:
        await _decided(one)
    accounts.tell([_ended(session_id)])


def _ended(session_id: int) -> Envelope:
    return Envelope(EndSession(session_id), Lane.RESULT)


async def _decided(one: Ticket | Held | None) -> None:
    """Wait until a command has its answer: what comes from outside goes first."""
    while one is not None and not one.is_settled:
        with suppress(EngineError):
            await one.wait()

"""What travels the line: a command with its way home, filled in station by station."""

from enum import IntEnum
from typing import Any

import msgspec
import outcome
import trio

from engine.errors import EngineError, OutcomeUnknown
from engine.journal.records import Record
from engine.messages import Origin
from engine.products.exchange.messages import Reserved
from engine.units import Sequence, TimeNs


class Lane(IntEnum):
    """Where a command comes from; each batch takes lower lanes first."""

    RESULT = 0  # an outside party's answer to an intent
    WAKE = 1  # a deadline
    FOLLOW_UP = 2  # caused by an earlier record
    OUTSIDE = 3  # a caller


class Ticket(msgspec.Struct, gc=False):
    """One caller's way to the record of its command. Settles once; later attempts are ignored."""

    record: Record | None = None
    error: EngineError | None = None
    _waiting: list[trio.lowlevel.Task] | None = None

    @property
    def is_settled(self) -> bool:
        """Whether there is an answer."""
        return self.record is not None or self.error is not None

    def settle(self, record: Record) -> None:
        """The command's record is released."""
        if self.record is None and self.error is None:
            self.record = record
            if self._waiting is not None:
                self._wake()

    def fail(self, error: EngineError) -> None:
        """There will be no record to answer with."""
        if self.record is None and self.error is None:
            self.error = error
            if self._waiting is not None:
                self._wake()

    def give_up(self) -> None:
        """Send those who wait home without an answer; others may still wait for it later."""
        self._wake(outcome.Error(OutcomeUnknown("no answer before the deadline; ask by key")))

    def _wake(self, news: "outcome.Outcome[None] | None" = None) -> None:
        waiting, self._waiting = self._waiting or [], None
        for task in waiting:
            trio.lowlevel.reschedule(task, news if news is not None else outcome.Value(None))

    async def wait(self) -> Record:
        """The released record. Waits for it, without a `trio.Event`: every order waits once.

        Raises: the error it failed with.
        """
        if self.record is None and self.error is None:
            await self._sleep()
        if self.record is None:
            raise self.error if self.error is not None else AssertionError
        return self.record

    async def _sleep(self) -> None:
        task = trio.lowlevel.current_task()
        if self._waiting is None:
            self._waiting = [task]
        else:
            self._waiting.append(task)

        def leave(_raise_cancel: object) -> trio.lowlevel.Abort:
            if self._waiting is not None:
                self._waiting.remove(task)
            return trio.lowlevel.Abort.SUCCEEDED

        await trio.lowlevel.wait_task_rescheduled(leave)


class Envelope(msgspec.Struct, gc=False):
    """A command on its way. Each station fills in its own fields and passes it on.

    From the gate: `command` to `ticket`. From accounts: `sequence` to `reserved`. From the desk:
    `record`. `answers` is the key of the follow-up that this is, or (0, 0).
    """

    command: Any
    lane: Lane = Lane.OUTSIDE
    scope: int = 0
    key: str = ""
    body_digest: int = 0
    ticket: Ticket | None = None
    answers: tuple[int, int] = (0, 0)
    origin: Origin | None = None
    slots: Any = None  # whose slot it took at the gate, if any
    sequence: Sequence = Sequence(0)
    now_ns: TimeNs = TimeNs(0)
    released_through: Sequence = Sequence(0)
    reserved: Reserved | None = None
    record: Record | None = None

    @property
    def request_id(self) -> str:
        """What log lines call the request that it came with; "" for what the engine caused."""
        return "" if self.origin is None else self.origin.request_id

    def decided(
        self, events: Any, entries: Any = (), holds: Any = (), follow_ups: Any = ()
    ) -> None:
        """Close the sequence with what a desk decided."""
        answers = self.answers
        self.record = Record(
            self.sequence,
            self.now_ns,
            self.released_through,
            self.command,
            events,
            entries,
            holds,
            follow_ups,
            answers[0],
            answers[1],
            self.scope,
            self.key,
            self.body_digest,
            self.origin,
        )

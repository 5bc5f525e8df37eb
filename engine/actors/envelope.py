"""What travels the line: a command with its way home, filled in station by station."""

from enum import IntEnum
from typing import Any

import msgspec
import trio

from engine.errors import EngineError
from engine.journal.records import Record
from engine.products.exchange.messages import Reserved


class Lane(IntEnum):
    """Where a command comes from; each batch takes lower lanes first."""

    RESULT = 0  # an outside party's answer to an intent
    WAKE = 1  # a deadline
    FOLLOW_UP = 2  # caused by an earlier record
    OUTSIDE = 3  # a caller


class Ticket:
    """One caller's way to the record of its command. Settles once; later attempts are ignored."""

    __slots__ = ("_event", "error", "record")

    def __init__(self) -> None:
        self.record: Record | None = None
        self.error: EngineError | None = None
        self._event: trio.Event | None = None

    @property
    def is_settled(self) -> bool:
        """Whether there is an answer."""
        return self.record is not None or self.error is not None

    def settle(self, record: Record) -> None:
        """The command's record is released."""
        if self.record is None and self.error is None:
            self.record = record
            if self._event is not None:
                self._event.set()

    def fail(self, error: EngineError) -> None:
        """There will be no record to answer with."""
        if self.record is None and self.error is None:
            self.error = error
            if self._event is not None:
                self._event.set()

    async def wait(self) -> Record:
        """The released record. Waits for it.

        Raises: the error it failed with.
        """
        if self.record is None and self.error is None:
            if self._event is None:
                self._event = trio.Event()
            await self._event.wait()
        if self.record is None:
            raise self.error if self.error is not None else AssertionError
        return self.record


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
    slots: Any = None  # whose slot it took at the gate, if any
    sequence: int = 0
    now_ns: int = 0
    released_through: int = 0
    reserved: Reserved | None = None
    record: Record | None = None

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
        )

"""What a desk's machine answers with, and what it reads when that is folded again."""

from collections.abc import Sequence
from typing import Any, Protocol

import msgspec

from engine.ledger.messages import Entry, HoldChange
from engine.units import Sequence as SequenceNumber
from engine.units import TimeNs


class Decision(msgspec.Struct, gc=False):
    """One command's outcome.

    `follow_ups` are commands for other desks (or for this one, later), keyed by the record's
    sequence and their index here.
    """

    events: Sequence[Any]
    entries: Sequence[Entry] = ()
    holds: Sequence[HoldChange] = ()
    follow_ups: Sequence[Any] = ()


class Recorded(Protocol):
    """The part of a journal record that a fold reads; products do not know the journal itself."""

    @property
    def sequence(self) -> SequenceNumber: ...
    @property
    def now_ns(self) -> TimeNs: ...
    @property
    def command(self) -> Any: ...
    @property
    def events(self) -> Sequence[Any]: ...
    @property
    def holds(self) -> Sequence[HoldChange]: ...

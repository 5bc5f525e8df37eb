"""What a desk's machine answers with: everything its record will say, and nothing else."""

from collections.abc import Sequence
from typing import Any

import msgspec

from engine.ledger.messages import Entry, HoldChange


class Decision(msgspec.Struct, gc=False):
    """One command's outcome.

    `follow_ups` are commands for other desks (or for this one, later), keyed by the record's
    sequence and their index here.
    """

    events: Sequence[Any]
    entries: Sequence[Entry] = ()
    holds: Sequence[HoldChange] = ()
    follow_ups: Sequence[Any] = ()

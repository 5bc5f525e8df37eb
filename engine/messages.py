"""The base of every command and event, and those that every desk understands.

Messages are frozen msgspec structs encoded as MessagePack arrays with their tag first. Fields are
only ever added at the end, with a default, so that old journals stay readable.
"""

import msgspec

from engine.refusals import Reason
from engine.units import DeskId, TimeNs


class Message(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """Something that is journaled: a command (imperative) or an event (past participle)."""


class Origin(Message, frozen=True):
    """Who sent a command from outside, what its log lines are called, and until when it counts.

    `key_id` is the API key (0: none), `not_after_ns` the end of the request's own window (0: none):
    a command that is stamped later is refused, by the stamp and not by anybody's clock. `reason` is
    what an operator gave for an act of administration.
    """

    key_id: int = 0
    request_id: str = ""
    not_after_ns: TimeNs = TimeNs(0)
    reason: str = ""


class Wake(Message, frozen=True, tag="wake"):
    """A deadline of this desk has come; it decides what that means."""

    desk_id: DeskId


class Refused(Message, frozen=True, tag="refused"):
    """The record's command changed nothing, for a reason that stays the answer to its key.

    `field` names the part of the request at fault where there is one; `rule` names the check that
    refused, so that support can explain it.
    """

    reason: Reason
    field: str = ""
    rule: str = ""


class Deferred(Message, frozen=True, tag="deferred"):
    """The desk fell before it could decide: the sequence is closed, the work stays outstanding."""

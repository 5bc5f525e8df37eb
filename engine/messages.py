"""The base of every command and event, and those that every desk understands.

Messages are frozen msgspec structs encoded as MessagePack arrays with their tag first. Fields are
only ever added at the end, with a default, so that old journals stay readable.
"""

import msgspec

from engine.refusals import Reason
from engine.units import DeskId


class Message(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """Something that is journaled: a command (imperative) or an event (past participle)."""


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

"""Deciding recorded commands again, each in exactly the state it met.

A living engine's desks run ahead of what is released, and accounts reserves by what was released
when it did. Both are repeated here: desks stand at the newest record, the released state at the one
that each record names.
"""

from collections import deque
from copy import copy
from typing import Any, Final, Self

from engine.journal.records import EXPIRED, Record, desk_of
from engine.journal.state import EngineState
from engine.messages import Deferred, Refused
from engine.products.decision import Decision
from engine.products.exchange.desk import InstrumentDesk
from engine.products.sessions.desk import SessionsDesk
from engine.products.withdrawals.desk import WithdrawalsDesk
from engine.refusals import Reason
from engine.units import ACCOUNTS_DESK, SESSIONS_DESK, WITHDRAWALS_DESK, DeskId

_NOT_DECIDED: Final = frozenset((Reason.DESK_FAULT, Reason.DESK_HALTED))


class Redecider:
    """Give it every record in order: `decide`. Put it right after a difference: `put_right`.

    Complexity: that of deciding and folding each record once; records in flight are kept.
    """

    def __init__(self, state: EngineState) -> None:
        self.state = state
        self._unreleased: deque[Record] = deque()

    @classmethod
    def going_on_from(cls, folded: EngineState) -> Self:
        """One that continues where a fold stands, with nothing in flight. O(state)."""
        state = EngineState(folded.closed_orders_max)
        state.restore(folded.snapshot())
        return cls(state)

    def decide(self, record: Record) -> Decision | None:
        """What the record's command does; None if its desk never got to decide it.

        Raises: whatever the desk raises; it must be put right then.
        """
        self.release_through(record.released_through)
        self._unreleased.append(record)
        command, sequence, origin = record.command, record.sequence, record.origin
        if origin is not None and 0 < origin.not_after_ns < record.now_ns:
            return Decision((EXPIRED,))
        accounts = self.state.accounts
        reserved = accounts.reserve(sequence, command)
        if type(reserved) is Refused:
            return Decision((reserved,))
        if was_not_decided(record):
            return None
        if desk_of(command) == ACCOUNTS_DESK:
            decision = accounts.decide(sequence, record.now_ns, command)
            accounts.apply(sequence, command, decision)
            return decision
        return self._decide_at_desk(record, reserved)

    def _decide_at_desk(self, record: Record, reserved: Any) -> Decision:
        machine = self.state.machine(desk_of(record.command))
        decision: Decision = machine.decide(
            record.sequence, record.now_ns, record.command, reserved
        )
        if not machine.DECIDING_CHANGES:
            machine.apply(record)
        return decision

    def release_through(self, sequence: int) -> None:
        """Let accounts see the effects of records through `sequence`."""
        unreleased, released = self._unreleased, self.state.released
        while unreleased and unreleased[0].sequence <= sequence:
            released.apply(unreleased.popleft())
        self.state.accounts.release_through(sequence)

    def put_right(self, desk_id: DeskId, folded: EngineState) -> None:
        """Let one desk go on from what its records say, after it decided otherwise."""
        if desk_id == WITHDRAWALS_DESK:
            rows = [copy(one) for one in folded.withdrawals.snapshot()]
            self.state.withdrawals = WithdrawalsDesk.restore(rows)
        elif desk_id == SESSIONS_DESK:
            self.state.sessions = SessionsDesk.restore(folded.sessions.snapshot())
        elif desk_id in folded.desks:
            desk = folded.desks[desk_id]
            self.state.desks[desk_id] = InstrumentDesk.restore(desk.instrument, desk.snapshot())


def was_not_decided(record: Record) -> bool:
    """Whether the sequence was closed without its desk: it had fallen, or was halted."""
    if len(record.events) != 1:
        return False
    [event] = record.events
    return type(event) is Deferred or (type(event) is Refused and event.reason in _NOT_DECIDED)

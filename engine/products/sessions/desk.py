"""The sessions machine: dead-man timers, and sessions whose end is to cancel orders.

Its deadlines and its armed sessions are state like any other, so a crash forgets neither: a timer
that ran out meanwhile fires at once, and a session of an earlier process is over.
"""

from typing import Any, ClassVar, Final

import msgspec
from sortedcontainers import SortedList

from engine.errors import InvariantViolated
from engine.messages import Message, Refused, Wake
from engine.products.decision import Decision, Recorded
from engine.products.exchange.messages import CancelAll, Reserved
from engine.products.sessions.messages import (
    ArmSession,
    DeadManFired,
    DeadManSet,
    DisarmSession,
    EndSession,
    SessionArmed,
    SessionDisarmed,
    SessionFired,
    SetDeadMan,
)
from engine.refusals import Reason
from engine.units import AccountId, InstrumentId, Sequence, TimeNs

TIMEOUT_NS_MIN: Final = TimeNs(1_000_000_000)
TIMEOUT_NS_MAX: Final = TimeNs(3_600_000_000_000)
TIMERS_MAX: Final = 100_000
SESSIONS_MAX: Final = 100_000
#: One wake fires at most this many timers; the next wake takes the rest.
FIRED_PER_RECORD_MAX: Final = 100

_Owner = tuple[AccountId, int]  # whose orders: an account, and the key that placed them


class DeadMan(msgspec.Struct, frozen=True, array_like=True):
    """A running timer."""

    account_id: AccountId
    key_id: int
    deadline_ns: TimeNs
    timeout_ns: TimeNs


class ArmedSession(msgspec.Struct, frozen=True, array_like=True):
    """A session whose end is to cancel orders."""

    session_id: int
    account_id: AccountId
    key_id: int


class SessionsSnapshot(msgspec.Struct, frozen=True, array_like=True):
    """Every timer by account and key, every armed session by its id."""

    timers: list[DeadMan] = []
    sessions: list[ArmedSession] = []


class SessionsDesk:
    """Decides every timer and session. Pure `decide`, then `apply`.

    Look up: `timer`, `armed`. Complexity: O(log timers) per command.
    """

    #: `decide` changes nothing, so a raise in it leaves the machine sound.
    DECIDING_CHANGES: ClassVar = False

    def __init__(self) -> None:
        self._timers: dict[_Owner, DeadMan] = {}
        self._deadlines: SortedList[tuple[TimeNs, AccountId, int]] = SortedList()
        #: Armed sessions by their id.
        self.armed: dict[int, ArmedSession] = {}

    def __repr__(self) -> str:
        return f"<SessionsDesk: {len(self._timers)} timers, {len(self.armed)} armed sessions>"

    @property
    def timers(self) -> list[DeadMan]:
        """Every running timer, the next to run out first."""
        return [self._timers[account_id, key_id] for _, account_id, key_id in self._deadlines]

    def timer(self, account_id: AccountId, key_id: int) -> DeadMan | None:
        """A key's running timer for an account."""
        return self._timers.get((account_id, key_id))

    @property
    def next_deadline_ns(self) -> TimeNs | None:
        """When the next timer runs out."""
        return self._deadlines[0][0] if self._deadlines else None

    def decide(
        self, _sequence: Sequence, now_ns: TimeNs, command: Any, _reserved: Reserved | None
    ) -> Decision:
        """What the command does; changes nothing.

        Raises: InvariantViolated for a command of another desk.
        """
        match command:
            case SetDeadMan():
                return self._set_dead_man(now_ns, command)
            case ArmSession():
                return self._arm(command)
            case DisarmSession(session_id):
                return Decision((SessionDisarmed(session_id),) if session_id in self.armed else ())
            case EndSession(session_id):
                return self._end(session_id)
            case Wake():
                return self._wake(now_ns)
            case _:
                raise InvariantViolated(f"sessions cannot decide {command}")

    def _set_dead_man(self, now_ns: TimeNs, command: SetDeadMan) -> Decision:
        timeout_ns = command.timeout_ns
        if timeout_ns and not TIMEOUT_NS_MIN <= timeout_ns <= TIMEOUT_NS_MAX:
            return Decision((Refused(Reason.INVALID_VALUE, "timeout_ms", "dead_man.timeout"),))
        running = self.timer(command.account_id, command.key_id)
        if running is None and len(self._timers) >= TIMERS_MAX:
            return Decision((Refused(Reason.LIMIT_EXCEEDED, "", "dead_man.timers_max"),))
        # What has run out fires, even if this command came before its wake.
        fired = [] if running is None or running.deadline_ns > now_ns else [running]
        deadline_ns = TimeNs(now_ns + timeout_ns if timeout_ns else 0)
        events: list[Message] = [DeadManFired(one.account_id, one.key_id) for one in fired]
        events.append(DeadManSet(command.account_id, command.key_id, deadline_ns, timeout_ns))
        return Decision(events, (), (), [_cancel_all(one) for one in fired])

    def _arm(self, command: ArmSession) -> Decision:
        if command.session_id not in self.armed and len(self.armed) >= SESSIONS_MAX:
            return Decision((Refused(Reason.LIMIT_EXCEEDED, "", "sessions_max"),))
        armed = SessionArmed(command.session_id, command.account_id, command.key_id)
        return Decision((armed,))

    def _end(self, session_id: int) -> Decision:
        session = self.armed.get(session_id)
        if session is None:
            return Decision(())
        fired = SessionFired(session_id, session.account_id, session.key_id)
        return Decision((fired,), (), (), (_cancel_all(session),))

    def _wake(self, now_ns: TimeNs) -> Decision:
        due: list[DeadMan] = []
        for deadline_ns, account_id, key_id in self._deadlines:
            if deadline_ns > now_ns or len(due) == FIRED_PER_RECORD_MAX:
                break
            due.append(self._timers[account_id, key_id])
        events = [DeadManFired(one.account_id, one.key_id) for one in due]
        return Decision(events, (), (), [_cancel_all(one) for one in due])

    def apply(self, record: Recorded) -> None:
        """Fold one recorded decision of this desk."""
        for event in record.events:
            match event:
                case DeadManSet(account_id, key_id, deadline_ns, timeout_ns):
                    self._stop(account_id, key_id)
                    if deadline_ns:
                        self._start(DeadMan(account_id, key_id, deadline_ns, timeout_ns))
                case DeadManFired(account_id, key_id):
                    self._stop(account_id, key_id)
                case SessionArmed(session_id, account_id, key_id):
                    self.armed[session_id] = ArmedSession(session_id, account_id, key_id)
                case SessionDisarmed(session_id) | SessionFired(session_id):
                    del self.armed[session_id]
                case _:
                    pass

    def _start(self, timer: DeadMan) -> None:
        self._timers[timer.account_id, timer.key_id] = timer
        self._deadlines.add((timer.deadline_ns, timer.account_id, timer.key_id))

    def _stop(self, account_id: AccountId, key_id: int) -> None:
        timer = self._timers.pop((account_id, key_id), None)
        if timer is not None:
            self._deadlines.remove((timer.deadline_ns, account_id, key_id))

    def snapshot(self) -> SessionsSnapshot:
        """Everything, in an order that equal desks share."""
        return SessionsSnapshot(
            [timer for _, timer in sorted(self._timers.items())],
            [session for _, session in sorted(self.armed.items())],
        )

    @classmethod
    def restore(cls, snapshot: SessionsSnapshot) -> "SessionsDesk":
        """The desk that gave this snapshot."""
        desk = cls()
        for timer in snapshot.timers:
            desk._start(timer)
        desk.armed = {session.session_id: session for session in snapshot.sessions}
        return desk


def _cancel_all(of: DeadMan | ArmedSession) -> CancelAll:
    return CancelAll(of.account_id, InstrumentId(0), of.key_id)

"""The contract of the sessions desk: commands above, events below.

A dead-man timer belongs to a key and an account; a session, to one connection of a key. Either
ends in the same way: every order that the key has on that account is cancelled.
"""

from engine.messages import Message
from engine.units import AccountId, TimeNs


class SetDeadMan(Message, frozen=True, tag="set-dead-man"):
    """Cancel the key's orders unless this command comes again within `timeout_ns`; 0 disarms."""

    account_id: AccountId
    key_id: int
    timeout_ns: TimeNs


class ArmSession(Message, frozen=True, tag="arm-session"):
    """Cancel the key's orders when this session ends.

    `session_id` is chosen by whoever holds the connection and never used again.
    """

    account_id: AccountId
    key_id: int
    session_id: int


class DisarmSession(Message, frozen=True, tag="disarm-session"):
    """Let the orders stand when this session ends; no news if they would have anyway."""

    session_id: int


class EndSession(Message, frozen=True, tag="end-session"):
    """A fact from outside: the session's connection is gone. Never refused."""

    session_id: int


class DeadManSet(Message, frozen=True, tag="dead-man-set"):
    """The key's timer runs out at `deadline_ns`; 0: it does not run."""

    account_id: AccountId
    key_id: int
    deadline_ns: TimeNs
    timeout_ns: TimeNs


class DeadManFired(Message, frozen=True, tag="dead-man-fired"):
    """The timer ran out and runs no more; a follow-up cancels the key's orders."""

    account_id: AccountId
    key_id: int


class SessionArmed(Message, frozen=True, tag="session-armed"):
    """When this session ends, the key's orders do."""

    session_id: int
    account_id: AccountId
    key_id: int


class SessionDisarmed(Message, frozen=True, tag="session-disarmed"):
    """When this session ends, nothing happens."""

    session_id: int


class SessionFired(Message, frozen=True, tag="session-fired"):
    """An armed session has ended; a follow-up cancels the key's orders."""

    session_id: int
    account_id: AccountId
    key_id: int


SessionCommand = SetDeadMan | ArmSession | DisarmSession | EndSession
SessionEvent = DeadManSet | DeadManFired | SessionArmed | SessionDisarmed | SessionFired

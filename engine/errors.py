"""Everything a caller can meet that is not a recorded refusal.

A refusal is data (`engine.refusals`), a fault is an `EngineError`, a contradiction is
`InvariantViolated`. Each docstring states the cause, what did not happen, what the caller may do.
"""


class EngineError(Exception):
    """Base of the faults a caller can meet; never raised itself."""


class Overloaded(EngineError):
    """No free slot at the gate. Nothing was accepted; repeat the same request later."""


class Halted(EngineError):
    """The engine is stopping or rebuilding. Nothing was accepted; repeat later."""


class NotFound(EngineError):
    """No such order, account, instrument or withdrawal is known. Nothing happened."""


class InvalidCommand(EngineError):
    """A command holds what its type does not allow. Nothing was accepted; mend the caller."""


class KeyConflict(EngineError):
    """The idempotency key was used before with another body. Nothing happened; use a new key."""


class OutcomeUnknown(EngineError):
    """No answer before the deadline. It may have happened: ask by key, do not send a new one."""


class StorageError(EngineError):
    """The store failed or its answer was lost. Whether the last append happened is unknown."""


class HistoryBehind(EngineError):
    """The read models have not come as far as is needed, in time. Nothing happened; ask later."""


class StorageUnusable(EngineError):
    """The store cannot serve an engine at all (pooler, version, rights). Nothing was written."""


class Fenced(EngineError):
    """Another engine owns the journal. Nothing of ours was written; this process must end."""


class JournalCorrupt(EngineError):
    """Stored blocks contradict each other (digest, gap, order). The engine refuses to start."""


class VenueError(EngineError):
    """An outside party answered badly or not at all; base of the two below."""


class VenueUnreachable(VenueError):
    """The request certainly did not arrive. It may be repeated."""


class VenueTimeout(VenueError):
    """No answer: it may have happened. Ask by key before anything is sent again or undone."""


class InvariantViolated(AssertionError):
    """A contradiction in our own state: a bug. Nobody handles it; the desk or engine falls."""

"""Proving a journal from its first byte: chain, gaps, books, and every decision made again.

Fed with blocks in order. Nothing here repairs or reads anything; it says what cannot be true.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Any, Final

import msgspec

from engine.errors import InvariantViolated, JournalCorrupt
from engine.journal.blocks import GENESIS_DIGEST, Block, Head, check_follows
from engine.journal.records import RULES_VERSION, Record, decode, desk_of
from engine.journal.redecide import Redecider, was_not_decided
from engine.journal.snapshots import Snapshot, flaw
from engine.journal.state import EngineState, difference
from engine.ledger.ledger import Ledger
from engine.messages import Message
from engine.products.withdrawals.desk import WithdrawalStatus

#: After so many contradictions the rest would say little more.
CONTRADICTIONS_MAX: Final = 20
#: The books are proven from scratch after so many records, and at the end.
BOOKS_EVERY_RECORDS: Final = 20_000
_TEXT_CHARACTERS_MAX: Final = 2_000
_HOLDING: Final = frozenset(
    (WithdrawalStatus.COOLING, WithdrawalStatus.SUBMITTED, WithdrawalStatus.UNKNOWN)
)


class Check(StrEnum):
    """What was being checked."""

    CHAIN = "CHAIN"  # each block continues the one before it
    PAYLOAD = "PAYLOAD"  # a block's bytes are its records
    SEQUENCE = "SEQUENCE"  # one record per sequence, time and releases never go back
    FOLLOW_UP = "FOLLOW_UP"  # answers name a follow-up that waits, once
    KEY = "KEY"  # a key is used once per scope
    DECISION = "DECISION"  # the command decided again gives the record
    FOLD = "FOLD"  # what the record states can be true
    BOOKS = "BOOKS"  # conservation, holds, desks against ledger
    SNAPSHOT = "SNAPSHOT"  # a snapshot is the fold at its sequence
    HEAD = "HEAD"  # the blocks lead to the head
    HISTORY = "HISTORY"  # the read models add up to what the journal says


#: What comes after one of these would be judged by a state that is wrong.
_FATAL: Final = frozenset((Check.CHAIN, Check.PAYLOAD, Check.FOLD))


class Contradiction(msgspec.Struct, frozen=True):
    """Something that cannot be true; `sequence` is 0 where it concerns a whole block."""

    check: Check
    block: int
    sequence: int
    expected: str
    found: str


class Report(msgspec.Struct, frozen=True):
    """What was proven, and what was not."""

    blocks: int
    records: int
    sequence: int
    redecided: int
    not_redecided: int  # of other rules, or closed without their desk
    snapshots: int
    finished: bool  # whether every block was read and judged
    contradictions: list[Contradiction]
    history_through: int = 0  # the sequence at which read models were compared; 0: none were

    @property
    def is_clean(self) -> bool:
        """Whether all of the journal holds together."""
        return self.finished and not self.contradictions


class Verifier:
    """Feed: `take` each block in order, then `finish`. Stop feeding once `has_stopped`.

    Two states walk along: one folds every record as recovery would, the other decides every record
    of these rules again. They must agree at the end, desk by desk.
    """

    def __init__(
        self,
        snapshots: Iterable[Snapshot] = (),
        *,
        rules_version: int = RULES_VERSION,
        redeciding: bool = True,
        closed_orders_max: int = 100_000,
    ) -> None:
        self.contradictions: list[Contradiction] = []
        self.has_stopped = False
        self._snapshots = {snapshot.block_number: snapshot for snapshot in snapshots}
        self._rules_version = rules_version
        self._redeciding = redeciding
        self._folded = EngineState(closed_orders_max)
        self._redecider: Redecider | None = None
        self._head = Head(0, 0, 0, GENESIS_DIGEST)
        self._boundaries: deque[int] = deque([0])  # where releases may have stood
        self._redecided = self._not_redecided = self._snapshots_checked = 0
        self._books_proven_through = 0

    @property
    def sequence(self) -> int:
        """The newest record taken."""
        return self._folded.released.sequence

    @property
    def ledger(self) -> Ledger:
        """All balances as the records taken so far leave them; not to be changed."""
        return self._folded.released.ledger

    def take(self, block: Block) -> None:
        """Judge the next block; what it contradicts is noted, never raised."""
        if self.has_stopped:
            return
        try:
            check_follows(self._head, block)
            records = decode(block.payload)
        except JournalCorrupt as error:
            self._note(Check.CHAIN, block.number, 0, f"a block after {self._head.number}", error)
            return
        except msgspec.MsgspecError as error:
            self._note(Check.PAYLOAD, block.number, 0, "an array of records", error)
            return
        first, last = block.first_sequence, block.last_sequence
        if [record.sequence for record in records] != list(range(first, last + 1)):
            found = f"{len(records)} records"
            self._note(Check.PAYLOAD, block.number, first, f"records {first} to {last}", found)
            return
        for record in records:
            self._take_record(block.number, record)
            if self.has_stopped:
                return
        self._head = block.head
        self._boundaries.append(last)
        if last - self._books_proven_through >= BOOKS_EVERY_RECORDS:
            self._prove_books()
        self._check_snapshot(block)

    def finish(self, head: Head) -> Report:
        """Judge the end: the head, the books, and the two states against each other."""
        finished = not self.has_stopped
        if finished:
            mine, theirs = self._head, head
            if (mine.number, mine.sequence, mine.digest) != (
                theirs.number,
                theirs.sequence,
                theirs.digest,
            ):
                found = f"blocks that end with {mine.number} at sequence {mine.sequence}"
                expected = f"the head's block {theirs.number} at sequence {theirs.sequence}"
                self._note(Check.HEAD, mine.number, mine.sequence, expected, found)
            for number, snapshot in self._snapshots.items():
                self._note(Check.SNAPSHOT, number, snapshot.sequence, "a block", "none")
            self._prove_books()
            self._compare_states()
        return Report(
            self._head.number,
            self.sequence,
            self.sequence,
            self._redecided,
            self._not_redecided,
            self._snapshots_checked,
            finished,
            self.contradictions,
        )

    # -- one record

    def _take_record(self, block_number: int, record: Record) -> None:
        self._check_structure(block_number, record)
        agrees = self._redecide(block_number, record)
        try:
            self._folded.apply(record)
        except (InvariantViolated, JournalCorrupt, LookupError, TypeError, ValueError) as error:
            expected = "a record that can be folded"
            self._note(Check.FOLD, block_number, record.sequence, expected, _reason(error))
            return
        if not agrees and self._redecider is not None:
            self._redecider.put_right(desk_of(record.command), self._folded)

    def _check_structure(self, block_number: int, record: Record) -> None:
        released, sequence = self._folded.released, record.sequence
        if record.now_ns < released.now_ns:
            expected = f"time from {released.now_ns} on"
            self._note(Check.SEQUENCE, block_number, sequence, expected, record.now_ns)
        boundaries = self._boundaries
        while len(boundaries) > 1 and boundaries[0] < record.released_through:
            boundaries.popleft()
        if boundaries[0] != record.released_through:
            expected = f"releases through {boundaries[0]}, the end of a block"
            self._note(Check.SEQUENCE, block_number, sequence, expected, record.released_through)
        if record.key:
            used = released.keys.get(record.scope, record.key)
            if used is not None:
                found = f"the key that {used.sequence} answered: {record.key}"
                self._note(Check.KEY, block_number, sequence, "a key never used", found)
        if record.answers_sequence:
            name = (record.answers_sequence, record.answers_index)
            waiting = released.outstanding.get(name)
            if waiting != record.command or record.answers_sequence > record.released_through:
                self._note(Check.FOLLOW_UP, block_number, sequence, waiting, record.command)

    def _redecide(self, block_number: int, record: Record) -> bool:
        """Decide a record of these rules again; whether nothing speaks against it."""
        if not self._redeciding or self._folded.released.rules.version != self._rules_version:
            self._redecider = None
            self._not_redecided += 1
            return True
        if self._redecider is None:
            self._redecider = Redecider.going_on_from(self._folded)
        try:
            decision = self._redecider.decide(record)
        except Exception as error:  # any raise is a difference: this record has an answer
            if was_not_decided(record):
                self._not_redecided += 1
                return False
            found = f"a record of {_text(record.events)}"
            self._note(Check.DECISION, block_number, record.sequence, _reason(error), found)
            return False
        if decision is None:
            self._not_redecided += 1
            return True
        self._redecided += 1
        for part in ("events", "entries", "holds", "follow_ups"):
            decided, recorded = list(getattr(decision, part)), list(getattr(record, part))
            if decided != recorded:
                expected, found = f"{part}: {_text(decided)}", f"{part}: {_text(recorded)}"
                self._note(Check.DECISION, block_number, record.sequence, expected, found)
                return False
        return True

    # -- the whole state

    def _check_snapshot(self, block: Block) -> None:
        snapshot = self._snapshots.pop(block.number, None)
        if snapshot is None:
            return
        self._snapshots_checked += 1
        reason = flaw(snapshot, block)
        if not reason:
            theirs = EngineState(self._folded.closed_orders_max)
            try:
                theirs.restore(snapshot.payload)
            except JournalCorrupt as error:
                reason = str(error)
            else:
                reason = self._keys_contradicted(theirs)
                kept = theirs.released.orders.closed_count
                reason = reason or difference(theirs.snapshot(kept), self._folded.snapshot(kept))
        if reason:
            expected = "the state that its records lead to"
            self._note(Check.SNAPSHOT, block.number, block.last_sequence, expected, reason)

    def _keys_contradicted(self, theirs: EngineState) -> str:
        """How a snapshot's keys contradict all those ever used, which take their place here."""
        whole, kept = self._folded.released.keys, theirs.released.keys
        theirs.released.keys = whole  # when its writer forgot which of them is its own affair
        return kept.contradiction(whole)

    def _prove_books(self) -> None:
        self._books_proven_through = self.sequence
        try:
            self._folded.released.ledger.check_invariants()
            for desk in self._folded.desks.values():
                desk.check_invariants()
            _check_holds(self._folded)
        except InvariantViolated as error:
            self._note(Check.BOOKS, self._head.number, self.sequence, "books that close", error)

    def _compare_states(self) -> None:
        """What was decided again must have led to the same state as what was recorded."""
        redecider = self._redecider
        if redecider is None or any(one.check in _DIVERGING for one in self.contradictions):
            return
        redecider.release_through(self.sequence)
        found = difference(redecider.state.snapshot(), self._folded.snapshot())
        if found:
            expected = "the same state from deciding and from folding"
            self._note(Check.FOLD, self._head.number, self.sequence, expected, found)

    def _note(
        self, check: Check, block_number: int, sequence: int, expected: Any, found: Any
    ) -> None:
        self.contradictions.append(
            Contradiction(check, block_number, sequence, _text(expected), _text(found))
        )
        if check in _FATAL or len(self.contradictions) >= CONTRADICTIONS_MAX:
            self.has_stopped = True


_DIVERGING: Final = frozenset((Check.DECISION, Check.FOLD))


def _check_holds(state: EngineState) -> None:
    """Every hold belongs to an order or a withdrawal that says the same, and to nothing else."""
    expected = {
        row.order_id: row.held_minor
        for desk in state.desks.values()
        for row in desk.snapshot().open_orders
    }
    expected.update(
        (one.withdrawal_id, one.terms.amount_minor)
        for one in state.withdrawals.all()
        if one.status in _HOLDING
    )
    found = {hold.group_id: hold.held_minor for hold in state.released.ledger.snapshot().holds}
    if expected != found:
        wrong = sorted(dict(expected.items() ^ found.items()))
        raise InvariantViolated(f"desks and ledger disagree about the holds of groups {wrong[:10]}")


def _reason(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _text(value: Any) -> str:
    """What people read: the messages themselves, as far as they fit."""
    if isinstance(value, Sequence) and not isinstance(value, str):
        value = [one if isinstance(one, Message) else str(one) for one in value]
    text = str(value)
    return text if len(text) <= _TEXT_CHARACTERS_MAX else text[:_TEXT_CHARACTERS_MAX] + "…"

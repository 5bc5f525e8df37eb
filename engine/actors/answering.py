"""What callers are told of several commands at once, and of those that were answered long ago."""

from collections.abc import Sequence

import msgspec
import trio

from engine.actors.envelope import Envelope, Ticket
from engine.actors.keys_recall import Held
from engine.errors import EngineError, NotFound, OutcomeUnknown
from engine.journal.keys import Answered
from engine.journal.records import Record, decode_one, split
from engine.ports import JournalStore

#: What became of a command at the gate: on its way, under way already, answered before, not let in;
#: or it waits for what the history says of keys.
Admitted = Envelope | Ticket | Answered | Held | Exception


class Rereading:
    """Reads released records again; those of one block cost one read."""

    def __init__(self, store: JournalStore) -> None:
        self._store = store
        self._first_sequence = 0
        self._records: list[msgspec.Raw] = []

    async def record(self, sequence: int) -> Record:
        """One released record. Raises: NotFound beyond the journal's end, StorageError."""
        at = sequence - self._first_sequence
        if not 0 <= at < len(self._records):
            block = await self._store.read_block_of(sequence)
            if block is None:
                raise NotFound(f"no record {sequence}")
            self._first_sequence, self._records = block.first_sequence, split(block.payload)
            at = sequence - block.first_sequence
        return decode_one(self._records[at])


async def answers_to(
    admitted: Sequence[Admitted], store: JournalStore, deadline_s: float
) -> list[Record | Exception]:
    """How each of several commands ended. Waits for all of them no longer than `deadline_s`."""
    before, answers = Rereading(store), list[Record | Exception]()
    with trio.move_on_after(deadline_s):
        for one in admitted:
            ticket = one.ticket if type(one) is Envelope else None
            if ticket is not None and ticket.record is not None:
                answers.append(ticket.record)  # settled while we waited for one before it
            else:
                answers.append(await _answer(one, before))
    answers.extend(map(_answer_at_deadline, admitted[len(answers) :]))
    return answers


async def _answer(admitted: Admitted, before: Rereading) -> Record | Exception:
    if isinstance(admitted, Exception):
        return admitted
    try:
        if isinstance(admitted, Held):
            admitted = await admitted.at_gate()
        if isinstance(admitted, Answered):
            return await before.record(admitted.sequence)
        return await _ticket(admitted).wait()
    except EngineError as error:
        return error


def _answer_at_deadline(admitted: Admitted) -> Record | Exception:
    """How a command ended, as far as is known without waiting."""
    if isinstance(admitted, Held) and admitted.admitted is not None:
        admitted = admitted.admitted
    if isinstance(admitted, Exception):
        return admitted
    if isinstance(admitted, Envelope | Ticket):
        ticket = _ticket(admitted)
        if ticket.record is not None:
            return ticket.record
        if ticket.error is not None:
            return ticket.error
    return OutcomeUnknown("no answer before the deadline; ask by key")


def _ticket(admitted: Envelope | Ticket) -> Ticket:
    return admitted if isinstance(admitted, Ticket) else admitted.ticket  # type: ignore[return-value]

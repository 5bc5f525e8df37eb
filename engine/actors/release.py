"""The release step: what happens, at once and in order, when a block is committed."""

from collections.abc import Callable

from engine.actors.accounts import AccountsMessage
from engine.actors.crash_points import CrashPoint, passing
from engine.actors.custody import Submission
from engine.actors.envelope import Envelope
from engine.actors.gate import Gate
from engine.actors.mailbox import Mailbox
from engine.actors.waiting import Progress
from engine.actors.watching import Watching
from engine.journal.released import Released
from engine.products.withdrawals.messages import WithdrawalSubmitted


class Release:
    """Views fold, callers are answered, follow-ups and intents start: in this order.

    Called by the journal's actor alone. Never waits.
    """

    def __init__(
        self,
        released: Released,
        gate: Gate,
        accounts: Mailbox[AccountsMessage],
        custody: Mailbox[list[Submission]],
        progress: Progress,
        watching: Watching,
    ) -> None:
        self._released = released
        self._gate = gate
        self._accounts = accounts
        self._custody = custody
        self._progress = progress
        self._watching = watching
        self.observers: list[Callable[[list[Envelope]], None]] = []

    def __call__(self, envelopes: list[Envelope]) -> None:
        """Make a committed block visible."""
        released, gate = self._released, self._gate
        watching = self._watching if self._watching.is_anybody_here else None
        for envelope in envelopes:
            released.apply(envelope.record)  # type: ignore[arg-type]
            if watching is not None:
                watching.tell(envelope.record, released)  # type: ignore[arg-type]
        passing(CrashPoint.APPLIED_NOT_REPLIED)
        inner: list[Envelope] = []
        for envelope in envelopes:
            if envelope.slots is None:
                inner.append(envelope)
            else:
                gate.release(envelope)
        passing(CrashPoint.REPLIED_NOT_PUBLISHED)
        self._progress.advance(released.sequence)
        for observer in self.observers:
            observer(envelopes)
        if released.outstanding:
            self._accounts.tell([])
        submissions = [
            Submission(event, perhaps_sent=False)
            for envelope in inner  # intents follow from wakes, never from a caller's command
            for event in envelope.record.events  # type: ignore[union-attr]
            if type(event) is WithdrawalSubmitted
        ]
        if submissions:
            self._custody.tell(submissions)

"""The custody gateway: performs withdrawals after their release and reports what it finds.

Performed under a key derived from the record. A timeout is unknown: it is recorded as such, and
custody is asked by key before anything is sent again.
"""

import random
from collections.abc import Iterable
from typing import Any, Final

import structlog
import trio

from engine.actors.accounts import AccountsMessage
from engine.actors.actor import Actor, Vitals
from engine.actors.crash_points import CrashPoint, passing
from engine.actors.envelope import Envelope, Lane
from engine.actors.mailbox import Mailbox
from engine.errors import NotFound, VenueError, VenueTimeout
from engine.ports import Custody, CustodyOutcome
from engine.products.withdrawals.messages import (
    CustodyFinding,
    RecordCustodyFinding,
    WithdrawalSubmitted,
)

_log = structlog.get_logger("custody")
PERFORMED_AT_ONCE_MAX: Final = 16
ASK_AGAIN_S_MIN: Final = 0.5
ASK_AGAIN_S_MAX: Final = 30.0


class Submission:
    """One withdrawal to perform; `perhaps_sent` after a restart, when nobody knows."""

    __slots__ = ("event", "perhaps_sent")

    def __init__(self, event: WithdrawalSubmitted, *, perhaps_sent: bool) -> None:
        self.event = event
        self.perhaps_sent = perhaps_sent


class CustodyGateway(Actor[list[Submission]]):
    """Brings every submitted withdrawal to a definite finding."""

    def __init__(
        self,
        mailbox: Mailbox[list[Submission]],
        vitals: Vitals,
        *,
        custody: Custody,
        asset_code: Any,
        accounts: Mailbox[AccountsMessage],
    ) -> None:
        super().__init__(mailbox, vitals)
        self._custody = custody
        self._asset_code = asset_code
        self._accounts = accounts
        self._room = trio.CapacityLimiter(PERFORMED_AT_ONCE_MAX)
        self._nursery: trio.Nursery | None = None

    async def run(self, *, task_status: "trio.TaskStatus[None]" = trio.TASK_STATUS_IGNORED) -> None:
        """Live; each withdrawal is brought to its end beside the others."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            await super().run(task_status=task_status)

    async def receive(self, batch: list[list[Submission]]) -> None:
        """Start every submission. Never waits."""
        if self._nursery is not None:
            for submission in _all(batch):
                self._nursery.start_soon(self._perform, submission)

    async def _perform(self, submission: Submission) -> None:
        event = submission.event
        outcome, must_ask, told_unknown = None, submission.perhaps_sent, False
        pause_s = ASK_AGAIN_S_MIN
        while outcome is None:
            async with self._room:
                try:
                    outcome = await (self._ask(event) if must_ask else self._submit(event))
                    must_ask = True
                except NotFound:
                    must_ask = False  # custody has never heard of the key: nothing was sent
                    continue
                except VenueTimeout as error:
                    must_ask = True
                    if not told_unknown:
                        self._tell(event, CustodyFinding.UNKNOWN, str(error))
                        told_unknown = True
                except VenueError as error:
                    _log.warning("custody", withdrawal=event.withdrawal_id, error=str(error))
            if outcome is None:
                await trio.sleep(pause_s * random.uniform(0.5, 1.0))
                pause_s = min(ASK_AGAIN_S_MAX, pause_s * 2)
        finding = CustodyFinding.SETTLED if outcome.settled else CustodyFinding.REFUSED
        self._tell(event, finding, outcome.evidence)

    async def _submit(self, event: WithdrawalSubmitted) -> CustodyOutcome | None:
        passing(CrashPoint.INTENT_COMMITTED)
        outcome = await self._custody.submit(
            custody_key(event.withdrawal_id),
            self._asset_code(event.asset_id),
            event.amount_minor,
            event.destination,
        )
        passing(CrashPoint.EXTERNAL_SENT)
        return outcome

    async def _ask(self, event: WithdrawalSubmitted) -> CustodyOutcome | None:
        return await self._custody.query(custody_key(event.withdrawal_id))

    def _tell(self, event: WithdrawalSubmitted, finding: CustodyFinding, evidence: str) -> None:
        passing(CrashPoint.EXTERNAL_ANSWERED)
        command = RecordCustodyFinding(event.withdrawal_id, finding, evidence)
        self._accounts.tell([Envelope(command, Lane.RESULT)])


def custody_key(withdrawal_id: int) -> str:
    """The key under which custody knows a withdrawal: the same for every attempt."""
    return f"withdrawal-{withdrawal_id}"


def _all(batch: Iterable[list[Submission]]) -> Iterable[Submission]:
    return (submission for message in batch for submission in message)

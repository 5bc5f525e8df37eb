"""The withdrawals machine: hold, cool off, submit once, and believe only definite answers.

States: COOLING -> SUBMITTED -> (UNKNOWN) -> SETTLED | REFUSED, or COOLING -> CANCELLED. Terminal
states stay terminal; a late fact that contradicts one is posted against suspense and opens a break.
"""

from enum import StrEnum
from typing import Any, ClassVar, Final

import msgspec
from sortedcontainers import SortedList

from engine.errors import InvariantViolated
from engine.ledger.messages import Entry, EntryPurpose, HoldChange
from engine.ledger.system_accounts import CLEARING, SUSPENSE
from engine.messages import Message, Refused, Wake
from engine.products.decision import Decision, Recorded
from engine.products.exchange.messages import Reserved
from engine.products.withdrawals.messages import (
    BreakOpened,
    CancelWithdrawal,
    CustodyFinding,
    CustodyFindingRepeated,
    RecordCustodyFinding,
    RequestWithdrawal,
    WithdrawalCancelled,
    WithdrawalRefused,
    WithdrawalRequested,
    WithdrawalSettled,
    WithdrawalSubmitted,
    WithdrawalUnknown,
)
from engine.refusals import Reason
from engine.units import AccountId, AmountMinor, AssetId, GroupId, Sequence, TimeNs

#: One wake submits at most this many; the next wake takes the rest.
SUBMISSIONS_PER_RECORD_MAX: Final = 100
DESTINATION_CHARACTERS_MAX: Final = 200


class WithdrawalStatus(StrEnum):
    """Where a withdrawal stands."""

    COOLING = "COOLING"  # may still be cancelled
    SUBMITTED = "SUBMITTED"  # custody has been, or is being, asked to perform it
    UNKNOWN = "UNKNOWN"  # custody did not answer; it is asked by key
    SETTLED = "SETTLED"
    REFUSED = "REFUSED"
    CANCELLED = "CANCELLED"


class Withdrawal(msgspec.Struct, array_like=True):
    """One withdrawal and where it stands."""

    withdrawal_id: GroupId
    terms: RequestWithdrawal
    submit_at_ns: TimeNs
    status: WithdrawalStatus = WithdrawalStatus.COOLING
    evidence: str = ""


class WithdrawalsDesk:
    """Decides every withdrawal. Pure `decide`, then `apply`, like every desk but the book's."""

    #: `decide` changes nothing, so a raise in it leaves the machine sound.
    DECIDING_CHANGES: ClassVar = False

    def __init__(self) -> None:
        self._withdrawals: dict[GroupId, Withdrawal] = {}
        self._cooling: SortedList[tuple[TimeNs, GroupId]] = SortedList()

    def __repr__(self) -> str:
        return f"<WithdrawalsDesk: {len(self._withdrawals)}, {len(self._cooling)} cooling>"

    def get(self, withdrawal_id: GroupId) -> Withdrawal | None:
        """One withdrawal, whatever became of it."""
        return self._withdrawals.get(withdrawal_id)

    def all(self) -> list[Withdrawal]:
        """Every withdrawal, oldest first."""
        return list(self._withdrawals.values())

    @property
    def next_deadline_ns(self) -> TimeNs | None:
        """When the next cooling-off time ends."""
        return self._cooling[0][0] if self._cooling else None

    def decide(
        self, sequence: Sequence, now_ns: TimeNs, command: Any, reserved: Reserved | None
    ) -> Decision:
        """What the command does; changes nothing.

        Raises: InvariantViolated for a command of another desk.
        """
        match command:
            case RequestWithdrawal():
                return self._request(sequence, now_ns, command, reserved)
            case CancelWithdrawal():
                return self._cancel(command)
            case RecordCustodyFinding():
                return self._finding(command)
            case Wake():
                return self._wake(now_ns)
            case _:
                raise InvariantViolated(f"withdrawals cannot decide {command}")

    def _request(
        self,
        sequence: Sequence,
        now_ns: TimeNs,
        command: RequestWithdrawal,
        reserved: Reserved | None,
    ) -> Decision:
        if reserved is None:
            raise InvariantViolated(f"withdrawal {sequence} came without a reservation")
        if not 0 < len(command.destination) <= DESTINATION_CHARACTERS_MAX:
            return Decision((reserved, Refused(Reason.INVALID_VALUE, "destination")))
        if command.cooling_off_ns < 0:
            return Decision((reserved, Refused(Reason.INVALID_VALUE, "cooling_off_ns")))
        group_id = GroupId(sequence)
        requested = WithdrawalRequested(group_id, TimeNs(now_ns + command.cooling_off_ns))
        return Decision((reserved, requested), (), (_hold(group_id, command),))

    def _cancel(self, command: CancelWithdrawal) -> Decision:
        withdrawal = self._withdrawals.get(command.withdrawal_id)
        if withdrawal is None or withdrawal.terms.account_id != command.account_id:
            return Decision((Refused(Reason.UNKNOWN_WITHDRAWAL, "withdrawal_id"),))
        if withdrawal.status != WithdrawalStatus.COOLING:
            return Decision((Refused(Reason.WITHDRAWAL_NOT_CANCELLABLE, "withdrawal_id"),))
        cancelled = WithdrawalCancelled(withdrawal.withdrawal_id)
        return Decision((cancelled,), (), (_freed(withdrawal),))

    def _wake(self, now_ns: TimeNs) -> Decision:
        submitted: list[Message] = []
        for submit_at_ns, group_id in self._cooling:
            if submit_at_ns > now_ns or len(submitted) == SUBMISSIONS_PER_RECORD_MAX:
                break
            terms = self._withdrawals[group_id].terms
            submitted.append(
                WithdrawalSubmitted(
                    group_id,
                    terms.account_id,
                    terms.asset_id,
                    terms.amount_minor,
                    terms.destination,
                )
            )
        return Decision(submitted)

    def _finding(self, command: RecordCustodyFinding) -> Decision:
        withdrawal = self._withdrawals.get(command.withdrawal_id)
        if withdrawal is None:
            opened = BreakOpened(
                command.withdrawal_id, AssetId(0), AmountMinor(0), command.evidence
            )
            return Decision((opened,))
        if withdrawal.status in (WithdrawalStatus.SUBMITTED, WithdrawalStatus.UNKNOWN):
            return self._first_finding(withdrawal, command)
        return self._late_finding(withdrawal, command)

    def _first_finding(self, withdrawal: Withdrawal, command: RecordCustodyFinding) -> Decision:
        group_id, evidence = withdrawal.withdrawal_id, command.evidence
        match command.finding:
            case CustodyFinding.SETTLED:
                entry = _paid_out(withdrawal, withdrawal.terms.account_id)
                settled = WithdrawalSettled(group_id, evidence)
                return Decision((settled,), (entry,), (_freed(withdrawal),))
            case CustodyFinding.REFUSED:
                refused = WithdrawalRefused(group_id, evidence)
                return Decision((refused,), (), (_freed(withdrawal),))
            case CustodyFinding.UNKNOWN:
                return Decision((WithdrawalUnknown(group_id, evidence),))

    def _late_finding(self, withdrawal: Withdrawal, command: RecordCustodyFinding) -> Decision:
        """A fact about a withdrawal that has ended: only money that left after all is news."""
        terms = withdrawal.terms
        if (
            command.finding != CustodyFinding.SETTLED
            or withdrawal.status == WithdrawalStatus.SETTLED
        ):
            return Decision((CustodyFindingRepeated(withdrawal.withdrawal_id),))
        opened = BreakOpened(
            withdrawal.withdrawal_id, terms.asset_id, terms.amount_minor, command.evidence
        )
        if withdrawal.status == WithdrawalStatus.COOLING:
            # Not asked for, yet done: the hold is still there and covers it.
            entry = _paid_out(withdrawal, terms.account_id)
            return Decision((opened,), (entry,), (_freed(withdrawal),))
        return Decision((opened,), (_paid_out(withdrawal, SUSPENSE),))

    def apply(self, record: Recorded) -> None:
        """Fold one recorded decision of this desk."""
        for event in record.events:
            match event:
                case WithdrawalRequested(group_id, submit_at_ns):
                    self._withdrawals[group_id] = Withdrawal(group_id, record.command, submit_at_ns)
                    self._cooling.add((submit_at_ns, group_id))
                case WithdrawalCancelled(group_id):
                    self._end_cooling(group_id, WithdrawalStatus.CANCELLED)
                case WithdrawalSubmitted(group_id):
                    self._end_cooling(group_id, WithdrawalStatus.SUBMITTED)
                case WithdrawalUnknown(group_id, evidence):
                    self._move(group_id, WithdrawalStatus.UNKNOWN, evidence)
                case WithdrawalSettled(group_id, evidence):
                    self._move(group_id, WithdrawalStatus.SETTLED, evidence)
                case WithdrawalRefused(group_id, evidence):
                    self._move(group_id, WithdrawalStatus.REFUSED, evidence)
                case BreakOpened(group_id, _, _, evidence) if group_id in self._withdrawals:
                    if self._withdrawals[group_id].status == WithdrawalStatus.COOLING:
                        self._end_cooling(group_id, WithdrawalStatus.SETTLED)
                    self._move(group_id, WithdrawalStatus.SETTLED, evidence)
                case _:
                    pass

    def _end_cooling(self, group_id: GroupId, status: WithdrawalStatus) -> None:
        self._cooling.remove((self._withdrawals[group_id].submit_at_ns, group_id))
        self._move(group_id, status, "")

    def _move(self, group_id: GroupId, status: WithdrawalStatus, evidence: str) -> None:
        withdrawal = self._withdrawals[group_id]
        withdrawal.status = status
        withdrawal.evidence = evidence

    def snapshot(self) -> list[Withdrawal]:
        """Every withdrawal, by id."""
        return self.all()

    @classmethod
    def restore(cls, snapshot: list[Withdrawal]) -> "WithdrawalsDesk":
        """The desk that gave this snapshot."""
        desk = cls()
        for withdrawal in snapshot:
            desk._withdrawals[withdrawal.withdrawal_id] = withdrawal
            if withdrawal.status == WithdrawalStatus.COOLING:
                desk._cooling.add((withdrawal.submit_at_ns, withdrawal.withdrawal_id))
        return desk


def _hold(group_id: GroupId, terms: RequestWithdrawal) -> HoldChange:
    return HoldChange(group_id, terms.account_id, terms.asset_id, terms.amount_minor)


def _freed(withdrawal: Withdrawal) -> HoldChange:
    terms = withdrawal.terms
    return HoldChange(withdrawal.withdrawal_id, terms.account_id, terms.asset_id, AmountMinor(0))


def _paid_out(withdrawal: Withdrawal, debit_account_id: AccountId) -> Entry:
    terms = withdrawal.terms
    purpose = EntryPurpose.SUSPENSE if debit_account_id == SUSPENSE else EntryPurpose.WITHDRAWAL
    return Entry(debit_account_id, CLEARING, terms.asset_id, terms.amount_minor, purpose)

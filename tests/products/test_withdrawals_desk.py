"""Every path of a withdrawal, decided purely: what is held, posted, and what opens a break."""

from typing import Any

import pytest

from engine.accounts.messages import Deposit
from engine.ledger.system_accounts import CLEARING, SUSPENSE
from engine.messages import Wake
from engine.products.withdrawals.desk import SUBMISSIONS_PER_RECORD_MAX, WithdrawalStatus
from engine.products.withdrawals.messages import (
    BreakOpened,
    CancelWithdrawal,
    CustodyFinding,
    CustodyFindingRepeated,
    RecordCustodyFinding,
    RequestWithdrawal,
    WithdrawalSubmitted,
)
from engine.refusals import Reason
from engine.units import (
    INT64_MAX,
    WITHDRAWALS_DESK,
    AccountId,
    AmountMinor,
    AssetId,
    GroupId,
    TimeNs,
)
from tests.products.line import ANN, BASE, BOB, Line

SETTLED, REFUSED, UNKNOWN = CustodyFinding
LATER = TimeNs(500)
HAD = 100_000


class Paying(Line):
    """A line with one withdrawal of 10 by ANN."""

    def __init__(self) -> None:
        super().__init__()
        self.id = GroupId(len(self.records) + 1)
        self.submit(RequestWithdrawal(ANN, BASE, AmountMinor(10), "away", LATER))

    def after(self, *steps: str) -> "Paying":
        """Take these steps one after the other."""
        for step in steps:
            self.take(step)
            self.check()
        return self

    def take(self, step: str) -> Any:
        if step == "wake":
            self.now_ns = TimeNs(self.now_ns + LATER)
            return self.submit(Wake(WITHDRAWALS_DESK))
        if step == "cancel":
            return self.submit(CancelWithdrawal(ANN, self.id))
        return self.submit(RecordCustodyFinding(self.id, CustodyFinding[step], "paper"))

    @property
    def status(self) -> str:
        withdrawal = self.mirror.withdrawals.get(self.id)
        assert withdrawal is not None
        assert withdrawal == self.state.withdrawals.get(self.id)
        return withdrawal.status

    def posted(self) -> tuple[int, int, int]:
        """Posted and held of ANN's balance, and what suspense has."""
        return (*self.balance(ANN, BASE), self.balance(SUSPENSE, BASE)[0])


@pytest.mark.parametrize(
    ("steps", "status", "posted"),
    [
        ("", "COOLING", (HAD, 10, 0)),
        ("cancel", "CANCELLED", (HAD, 0, 0)),
        ("wake", "SUBMITTED", (HAD, 10, 0)),
        ("wake cancel", "SUBMITTED", (HAD, 10, 0)),
        ("wake SETTLED", "SETTLED", (HAD - 10, 0, 0)),
        ("wake REFUSED", "REFUSED", (HAD, 0, 0)),
        ("wake UNKNOWN", "UNKNOWN", (HAD, 10, 0)),
        ("wake UNKNOWN UNKNOWN", "UNKNOWN", (HAD, 10, 0)),
        ("wake UNKNOWN cancel", "UNKNOWN", (HAD, 10, 0)),
        ("wake UNKNOWN SETTLED", "SETTLED", (HAD - 10, 0, 0)),
        ("wake UNKNOWN REFUSED", "REFUSED", (HAD, 0, 0)),
        # said twice, or contradicted by something that moves no money
        ("wake SETTLED SETTLED", "SETTLED", (HAD - 10, 0, 0)),
        ("wake SETTLED REFUSED", "SETTLED", (HAD - 10, 0, 0)),
        ("wake SETTLED UNKNOWN", "SETTLED", (HAD - 10, 0, 0)),
        ("wake REFUSED REFUSED", "REFUSED", (HAD, 0, 0)),
        ("cancel REFUSED", "CANCELLED", (HAD, 0, 0)),
        ("UNKNOWN", "COOLING", (HAD, 10, 0)),
        ("REFUSED", "COOLING", (HAD, 10, 0)),
        # money that left after all
        ("wake REFUSED SETTLED", "SETTLED", (HAD, 0, -10)),
        ("wake REFUSED SETTLED SETTLED", "SETTLED", (HAD, 0, -10)),
        ("cancel SETTLED", "SETTLED", (HAD, 0, -10)),
        ("SETTLED", "SETTLED", (HAD - 10, 0, 0)),
        ("SETTLED wake", "SETTLED", (HAD - 10, 0, 0)),
        ("SETTLED cancel", "SETTLED", (HAD - 10, 0, 0)),
    ],
)
def test_a_withdrawal_ends_as_the_facts_say(
    steps: str, status: str, posted: tuple[int, int, int]
) -> None:
    line = Paying().after(*steps.split())
    assert (line.status, line.posted()) == (status, posted)
    outside = line.balance(CLEARING, BASE)[0] + 3 * HAD
    assert outside == HAD - posted[0] - posted[2]
    line.check_at_rest()


@pytest.mark.parametrize("steps", ["wake REFUSED SETTLED", "cancel SETTLED", "SETTLED"])
def test_money_that_left_unasked_opens_a_break(steps: str) -> None:
    line = Paying().after(*steps.split())
    breaks = [e for r in line.records for e in r.events if isinstance(e, BreakOpened)]
    assert breaks == [BreakOpened(line.id, BASE, AmountMinor(10), "paper")]


def test_a_repeated_finding_is_recorded_as_such() -> None:
    line = Paying().after("wake", "SETTLED", "SETTLED")
    assert list(line.records[-1].events) == [CustodyFindingRepeated(line.id)]


def test_a_finding_about_nothing_we_know_is_not_refused() -> None:
    line = Line()
    record = line.submit(RecordCustodyFinding(GroupId(999), SETTLED, "who?"))
    assert list(record.events) == [BreakOpened(GroupId(999), AssetId(0), AmountMinor(0), "who?")]
    line.check_at_rest()


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        (RequestWithdrawal(AccountId(9), BASE, AmountMinor(1), "x", LATER), "UNKNOWN_ACCOUNT"),
        (RequestWithdrawal(ANN, AssetId(9), AmountMinor(1), "x", LATER), "UNKNOWN_ASSET"),
        (RequestWithdrawal(ANN, BASE, AmountMinor(0), "x", LATER), "INVALID_VALUE"),
        (RequestWithdrawal(ANN, BASE, AmountMinor(-1), "x", LATER), "INVALID_VALUE"),
        (RequestWithdrawal(ANN, BASE, AmountMinor(1), "", LATER), "INVALID_VALUE"),
        (RequestWithdrawal(ANN, BASE, AmountMinor(1), "x" * 201, LATER), "INVALID_VALUE"),
        (RequestWithdrawal(ANN, BASE, AmountMinor(1), "x", TimeNs(-1)), "INVALID_VALUE"),
        (RequestWithdrawal(ANN, BASE, AmountMinor(HAD + 1), "x", LATER), "INSUFFICIENT_FUNDS"),
        (RequestWithdrawal(ANN, BASE, AmountMinor(INT64_MAX + 1), "x", LATER), "AMOUNT_OVERFLOW"),
        (CancelWithdrawal(ANN, GroupId(999)), "UNKNOWN_WITHDRAWAL"),
    ],
)
def test_what_cannot_be_is_refused_and_holds_nothing(command: Any, reason: str) -> None:
    line = Line()
    before = line.mirror.released.ledger.snapshot()
    if isinstance(command, RequestWithdrawal) and command.amount_minor > INT64_MAX:
        refused = line.state.accounts.reserve(GroupId(99), command)
        assert getattr(refused, "reason", None) is Reason(reason)
        return
    refusal = line.submit(command).refusal
    assert refusal is not None
    assert refusal.reason is Reason(reason)
    assert line.mirror.released.ledger.snapshot() == before
    line.check_at_rest()


def test_nobody_cancels_the_withdrawal_of_another() -> None:
    line = Paying()
    refusal = line.submit(CancelWithdrawal(BOB, line.id)).refusal
    assert refusal is not None
    assert refusal.reason is Reason.UNKNOWN_WITHDRAWAL
    assert line.status == WithdrawalStatus.COOLING


def test_a_deposit_not_yet_released_cannot_leave_again() -> None:
    line = Line()
    line.submit(Deposit(ANN, BASE, AmountMinor(50), ""))
    everything = RequestWithdrawal(ANN, BASE, AmountMinor(HAD + 50), "x", LATER)
    assert line.submit(everything).refusal is not None
    line.release()
    assert line.submit(everything).refusal is None


def test_two_withdrawals_of_everything_cannot_both_be_held() -> None:
    line = Line()
    everything = RequestWithdrawal(ANN, BASE, AmountMinor(HAD), "x", LATER)
    assert line.submit(everything).refusal is None
    assert line.submit(everything).refusal is not None
    line.check_at_rest()


def test_one_wake_submits_a_bounded_number_and_the_next_takes_the_rest() -> None:
    line = Line()
    few = 7
    for _ in range(SUBMISSIONS_PER_RECORD_MAX + few):
        line.submit(RequestWithdrawal(ANN, BASE, AmountMinor(1), "x", LATER))
    line.now_ns = TimeNs(line.now_ns + LATER)
    submitted = []
    for _ in range(2):
        assert line.state.withdrawals.next_deadline_ns is not None
        events = line.submit(Wake(WITHDRAWALS_DESK)).events
        submitted.append(sum(isinstance(event, WithdrawalSubmitted) for event in events))
    assert submitted == [SUBMISSIONS_PER_RECORD_MAX, few]
    assert line.state.withdrawals.next_deadline_ns is None


def test_a_wake_before_the_time_submits_nothing() -> None:
    line = Paying()
    line.now_ns = TimeNs(line.now_ns + LATER - 1)
    assert line.submit(Wake(WITHDRAWALS_DESK)).events == []
    assert line.status == WithdrawalStatus.COOLING

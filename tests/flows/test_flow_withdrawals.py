"""Money that leaves: paid at most once, and its hold ends exactly once, whatever fails."""

import pytest
import trio
from trio.testing import MockClock

from engine.errors import InvariantViolated
from engine.gateways.custody import CustodyFault, SimulatedCustody
from engine.journal.blocks import Block
from engine.ledger.messages import EntryPurpose
from engine.ledger.system_accounts import CLEARING
from engine.ports import CustodyOutcome
from engine.products.withdrawals.desk import WithdrawalStatus
from engine.products.withdrawals.messages import CancelWithdrawal, RequestWithdrawal
from engine.refusals import Reason
from engine.storage.memory import MemoryJournal, MemoryJournalStore
from engine.units import AmountMinor, GroupId, TimeNs
from tests.flows.house import ANN, BASE, BOB, FUNDS, House, buy, house, records_of

SECOND = 10**9
TEN = AmountMinor(10)
#: Long enough for every retry of the gateway.
LONG = 200.0

#: What custody does in the end, by the fault of its first attempt.
PAYS = {fault: fault is not CustodyFault.REFUSED for fault in CustodyFault}


def withdraw(cooling_off_s: int = 0) -> RequestWithdrawal:
    return RequestWithdrawal(ANN, BASE, TEN, "elsewhere", TimeNs(cooling_off_s * SECOND))


def status(one: House, withdrawal_id: int) -> WithdrawalStatus:
    withdrawal = one.service.released.withdrawals.get(GroupId(withdrawal_id))
    assert withdrawal is not None
    return withdrawal.status


def check_ended_once(one: House, custody: SimulatedCustody, *, paid: bool) -> None:
    """The hold is gone, and our books and custody's agree on what has left."""
    left = 10 if paid else 0
    assert one.balance(ANN, BASE) == (FUNDS - left, 0)
    assert sum(custody.paid.values()) == left
    entries = [e for record in records_of(one.journal) for e in record.entries]
    sent = [e.amount_minor for e in entries if e.credit_account_id == CLEARING]
    assert sent == [10] * paid
    assert all(e.purpose is not EntryPurpose.SUSPENSE for e in entries)


@pytest.mark.parametrize("fault", CustodyFault)
async def test_every_fault_of_custody_ends_in_one_outcome(
    fault: CustodyFault, autojump_clock: MockClock
) -> None:
    custody = SimulatedCustody([fault])
    async with house(custody=custody) as one:
        await one.founded()
        record = await one.submit(withdraw())
        await trio.sleep(LONG)
        check_ended_once(one, custody, paid=PAYS[fault])
        expected = WithdrawalStatus.SETTLED if PAYS[fault] else WithdrawalStatus.REFUSED
        assert status(one, record.sequence) is expected
        assert all(times == 1 for times in custody.requests.values())


@pytest.mark.parametrize("after_s", [0.0, 0.1, 0.6, 2.0])
@pytest.mark.parametrize("fault", CustodyFault)
async def test_a_restart_while_custody_fails_pays_at_most_once(
    fault: CustodyFault, after_s: float, autojump_clock: MockClock
) -> None:
    custody, journal = SimulatedCustody([fault, fault]), MemoryJournal()
    async with house(journal, custody=custody) as first:
        await first.founded()
        await first.submit(withdraw())
        with trio.move_on_after(after_s):
            await trio.sleep_forever()
        first.kill()
        await trio.lowlevel.checkpoint()
    async with house(journal, custody=custody) as second:
        await trio.sleep(LONG)
        check_ended_once(second, custody, paid=PAYS[fault])
        assert all(times == 1 for times in custody.requests.values())


async def test_what_ended_before_a_restart_is_never_sent_again(autojump_clock: MockClock) -> None:
    custody, journal = SimulatedCustody(), MemoryJournal()
    async with house(journal, custody=custody) as first:
        await first.founded()
        await first.submit(withdraw())
        await trio.sleep(1)
        check_ended_once(first, custody, paid=True)
    async with house(journal, custody=custody) as second:
        await second.submit(buy(1, 50))
        await trio.sleep(LONG)
        assert custody.requests == {"withdrawal-13": 1}
        check_ended_once(second, custody, paid=True)


class FallsOnPayment(MemoryJournalStore):
    """A store at which the engine falls just before or after it has recorded a settlement."""

    def __init__(self, *, committed: bool) -> None:
        super().__init__()
        self._committed = committed
        self.falls_left = 1

    async def append(self, block: Block) -> None:
        falls = self.falls_left and b"SETTLED" in block.payload
        if falls and not self._committed:
            self.falls_left -= 1
            raise InvariantViolated("planned")
        await super().append(block)
        if falls:
            self.falls_left -= 1
            raise InvariantViolated("planned")


@pytest.mark.parametrize("committed", [False, True])
async def test_a_fall_while_the_payment_is_recorded_neither_loses_nor_doubles_it(
    committed: bool, autojump_clock: MockClock
) -> None:
    custody, store = SimulatedCustody(), FallsOnPayment(committed=committed)
    async with house(store=store, custody=custody) as one:
        await one.founded()
        await one.submit(withdraw())
        await trio.sleep(LONG)
        assert (one.engine.lives, store.falls_left) == (2, 0)
        check_ended_once(one, custody, paid=True)
        assert custody.requests == {"withdrawal-13": 1}


class Breaks(SimulatedCustody):
    """An adapter with a bug of its own: its first calls raise what nobody expects."""

    def __init__(self, bugs: int) -> None:
        super().__init__()
        self.bugs = bugs

    async def submit(
        self, key: str, asset: str, amount_minor: AmountMinor, destination: str
    ) -> CustodyOutcome | None:
        outcome = await super().submit(key, asset, amount_minor, destination)
        if self.bugs:
            self.bugs -= 1
            raise KeyError("a bug of the adapter, after it has paid")
        return outcome


async def test_a_gateway_that_falls_after_paying_comes_back_and_asks_first(
    autojump_clock: MockClock,
) -> None:
    custody = Breaks(bugs=1)
    async with house(custody=custody) as one:
        await one.founded()
        await one.submit(withdraw())
        await trio.sleep(LONG)
        assert one.engine.lives == 1
        assert custody.requests == {"withdrawal-13": 1}
        check_ended_once(one, custody, paid=True)


async def test_many_withdrawals_at_once_are_each_paid_once(autojump_clock: MockClock) -> None:
    faults = [*CustodyFault] * 5
    custody = SimulatedCustody(faults)
    async with house(custody=custody) as one:
        await one.founded()
        answers = await one.service.submit_batch([(withdraw(1), ANN, f"{n}", 0) for n in range(30)])
        assert len(answers) == 30
        await trio.sleep(LONG)
        refused = faults.count(CustodyFault.REFUSED)
        assert len(custody.paid) == 30 - refused
        assert one.balance(ANN, BASE) == (FUNDS - 10 * (30 - refused), 0)
        assert set(custody.requests.values()) == {1}


async def test_a_withdrawal_can_be_taken_back_until_it_is_submitted(
    autojump_clock: MockClock,
) -> None:
    custody = SimulatedCustody()
    async with house(custody=custody) as one:
        await one.founded()
        kept = (await one.submit(withdraw(30))).sequence
        taken_back = (await one.submit(withdraw(30))).sequence
        await trio.sleep(29)
        foreign = await one.submit(CancelWithdrawal(BOB, GroupId(taken_back)))
        assert foreign.refusal is not None
        assert foreign.refusal.reason is Reason.UNKNOWN_WITHDRAWAL
        assert (await one.submit(CancelWithdrawal(ANN, GroupId(taken_back)))).refusal is None
        await trio.sleep(2)
        late = await one.submit(CancelWithdrawal(ANN, GroupId(kept)))
        assert late.refusal is not None
        assert late.refusal.reason is Reason.WITHDRAWAL_NOT_CANCELLABLE
        assert status(one, taken_back) is WithdrawalStatus.CANCELLED
        check_ended_once(one, custody, paid=True)

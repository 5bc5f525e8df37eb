"""Lookups, snapshots, and what `check_invariants` must notice."""

import pytest

from engine.errors import InvariantViolated
from engine.ledger.ledger import Balance, Hold, Ledger, balance_key
from engine.ledger.messages import Entry, EntryPurpose, HoldChange
from engine.units import AccountId, AmountMinor, AssetId, GroupId

WORLD, ALICE, BOB = AccountId(1), AccountId(100), AccountId(101)
CNY, BTC = AssetId(1), AssetId(2)
ORDER = GroupId(7)


def deposit(account_id: AccountId, asset_id: AssetId, amount_minor: int) -> Entry:
    amount = AmountMinor(amount_minor)
    return Entry(WORLD, account_id, asset_id, amount, EntryPurpose.DEPOSIT)


@pytest.fixture
def ledger() -> Ledger:
    """Alice has 100 (40 of them held) and 5; Bob has 1."""
    ledger = Ledger([WORLD])
    ledger.apply([deposit(ALICE, BTC, 5), deposit(ALICE, CNY, 100), deposit(BOB, CNY, 1)], [])
    ledger.apply([], [HoldChange(ORDER, ALICE, CNY, AmountMinor(40))])
    return ledger


def balance_of(ledger: Ledger, account_id: AccountId, asset_id: AssetId) -> Balance:
    balance = ledger.balance(account_id, asset_id)
    assert balance is not None
    return balance


def test_an_unknown_balance_has_nothing() -> None:
    ledger = Ledger()
    assert ledger.available_minor(ALICE, CNY) == 0
    assert ledger.balance(ALICE, CNY) is None
    assert ledger.balances_of(ALICE) == []
    assert ledger.hold(ORDER) is None
    assert ledger.held_by_group(ORDER) == 0
    assert ledger.totals() == {}
    ledger.check_invariants()


def test_a_balance_tells_owned_held_and_available_apart(ledger: Ledger) -> None:
    balance = balance_of(ledger, ALICE, CNY)
    assert (balance.posted_minor, balance.held_minor, balance.available_minor) == (100, 40, 60)
    assert ledger.available_minor(ALICE, CNY) == 60
    assert repr(balance) == "<Balance 100/1: posted 100, held 40>"


def test_balances_of_one_account_are_its_own_alone_by_asset(ledger: Ledger) -> None:
    assert [(asset, b.posted_minor) for asset, b in ledger.balances_of(ALICE)] == [
        (CNY, 100),
        (BTC, 5),
    ]


def test_a_hold_knows_whose_and_what_it_holds(ledger: Ledger) -> None:
    hold = ledger.hold(ORDER)
    assert hold is not None
    assert (hold.account_id, hold.asset_id, hold.held_minor) == (ALICE, CNY, 40)
    assert ledger.held_by_group(ORDER) == 40


def test_totals_are_per_asset_in_the_order_of_ids(ledger: Ledger) -> None:
    assert list(ledger.totals().items()) == [(CNY, (101, 101, 40)), (BTC, (5, 5, 0))]


def test_the_ledger_says_how_much_it_keeps(ledger: Ledger) -> None:
    assert repr(ledger) == "<Ledger: 5 balances, 1 holds>"


def test_keys_of_different_balances_differ() -> None:
    last = AssetId(2**20 - 1)
    keys = {balance_key(account, asset) for account in (ALICE, BOB) for asset in (CNY, last)}
    assert len(keys) == 4


def test_an_account_made_open_ended_may_go_below_zero(ledger: Ledger) -> None:
    entry = Entry(BOB, ALICE, CNY, AmountMinor(2), EntryPurpose.SUSPENSE)
    with pytest.raises(InvariantViolated):
        ledger.apply([entry], [])
    ledger.let_go_below_zero(BOB)
    ledger.apply([entry], [])
    ledger.apply([Entry(BOB, ALICE, BTC, AmountMinor(1), EntryPurpose.SUSPENSE)], [])
    assert ledger.available_minor(BOB, CNY) == ledger.available_minor(BOB, BTC) == -1
    assert ledger.debts() == []
    assert Ledger.restore(ledger.snapshot()).snapshot() == ledger.snapshot()


def test_a_debt_is_listed_until_it_is_paid(ledger: Ledger) -> None:
    ledger.apply([Entry(BOB, WORLD, CNY, AmountMinor(3), EntryPurpose.CORRECTION)], [])
    assert [(debt.account_id, debt.available_minor) for debt in ledger.debts()] == [(BOB, -2)]
    ledger.check_invariants()
    ledger.apply([deposit(BOB, CNY, 2)], [])
    assert ledger.debts() == []


def test_equal_books_have_equal_snapshots_whatever_their_history() -> None:
    entries = [deposit(ALICE, CNY, 5), deposit(BOB, BTC, 6)]
    holds = [
        HoldChange(GroupId(2), ALICE, CNY, AmountMinor(1)),
        HoldChange(GroupId(1), BOB, BTC, AmountMinor(2)),
    ]
    one, other = Ledger([AccountId(3), WORLD]), Ledger([WORLD, AccountId(3)])
    one.apply(entries, holds)
    for entry in reversed(entries):
        other.apply([entry], [])
    for change in reversed(holds):
        other.apply([], [change])
    assert one.snapshot() == other.snapshot()


def test_a_snapshot_whose_books_do_not_close_is_not_restored(ledger: Ledger) -> None:
    balance_of(ledger, BOB, CNY).credits_minor += 1
    with pytest.raises(InvariantViolated, match="102 != 101"):
        Ledger.restore(ledger.snapshot())


def test_books_that_do_not_close_are_noticed(ledger: Ledger) -> None:
    balance_of(ledger, ALICE, BTC).debits_minor += 1
    with pytest.raises(InvariantViolated, match="asset 2: 5 != 6"):
        ledger.check_invariants()


def test_a_held_amount_without_a_hold_is_noticed(ledger: Ledger) -> None:
    balance_of(ledger, ALICE, CNY).held_minor = 41
    with pytest.raises(InvariantViolated, match="differs from its open holds"):
        ledger.check_invariants()


def test_an_empty_hold_is_noticed(ledger: Ledger) -> None:
    ledger._holds[GroupId(8)] = Hold(balance_of(ledger, BOB, CNY), AmountMinor(0))
    with pytest.raises(InvariantViolated, match="group 8 holds 0"):
        ledger.check_invariants()


def test_a_hold_on_a_balance_that_is_none_of_ours_is_noticed(ledger: Ledger) -> None:
    foreign = Balance(BOB, BTC, limited=True)
    ledger._holds[GroupId(8)] = Hold(foreign, AmountMinor(1))
    with pytest.raises(InvariantViolated, match="foreign"):
        ledger.check_invariants()


def test_a_counter_out_of_range_is_noticed(ledger: Ledger) -> None:
    balance_of(ledger, WORLD, BTC).credits_minor -= 5
    balance_of(ledger, ALICE, BTC).credits_minor += 5
    with pytest.raises(InvariantViolated, match="out of range"):
        ledger.check_invariants()


def test_a_shortage_that_no_correction_made_is_noticed(ledger: Ledger) -> None:
    balance_of(ledger, BOB, CNY).debits_minor += 2
    balance_of(ledger, WORLD, CNY).credits_minor += 2
    with pytest.raises(InvariantViolated, match="less than it holds"):
        ledger.check_invariants()

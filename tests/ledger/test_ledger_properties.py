"""Random records against a naive twin that keeps rows and adds them up."""

from collections.abc import Sequence

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import InvariantViolated
from engine.ledger.ledger import Balance, Ledger, LedgerSnapshot, balance_key
from engine.ledger.messages import Entry, EntryPurpose, HoldChange
from engine.units import INT64_MAX, AccountId, AmountMinor, AssetId, GroupId

WORLD = AccountId(1)
ACCOUNTS = [WORLD, AccountId(100), AccountId(101), AccountId(102)]
ASSETS = [AssetId(1), AssetId(2**20 - 1)]
Record = tuple[list[Entry], list[HoldChange]]
Place = tuple[AccountId, AssetId]


class NaiveLedger:
    """Every row ever, summed up again whenever somebody asks."""

    def __init__(self) -> None:
        self.rows: list[Entry] = []
        self.holds: dict[GroupId, HoldChange] = {}

    def posted_minor(self, place: Place) -> int:
        rows = [row for row in self.rows if row.asset_id == place[1]]
        received = sum(row.amount_minor for row in rows if row.credit_account_id == place[0])
        return received - sum(row.amount_minor for row in rows if row.debit_account_id == place[0])

    def held_minor(self, place: Place) -> int:
        return sum(h.held_minor for h in self.holds.values() if (h.account_id, h.asset_id) == place)

    def available_minor(self, place: Place) -> int:
        return self.posted_minor(place) - self.held_minor(place)

    def touched(self) -> set[int]:
        found = {balance_key(hold.account_id, hold.asset_id) for hold in self.holds.values()}
        found.update(balance_key(row.debit_account_id, row.asset_id) for row in self.rows)
        return found | {balance_key(row.credit_account_id, row.asset_id) for row in self.rows}

    def apply(self, entries: Sequence[Entry], holds: Sequence[HoldChange]) -> bool:
        """Take a record in, or say False and change nothing."""
        after = NaiveLedger()
        after.rows, after.holds = [*self.rows, *entries], dict(self.holds)
        for change in holds:
            old = after.holds.pop(change.group_id, change)
            if (old.account_id, old.asset_id) != (change.account_id, change.asset_id):
                return False
            if change.held_minor:
                after.holds[change.group_id] = change
            if change.held_minor < 0:
                return False
        if any(e.amount_minor <= 0 or e.debit_account_id == e.credit_account_id for e in entries):
            return False
        if not all(after._is_possible(place, self, entries) for place in places()):
            return False
        self.rows, self.holds = after.rows, after.holds
        return True

    def _is_possible(self, place: Place, before: "NaiveLedger", entries: Sequence[Entry]) -> bool:
        if max(abs(self.posted_minor(place)), self.held_minor(place)) > INT64_MAX:
            return False
        corrected = sum(
            e.amount_minor
            for e in entries
            if e.purpose is EntryPurpose.CORRECTION and (e.debit_account_id, e.asset_id) == place
        )
        uncorrected = self.available_minor(place) + corrected
        return place[0] == WORLD or uncorrected >= min(0, before.available_minor(place))


def places() -> list[Place]:
    return [(account, asset) for account in ACCOUNTS for asset in ASSETS]


amounts = st.one_of(
    st.integers(1, 30), st.sampled_from([-1, 0, 1_000, INT64_MAX - 20, INT64_MAX])
).map(AmountMinor)
purposes = st.sampled_from([EntryPurpose.PRINCIPAL] * 5 + [EntryPurpose.CORRECTION])
accounts = st.sampled_from(ACCOUNTS)
assets = st.sampled_from(ASSETS)
incoming = st.builds(
    Entry, st.just(WORLD), accounts, assets, st.integers(1, 60).map(AmountMinor), purposes
)
entries_of_a_record = st.lists(
    st.one_of(incoming, st.builds(Entry, accounts, accounts, assets, amounts, purposes)), max_size=4
)


@st.composite
def hold_changes(draw: st.DrawFn) -> HoldChange:
    """Mostly groups that keep their account and asset, rarely one that does not."""
    group = draw(st.integers(1, 6))
    account, asset = ACCOUNTS[group % 4], ASSETS[group % 2]
    if draw(st.integers(0, 19)) == 0:
        account, asset = draw(accounts), draw(assets)
    held = draw(st.one_of(st.integers(0, 40), st.sampled_from([-1, 1_000, INT64_MAX])))
    return HoldChange(GroupId(group), account, asset, AmountMinor(held))


records = st.tuples(entries_of_a_record, st.lists(hold_changes(), max_size=3))


def counters(ledger: Ledger) -> dict[Place, tuple[int, int]]:
    found = {place: ledger.balance(*place) for place in places()}
    return {p: (b.credits_minor, b.debits_minor) for p, b in found.items() if b is not None}


def folded(history: Sequence[Record]) -> Ledger:
    ledger = Ledger([WORLD])
    for record in history:
        ledger.apply(*record)
    return ledger


@pytest.mark.slow
@given(history=st.lists(records, max_size=12))
@settings(max_examples=300, deadline=None)
def test_the_ledger_agrees_with_rows_added_up_by_brute_force(history: list[Record]) -> None:
    ledger, naive = Ledger([WORLD]), NaiveLedger()
    for entries, holds in history:
        before, counted = ledger.snapshot(), counters(ledger)
        if naive.apply(entries, holds):
            ledger.apply(entries, holds)
            assert all(counters(ledger)[place] >= old for place, old in counted.items())
        else:
            with pytest.raises(InvariantViolated):
                ledger.apply(entries, holds)
            assert ledger.snapshot() == before
        ledger.check_invariants()
        for place in places():
            assert ledger.available_minor(*place) == naive.available_minor(place)
        for group in map(GroupId, range(1, 7)):
            held = naive.holds.get(group)
            assert ledger.held_by_group(group) == (0 if held is None else held.held_minor)


@pytest.mark.slow
@given(history=st.lists(records, max_size=12), cut=st.integers(0, 12))
@settings(max_examples=100, deadline=None)
def test_a_restored_ledger_goes_on_like_the_one_that_never_stopped(
    history: list[Record], cut: int
) -> None:
    naive = NaiveLedger()
    accepted = [record for record in history if naive.apply(*record)]
    whole = folded(accepted)
    payload = msgspec.msgpack.encode(folded(accepted[:cut]).snapshot())
    restored = Ledger.restore(msgspec.msgpack.decode(payload, type=LedgerSnapshot))
    for record in accepted[cut:]:
        restored.apply(*record)
    assert restored.snapshot() == whole.snapshot()
    assert restored.totals() == whole.totals()
    assert {key(debt) for debt in whole.debts()} <= {key(debt) for debt in restored.debts()}


@pytest.mark.slow
@given(history=st.lists(records, max_size=12))
@settings(max_examples=100, deadline=None)
def test_credits_equal_debits_in_every_asset_and_all_balances_are_listed(
    history: list[Record],
) -> None:
    naive = NaiveLedger()
    ledger = folded([record for record in history if naive.apply(*record)])
    for credits_minor, debits_minor, held_minor in ledger.totals().values():
        assert credits_minor == debits_minor
        assert held_minor >= 0
    assert list(ledger.totals()) == sorted(ledger.totals())
    listed = [b for account in ACCOUNTS for _, b in ledger.balances_of(account)]
    assert sum(balance.held_minor for balance in listed) == sum(
        hold.held_minor for hold in naive.holds.values()
    )
    assert {key(balance) for balance in listed} == naive.touched()


def key(balance: Balance) -> int:
    return balance_key(balance.account_id, balance.asset_id)

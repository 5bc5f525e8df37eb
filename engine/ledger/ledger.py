"""What every account has and holds: the fold of recorded entries and hold changes.

Not here: whether something should be allowed, what a fee is, when anything happens. The ledger only
adds what records state and refuses what cannot be true. Every order record passes through `apply`,
so its two loops are written for speed: they change first and collect doubts, which are judged at
the end of the record and, if justified, taken back whole.
"""

from collections.abc import Iterable, Sequence
from typing import Self

import msgspec

from engine.errors import InvariantViolated
from engine.ledger.balances import ASSET_ID_BITS, Balance, Hold, balance_key
from engine.ledger.messages import Entry, EntryPurpose, HoldChange
from engine.units import INT64_MAX, AccountId, AmountMinor, AssetId, GroupId

__all__ = ["Balance", "Hold", "Ledger", "LedgerSnapshot", "balance_key"]

#: A part of a record that looks wrong until the whole record is judged.
Doubt = Balance | Entry | HoldChange


class BalanceRow(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """One balance in a snapshot; what it holds follows from the snapshot's holds."""

    account_id: AccountId
    asset_id: AssetId
    credits_minor: AmountMinor
    debits_minor: AmountMinor


class LedgerSnapshot(msgspec.Struct, frozen=True, array_like=True):
    """The whole ledger: accounts and balances by id, holds by group, so equal states are equal."""

    open_ended: tuple[AccountId, ...]
    balances: tuple[BalanceRow, ...]
    holds: tuple[HoldChange, ...]


class Ledger:
    """The released state of all balances and holds.

    Change: `apply`, `let_go_below_zero`.
    Look up: `available_minor`, `balance`, `balances_of`, `hold`, `held_by_group`.
    Prove and keep: `check_invariants`, `totals`, `debts`, `snapshot`, `restore`.

    Accounts need no opening: a balance exists from its first entry on. The accounts in `open_ended`
    stand for the world outside (clearing, suspense) and may go below zero.
    """

    def __init__(self, open_ended: Iterable[AccountId] = ()) -> None:
        self._open_ended = set(open_ended)
        self._balances: dict[int, Balance] = {}
        self._balances_of: dict[AccountId, tuple[Balance, ...]] = {}
        self._holds: dict[GroupId, Hold] = {}
        self._indebted: set[int] = set()  # keys of balances that a correction took below zero

    def __repr__(self) -> str:
        return f"<Ledger: {len(self._balances)} balances, {len(self._holds)} holds>"

    def apply(self, entries: Sequence[Entry], holds: Sequence[HoldChange]) -> None:
        """Fold what one record says about money, whole or not at all.

        Only the state after the whole record counts: entries may pass through balances in any
        order. Hold changes of one group take effect in their order.
        Complexity: O(entries + hold changes).
        Raises: InvariantViolated, with everything unchanged, on an amount of zero or less, an entry
        within one account, a balance beyond INT64_MAX, a negative hold, a hold that changes its
        account or asset, and a limited balance with less than it holds, unless corrections alone
        took it there.
        """
        doubts: list[Doubt] = []
        before = self._change_holds(holds, doubts) if holds else []
        if entries:
            self._post(entries, doubts)
        if doubts:
            self._settle(doubts, entries, holds, before)

    def let_go_below_zero(self, account_id: AccountId) -> None:
        """Make `account_id` one of the open-ended accounts from here on."""
        self._open_ended.add(account_id)
        for balance in self._balances_of.get(account_id, ()):
            balance.limited = False

    def available_minor(self, account_id: AccountId, asset_id: AssetId) -> AmountMinor:
        """What the account may still spend or hold; 0 for an unknown balance."""
        balance = self._balances.get(account_id << ASSET_ID_BITS | asset_id)
        return AmountMinor(0) if balance is None else balance.available_minor

    def balance(self, account_id: AccountId, asset_id: AssetId) -> Balance | None:
        """The live balance, to be read only; None before its first entry."""
        return self._balances.get(account_id << ASSET_ID_BITS | asset_id)

    def balances_of(self, account_id: AccountId) -> list[tuple[AssetId, Balance]]:
        """The account's live balances, to be read only, in the order of asset ids.

        Complexity: O(assets of that account).
        """
        balances = self._balances_of.get(account_id, ())
        return [(balance.asset_id, balance) for balance in balances if not balance.is_blank]

    def hold(self, group_id: GroupId) -> Hold | None:
        """The open hold of a reservation group, or None."""
        return self._holds.get(group_id)

    def held_by_group(self, group_id: GroupId) -> AmountMinor:
        """What a reservation group holds; 0 when it holds nothing."""
        hold = self._holds.get(group_id)
        return AmountMinor(0) if hold is None else hold.held_minor

    def totals(self) -> dict[AssetId, tuple[int, int, int]]:
        """Credits, debits and holds of all accounts, per asset in the order of ids.

        Complexity: O(balances).
        """
        totals: dict[AssetId, tuple[int, int, int]] = {}
        for balance in self._balances.values():
            if balance.is_blank:
                continue
            credits_minor, debits_minor, held_minor = totals.get(balance.asset_id, (0, 0, 0))
            totals[balance.asset_id] = (
                credits_minor + balance.credits_minor,
                debits_minor + balance.debits_minor,
                held_minor + balance.held_minor,
            )
        return dict(sorted(totals.items()))

    def debts(self) -> list[Balance]:
        """The balances that a correction took below zero and that are still there, by account."""
        owing = (self._balances[key] for key in sorted(self._indebted))
        return [balance for balance in owing if balance.limited and balance.available_minor < 0]

    def check_invariants(self) -> None:
        """Prove the books from scratch.

        Complexity: O(balances + holds).
        Raises: InvariantViolated if credits and debits of an asset differ, a balance's holds do not
        add up, a counter is out of range, or a limited balance is below zero without a correction.
        """
        for asset_id, (credits_minor, debits_minor, _) in self.totals().items():
            if credits_minor != debits_minor:
                raise InvariantViolated(f"asset {asset_id}: {credits_minor} != {debits_minor}")
        held_minor: dict[Balance, int] = {}
        for group_id, hold in self._holds.items():
            if hold.held_minor <= 0:
                raise InvariantViolated(f"group {group_id} holds {hold.held_minor}")
            held_minor[hold.balance] = held_minor.get(hold.balance, 0) + hold.held_minor
        for key, balance in self._balances.items():
            if balance.held_minor != held_minor.pop(balance, 0):
                raise InvariantViolated(f"{balance} differs from its open holds")
            if not balance.in_range:
                raise InvariantViolated(f"{balance} is out of range")
            if balance.limited and balance.available_minor < 0 and key not in self._indebted:
                raise InvariantViolated(f"{balance} has less than it holds")
        if held_minor:
            raise InvariantViolated(f"holds on foreign balances: {list(held_minor)}")

    def snapshot(self) -> LedgerSnapshot:
        """Everything needed to go on from here. Complexity: O(n log n) in balances and holds."""
        return LedgerSnapshot(
            open_ended=tuple(sorted(self._open_ended)),
            balances=tuple(
                BalanceRow(
                    balance.account_id,
                    balance.asset_id,
                    AmountMinor(balance.credits_minor),
                    AmountMinor(balance.debits_minor),
                )
                for _, balance in sorted(self._balances.items())
                if not balance.is_blank
            ),
            holds=tuple(
                HoldChange(group_id, hold.account_id, hold.asset_id, hold.held_minor)
                for group_id, hold in sorted(self._holds.items())
            ),
        )

    @classmethod
    def restore(cls, snapshot: LedgerSnapshot) -> Self:
        """The ledger that `snapshot` was taken of; what is below zero in it counts as a debt.

        Raises: InvariantViolated if the snapshot's books do not close.
        """
        ledger = cls(snapshot.open_ended)
        for row in snapshot.balances:
            balance = ledger._open_balance(row.account_id, row.asset_id)
            balance.credits_minor = row.credits_minor
            balance.debits_minor = row.debits_minor
        ledger._change_holds(snapshot.holds, [])
        ledger._indebted.update(
            key for key, balance in ledger._balances.items() if balance.available_minor < 0
        )
        ledger.check_invariants()
        return ledger

    def _change_holds(
        self, changes: Sequence[HoldChange], doubts: list[Doubt]
    ) -> list[Hold | None]:
        """Set each group's hold; returns what the groups held before, for `_take_back`."""
        open_holds = self._holds
        before: list[Hold | None] = []
        for change in changes:
            group_id, held_minor = change.group_id, change.held_minor
            hold = open_holds.get(group_id)
            before.append(hold)
            if hold is None:
                if held_minor == 0:
                    continue
                balance = self._open_balance(change.account_id, change.asset_id)
                grown_minor: int = held_minor
            else:
                balance = hold.balance
                grown_minor = held_minor - hold.held_minor
                if balance.asset_id != change.asset_id or balance.account_id != change.account_id:
                    doubts.append(change)
            balance.held_minor += grown_minor
            if held_minor:
                open_holds[group_id] = Hold(balance, held_minor)
                if held_minor < 0:
                    doubts.append(change)
                posted_minor = balance.credits_minor - balance.debits_minor
                if grown_minor > 0 and posted_minor < balance.held_minor:
                    doubts.append(balance)
            else:
                del open_holds[group_id]
        return before

    def _post(self, entries: Sequence[Entry], doubts: list[Doubt]) -> None:
        """Move every entry's amount. A debit is in doubt when it leaves less than is held."""
        balances = self._balances
        for entry in entries:
            asset_id, amount_minor = entry.asset_id, entry.amount_minor
            debit = balances.get(entry.debit_account_id << ASSET_ID_BITS | asset_id)
            if debit is None:
                debit = self._open_balance(entry.debit_account_id, asset_id)
            credit = balances.get(entry.credit_account_id << ASSET_ID_BITS | asset_id)
            if credit is None:
                credit = self._open_balance(entry.credit_account_id, asset_id)
            debit.debits_minor = debits_minor = debit.debits_minor + amount_minor
            credit.credits_minor = credits_minor = credit.credits_minor + amount_minor
            if amount_minor <= 0 or debit is credit:
                doubts.append(entry)
            if credits_minor - credit.debits_minor > INT64_MAX:
                doubts.append(credit)
            # A balance too far below zero is in doubt here as well.
            if debit.credits_minor - debits_minor < debit.held_minor:
                doubts.append(debit)

    def _settle(
        self,
        doubts: Sequence[Doubt],
        entries: Sequence[Entry],
        holds: Sequence[HoldChange],
        before: Sequence[Hold | None],
    ) -> None:
        """Judge an applied record: keep it and remember its debts, or take it back and raise."""
        for doubt in doubts:
            if isinstance(doubt, Balance):
                gained_minor = _gained_minor(doubt, entries, holds, before)
                contradiction = _contradiction(
                    doubt, gained_minor, _corrected_minor(doubt, entries)
                )
            else:
                contradiction = f"{doubt} cannot be true"
            if contradiction:
                self._take_back(entries, holds, before)
                raise InvariantViolated(contradiction)
        self._indebted.update(
            balance_key(doubt.account_id, doubt.asset_id)
            for doubt in doubts
            if isinstance(doubt, Balance) and doubt.limited and doubt.available_minor < 0
        )

    def _take_back(
        self,
        entries: Sequence[Entry],
        holds: Sequence[HoldChange],
        before: Sequence[Hold | None],
    ) -> None:
        """Undo `_post` and `_change_holds`; balances they opened stay, blank."""
        for entry in entries:
            debit = self._balances[balance_key(entry.debit_account_id, entry.asset_id)]
            credit = self._balances[balance_key(entry.credit_account_id, entry.asset_id)]
            debit.debits_minor -= entry.amount_minor
            credit.credits_minor -= entry.amount_minor
        for change, old in zip(reversed(holds), reversed(before), strict=True):
            new = self._holds.pop(change.group_id, None)
            if new is not None:
                new.balance.held_minor -= new.held_minor
            if old is not None:
                old.balance.held_minor += old.held_minor
                self._holds[change.group_id] = old

    def _open_balance(self, account_id: AccountId, asset_id: AssetId) -> Balance:
        key = account_id << ASSET_ID_BITS | asset_id
        balance = self._balances.get(key)
        if balance is None:
            limited = account_id not in self._open_ended
            balance = self._balances[key] = Balance(account_id, asset_id, limited=limited)
            siblings = (*self._balances_of.get(account_id, ()), balance)
            self._balances_of[account_id] = tuple(sorted(siblings, key=_asset_id))
        return balance


def _asset_id(balance: Balance) -> AssetId:
    return balance.asset_id


def _contradiction(balance: Balance, gained_minor: int, corrected_minor: int) -> str:
    """Why a record cannot have left `balance` as it is, or an empty string.

    A limited balance may end below zero through corrections, and may stay there while the record
    takes nothing more: resting orders of an indebted account still trade what they hold.
    """
    if not balance.in_range:
        return f"{balance} is out of range"
    uncorrected_minor = balance.available_minor + corrected_minor
    if balance.limited and uncorrected_minor < 0 and gained_minor + corrected_minor < 0:
        return f"{balance} has less than it holds"
    return ""


def _gained_minor(
    balance: Balance,
    entries: Sequence[Entry],
    holds: Sequence[HoldChange],
    before: Sequence[Hold | None],
) -> int:
    """How much more one record left available in `balance`; negative when it took."""
    gained_minor = 0
    for entry in entries:
        if entry.asset_id == balance.asset_id:
            gained_minor += entry.amount_minor * (
                (entry.credit_account_id == balance.account_id)
                - (entry.debit_account_id == balance.account_id)
            )
    for change, old in zip(holds, before, strict=True):
        if change.asset_id == balance.asset_id and change.account_id == balance.account_id:
            gained_minor -= change.held_minor - (0 if old is None else old.held_minor)
    return gained_minor


def _corrected_minor(balance: Balance, entries: Sequence[Entry]) -> int:
    """What one record's corrections took from `balance`."""
    return sum(
        entry.amount_minor
        for entry in entries
        if entry.purpose is EntryPurpose.CORRECTION
        and entry.asset_id == balance.asset_id
        and entry.debit_account_id == balance.account_id
    )

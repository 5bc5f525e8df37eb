"""The accounts desk: reserves for every command, and decides deposits, limits, fees and halts.

It reads two states: its own (reference data, rules), which moves as it decides, and the released
one (ledger, orders), which moves only with released records. What restricts counts from its
sequence; what loosens counts from its release.
"""

from collections import deque
from collections.abc import Iterable
from typing import Any

from engine.accounts import administration
from engine.accounts.messages import (
    CancelAll,
    CancelAllAdvanced,
    CancelAllStarted,
    Deposit,
    HaltSet,
    MoneyMoved,
    Transfer,
)
from engine.accounts.reserving import Reserving
from engine.accounts.rules import Rules
from engine.ledger.ledger import Ledger, balance_key
from engine.ledger.messages import Entry, EntryPurpose
from engine.ledger.system_accounts import CLEARING
from engine.messages import Refused
from engine.orderbook.messages import (
    CancelReason,
)
from engine.products.decision import Decision
from engine.products.exchange.messages import (
    CancelChunk,
    ReportChunks,
)
from engine.products.exchange.orders import Orders
from engine.refusals import Reason
from engine.units import (
    INT64_MAX,
    AccountId,
    AmountMinor,
    AssetId,
    InstrumentId,
    OrderId,
    Sequence,
    TimeNs,
)


class AccountsDesk(Reserving):
    """Reserves, and decides what concerns no other desk.

    Ways in: `reserve` for every command, then `decide` for its own. `release_through` says how far
    the released state has come; it must be called before a batch.
    """

    def __init__(self, ledger: Ledger, orders: Orders) -> None:
        super().__init__(ledger, orders)
        self._loosening: deque[tuple[int, Any]] = deque()
        self._cancel_alls: dict[int, tuple[int, int]] = {}

    def __repr__(self) -> str:
        return f"<AccountsDesk {self.rules!r}: {len(self._set_aside)} amounts in flight>"

    def release_through(self, sequence: int) -> None:
        """Learn that records through `sequence` are released."""
        self._set_aside.release_through(sequence)
        while self._loosening and self._loosening[0][0] <= sequence:
            self.rules.loosen(self._loosening.popleft()[1])

    def decide(self, sequence: Sequence, now_ns: TimeNs, command: Any) -> Decision:
        """What a command of the accounts desk itself does. Changes nothing; `apply` does."""
        match command:
            case Deposit():
                return self._deposit(command)
            case Transfer():
                return self._transfer(command)
            case CancelAll():
                return self._cancel_all(sequence, command)
            case ReportChunks():
                return self._advance_cancel_all(command)
            case _:
                return administration.decide(self.rules, command, now_ns)

    def apply(self, sequence: Sequence, command: Any, decision: Any) -> None:
        """Take a decision of this desk into its own state, at once; debits are set aside."""
        for entry in decision.entries:
            key = balance_key(entry.debit_account_id, entry.asset_id)
            self._set_aside.add(sequence, key, entry.amount_minor)
        for event in decision.events:
            if type(event) is CancelAllStarted and event.instruments:
                self._cancel_alls[sequence] = (event.instruments, 0)
            elif type(event) is CancelAllAdvanced:
                self._apply_advance(event)
            elif self.rules.restrict(event):
                self._loosening.append((sequence, event))
            elif type(event) is HaltSet:
                self._forget_resumes(event)

    def _forget_resumes(self, thrown: HaltSet) -> None:
        """A switch thrown again stays thrown, whatever earlier resume is released after it."""
        switch = (thrown.scope, thrown.target_id)
        self._loosening = deque(
            (sequence, event)
            for sequence, event in self._loosening
            if type(event) is not HaltSet or (event.scope, event.target_id) != switch
        )

    def fold(self, record: Any) -> None:
        """Take in a released record of this desk whole."""
        for event in record.events:
            if type(event) is CancelAllStarted and event.instruments:
                self._cancel_alls[record.sequence] = (event.instruments, 0)
            elif type(event) is CancelAllAdvanced:
                self._apply_advance(event)
            else:
                self.rules.apply(event)

    def cancel_alls(self) -> list[tuple[int, int, int]]:
        """Cancel-alls under way: header, open instruments, orders cancelled so far."""
        return [(header, *counts) for header, counts in sorted(self._cancel_alls.items())]

    @classmethod
    def restore(
        cls,
        ledger: Ledger,
        orders: Orders,
        rules: Rules,
        cancel_alls: Iterable[tuple[int, int, int]],
    ) -> "AccountsDesk":
        """The desk of a state in which nothing is in flight."""
        desk = cls(ledger, orders)
        desk.rules = rules
        desk._cancel_alls = {header: (left, done) for header, left, done in cancel_alls}
        return desk

    def _apply_advance(self, event: CancelAllAdvanced) -> None:
        if event.open_instruments:
            self._cancel_alls[event.header_sequence] = (
                event.open_instruments,
                event.cancelled_orders,
            )
        else:
            self._cancel_alls.pop(event.header_sequence, None)

    def _deposit(self, command: Deposit) -> Decision:
        refused = self._bad_money(command.account_id, command.asset_id, command.amount_minor)
        if refused is None:
            refused = self._beyond_supply(command)
        if refused is not None:
            return Decision((refused,))
        entry = Entry(
            CLEARING,
            command.account_id,
            command.asset_id,
            command.amount_minor,
            EntryPurpose.DEPOSIT,
        )
        return Decision((MoneyMoved(),), (entry,))

    def _transfer(self, command: Transfer) -> Decision:
        refused = self._bad_money(command.account_id, command.asset_id, command.amount_minor)
        if refused is None and command.to_account_id not in self.rules.directory.accounts:
            refused = Refused(Reason.UNKNOWN_ACCOUNT, "to_account")
        if refused is None and command.to_account_id == command.account_id:
            refused = Refused(Reason.INVALID_VALUE, "to_account")
        if refused is None:
            key = balance_key(command.account_id, command.asset_id)
            available = self._ledger.available_minor(command.account_id, command.asset_id)
            if command.amount_minor > available - self._set_aside.amount_minor(key):
                refused = Refused(Reason.INSUFFICIENT_FUNDS, "amount")
        if refused is not None:
            return Decision((refused,))
        entry = Entry(
            command.account_id,
            command.to_account_id,
            command.asset_id,
            command.amount_minor,
            EntryPurpose.TRANSFER,
        )
        return Decision((MoneyMoved(),), (entry,))

    def _beyond_supply(self, deposit: Deposit) -> Refused | None:
        """Keep all there is of an asset within 64 bits, and so every balance of it."""
        key = balance_key(CLEARING, deposit.asset_id)
        supply = self._set_aside.amount_minor(key)
        supply -= self._ledger.available_minor(CLEARING, deposit.asset_id)
        if supply + deposit.amount_minor > INT64_MAX:
            return Refused(Reason.AMOUNT_OVERFLOW, "amount")
        return None

    def _bad_money(
        self, account_id: AccountId, asset_id: AssetId, amount_minor: AmountMinor
    ) -> Refused | None:
        if account_id not in self.rules.directory.accounts:
            return Refused(Reason.UNKNOWN_ACCOUNT, "account")
        if asset_id not in self.rules.directory.assets:
            return Refused(Reason.UNKNOWN_ASSET, "asset")
        if not 0 < amount_minor <= INT64_MAX:
            return Refused(Reason.INVALID_VALUE, "amount")
        return None

    def _cancel_all(self, sequence: Sequence, command: CancelAll) -> Decision:
        account_id = command.account_id
        if account_id not in self.rules.directory.accounts:
            return Decision((Refused(Reason.UNKNOWN_ACCOUNT, "account"),))
        orders = [order.terms for order in self._orders.open_of(account_id).values()]
        orders.extend(self._set_aside.orders_of(account_id))
        key_id = command.key_id
        concerned = {one.instrument_id for one in orders if key_id in (0, one.key_id)}
        if command.instrument_id:
            concerned &= {command.instrument_id}
        chunks = tuple(
            CancelChunk(
                InstrumentId(instrument_id),
                account_id,
                OrderId(sequence),
                CancelReason.CANCEL_ALL,
                sequence,
                key_id=key_id,
            )
            for instrument_id in sorted(concerned)
        )
        return Decision((CancelAllStarted(len(chunks)),), (), (), chunks)

    def _advance_cancel_all(self, command: ReportChunks) -> Decision:
        open_instruments, cancelled = self._cancel_alls.get(command.header_sequence, (1, 0))
        advanced = CancelAllAdvanced(
            command.header_sequence, open_instruments - 1, cancelled + command.cancelled_orders
        )
        return Decision((advanced,))

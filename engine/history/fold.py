"""Records to rows: everything the read models keep follows from here, record by record.

Rows of any few consecutive records together say the same as those of each record by itself, so it
does not matter where a batch is cut.
"""

from collections.abc import Callable, Iterable
from typing import Final

from engine.history.audit import ACTS, audit_row, is_act, state_concerned
from engine.history.changes import BalanceKey, Changes, SettledTrade, changes_of
from engine.history.effects import OrderChanged, effects_from
from engine.history.rows import (
    BalanceRow,
    CandleRow,
    EffectsRow,
    EntryRow,
    KeyRow,
    OrderRow,
    Rows,
    TradeRow,
)
from engine.journal.records import Record
from engine.journal.released import Released
from engine.ledger.ledger import Ledger
from engine.marketdata.candles import INTERVALS, Candle, merged, start_s_of
from engine.units import AccountId, AmountMinor, AssetId, InstrumentId, OrderId, Sequence

_FINEST_S: Final = min(INTERVALS.values())


class HistoryFold:
    """Folds records into a state and collects the rows they add or change.

    Fold: `apply`, `apply_all`. Collect: `take`. All records must pass through here, one after the
    other: some rows state what stood before a record, others what stood after it.
    """

    def __init__(
        self, released: Released, apply_to_state: Callable[[Record], None] | None = None
    ) -> None:
        """Collect from the records after `released`.

        `apply_to_state` folds a record into the whole state that `released` is part of; without,
        `released` stands alone.
        """
        self.released = released
        self._apply_to_state = apply_to_state or released.apply
        self._rows = Rows()
        self._orders: dict[OrderId, OrderRow] = {}
        self._balances: dict[BalanceKey, Sequence] = {}  # as of which record
        self._candles: dict[tuple[InstrumentId, int], Candle] = {}  # the finest

    def __repr__(self) -> str:
        return f"<HistoryFold through {self.released.sequence}>"

    def apply(self, record: Record) -> None:
        """Fold the next record.

        Raises: InvariantViolated on a contradiction, and whatever the state raises.
        """
        released, rows = self.released, self._rows
        if type(record.command) in ACTS and is_act(record, released.rules):
            before = state_concerned(record, released)
            self._apply_to_state(record)
            rows.audit.append(audit_row(record, before, released))
        else:
            self._apply_to_state(record)
        if record.key:
            rows.keys.append(KeyRow(record.scope, record.key, record.sequence, record.body_digest))
        changes = changes_of(record, released)
        if changes.orders or changes.balances:
            self._note(record, changes)

    def apply_all(self, records: Iterable[Record]) -> None:
        """Fold records in order."""
        for record in records:
            self.apply(record)

    def take(self) -> Rows:
        """The rows of all records since the last time, and start afresh.

        Complexity: O(orders, balances and seconds with trades that those records touched).
        """
        rows, self._rows = self._rows, Rows()
        rows.orders, self._orders = list(self._orders.values()), {}
        ledger = self.released.ledger
        rows.balances = [_balance_row(*one, ledger) for one in self._balances.items()]
        rows.candles = _candle_rows(self._candles)
        self._balances, self._candles = {}, {}
        return rows

    def _note(self, record: Record, changes: Changes) -> None:
        rows, sequence, now_ns = self._rows, record.sequence, record.now_ns
        ledger = self.released.ledger
        for account_id, effects in effects_from(changes, ledger).items():
            rows.effects.append(EffectsRow(account_id, sequence, now_ns, tuple(effects)))
            for effect in effects:
                if type(effect) is not OrderChanged:
                    break  # orders come first
                self._orders[effect.order.order_id] = OrderRow(sequence, effect.order)
        for key in changes.balances:
            self._balances[key] = sequence
        if record.entries:
            rows.entries.extend(_entry_rows(record, ledger))
        if changes.trades:
            self._note_trades(record, changes.trades)

    def _note_trades(self, record: Record, trades: Iterable[SettledTrade]) -> None:
        add, sequence, now_ns = self._rows.trades.append, record.sequence, record.now_ns
        start_s = start_s_of(now_ns, _FINEST_S)
        for index, (trade, fees, maker, taker) in enumerate(trades):
            price_ticks, lots = trade.price_ticks, trade.quantity_lots
            instrument_id = maker.terms.instrument_id
            add(
                TradeRow(
                    sequence,
                    index,
                    now_ns,
                    instrument_id,
                    price_ticks,
                    lots,
                    trade.taker_side,
                    trade.maker_order_id,
                    trade.taker_order_id,
                    maker.terms.account_id,
                    taker.terms.account_id,
                    fees.maker_fee_minor,
                    fees.taker_fee_minor,
                )
            )
            candle = self._candles.get((instrument_id, start_s))
            if candle is None:
                opened = Candle.of_trade(start_s, price_ticks, lots)
                self._candles[instrument_id, start_s] = opened
            else:
                candle.add(price_ticks, lots)


def _entry_rows(record: Record, ledger: Ledger) -> list[EntryRow]:
    """The record's entries with running balances, counted back from what the ledger says now."""
    rows: list[EntryRow] = []
    running: dict[BalanceKey, int] = {}
    for index in range(len(record.entries) - 1, -1, -1):
        entry = record.entries[index]
        asset_id, amount_minor = entry.asset_id, entry.amount_minor
        debit, credit = entry.debit_account_id, entry.credit_account_id
        debit_minor = running.get((debit, asset_id))
        if debit_minor is None:
            debit_minor = _posted_minor(debit, asset_id, ledger)
        credit_minor = running.get((credit, asset_id))
        if credit_minor is None:
            credit_minor = _posted_minor(credit, asset_id, ledger)
        running[debit, asset_id] = debit_minor + amount_minor
        running[credit, asset_id] = credit_minor - amount_minor
        rows.append(
            EntryRow(
                record.sequence,
                index,
                record.now_ns,
                debit,
                credit,
                asset_id,
                amount_minor,
                entry.purpose,
                AmountMinor(debit_minor),
                AmountMinor(credit_minor),
            )
        )
    rows.reverse()
    return rows


def _posted_minor(account_id: AccountId, asset_id: AssetId, ledger: Ledger) -> int:
    balance = ledger.balance(account_id, asset_id)
    return 0 if balance is None else balance.credits_minor - balance.debits_minor


def _balance_row(key: BalanceKey, sequence: Sequence, ledger: Ledger) -> BalanceRow:
    account_id, asset_id = key
    balance = ledger.balance(account_id, asset_id)
    if balance is None:
        nothing = AmountMinor(0)
        return BalanceRow(account_id, asset_id, nothing, nothing, sequence)
    held_minor = AmountMinor(balance.held_minor)
    return BalanceRow(account_id, asset_id, balance.posted_minor, held_minor, sequence)


def _candle_rows(finest: dict[tuple[InstrumentId, int], Candle]) -> list[CandleRow]:
    """Candles of every interval from those of the finest, which come in order of time."""
    rows: dict[tuple[InstrumentId, int, int], CandleRow] = {}
    for (instrument_id, second), candle in finest.items():
        for interval_s in INTERVALS.values():
            key = (instrument_id, interval_s, second // interval_s * interval_s)
            row = CandleRow(
                *key,
                candle.open_ticks,
                candle.high_ticks,
                candle.low_ticks,
                candle.close_ticks,
                candle.volume_lots,
                candle.tick_lots,
                candle.trades,
            )
            earlier = rows.get(key)
            rows[key] = row if earlier is None else merged(earlier, row)
    return list(rows.values())

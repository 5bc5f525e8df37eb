"""The whole engine's state as a fold of its journal: for recovery, verification and snapshots."""

from collections.abc import Iterable
from typing import Any

from engine.accounts.desk import AccountsDesk
from engine.errors import JournalCorrupt
from engine.journal.records import Record, desk_of
from engine.journal.released import Released
from engine.products.exchange.desk import InstrumentDesk
from engine.products.withdrawals.desk import WithdrawalsDesk
from engine.units import WITHDRAWALS_DESK, DeskId, InstrumentId


class EngineState:
    """Released state and every desk's own, at one sequence.

    While an engine lives its desks run ahead of what is released; here all of them stand at the
    same record. Fold: `apply`.
    """

    def __init__(self, closed_orders_max: int = 100_000) -> None:
        self.released = Released(closed_orders_max)
        self.accounts = AccountsDesk(self.released.ledger, self.released.orders)
        self.withdrawals = WithdrawalsDesk()
        self.desks: dict[InstrumentId, InstrumentDesk] = {}

    def __repr__(self) -> str:
        return f"<EngineState {self.released!r}, {len(self.desks)} instruments>"

    def apply(self, record: Record) -> None:
        """Fold the next record into everything it concerns.

        Raises: JournalCorrupt on a gap, InvariantViolated on a contradiction.
        """
        if record.sequence != self.released.sequence + 1:
            raise JournalCorrupt(f"record {record.sequence} follows {self.released.sequence}")
        self.released.apply(record)
        desk_id = desk_of(record.command)
        if desk_id > 0:
            desk = self.desk(InstrumentId(desk_id))
            if desk is not None:
                desk.apply(record)
        elif desk_id == WITHDRAWALS_DESK:
            self.withdrawals.apply(record)
        else:
            self.accounts.fold(record)

    def apply_all(self, records: Iterable[Record]) -> None:
        """Fold records in order."""
        for record in records:
            self.apply(record)

    def desk(self, instrument_id: InstrumentId) -> InstrumentDesk | None:
        """The desk of an instrument that exists, made on first use."""
        desk = self.desks.get(instrument_id)
        if desk is None:
            instrument = self.accounts.rules.directory.instruments.get(instrument_id)
            if instrument is None:
                return None
            desk = self.desks[instrument_id] = InstrumentDesk(instrument)
        return desk

    def machine(self, desk_id: DeskId) -> Any:
        """The machine of a desk other than accounts."""
        return self.withdrawals if desk_id == WITHDRAWALS_DESK else self.desk(InstrumentId(desk_id))

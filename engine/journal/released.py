"""The released state: everything an observer may see, as the fold of released records.

The journal's actor folds each record here at the moment it is released; accounts and the api read
it. Nothing is here that a crash could take back.
"""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from engine.accounts.messages import CancelAllAdvanced, CancelAllStarted
from engine.accounts.rules import Rules
from engine.journal.keys import KeyIndex
from engine.journal.records import Record, desk_of
from engine.ledger.ledger import Ledger
from engine.ledger.system_accounts import OPEN_ENDED
from engine.messages import Refused
from engine.orderbook.depth import MOVES_DEPTH, Depth
from engine.orderbook.messages import InstrumentState, InstrumentStateChanged, Trade
from engine.products.exchange.messages import ReportChunks
from engine.products.exchange.orders import Orders
from engine.products.sessions.desk import SessionsDesk
from engine.products.withdrawals.desk import WithdrawalsDesk
from engine.units import SESSIONS_DESK, WITHDRAWALS_DESK, InstrumentId, OrderId, PriceTicks, TimeNs
from engine.units import Sequence as SequenceNumber

#: A follow-up is named by the record that caused it and its index there.
FollowUpKey = tuple[int, int]
#: Of so many recent cancel-alls it is known how far they have come.
CANCEL_ALLS_KEPT_MAX: Final = 1_000


class CancelAllProgress(NamedTuple):
    """How far a cancel-all has come; complete at `open_instruments` 0.

    A desk that could not do its part (halted, say) counts in `refused_instruments`.
    """

    open_instruments: int
    cancelled_orders: int = 0
    refused_instruments: int = 0


class Released:
    """Fold: `apply`. Look up: the public parts. Change nothing else."""

    def __init__(self, closed_orders_max: int = 100_000) -> None:
        self.sequence = SequenceNumber(0)
        self.now_ns = TimeNs(0)
        self.ledger = Ledger(OPEN_ENDED)
        self.orders = Orders(closed_orders_max)
        self.rules = Rules()
        self.keys = KeyIndex()
        self.withdrawals = WithdrawalsDesk()
        self.sessions = SessionsDesk()
        self.depths: dict[InstrumentId, Depth] = {}
        self.states: dict[InstrumentId, InstrumentState] = {}
        self.last_prices: dict[InstrumentId, PriceTicks] = {}
        #: Follow-ups without a record yet, in key order.
        self.outstanding: dict[FollowUpKey, Any] = {}
        #: Recent cancel-alls by the sequence of their header.
        self.cancel_alls: dict[int, CancelAllProgress] = {}
        #: How many trades were folded here; for operators, and in no snapshot.
        self.trades = 0

    def __repr__(self) -> str:
        return f"<Released through {self.sequence}: {self.orders!r} {self.ledger!r}>"

    def depth(self, instrument_id: InstrumentId) -> Depth:
        """The L2 book of an instrument."""
        depth = self.depths.get(instrument_id)
        if depth is None:
            depth = self.depths[instrument_id] = Depth()
        return depth

    def reference_price_ticks(self, instrument_id: InstrumentId) -> PriceTicks:
        """The last traded price, else the instrument's own reference, else 0."""
        last = self.last_prices.get(instrument_id)
        if last is not None:
            return last
        return self.rules.directory.instruments[instrument_id].reference_price_ticks

    def apply(self, record: Record) -> None:
        """Fold one record, the next in sequence."""
        self.sequence = record.sequence
        self.now_ns = record.now_ns
        if record.entries or record.holds:
            self.ledger.apply(record.entries, record.holds)
        if record.key:
            self.keys.add(record.scope, record.key, record.sequence, record.body_digest)
        if record.answers_sequence and not record.is_deferred:
            self.outstanding.pop((record.answers_sequence, record.answers_index), None)
        if record.follow_ups:
            for index, command in enumerate(record.follow_ups):
                self.outstanding[record.sequence, index] = command
        desk_id = desk_of(record.command)
        if desk_id > 0:
            self.orders.apply(record)
            self._apply_market(desk_id, record.events)
        elif desk_id == WITHDRAWALS_DESK:
            self.withdrawals.apply(record)
        elif desk_id == SESSIONS_DESK:
            self.sessions.apply(record)
        else:
            for event in record.events:
                self.rules.apply(event)
                if isinstance(event, CancelAllStarted | CancelAllAdvanced):
                    self._note_cancel_all(record, event)

    def forget_keys(self, through: int, exact_max: int, keys_max: int) -> int:
        """`KeyIndex.forget`; the keys of open orders stay exact: they are cancelled by them."""
        return self.keys.forget(through, exact_max, keys_max, self._is_open)

    def _is_open(self, sequence: int) -> bool:
        return self.orders.get_open(OrderId(sequence)) is not None

    def _apply_market(self, instrument_id: InstrumentId, events: Sequence[Any]) -> None:
        if len(events) == 1 and type(events[0]) is Refused:
            return  # perhaps of an instrument that does not exist
        depth = self.depths.get(instrument_id) or self.depth(instrument_id)
        for event in events:
            kind = type(event)
            if kind in MOVES_DEPTH:
                depth.fold(event)
                if kind is Trade:
                    self.last_prices[instrument_id] = event.price_ticks
                    self.trades += 1
            elif kind is InstrumentStateChanged:
                self.states[instrument_id] = event.state

    def _note_cancel_all(self, record: Record, event: CancelAllStarted | CancelAllAdvanced) -> None:
        if isinstance(event, CancelAllStarted):
            self.cancel_alls[record.sequence] = CancelAllProgress(event.instruments)
            if len(self.cancel_alls) > CANCEL_ALLS_KEPT_MAX:
                del self.cancel_alls[next(iter(self.cancel_alls))]
            return
        before = self.cancel_alls.get(event.header_sequence)
        refused = before.refused_instruments if before is not None else 0
        self.cancel_alls[event.header_sequence] = CancelAllProgress(
            event.open_instruments,
            event.cancelled_orders,
            refused + (isinstance(record.command, ReportChunks) and record.command.refused),
        )

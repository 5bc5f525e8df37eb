"""The whole engine's state as a fold of its journal: for recovery, verification and snapshots."""

from collections.abc import Iterable
from copy import copy
from typing import Any, Final

import msgspec

from engine.accounts.desk import AccountsDesk
from engine.accounts.rules import Rules, RulesSnapshot
from engine.errors import InvariantViolated, JournalCorrupt
from engine.journal.keys import ForgottenKeys, KeyIndex
from engine.journal.records import Command, Record, desk_of
from engine.journal.released import CancelAllProgress, Released
from engine.journal.snapshots import FORMAT_VERSION
from engine.ledger.ledger import Ledger, LedgerSnapshot
from engine.orderbook.depth import Depth
from engine.orderbook.messages import InstrumentState
from engine.products.exchange.desk import InstrumentDesk
from engine.products.exchange.fold import DeskSnapshot
from engine.products.exchange.orders import Orders, OrdersSnapshot
from engine.products.sessions.desk import SessionsDesk, SessionsSnapshot
from engine.products.withdrawals.desk import Withdrawal, WithdrawalsDesk
from engine.units import (
    SESSIONS_DESK,
    WITHDRAWALS_DESK,
    DeskId,
    InstrumentId,
    PriceTicks,
    QuantityLots,
    Sequence,
    TimeNs,
)

_EVERYTHING: Final = 2**63
#: So many keys are exact whatever the history has, and are all that a restart must read.
KEYS_EXACT_MAX: Final = 1_000_000
#: Keys forgotten at a time: about a millisecond.
KEYS_PER_TURN_MAX: Final = 250
_SMALL: Final = ("sequence", "now_ns", "rules", "withdrawals", "cancel_alls", "sessions")


class DepthRow(msgspec.Struct, frozen=True, array_like=True):
    """One instrument's price levels, bids and asks from the best on."""

    instrument_id: InstrumentId
    bids: list[tuple[PriceTicks, QuantityLots]]
    asks: list[tuple[PriceTicks, QuantityLots]]


class ReleasedSnapshot(msgspec.Struct, frozen=True, array_like=True):
    """What only the released state knows."""

    ledger: LedgerSnapshot
    orders: OrdersSnapshot
    keys: dict[int, dict[str, bytes]]
    depths: list[DepthRow]
    states: list[tuple[InstrumentId, InstrumentState]]
    last_prices: list[tuple[InstrumentId, PriceTicks]]
    outstanding: list[tuple[int, int, Command]]  # sequence and index of the follow-up first
    cancel_alls: list[tuple[int, CancelAllProgress]]
    forgotten_keys: ForgottenKeys = ForgottenKeys()


class StateSnapshot(msgspec.Struct, frozen=True, array_like=True):
    """A whole state. What is large is encoded by itself, so that a part can be had alone."""

    format_version: int
    sequence: int
    now_ns: int
    rules: RulesSnapshot
    withdrawals: list[Withdrawal]
    cancel_alls: list[tuple[int, int, int]]  # header, open instruments, orders cancelled
    desks: list[tuple[InstrumentId, msgspec.Raw]]
    released: msgspec.Raw
    sessions: SessionsSnapshot = SessionsSnapshot()


_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final = msgspec.msgpack.Decoder(StateSnapshot)
_desk_decoder: Final = msgspec.msgpack.Decoder(DeskSnapshot)
_released_decoder: Final = msgspec.msgpack.Decoder(ReleasedSnapshot)


class EngineState:
    """Released state and every desk's own, at one sequence.

    While an engine lives its desks run ahead of what is released; here all of them stand at the
    same record. Fold: `apply`. Keep: `snapshot`, `restore`, `restore_machine`.
    """

    def __init__(
        self, closed_orders_max: int = 100_000, keys_exact_max: int = KEYS_EXACT_MAX
    ) -> None:
        self.closed_orders_max = closed_orders_max
        self.keys_exact_max = keys_exact_max
        self.released = Released(closed_orders_max)
        self.accounts = AccountsDesk(self.released.ledger, self.released.orders)
        self.withdrawals = WithdrawalsDesk()
        self.sessions = SessionsDesk()
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
            desk = self.desks.get(InstrumentId(desk_id)) or self.desk(InstrumentId(desk_id))
            if desk is not None:
                desk.apply(record)
        elif desk_id == WITHDRAWALS_DESK:
            self.withdrawals.apply(record)
        elif desk_id == SESSIONS_DESK:
            self.sessions.apply(record)
        else:
            self.accounts.fold(record)

    def apply_all(self, records: Iterable[Record]) -> None:
        """Fold records in order."""
        for record in records:
            self.apply(record)

    def forget_keys(self, through: int, keys_max: int = KEYS_PER_TURN_MAX) -> bool:
        """Leave a few keys beyond `keys_exact_max` to the history, which has come `through`.

        Whether there may be more. Complexity: O(`keys_max`).
        """
        return self.released.forget_keys(through, self.keys_exact_max, keys_max) == keys_max

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
        if desk_id == WITHDRAWALS_DESK:
            return self.withdrawals
        return self.sessions if desk_id == SESSIONS_DESK else self.desk(InstrumentId(desk_id))

    def snapshot(self, closed_orders_max: int | None = None) -> bytes:
        """Everything, so that equal states give equal bytes. O(state).

        Of closed orders there are at most `closed_orders_max`, or all that this state keeps.
        """
        kept = self.closed_orders_max if closed_orders_max is None else closed_orders_max
        desks = [
            (instrument_id, msgspec.Raw(_encoder.encode(desk.snapshot())))
            for instrument_id, desk in sorted(self.desks.items(), key=_id)
        ]
        return _encoder.encode(
            StateSnapshot(
                FORMAT_VERSION,
                self.released.sequence,
                self.released.now_ns,
                self.released.rules.snapshot(),
                self.withdrawals.snapshot(),
                self.accounts.cancel_alls(),
                desks,
                msgspec.Raw(_encoder.encode(_snapshot_of(self.released, kept))),
                self.sessions.snapshot(),
            )
        )

    def restore(self, payload: bytes) -> None:
        """Become the state that gave a payload; this one must be new.

        Complexity: O(state). Raises: JournalCorrupt if the payload contradicts itself.
        """
        try:
            parts = _decoder.decode(payload)
            self.released = _released(parts, self.closed_orders_max)
            self.accounts = AccountsDesk.restore(
                self.released.ledger,
                self.released.orders,
                Rules.restore(parts.rules),
                parts.cancel_alls,
            )
            self.withdrawals = WithdrawalsDesk.restore(parts.withdrawals)
            self.sessions = SessionsDesk.restore(parts.sessions)
            self.desks = {one: self._desk_from(one, raw) for one, raw in parts.desks}
        except (msgspec.MsgspecError, InvariantViolated, LookupError, ValueError) as error:
            raise JournalCorrupt(f"a snapshot contradicts itself: {error}") from error

    def restore_machine(self, payload: bytes, desk_id: DeskId) -> None:
        """Take one desk and the reference data out of a payload, and nothing else.

        Complexity: O(that desk and the reference data), beside a skim through the bytes.
        Raises: JournalCorrupt if the payload contradicts itself.
        """
        try:
            parts = _decoder.decode(payload)
            self.accounts.rules = Rules.restore(parts.rules)
            if desk_id == WITHDRAWALS_DESK:
                self.withdrawals = WithdrawalsDesk.restore(parts.withdrawals)
            if desk_id == SESSIONS_DESK:
                self.sessions = SessionsDesk.restore(parts.sessions)
            for instrument_id, raw in parts.desks:
                if DeskId(instrument_id) == desk_id:
                    self.desks[instrument_id] = self._desk_from(instrument_id, raw)
        except (msgspec.MsgspecError, InvariantViolated, LookupError, ValueError) as error:
            raise JournalCorrupt(f"a snapshot contradicts itself: {error}") from error

    def _desk_from(self, instrument_id: InstrumentId, raw: msgspec.Raw) -> InstrumentDesk:
        instrument = self.accounts.rules.directory.instruments[instrument_id]
        return InstrumentDesk.restore(instrument, _desk_decoder.decode(raw))


def difference(one: bytes, other: bytes) -> str:
    """Which parts of two payloads differ, for people to read; empty if they are equal."""
    if one == other:
        return ""
    parts, others = _decoder.decode(one), _decoder.decode(other)
    desks, other_desks = dict(parts.desks), dict(others.desks)
    found = [
        *(name for name in _SMALL if getattr(parts, name) != getattr(others, name)),
        *(f"desk {id_}" for id_ in desks | other_desks if desks.get(id_) != other_desks.get(id_)),
    ]
    if parts.released != others.released:
        own = _released_decoder.decode(parts.released)
        their = _released_decoder.decode(others.released)
        names = own.__struct_fields__
        found += [name for name in names if getattr(own, name) != getattr(their, name)]
    return f"differs in {', '.join(found) or 'order alone'}"


def _snapshot_of(released: Released, closed_orders_max: int) -> ReleasedSnapshot:
    depths = [
        DepthRow(instrument_id, *depth.levels(_EVERYTHING))
        for instrument_id, depth in sorted(released.depths.items(), key=_id)
        if any(depth.top)  # an empty one is as good as none
    ]
    return ReleasedSnapshot(
        released.ledger.snapshot(),
        released.orders.snapshot(closed_orders_max),
        released.keys.snapshot(),
        depths,
        sorted(released.states.items()),
        sorted(released.last_prices.items()),
        [(*key, command) for key, command in released.outstanding.items()],
        list(released.cancel_alls.items()),
        released.keys.snapshot_of_forgotten(),
    )


def _released(parts: StateSnapshot, closed_orders_max: int) -> Released:
    """The released state; rules, withdrawals and sessions are its own, as the desks have theirs."""
    own = _released_decoder.decode(parts.released)
    released = Released(closed_orders_max)
    released.sequence, released.now_ns = Sequence(parts.sequence), TimeNs(parts.now_ns)
    released.ledger = Ledger.restore(own.ledger)
    released.orders = Orders.restore(own.orders, closed_orders_max)
    released.rules = Rules.restore(parts.rules)
    released.keys = KeyIndex.restore(own.keys, own.forgotten_keys)
    released.withdrawals = WithdrawalsDesk.restore([copy(one) for one in parts.withdrawals])
    released.sessions = SessionsDesk.restore(parts.sessions)
    released.depths = {row.instrument_id: Depth(row.bids, row.asks) for row in own.depths}
    released.states = dict(own.states)
    released.last_prices = dict(own.last_prices)
    released.outstanding = {(one, index): command for one, index, command in own.outstanding}
    released.cancel_alls = dict(own.cancel_alls)
    return released


def _id(item: tuple[InstrumentId, Any]) -> InstrumentId:
    return item[0]

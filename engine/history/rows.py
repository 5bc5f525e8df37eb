"""The rows of the read models: what the projector writes and the api reads, in the engine's units.

Every row follows from records alone, so all of them can be thrown away and folded again from zero.
"""

import msgspec

from engine.history.effects import Effect
from engine.ledger.messages import EntryPurpose
from engine.marketdata.candles import merged
from engine.products.exchange.orders import Order
from engine.units import (
    AccountId,
    AmountMinor,
    AssetId,
    InstrumentId,
    OrderId,
    PriceTicks,
    QuantityLots,
    Sequence,
    Side,
    TimeNs,
)


class Position(msgspec.Struct, frozen=True, order=True):
    """A place in history: a record, and the place of an event or entry in it, from 0."""

    sequence: int
    index: int


class Row(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """One row of a read model."""


class TradeRow(Row, frozen=True):
    """One trade; `index` counts the trades of its record, so (sequence, index) names it."""

    sequence: Sequence
    index: int
    time_ns: TimeNs
    instrument_id: InstrumentId
    price_ticks: PriceTicks
    quantity_lots: QuantityLots
    taker_side: Side
    maker_order_id: OrderId
    taker_order_id: OrderId
    maker_account_id: AccountId
    taker_account_id: AccountId
    maker_fee_minor: AmountMinor  # negative: a rebate, in what the taker received
    taker_fee_minor: AmountMinor


class EntryRow(Row, frozen=True):
    """One ledger entry, and what both accounts have of the asset right after it."""

    sequence: Sequence
    index: int
    time_ns: TimeNs
    debit_account_id: AccountId
    credit_account_id: AccountId
    asset_id: AssetId
    amount_minor: AmountMinor
    purpose: EntryPurpose
    debit_balance_minor: AmountMinor
    credit_balance_minor: AmountMinor


class BalanceRow(Row, frozen=True):
    """What an account has of an asset as of `sequence`, which last changed it."""

    account_id: AccountId
    asset_id: AssetId
    balance_minor: AmountMinor
    held_minor: AmountMinor
    sequence: Sequence


class CandleRow(Row, frozen=True):
    """The trades of an instrument in one interval; `tick_lots` is the sum of price x quantity."""

    instrument_id: InstrumentId
    interval_s: int
    start_s: int
    open_ticks: PriceTicks
    high_ticks: PriceTicks
    low_ticks: PriceTicks
    close_ticks: PriceTicks
    volume_lots: int
    tick_lots: int
    trades: int

    def followed_by(self, later: "CandleRow") -> "CandleRow":
        """The candle of these trades and of later ones in the same interval."""
        return merged(self, later)


class KeyRow(Row, frozen=True):
    """Which sequence answered an idempotency key, and with which body it came."""

    scope: int
    key: str
    sequence: Sequence
    body_digest: int


class EffectsRow(Row, frozen=True):
    """What one record did to one account, as its private stream tells it; in that order."""

    account_id: AccountId
    sequence: Sequence
    time_ns: TimeNs
    effects: tuple[Effect, ...]


class AuditRow(Row, frozen=True):
    """One act of administration; `before` and `after` are JSON texts of what it changed."""

    sequence: Sequence
    time_ns: TimeNs
    key_id: int
    request_id: str
    action: str  # the command's tag
    reason: str
    command: str
    before: str
    after: str


class OrderRow(Row, frozen=True):
    """An order as `sequence` left it."""

    sequence: Sequence
    order: Order


class Rows(msgspec.Struct):
    """Everything that a few consecutive records add or change.

    Of `orders`, `balances` and `candles` only the newest row per order, (account, asset) and
    (instrument, interval, start); a candle row covers these records alone and is merged into what
    is stored. All others are added as they are.
    """

    trades: list[TradeRow] = []
    entries: list[EntryRow] = []
    orders: list[OrderRow] = []
    balances: list[BalanceRow] = []
    candles: list[CandleRow] = []
    keys: list[KeyRow] = []
    effects: list[EffectsRow] = []
    audit: list[AuditRow] = []

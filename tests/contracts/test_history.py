"""The contract of `History` and `HistoryWriter`, held by every adapter.

An adapter joins by an entry in `PLACES`: something that opens one place, where a writer and a
reader look at the same, still empty, read models.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, NamedTuple

import pytest

from engine.errors import Fenced, StorageError
from engine.history.effects import BalanceChanged, Filled, OrderChanged
from engine.history.rows import (
    AuditRow,
    BalanceRow,
    CandleRow,
    EffectsRow,
    EntryRow,
    KeyRow,
    OrderRow,
    Position,
    Rows,
    TradeRow,
)
from engine.journal.keys import Answered
from engine.ledger.messages import EntryPurpose
from engine.orderbook.messages import OrderKind, PlaceOrder
from engine.ports import History, HistoryWriter, Watermark
from engine.products.exchange.messages import Leg, PlaceConditional, TriggerWhen
from engine.products.exchange.orders import Order, OrderStatus
from engine.storage.bridge import AsyncioThread
from engine.storage.history import PostgresHistory
from engine.storage.history_writer import PostgresHistoryWriter
from engine.storage.memory_history import MemoryHistory
from engine.units import (
    INT64_MAX,
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

ANN, BOB = AccountId(100), AccountId(101)
BASE, QUOTE = AssetId(1), AssetId(2)
ONE, TWO = InstrumentId(1), InstrumentId(2)
MINUTE = 60


class Place(NamedTuple):
    """Empty read models, for writing and for reading."""

    writer: HistoryWriter
    history: History


NewDatabase = Callable[[AsyncioThread], Awaitable[str]]
OpenedHistory = Callable[[], AbstractAsyncContextManager[Place]]


def memory(_request: pytest.FixtureRequest) -> OpenedHistory:
    @asynccontextmanager
    async def opened() -> AsyncIterator[Place]:
        both = MemoryHistory()
        yield Place(both, both)
        await both.aclose()

    return opened


def postgres(request: pytest.FixtureRequest) -> OpenedHistory:
    new_database: NewDatabase = request.getfixturevalue("new_database")

    @asynccontextmanager
    async def opened() -> AsyncIterator[Place]:
        async with AsyncioThread() as bridge:
            dsn = await new_database(bridge)
            place = Place(PostgresHistoryWriter(bridge, dsn), PostgresHistory(bridge, dsn))
            yield place
            await place.writer.aclose()
            await place.history.aclose()

    return opened


PLACES: dict[str, Callable[[pytest.FixtureRequest], OpenedHistory]] = {
    "memory": memory,
    "postgres": postgres,
}
#: Marks of the adapters that need more than Python.
MARKS: dict[str, Any] = {"postgres": pytest.mark.database}


@pytest.fixture(params=[pytest.param(name, marks=MARKS.get(name, ())) for name in PLACES])
def opened_history(request: pytest.FixtureRequest) -> OpenedHistory:
    """Opens one place of the adapter whose turn it is."""
    return PLACES[request.param](request)


class Pen:
    """Writes one batch after the other, each as one more block of some records."""

    def __init__(self, writer: HistoryWriter) -> None:
        self.writer = writer
        self.at = Watermark()

    async def write(self, through: int, **tables: Any) -> None:
        after = Watermark(self.at.block_number + 1, through, 1_000 * through)
        await self.writer.write(Rows(**tables), self.at, after)
        self.at = after


@asynccontextmanager
async def opened_pen(opened: OpenedHistory) -> AsyncIterator[tuple[Pen, History]]:
    async with opened() as place:
        assert await place.writer.open() == Watermark()
        yield Pen(place.writer), place.history


def trade(
    sequence: int,
    index: int = 0,
    instrument_id: InstrumentId = ONE,
    maker: AccountId = ANN,
    taker: AccountId = BOB,
) -> TradeRow:
    return TradeRow(
        Sequence(sequence),
        index,
        TimeNs(1_700_000_000_000_000_000 + sequence),
        instrument_id,
        PriceTicks(10),
        QuantityLots(3),
        Side.SELL,
        OrderId(1),
        OrderId(sequence),
        maker,
        taker,
        AmountMinor(-1),
        AmountMinor(2),
    )


def entry(
    sequence: int,
    index: int = 0,
    debit: AccountId = ANN,
    credit: AccountId = BOB,
    asset_id: AssetId = QUOTE,
) -> EntryRow:
    purpose = EntryPurpose.FEE
    amounts = AmountMinor(5), AmountMinor(-INT64_MAX), AmountMinor(INT64_MAX)
    amount, debit_minor, credit_minor = amounts
    now_ns = TimeNs(1_000 * sequence)
    return EntryRow(
        Sequence(sequence),
        index,
        now_ns,
        debit,
        credit,
        asset_id,
        amount,
        purpose,
        debit_minor,
        credit_minor,
    )


def order(
    sequence: int,
    order_id: int = 0,
    account_id: AccountId = ANN,
    instrument_id: InstrumentId = ONE,
    status: OrderStatus = OrderStatus.OPEN,
) -> OrderRow:
    """The order as `sequence` left it; it was placed by the record `order_id`."""
    price, lots, placed_at = PriceTicks(10), QuantityLots(3), TimeNs(order_id or sequence)
    terms = PlaceOrder(
        account_id, instrument_id, Side.BUY, OrderKind.LIMIT, price, lots, client_order_id="ü'\"\\"
    )
    one = Order(
        OrderId(order_id or sequence), terms, price, lots, placed_at, TimeNs(sequence), 2, 20, 1
    )
    one.status = status
    return OrderRow(Sequence(sequence), one)


def waiting(sequence: int) -> OrderRow:
    leg = Leg(TriggerWhen.AT_OR_ABOVE, PriceTicks(5), OrderKind.MARKET, PriceTicks(9))
    terms = PlaceConditional(ANN, ONE, Side.BUY, QuantityLots(3), (leg,))
    at, lots = TimeNs(sequence), QuantityLots(3)
    one = Order(OrderId(sequence), terms, PriceTicks(0), lots, at, at, status=OrderStatus.WAITING)
    return OrderRow(Sequence(sequence), one)


def candle(start_s: int, *prices: int, instrument_id: InstrumentId = ONE) -> CandleRow:
    """One-minute candle of trades of one lot each."""
    low, high = PriceTicks(min(prices)), PriceTicks(max(prices))
    first, last, count = PriceTicks(prices[0]), PriceTicks(prices[-1]), len(prices)
    turnover = sum(prices)
    return CandleRow(instrument_id, MINUTE, start_s, first, high, low, last, count, turnover, count)


def effects(sequence: int, account_id: AccountId = ANN) -> EffectsRow:
    every_kind = (
        OrderChanged(order(sequence).order),
        Filled(
            ONE,
            OrderId(sequence),
            "mine",
            Side.BUY,
            PriceTicks(10),
            QuantityLots(3),
            True,
            AmountMinor(-1),
            0,
        ),
        BalanceChanged(QUOTE, AmountMinor(-5), AmountMinor(0)),
    )
    return EffectsRow(account_id, Sequence(sequence), TimeNs(7), every_kind)


def act(sequence: int) -> AuditRow:
    after = '{"halted":true,"why":"\\u0000 \\"ü\\""}'
    return AuditRow(
        Sequence(sequence), TimeNs(7), 3, "r-1", "set-halt", "wäre's", "{}", "null", after
    )


async def test_new_read_models_have_come_nowhere(opened_history: OpenedHistory) -> None:
    async with opened_pen(opened_history) as (_, history):
        assert await history.watermark() == Watermark()
        assert await history.trades(ONE, None, 10, newest_first=False) == []
        assert await history.order(OrderId(1)) is None
        assert await history.effects_kept_after() == 0
        assert await history.answered(1, ["k"]) == {}


async def test_rows_and_watermark_move_together(opened_history: OpenedHistory) -> None:
    async with opened_pen(opened_history) as (pen, history):
        await pen.write(3, trades=[trade(2), trade(3)])
        assert await history.watermark() == Watermark(1, 3, 3_000)
        assert await history.trades(ONE, None, 10, newest_first=False) == [trade(2), trade(3)]
        assert await pen.writer.open() == Watermark(1, 3, 3_000)


async def test_a_batch_without_rows_moves_the_watermark(opened_history: OpenedHistory) -> None:
    async with opened_pen(opened_history) as (pen, history):
        await pen.write(3)
        await pen.write(9)
        assert await history.watermark() == Watermark(2, 9, 9_000)


async def test_a_write_from_another_watermark_is_fenced_and_writes_nothing(
    opened_history: OpenedHistory,
) -> None:
    async with opened_pen(opened_history) as (pen, history):
        await pen.write(3, trades=[trade(3)])
        with pytest.raises(Fenced):
            await pen.writer.write(Rows(trades=[trade(4)]), Watermark(), Watermark(1, 4))
        assert await history.watermark() == pen.at
        assert await history.trades(ONE, None, 10, newest_first=False) == [trade(3)]


async def test_nothing_is_read_or_written_after_closing(opened_history: OpenedHistory) -> None:
    async with opened_pen(opened_history) as (pen, history):
        await history.aclose()
        await pen.writer.aclose()
        await history.aclose()
        with pytest.raises(StorageError):
            await history.trades(ONE, None, 10, newest_first=False)
        with pytest.raises(StorageError):
            await history.watermark()
        with pytest.raises(StorageError):
            await pen.write(1)


async def test_trades_are_paged_in_order_of_position(opened_history: OpenedHistory) -> None:
    rows = [trade(2), trade(2, 1), trade(3), trade(9), trade(9, 1), trade(10)]
    async with opened_pen(opened_history) as (pen, history):
        await pen.write(4, trades=[*rows[:3], trade(4, instrument_id=TWO)])
        await pen.write(10, trades=rows[3:])
        assert await history.trades(ONE, None, 4, newest_first=False) == rows[:4]
        assert await history.trades(ONE, Position(9, 0), 4, newest_first=False) == rows[4:]
        assert await history.trades(ONE, Position(5, 7), 1, newest_first=False) == [rows[3]]
        assert await history.trades(ONE, Position(10, 0), 4, newest_first=False) == []
        assert await history.trades(ONE, None, 2, newest_first=True) == [rows[5], rows[4]]
        assert await history.trades(ONE, Position(9, 1), 9, newest_first=True) == rows[3::-1]
        assert await history.trades(ONE, Position(2, 0), 9, newest_first=True) == []
        assert await history.trades(ONE, None, 0, newest_first=True) == []


async def test_fills_are_an_accounts_trades_as_maker_or_taker(
    opened_history: OpenedHistory,
) -> None:
    rows = [trade(1), trade(2, 0, TWO, BOB, ANN), trade(3, 0, ONE, ANN, ANN)]
    async with opened_pen(opened_history) as (pen, history):
        await pen.write(4, trades=[*rows, trade(4, 0, ONE, BOB, BOB)])
        assert await history.fills(ANN, None, None, 9, newest_first=False) == rows
        assert await history.fills(ANN, ONE, None, 9, newest_first=True) == [rows[2], rows[0]]
        assert await history.fills(ANN, TWO, Position(2, 0), 9, newest_first=False) == []
        assert await history.fills(ANN, None, Position(1, 0), 1, newest_first=False) == [rows[1]]
        assert await history.fills(AccountId(9), None, None, 9, newest_first=False) == []


async def test_entries_are_those_that_debit_or_credit_an_account(
    opened_history: OpenedHistory,
) -> None:
    cat = AccountId(102)
    rows = [entry(1), entry(1, 1, BOB, ANN), entry(2, 0, cat, ANN, BASE), entry(3, 0, cat, BOB)]
    async with opened_pen(opened_history) as (pen, history):
        await pen.write(3, entries=rows)
        assert await history.entries(None, None, None, 9, newest_first=False) == rows
        assert await history.entries(ANN, None, None, 9, newest_first=False) == rows[:3]
        assert await history.entries(cat, None, None, 9, newest_first=True) == rows[3:1:-1]
        assert await history.entries(ANN, BASE, None, 9, newest_first=False) == [rows[2]]
        assert await history.entries(None, QUOTE, Position(1, 0), 1, newest_first=False) == [
            rows[1]
        ]
        assert await history.entries(ANN, None, Position(2, 0), 1, newest_first=True) == [rows[1]]


async def test_an_order_is_kept_as_its_newest_row_says(opened_history: OpenedHistory) -> None:
    cancelled = order(7, order_id=2, status=OrderStatus.CANCELLED)
    async with opened_pen(opened_history) as (pen, history):
        await pen.write(3, orders=[order(2), waiting(3)])
        await pen.write(8, orders=[cancelled, order(8)])
        assert await history.order(OrderId(2)) == cancelled
        assert await history.order(OrderId(3)) == waiting(3)
        assert await history.order(OrderId(4)) is None
        kept = [cancelled, waiting(3), order(8)]
        assert await history.orders(ANN, None, None, 9, newest_first=False) == kept


async def test_orders_are_paged_by_their_id(opened_history: OpenedHistory) -> None:
    rows = [order(2), order(9, order_id=3, instrument_id=TWO), order(4), order(6)]
    async with opened_pen(opened_history) as (pen, history):
        await pen.write(9, orders=[*rows, order(5, account_id=BOB)])
        assert await history.orders(ANN, None, None, 2, newest_first=False) == rows[:2]
        assert await history.orders(ANN, None, 3, 9, newest_first=False) == rows[2:]
        assert await history.orders(ANN, None, 4, 9, newest_first=True) == rows[1::-1]
        assert await history.orders(ANN, None, None, 1, newest_first=True) == [rows[3]]
        assert await history.orders(ANN, ONE, 2, 9, newest_first=False) == rows[2:]
        assert await history.orders(BOB, TWO, None, 9, newest_first=False) == []


async def test_a_candle_of_later_trades_is_merged_into_what_is_kept(
    opened_history: OpenedHistory,
) -> None:
    async with opened_pen(opened_history) as (pen, history):
        await pen.write(1, candles=[candle(60, 5, 9, 7), candle(60, 1, instrument_id=TWO)])
        await pen.write(2, candles=[candle(60, 6, 2), candle(120, 3)])
        kept = [candle(60, 5, 9, 7, 6, 2), candle(120, 3)]
        assert await history.candles(ONE, MINUTE, 0, 1_000, 9) == kept
        assert await history.candles(TWO, MINUTE, 0, 1_000, 9) == [candle(60, 1, instrument_id=TWO)]
        assert await history.candles(ONE, 5, 0, 1_000, 9) == []


async def test_candles_are_the_newest_that_start_in_a_range(
    opened_history: OpenedHistory,
) -> None:
    rows = [candle(start_s, start_s) for start_s in (60, 120, 240, 300)]
    async with opened_pen(opened_history) as (pen, history):
        await pen.write(1, candles=rows)
        assert await history.candles(ONE, MINUTE, 60, 300, 9) == rows[:3]
        assert await history.candles(ONE, MINUTE, 61, 301, 9) == rows[1:]
        assert await history.candles(ONE, MINUTE, 0, 1_000, 2) == rows[2:]
        assert await history.candles(ONE, MINUTE, 130, 240, 9) == []


async def test_effects_are_those_of_an_account_in_a_range_of_records(
    opened_history: OpenedHistory,
) -> None:
    async with opened_pen(opened_history) as (pen, history):
        await pen.write(5, effects=[effects(2), effects(2, BOB), effects(5)])
        await pen.write(9, effects=[effects(7), effects(9)])
        assert await history.effects(ANN, 0, 9, 9) == [effects(n) for n in (2, 5, 7, 9)]
        assert await history.effects(ANN, 2, 7, 9) == [effects(5), effects(7)]
        assert await history.effects(ANN, 2, 9, 2) == [effects(5), effects(7)]
        assert await history.effects(BOB, 0, 9, 9) == [effects(2, BOB)]
        assert await history.effects(BOB, 2, 9, 9) == []
        assert await history.effects_kept_after() < 2


async def test_answered_keys_are_found_in_their_scope(opened_history: OpenedHistory) -> None:
    keys = [
        KeyRow(1, "k", Sequence(2), 2**64 - 1),
        KeyRow(2, "k", Sequence(3), 0),
        KeyRow(1, "ü'\\", Sequence(4), 2**63),
    ]
    async with opened_pen(opened_history) as (pen, history):
        await pen.write(4, keys=keys)
        assert await history.answered(1, ["k", "none", "ü'\\"]) == {
            "k": Answered(2, 2**64 - 1),
            "ü'\\": Answered(4, 2**63),
        }
        assert await history.answered(2, ["k"]) == {"k": Answered(3, 0)}
        assert await history.answered(3, ["k"]) == {}
        assert await history.answered(1, []) == {}


async def test_the_audit_log_is_paged_by_sequence(opened_history: OpenedHistory) -> None:
    rows = [act(2), act(5), act(9)]
    async with opened_pen(opened_history) as (pen, history):
        await pen.write(9, audit=rows)
        assert await history.audit(None, 2, newest_first=False) == rows[:2]
        assert await history.audit(2, 9, newest_first=False) == rows[1:]
        assert await history.audit(9, 9, newest_first=True) == rows[1::-1]
        assert await history.audit(None, 9, newest_first=True) == rows[::-1]


async def test_balances_are_taken_in_as_often_as_they_change(
    opened_history: OpenedHistory,
) -> None:
    async with opened_pen(opened_history) as (pen, history):
        for sequence in (1, 2):
            row = BalanceRow(
                ANN, QUOTE, AmountMinor(-INT64_MAX), AmountMinor(INT64_MAX), Sequence(sequence)
            )
            await pen.write(sequence, balances=[row])
        assert (await history.watermark()).sequence == 2

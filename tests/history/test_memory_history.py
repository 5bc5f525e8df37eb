"""Read models in memory: bounded, and never behind the journal that they follow."""

import pytest
import trio

from engine.errors import JournalCorrupt
from engine.history.fold import HistoryFold
from engine.history.rows import EffectsRow, OrderRow, Position, Rows, TradeRow
from engine.journal.blocks import GENESIS_DIGEST, Head, seal
from engine.journal.records import Record, encode
from engine.journal.released import Released
from engine.orderbook.messages import OrderKind, PlaceOrder
from engine.ports import Watermark
from engine.products.exchange.orders import Order
from engine.storage.memory import MemoryJournal, MemoryJournalStore
from engine.storage.memory_history import FollowingHistory, MemoryHistory
from engine.units import (
    AccountId,
    AmountMinor,
    InstrumentId,
    OrderId,
    PriceTicks,
    QuantityLots,
    Sequence,
    Side,
    TimeNs,
)
from tests.products.line import ANN, BOB, HERE

KEPT = 3


def journal_with(records: list[Record], records_per_block: int) -> MemoryJournal:
    """A journal of these records."""
    journal, head = MemoryJournal(), Head(1, 0, 0, GENESIS_DIGEST)
    journal.epoch = 1
    for start in range(0, len(records), records_per_block):
        part = records[start : start + records_per_block]
        block = seal(head, part[-1].sequence, encode(part))
        journal.blocks.append(block)
        head = block.head
    return journal


def folded(records: list[Record]) -> Rows:
    fold = HistoryFold(Released())
    fold.apply_all(records)
    return fold.take()


async def test_every_read_sees_what_the_journal_has(records: list[Record]) -> None:
    journal = journal_with(records, records_per_block=7)
    blocks, journal.blocks = journal.blocks, []
    history = FollowingHistory(MemoryJournalStore(journal))
    assert await history.watermark() == Watermark()
    for block in blocks:
        journal.blocks.append(block)
        newest = await history.watermark()
        assert (newest.block_number, newest.sequence) == (block.number, block.last_sequence)
        assert newest.time_ns == records[block.last_sequence - 1].now_ns
    rows = folded(records)
    entries = await history.entries(None, None, None, 10_000, newest_first=False)
    assert entries == rows.entries
    assert history.balances == {(row.account_id, row.asset_id): row for row in rows.balances}
    assert await history.audit(None, 10_000, newest_first=False) == rows.audit
    for row in rows.orders:
        assert await history.order(row.order.order_id) == row
    for account_id in (ANN, BOB):
        own = [row for row in rows.effects if row.account_id == account_id]
        assert await history.effects(account_id, 0, len(records), 10_000) == own
    trades = [row for row in rows.trades if row.instrument_id == HERE]
    assert await history.trades(HERE, None, 10_000, newest_first=False) == trades


async def test_readers_that_come_together_fold_every_record_once(records: list[Record]) -> None:
    history = FollowingHistory(MemoryJournalStore(journal_with(records, 50)))
    seen: list[int] = []

    async def read() -> None:
        seen.append((await history.watermark()).sequence)

    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(read)
    assert seen == [len(records)] * 5
    assert await _entries_of(history) == len(folded(records).entries)


async def test_a_reader_that_is_cancelled_leaves_the_rest_to_the_next(
    records: list[Record],
) -> None:
    history = FollowingHistory(MemoryJournalStore(journal_with(records, 300)))
    for checkpoints in range(1, 20):
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(history.watermark)
                for _ in range(checkpoints):
                    await trio.lowlevel.checkpoint()
                scope.cancel()
    assert (await history.watermark()).sequence == len(records)
    assert await _entries_of(history) == len(folded(records).entries)


async def test_a_journal_with_a_gap_is_not_followed(records: list[Record]) -> None:
    journal = journal_with(records, 50)
    del journal.blocks[1]
    with pytest.raises(JournalCorrupt):
        await FollowingHistory(MemoryJournalStore(journal)).watermark()


async def test_the_newest_rows_of_an_owner_are_kept() -> None:
    history = MemoryHistory(KEPT)
    before = Watermark()
    for sequence in range(1, 100):
        after = Watermark(sequence, sequence)
        rows = Rows([_trade(sequence)], [], [_order(sequence)], effects=[_effects(sequence)])
        await history.write(rows, before, after)
        before = after
    sequences = [row.sequence for row in await history.trades(HERE, None, 99, newest_first=False)]
    assert KEPT <= len(sequences) < 2 * KEPT
    assert sequences == list(range(100 - len(sequences), 100))
    first = Position(sequences[0], 0)
    assert await history.trades(HERE, first, 99, newest_first=True) == []
    orders = await history.orders(ANN, None, None, 99, newest_first=False)
    assert KEPT <= len(orders) < 2 * KEPT
    assert await history.order(OrderId(1)) is None


async def test_effects_are_all_there_after_the_newest_that_was_dropped() -> None:
    history = MemoryHistory(KEPT)
    rows = Rows(effects=[_effects(n) for n in range(4, 10)])
    rows.effects += [_effects(n, BOB) for n in (1, 2, 3, 7, 8, 9)]
    await history.write(rows, Watermark(), Watermark(1, 9))
    assert await history.effects_kept_after() == 6
    for account_id in (ANN, BOB):
        kept = await history.effects(account_id, 6, 9, 99)
        assert [row.sequence for row in kept] == [7, 8, 9]


async def test_an_old_order_that_changes_is_known_again() -> None:
    history = MemoryHistory(KEPT)
    await history.write(Rows(orders=[_order(n) for n in range(1, 7)]), Watermark(), Watermark(1, 6))
    assert await history.order(OrderId(2)) is None
    again = OrderRow(Sequence(7), _order(2).order)
    await history.write(Rows(orders=[again]), Watermark(1, 6), Watermark(2, 7))
    assert await history.order(OrderId(2)) == again


async def _entries_of(history: MemoryHistory) -> int:
    return len(await history.entries(None, None, None, 10_000, newest_first=False))


def _trade(sequence: int) -> TradeRow:
    one, fee = OrderId(sequence), AmountMinor(0)
    return TradeRow(
        Sequence(sequence),
        0,
        TimeNs(sequence),
        InstrumentId(HERE),
        PriceTicks(1),
        QuantityLots(1),
        Side.BUY,
        one,
        one,
        ANN,
        BOB,
        fee,
        fee,
    )


def _order(sequence: int) -> OrderRow:
    price, lots, now = PriceTicks(1), QuantityLots(1), TimeNs(sequence)
    terms = PlaceOrder(ANN, HERE, Side.BUY, OrderKind.LIMIT, price, lots)
    return OrderRow(Sequence(sequence), Order(OrderId(sequence), terms, price, lots, now, now))


def _effects(sequence: int, account_id: AccountId = ANN) -> EffectsRow:
    return EffectsRow(account_id, Sequence(sequence), TimeNs(sequence), ())

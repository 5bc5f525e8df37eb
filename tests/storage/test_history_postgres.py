"""What only a database can do to read models: lost answers, swaps under readers, odd values."""

import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final

import asyncpg
import pytest
import trio

from engine.errors import Fenced, InvariantViolated, StorageError
from engine.history.fold import HistoryFold
from engine.history.rows import CandleRow, KeyRow, Rows
from engine.journal.keys import Answered
from engine.journal.records import decode
from engine.journal.released import Released
from engine.ports import Watermark
from engine.storage.bridge import AsyncioThread
from engine.storage.history import PostgresHistory
from engine.storage.history_page import ROWS_PER_READ_MAX
from engine.storage.history_tables import NEXT_SCHEMA, SCHEMA
from engine.storage.history_writer import PostgresHistoryRebuild, PostgresHistoryWriter
from engine.storage.memory import MemoryJournal
from engine.units import AccountId, AssetId, InstrumentId, OrderId, PriceTicks, Sequence
from tests.journal.flow import journal_of
from tests.storage.test_postgres_store import Wire

pytestmark = pytest.mark.database

NewDatabase = Callable[[AsyncioThread], Awaitable[str]]
Batch = tuple[Rows, Watermark, Watermark]
TABLES: Final = ("trades", "entries", "orders", "balances", "candles", "keys", "effects", "audit")
_WIRES: Final = itertools.count()


@pytest.fixture
async def bridge() -> AsyncIterator[AsyncioThread]:
    async with AsyncioThread() as bridge:
        yield bridge


@pytest.fixture
async def dsn(bridge: AsyncioThread, new_database: NewDatabase) -> str:
    return await new_database(bridge)


class Database:
    """Writers, rebuilds and readers of one database, closed at the end of the test."""

    def __init__(self, bridge: AsyncioThread, dsn: str, stack: AsyncExitStack) -> None:
        self.bridge, self.dsn, self._stack = bridge, dsn, stack

    def writer(self, dsn: str = "", kept: int = 10**6, **more: Any) -> PostgresHistoryWriter:
        writer = PostgresHistoryWriter(self.bridge, dsn or self.dsn, kept, **more)
        self._stack.push_async_callback(writer.aclose)
        return writer

    def rebuild(self) -> PostgresHistoryRebuild:
        rebuild = PostgresHistoryRebuild(self.bridge, self.dsn)
        self._stack.push_async_callback(rebuild.aclose)
        return rebuild

    def history(self) -> PostgresHistory:
        history = PostgresHistory(self.bridge, self.dsn)
        self._stack.push_async_callback(history.aclose)
        return history

    async def ask(self, statement: str, *arguments: Any) -> list[tuple[Any, ...]]:
        async def run() -> list[tuple[Any, ...]]:
            session = await asyncpg.connect(self.dsn)
            try:
                return [tuple(row) for row in await session.fetch(statement, *arguments)]
            finally:
                await session.close()

        return await self.bridge.run(run)

    async def content(self, schema: str = SCHEMA) -> dict[str, list[tuple[Any, ...]]]:
        """Every row of every table, in an order that does not depend on when it was written."""
        return {
            table: sorted(await self.ask(f"SELECT * FROM {schema}.{table}")) for table in TABLES
        }


@pytest.fixture
async def database(bridge: AsyncioThread, dsn: str) -> AsyncIterator[Database]:
    async with AsyncExitStack() as stack:
        yield Database(bridge, dsn, stack)


@pytest.fixture(scope="session")
def market() -> MemoryJournal:
    """A market of some 500 records."""
    return journal_of(seed=8)


def batches(journal: MemoryJournal, blocks_per_batch: int) -> list[Batch]:
    """The rows of a whole journal, cut after so many blocks."""
    history, before, made = HistoryFold(Released()), Watermark(), list[Batch]()
    for at in range(0, len(journal.blocks), blocks_per_batch):
        for block in journal.blocks[at : at + blocks_per_batch]:
            history.apply_all(decode(block.payload))
        newest = history.released
        after = Watermark(block.number, newest.sequence, newest.now_ns)
        made.append((history.take(), before, after))
        before = after
    return made


async def write_all(writer: PostgresHistoryWriter, made: list[Batch]) -> None:
    assert await writer.open() == Watermark()
    for batch in made:
        await writer.write(*batch)


async def test_the_tables_do_not_depend_on_where_batches_are_cut(
    database: Database, bridge: AsyncioThread, new_database: NewDatabase, market: MemoryJournal
) -> None:
    await write_all(database.writer(), batches(market, 3))
    async with AsyncExitStack() as stack:
        other = Database(bridge, await new_database(bridge), stack)
        await write_all(other.writer(), batches(market, 1_000))
        there = await other.content()
    here = await database.content()
    assert all(here.values())
    assert here == there


#: When, which way, after how many bytes of what passes then.
CUTS: Final = [
    *(("at once", "request", after) for after in (0, 1, 20, 200)),
    *(("at once", "answer", after) for after in (0, 1, 5, 20, 80)),
    *(("at the commit", "request", after) for after in (0, 1, 5, 10)),
    *(("at the commit", "answer", after) for after in (0, 1, 4, 9, 12, 17)),
]


@pytest.mark.slow
async def test_wherever_the_wire_is_cut_the_watermark_tells_and_no_row_is_lost_or_doubled(
    database: Database,
    shared_folder: Path,
    nursery: trio.Nursery,
    bridge: AsyncioThread,
    new_database: NewDatabase,
    market: MemoryJournal,
) -> None:
    wire = Wire(shared_folder / f"history-wire-{next(_WIRES)}", database.dsn)
    await nursery.start(wire.serve)
    armed: list[tuple[str, int]] = []

    def cut_if_armed() -> None:
        if armed:
            wire.cut(*armed.pop())

    writer = database.writer(wire.through(database.dsn), before_commit=cut_if_armed)
    landed, made = set[tuple[str, str]](), batches(market, 4)
    assert await writer.open() == Watermark()
    for batch, (when, direction, after_bytes) in zip(made, CUTS, strict=False):
        if when == "at once":
            wire.cut(direction, after_bytes)
        else:
            armed.append((direction, after_bytes))
        with pytest.raises(StorageError):
            await writer.write(*batch)
        found = await writer.open()
        assert found in batch[1:]
        if found == batch[1]:
            await writer.write(*batch)
        else:
            landed.add((when, direction))
    assert landed == {("at the commit", "answer")}
    made = made[: len(CUTS)]
    async with AsyncExitStack() as stack:
        other = Database(bridge, await new_database(bridge), stack)
        await write_all(other.writer(), made)
        assert await other.content() == await database.content()


async def test_one_projector_writes_at_a_time(database: Database) -> None:
    first, second = database.writer(), database.writer()
    await first.open()
    with pytest.raises(Fenced, match="another projector"):
        await second.open()
    await first.aclose()
    assert await second.open() == Watermark()


async def test_a_batch_under_way_cannot_land_after_reopening(
    database: Database, market: MemoryJournal
) -> None:
    writer = database.writer()
    await writer.open()
    locked, release = trio.Event(), trio.Event()

    async def hold_the_watermark() -> None:
        session = await database.bridge.run(asyncpg.connect, database.dsn)
        await database.bridge.run(session.execute, "BEGIN")
        await database.bridge.run(session.execute, f"SELECT * FROM {SCHEMA}.watermark FOR UPDATE")
        locked.set()
        await release.wait()
        await database.bridge.run(session.close)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(hold_the_watermark)
        await locked.wait()
        [batch] = batches(market, 1_000)
        with trio.move_on_after(0.05):
            await writer.write(*batch)  # stuck in the server, then given up
        assert await writer.open() == Watermark()
        release.set()
    await trio.sleep(0.05)
    assert await database.ask(f"SELECT sequence FROM {SCHEMA}.watermark") == [(0,)]


async def test_a_row_that_is_there_already_is_a_contradiction(database: Database) -> None:
    writer, key = database.writer(), KeyRow(1, "k", Sequence(1), 0)
    await writer.open()
    await writer.write(Rows(keys=[key]), Watermark(), Watermark(1, 1, 1))
    with pytest.raises(InvariantViolated, match="already"):
        await writer.write(Rows(keys=[key]), Watermark(1, 1, 1), Watermark(2, 2, 2))
    assert await writer.open() == Watermark(1, 1, 1)


async def test_before_a_projector_was_there_everything_is_empty(database: Database) -> None:
    history = database.history()
    assert await history.watermark() == Watermark()
    assert await history.entries(None, None, None, 10, newest_first=True) == []
    assert await history.order(OrderId(1)) is None
    assert await history.answered(1, ["k"]) == {}
    assert await history.effects_kept_after() == 0
    await database.writer().open()
    assert await history.watermark() == Watermark()


async def test_values_at_the_edge_come_back_as_they_were(database: Database) -> None:
    writer, history = database.writer(), database.history()
    await writer.open()
    keys = [KeyRow(7, "nul\0 and é", Sequence(1), 2**64 - 1), KeyRow(7, "b", Sequence(2), 2**63)]
    tick = PriceTicks(2**62)
    candle = CandleRow(InstrumentId(1), 60, 0, tick, tick, tick, tick, 2**63 - 1, 2**90, 1)
    for number in (1, 2):
        rows = Rows(keys=keys if number == 1 else [], candles=[candle])
        before = Watermark(number - 1, number - 1, number - 1)
        await writer.write(rows, before, Watermark(number, number, number))
    [found] = await history.candles(InstrumentId(1), 60, 0, 60, 10)
    assert (found.volume_lots, found.tick_lots, found.trades) == (2**64 - 2, 2**91, 2)
    assert await history.answered(7, ["nul\0 and é", "b", "c"]) == {
        "nul\0 and é": Answered(1, 2**64 - 1),
        "b": Answered(2, 2**63),
    }


async def test_a_page_without_bounds_is_refused(database: Database) -> None:
    with pytest.raises(InvariantViolated, match="rows"):
        await database.history().audit(None, ROWS_PER_READ_MAX + 1, newest_first=False)


async def test_old_effects_leave_in_small_steps(database: Database, market: MemoryJournal) -> None:
    writer, history, kept = database.writer(kept=100), database.history(), list[int]()
    await writer.open()
    for batch in batches(market, 20):
        await writer.write(*batch)
        kept.append(await history.effects_kept_after())
        [(oldest,)] = await database.ask(f"SELECT min(sequence) FROM {SCHEMA}.effects")
        assert oldest > kept[-1]
    newest = (await history.watermark()).sequence
    assert kept == sorted(kept)
    assert kept[-1] == newest - 100
    found = await database.ask(
        f"SELECT count(*) FROM {SCHEMA}.effects WHERE sequence <= $1", newest
    )
    assert 0 < found[0][0] < 300


class Explaining(PostgresHistory):
    """Gives the server's plan of every read in place of its rows."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.plans: list[str] = []

    async def _fetch(self, sql: str, *arguments: Any) -> list[tuple[Any, ...]]:
        lines = await super()._fetch(f"EXPLAIN {sql}", *arguments)
        self.plans.append("\n".join(line for (line,) in lines))
        return []


async def test_every_page_is_read_through_its_index(
    database: Database, market: MemoryJournal
) -> None:
    await write_all(database.writer(), batches(market, 1_000))
    history = Explaining(database.bridge, database.dsn)
    account, instrument, asset = AccountId(100), InstrumentId(1), AssetId(1)
    for newest_first in (False, True):
        order = {"newest_first": newest_first}
        await history.trades(instrument, None, 10, **order)
        await history.fills(account, None, None, 10, **order)
        await history.fills(account, instrument, None, 10, **order)
        await history.entries(None, None, None, 10, **order)
        await history.entries(None, asset, None, 10, **order)
        await history.entries(account, None, None, 10, **order)
        await history.entries(account, asset, None, 10, **order)
        await history.orders(account, None, None, 10, **order)
        await history.orders(account, instrument, None, 10, **order)
        await history.audit(None, 10, **order)
    await history.order(OrderId(1))
    await history.candles(instrument, 60, 0, 10**10, 10)
    await history.effects(account, 0, 100, 10)
    await history.answered(100, ["k", "l"])
    await history.aclose()
    for plan in history.plans:
        scans = plan.count("Scan")
        assert scans == plan.count("Index Scan") + plan.count("Index Only Scan") > 0, plan
        assert "Filter" not in plan.replace("Filter: (maker_account_id <>", ""), plan
        assert "Sort  " not in plan, plan
        assert plan.count("Index Cond") + ("_pkey" in plan) >= scans, plan


# -- replaced while read


async def test_another_releases_read_models_are_not_written(database: Database) -> None:
    writer, rebuild = database.writer(), database.rebuild()
    assert not await rebuild.is_wanted()  # nothing is there
    await writer.open()
    assert not await rebuild.is_wanted()
    await writer.aclose()
    await database.ask(f"UPDATE {SCHEMA}.watermark SET version = version + 1")
    assert await rebuild.is_wanted()
    with pytest.raises(Fenced, match="must be rebuilt"):
        await database.writer().open()


async def test_a_rebuild_is_published_whole_and_the_writer_goes_on_with_it(
    database: Database, market: MemoryJournal
) -> None:
    made = batches(market, 10)
    writer, rebuild, history = database.writer(), database.rebuild(), database.history()
    await write_all(writer, made[:-1])
    await database.ask(f"DELETE FROM {SCHEMA}.trades")  # a fault that only a rebuild heals
    await write_all(rebuild, made[:-2])
    assert not await rebuild.publish()  # behind what is read
    assert await database.content() != await database.content(NEXT_SCHEMA)
    await rebuild.write(*made[-2])
    assert await rebuild.publish()
    assert await history.watermark() == made[-2][2]
    await writer.write(*made[-1])
    schemas = await database.ask("SELECT nspname FROM pg_namespace WHERE nspname LIKE 'history%'")
    assert schemas == [(SCHEMA,)]
    found = await database.content()
    await rebuild.aclose()
    again = database.rebuild()
    await write_all(again, made)
    assert await database.content(NEXT_SCHEMA) == found


async def test_a_writer_that_stands_elsewhere_after_a_swap_is_fenced(
    database: Database, market: MemoryJournal
) -> None:
    made = batches(market, 10)
    writer, rebuild = database.writer(), database.rebuild()
    await write_all(writer, made[:2])
    await write_all(rebuild, made[:5])
    assert await rebuild.publish()
    with pytest.raises(Fenced):
        await writer.write(*made[2])
    assert await writer.open() == made[4][2]


async def test_an_unfinished_rebuild_is_thrown_away_by_the_next(
    database: Database, market: MemoryJournal
) -> None:
    made = batches(market, 100)
    await write_all(database.writer(), made)
    before = await database.content()
    first = database.rebuild()
    await write_all(first, made[:1])
    with pytest.raises(Fenced):
        await database.rebuild().open()
    await first.aclose()
    assert await database.content() == before
    second = database.rebuild()
    assert await second.open() == Watermark()
    await second.write(*made[0])
    assert await second.open() == made[0][2]  # its own unfinished work it goes on with


@pytest.mark.slow
async def test_readers_see_no_error_and_never_go_back_while_read_models_are_replaced(
    database: Database, market: MemoryJournal
) -> None:
    made, finished = batches(market, 5), trio.Event()
    writer = database.writer()
    await write_all(writer, made[:10])
    seen: list[int] = []

    async def read(history: PostgresHistory) -> None:
        last, through = 0, 0
        while not finished.is_set():
            watermark = (await history.watermark()).sequence
            assert watermark >= last
            last = watermark
            rows = await history.entries(None, None, None, 5_000, newest_first=False)
            assert [row.sequence for row in rows] == sorted(row.sequence for row in rows)
            assert rows[-1].sequence >= through  # not half of them
            through = rows[-1].sequence
            assert await history.orders(AccountId(100), None, None, 10, newest_first=True)
            seen.append(watermark)

    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(read, database.history())
        for number, batch in enumerate(made[10:], 11):
            await writer.write(*batch)
            if number % 3 == 0:
                rebuild = database.rebuild()
                await write_all(rebuild, made[:number])
                assert await rebuild.publish()
                await rebuild.aclose()
        finished.set()
    assert len(seen) > 50
    assert (await database.history().watermark()) == made[-1][2]

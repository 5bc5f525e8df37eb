"""Rows reach the read models exactly once, wherever the projector begins and whatever fails."""

from collections import deque
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from enum import Enum, auto
from functools import reduce
from itertools import pairwise
from random import Random
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from engine.accounts.messages import ChangeRules, RulesChanged
from engine.actors.recovery import fold
from engine.errors import Fenced, JournalCorrupt, StorageError, StorageUnusable
from engine.history.fold import HistoryFold
from engine.history.rows import Rows
from engine.journal.blocks import Block, seal
from engine.journal.records import RULES_VERSION, Record, decode, encode
from engine.journal.released import Released
from engine.journal.snapshots import take
from engine.journal.state import EngineState
from engine.marketdata.candles import merged
from engine.ports import Snapshot, Watermark
from engine.projector.projection import Projection
from engine.projector.projector import Projector, rebuild, run_projector, run_rebuild
from engine.settings import ProjectorSettings
from engine.storage.memory import MemoryJournal, MemoryJournalStore
from engine.units import Sequence, TimeNs
from tests.journal.flow import copy_of, records_of

SMALL = ProjectorSettings(batch_records_max=40, poll_s=0.01, retry_s_max=1.0)


class WriteFault(Enum):
    """How an armed write fails; the writer must be opened again afterwards."""

    NOT_COMMITTED = auto()
    ANSWER_LOST = auto()


class Shelf:
    """What a database would hold of the read models, merged so that every cut gives the same."""

    def __init__(self) -> None:
        self.watermark = Watermark()
        self.owner: Pencil | None = None
        self.is_foreign = False  # made by another release
        self.faults: deque[WriteFault] = deque()
        self.writes = 0
        self._rows: dict[tuple[Any, ...], Any] = {}

    def add(self, rows: Rows) -> None:
        self.writes += 1
        for order in rows.orders:
            self._rows["order", order.order.order_id] = order
        for balance in rows.balances:
            self._rows["balance", balance.account_id, balance.asset_id] = balance
        for candle in rows.candles:
            key = ("candle", candle.instrument_id, candle.interval_s, candle.start_s)
            earlier = self._rows.get(key)
            self._rows[key] = merged(earlier, candle) if earlier else candle
        self._add_new("trade", [(one.sequence, one.index, one) for one in rows.trades])
        self._add_new("entry", [(one.sequence, one.index, one) for one in rows.entries])
        self._add_new("key", [(one.scope, one.key, one) for one in rows.keys])
        self._add_new("effects", [(one.account_id, one.sequence, one) for one in rows.effects])
        self._add_new("act", [(one.sequence, 0, one) for one in rows.audit])

    def _add_new(self, table: str, rows: Iterable[tuple[Any, Any, Any]]) -> None:
        for one, other, row in rows:
            assert (table, one, other) not in self._rows, f"{row} is there already"
            self._rows[table, one, other] = row

    def content(self) -> dict[tuple[Any, ...], Any]:
        return dict(self._rows)


class Pencil:
    """A projector's access to a shelf; one writes at a time, as in a database."""

    def __init__(self, shelf: Shelf) -> None:
        self.shelf = shelf

    async def open(self) -> Watermark:
        await trio.lowlevel.checkpoint()
        if self.shelf.owner not in (None, self):
            raise Fenced("another projector writes the read models")
        if self.shelf.is_foreign:
            raise StorageUnusable("not ours")
        self.shelf.owner = self
        return self.shelf.watermark

    async def write(self, rows: Rows, before: Watermark, after: Watermark) -> None:
        await trio.lowlevel.checkpoint()
        shelf = self.shelf
        if shelf.owner is not self:
            raise StorageError("not open")
        fault = shelf.faults.popleft() if shelf.faults else None
        if fault is WriteFault.NOT_COMMITTED:
            shelf.owner = None
            raise StorageError("connection lost before the commit")
        if before != shelf.watermark:
            raise Fenced(f"the read models are at {shelf.watermark}, not {before}")
        shelf.add(rows)
        shelf.watermark = after
        if fault is WriteFault.ANSWER_LOST:
            shelf.owner = None
            raise StorageError("connection lost after the commit")

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()
        if self.shelf.owner is self:
            self.shelf.owner = None


class Drawer(Pencil):
    """A rebuild: a shelf of its own, whose content replaces that of the public one."""

    def __init__(self, public: Shelf) -> None:
        super().__init__(Shelf())
        self.public = public
        self.refusals = 0
        self.lost_answers = 0
        self.attempts = 0

    async def is_wanted(self) -> bool:
        await trio.lowlevel.checkpoint()
        return self.public.is_foreign

    async def publish(self) -> bool:
        await trio.lowlevel.checkpoint()
        self.attempts += 1
        if self.lost_answers:
            self.lost_answers -= 1
            self.shelf.owner = None
        if self.shelf.owner is not self:
            raise StorageError("not open")
        if self.attempts <= self.refusals:
            return False
        self.public.is_foreign = False
        self.public.watermark = self.shelf.watermark
        self.public._rows = self.shelf.content()
        return True


@pytest.fixture
def bare(journal: MemoryJournal) -> MemoryJournal:
    """The journal without snapshots."""
    copied = copy_of(journal)
    copied.snapshots.clear()
    return copied


@pytest.fixture(scope="session")
def whole(journal: MemoryJournal) -> dict[tuple[Any, ...], Any]:
    """What the whole journal leads to, folded at one go."""
    shelf, history = Shelf(), HistoryFold(Released())
    history.apply_all(records_of(journal))
    shelf.add(history.take())
    return shelf.content()


async def keep_snapshot_of(journal: MemoryJournal, blocks: int) -> None:
    state = EngineState()
    for block in journal.blocks[:blocks]:
        await fold(state, block)
    head = journal.blocks[blocks - 1].head
    await MemoryJournalStore(journal).write_snapshot(take(head, state.snapshot()))


@asynccontextmanager
async def projecting(
    journal: MemoryJournal, shelf: Shelf, settings: ProjectorSettings = SMALL
) -> AsyncIterator[Projector]:
    """A projector at work, stopped in good order at the end."""
    pencil, stopping = Pencil(shelf), trio.Event()
    projector = Projector(MemoryJournalStore(journal), settings, history=pencil)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(projector.run, stopping)
        yield projector
        stopping.set()
    await pencil.aclose()


async def project(journal: MemoryJournal, shelf: Shelf) -> None:
    """Let a projector come to the journal's end."""
    async with projecting(journal, shelf):
        with trio.fail_after(60):
            while shelf.watermark.sequence < journal.head.sequence:  # noqa: ASYNC110
                await trio.sleep(0.01)


async def test_the_rows_do_not_depend_on_where_batches_are_cut(
    bare: MemoryJournal, whole: dict[Any, Any], autojump_clock: MockClock
) -> None:
    shelf = Shelf()
    await project(bare, shelf)
    assert shelf.writes > 5
    assert shelf.content() == whole
    newest = decode(bare.blocks[-1].payload)[-1]
    assert shelf.watermark == Watermark(bare.head.number, newest.sequence, newest.now_ns)


async def test_a_snapshot_beyond_the_read_models_is_not_begun_from(
    bare: MemoryJournal, whole: dict[Any, Any], autojump_clock: MockClock
) -> None:
    shelf, part = Shelf(), copy_of(bare, bare.blocks[:50])
    await project(part, shelf)
    await keep_snapshot_of(bare, 30)
    await keep_snapshot_of(bare, 80)
    await project(bare, shelf)
    assert shelf.content() == whole


async def test_read_models_beyond_the_snapshot_get_no_row_twice(
    bare: MemoryJournal, whole: dict[Any, Any], autojump_clock: MockClock
) -> None:
    shelf, part = Shelf(), copy_of(bare, bare.blocks[:90])
    await project(part, shelf)
    bare.snapshots.clear()
    await keep_snapshot_of(bare, 20)
    await project(bare, shelf)
    assert shelf.content() == whole


@pytest.mark.parametrize("fault", list(WriteFault))
async def test_a_batch_in_doubt_is_resolved_by_the_watermark(
    bare: MemoryJournal, whole: dict[Any, Any], fault: WriteFault, autojump_clock: MockClock
) -> None:
    shelf = Shelf()
    shelf.faults.extend([fault] * 3)
    await project(bare, shelf)
    assert not shelf.faults
    assert shelf.content() == whole


class Counting(MemoryJournalStore):
    """Counts how often a state is looked for."""

    looks = 0

    async def read_snapshots(self) -> list[Snapshot]:
        self.looks += 1
        return await super().read_snapshots()


@pytest.mark.parametrize("fault", list(WriteFault))
async def test_a_batch_in_doubt_is_not_folded_again(bare: MemoryJournal, fault: WriteFault) -> None:
    shelf, store = Shelf(), Counting(bare)
    shelf.faults.append(fault)
    projection = Projection(store, Pencil(shelf), SMALL)
    with pytest.raises(StorageError):
        await projection.advance()
    while await projection.advance():
        pass
    assert shelf.watermark.sequence == bare.head.sequence
    assert store.looks == 1


async def test_a_watermark_that_fell_back_is_followed(
    bare: MemoryJournal, whole: dict[Any, Any], autojump_clock: MockClock
) -> None:
    """A database may forget its last asynchronous commits in a crash."""
    shelf, earlier = Shelf(), Shelf()
    await project(copy_of(bare, bare.blocks[:40]), earlier)
    async with projecting(bare, shelf) as projector:
        await trio.sleep(1)
        shelf.watermark, shelf._rows = earlier.watermark, earlier.content()
        for _ in range(100):  # more than one batch
            bare.blocks.append(empty_block_after(bare))
        await trio.sleep(5)
        assert shelf.watermark.block_number == projector.head.number
    assert shelf.content() == whole


def empty_block_after(journal: MemoryJournal) -> Block:
    """One more block, of a record that changes nothing readers see."""
    head, now_ns = journal.head, decode(journal.blocks[-1].payload)[-1].now_ns
    record = Record(
        Sequence(head.sequence + 1),
        TimeNs(now_ns),
        Sequence(head.sequence),
        ChangeRules(RULES_VERSION),
        [RulesChanged(RULES_VERSION)],
    )
    return seal(head, record.sequence, encode([record]))


async def test_a_second_projector_stands_by_and_takes_over(
    bare: MemoryJournal, whole: dict[Any, Any], autojump_clock: MockClock
) -> None:
    shelf, growing = Shelf(), copy_of(bare, bare.blocks[:60])
    async with projecting(growing, shelf) as second:
        await trio.sleep(0.5)
        standing = shelf.owner
        async with projecting(growing, shelf) as third:
            await trio.sleep(5)
            assert shelf.owner is standing
            assert third.head == second.head == growing.blocks[-1].head
            assert third.snapshots_written == 0
            assert standing is not None
            await standing.aclose()
            standing.shelf = Shelf()  # the first one is out of the game from here on
            growing.blocks.extend(bare.blocks[60:])
            await trio.sleep(5)
            assert shelf.owner not in (None, standing)
    assert shelf.content() == whole


async def test_without_read_models_of_its_own_it_still_leaves_snapshots(
    bare: MemoryJournal, autojump_clock: MockClock
) -> None:
    shelf = Shelf()
    shelf.is_foreign = True
    async with projecting(bare, shelf) as projector:
        await trio.sleep(100)
        assert projector.snapshots_written == 1
    assert shelf.content() == {}


async def test_read_models_of_another_journal_end_it(
    bare: MemoryJournal, autojump_clock: MockClock
) -> None:
    shelf = Shelf()
    shelf.watermark = Watermark(10_000, 10_000_000, 1)
    projector = Projector(MemoryJournalStore(bare), SMALL, history=Pencil(shelf))
    with pytest.raises(JournalCorrupt, match="went back"), trio.fail_after(60):
        await projector.run(trio.Event())


async def test_a_rebuild_takes_the_place_of_what_is_read(
    bare: MemoryJournal, whole: dict[Any, Any], autojump_clock: MockClock
) -> None:
    public = Shelf()
    drawer = Drawer(public)
    drawer.refusals = 3
    drawer.shelf.faults.extend([WriteFault.NOT_COMMITTED] * 2)
    assert await run_rebuild(MemoryJournalStore(bare), drawer, trio.Event(), SMALL) == 0
    assert drawer.attempts > 3
    assert public.content() == whole


async def test_a_rebuild_whose_publishing_was_not_answered_asks_again(
    bare: MemoryJournal, whole: dict[Any, Any], autojump_clock: MockClock
) -> None:
    public = Shelf()
    drawer = Drawer(public)
    drawer.lost_answers = 2
    with trio.fail_after(60):
        assert await rebuild(MemoryJournalStore(bare), drawer, trio.Event(), SMALL)
    assert drawer.attempts == 3
    assert public.content() == whole


async def test_a_rebuild_that_is_not_let_in_says_so(bare: MemoryJournal) -> None:
    drawer = Drawer(Shelf())
    drawer.shelf.owner = Pencil(drawer.shelf)
    assert await run_rebuild(MemoryJournalStore(bare), drawer, trio.Event(), SMALL) == 1


async def test_another_releases_read_models_are_rebuilt_by_themselves(
    bare: MemoryJournal, whole: dict[Any, Any], autojump_clock: MockClock
) -> None:
    public, stopping = Shelf(), trio.Event()
    public.is_foreign = True
    growing = copy_of(bare, bare.blocks[:60])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(
            run_projector,
            *(MemoryJournalStore(growing), stopping, SMALL, EngineState),
            *(Pencil(public), Drawer(public)),
        )
        await trio.sleep(10)
        assert public.watermark.sequence == growing.head.sequence
        growing.blocks.extend(bare.blocks[60:])
        await trio.sleep(10)
        stopping.set()
    assert public.content() == whole


async def test_stopped_and_started_at_random_it_writes_every_row_once(
    bare: MemoryJournal, whole: dict[Any, Any]
) -> None:
    """Stopped without a farewell, between any two checkpoints."""
    random, shelf = Random(11), Shelf()
    ends = sorted(random.sample(range(1, len(bare.blocks)), 12))
    for _, end in pairwise([0, *ends, len(bare.blocks)]):
        part = copy_of(bare, bare.blocks[:end])
        shelf.owner = None
        projection = Projection(MemoryJournalStore(part), Pencil(shelf), SMALL)
        with trio.CancelScope() as killed:
            for _ in range(random.randint(1, 4)):
                if random.random() < 0.4:
                    killed.cancel()
                await projection.advance()
        if random.random() < 0.5:
            await keep_snapshot_of(bare, random.randint(1, end))
    shelf.owner = None
    projection = Projection(MemoryJournalStore(bare), Pencil(shelf), SMALL)
    while await projection.advance():
        pass
    assert shelf.content() == whole


def test_the_fake_merges_candles_as_the_fold_does(whole: dict[Any, Any]) -> None:
    minutes = [row for key, row in whole.items() if key[0] == "candle" and key[2] == 60]
    days = [row for key, row in whole.items() if key[0] == "candle" and key[2] == 86_400]
    assert sum(row.trades for row in minutes) == sum(row.trades for row in days) > 0
    assert reduce(lambda sum_, row: sum_ + row.volume_lots, days, 0) > 0

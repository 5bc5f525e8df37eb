"""Recovery takes the newest snapshot it can trust, and folds only what came after."""

import msgspec
import pytest
import trio
from structlog.testing import capture_logs

from engine.actors.recovery import blocks_after, rebuild_machine, recover
from engine.errors import InvariantViolated, JournalCorrupt
from engine.journal.blocks import GENESIS_DIGEST, Block, Head
from engine.journal.snapshots import take
from engine.journal.state import EngineState
from engine.storage.memory import MemoryJournal, MemoryJournalStore
from engine.units import WITHDRAWALS_DESK, DeskId
from tests.journal.flow import copy_of, records_of

GENESIS = Head(0, 0, 0, GENESIS_DIGEST)


class Watched(MemoryJournalStore):
    """Remembers which blocks were read."""

    def __init__(self, journal: MemoryJournal) -> None:
        super().__init__(journal)
        self.first_read: list[int] = []

    async def read_blocks(self, first_number: int, blocks_max: int) -> list[Block]:
        self.first_read.append(first_number)
        return await super().read_blocks(first_number, blocks_max)


def folded(journal: MemoryJournal, through: int | None = None) -> EngineState:
    state = EngineState()
    state.apply_all(records_of(journal)[:through])
    return state


@pytest.fixture
def projected(journal: MemoryJournal) -> MemoryJournal:
    """The journal with snapshots after blocks 40 and 80."""
    copied = copy_of(journal)
    copied.snapshots.clear()
    for block in (copied.blocks[39], copied.blocks[79]):
        state = folded(journal, block.last_sequence)
        copied.snapshots[block.number] = take(block.head, state.snapshot())
    return copied


def damage(journal: MemoryJournal, number: int, **fields: object) -> None:
    journal.snapshots[number] = msgspec.structs.replace(journal.snapshots[number], **fields)


async def test_recovery_folds_only_what_the_newest_snapshot_lacks(projected: MemoryJournal) -> None:
    store = Watched(projected)
    state = await recover(store, EngineState, projected.head)
    assert store.first_read[:2] == [80, 81]
    assert state.snapshot() == folded(projected).snapshot()


@pytest.mark.parametrize(
    "fields",
    [
        {"payload": b"not what was written"},
        {"digest": bytes(32)},
        {"sequence": 1},
    ],
)
async def test_a_bad_snapshot_is_skipped_for_an_older_one(
    projected: MemoryJournal, fields: dict[str, object]
) -> None:
    damage(projected, 80, **fields)
    store = Watched(projected)
    with capture_logs() as logs:
        state = await recover(store, EngineState, projected.head)
    assert [(log["event"], log["block"]) for log in logs] == [("snapshot skipped", 80)]
    assert store.first_read[:3] == [80, 40, 41]
    assert state.snapshot() == folded(projected).snapshot()


async def test_a_snapshot_of_an_unknown_format_is_skipped(projected: MemoryJournal) -> None:
    block = projected.blocks[79]
    projected.snapshots[80] = take(block.head, msgspec.msgpack.encode([99]))
    with capture_logs() as logs:
        state = await recover(MemoryJournalStore(projected), EngineState, projected.head)
    assert "format 99" in logs[0]["reason"]
    assert state.snapshot() == folded(projected).snapshot()


async def test_a_snapshot_that_contradicts_itself_is_skipped(projected: MemoryJournal) -> None:
    block = projected.blocks[79]
    projected.snapshots[80] = take(block.head, msgspec.msgpack.encode([1, "not a state"]))
    with capture_logs() as logs:
        await recover(MemoryJournalStore(projected), EngineState, projected.head)
    assert "contradicts itself" in logs[0]["reason"]


async def test_without_any_usable_snapshot_all_is_folded(projected: MemoryJournal) -> None:
    for number in (40, 80):
        damage(projected, number, payload=b"")
    store = Watched(projected)
    state = await recover(store, EngineState, projected.head)
    assert 1 in store.first_read
    assert state.snapshot() == folded(projected).snapshot()


async def test_progress_is_told_and_others_get_their_turns(journal: MemoryJournal) -> None:
    through: list[int] = []
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(others)
        bare = copy_of(journal)
        bare.snapshots.clear()
        await recover(MemoryJournalStore(bare), EngineState, bare.head, through.append)
        nursery.cancel_scope.cancel()
    assert through == sorted(through)
    assert through[-1] == journal.head.sequence
    assert turns >= len(journal.blocks)


async def test_blocks_that_do_not_lead_to_the_head_are_refused(journal: MemoryJournal) -> None:
    shorter = copy_of(journal, journal.blocks[:-1])
    with pytest.raises(JournalCorrupt, match="blocks end at"):
        await recover(MemoryJournalStore(shorter), EngineState, journal.head)


@pytest.mark.parametrize("desk_id", [DeskId(1), DeskId(2), WITHDRAWALS_DESK])
@pytest.mark.parametrize("through", [60, 200, 330, 10**9])
async def test_a_rebuilt_machine_stands_where_its_records_leave_it(
    projected: MemoryJournal, desk_id: DeskId, through: int
) -> None:
    store = MemoryJournalStore(projected)
    machine = await rebuild_machine(store, EngineState, desk_id, through)
    assert machine.snapshot() == folded(projected, through).machine(desk_id).snapshot()


async def test_a_machine_is_never_rebuilt_from_a_snapshot_beyond_its_records(
    projected: MemoryJournal,
) -> None:
    store = Watched(projected)
    through = projected.blocks[60].last_sequence
    await rebuild_machine(store, EngineState, DeskId(1), through)
    assert store.first_read[:2] == [40, 41]


async def test_a_desk_that_does_not_exist_cannot_be_rebuilt(journal: MemoryJournal) -> None:
    with pytest.raises(InvariantViolated, match="desk 77"):
        await rebuild_machine(MemoryJournalStore(journal), EngineState, DeskId(77), 10**9)


async def test_blocks_after_a_head_are_checked_one_by_one(journal: MemoryJournal) -> None:
    read = [block async for block in blocks_after(MemoryJournalStore(journal), GENESIS)]
    assert read == journal.blocks
    swapped = copy_of(journal, [journal.blocks[1], journal.blocks[0], *journal.blocks[2:]])
    with pytest.raises(JournalCorrupt, match="block 2 follows block 0"):
        [block async for block in blocks_after(MemoryJournalStore(swapped), GENESIS)]

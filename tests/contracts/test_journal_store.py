"""The contract of `JournalStore`, held by every adapter: memory and PostgreSQL."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from hashlib import blake2b
from typing import Any, Protocol

import asyncpg
import msgspec
import pytest
import trio

from engine.errors import Fenced, InvariantViolated, StorageError
from engine.journal.blocks import GENESIS_DIGEST, Block, Head, seal
from engine.ports import JournalStore, Snapshot
from engine.storage.bridge import AsyncioThread
from engine.storage.limits import StoreLimits
from engine.storage.memory import AppendFault, MemoryJournal, MemoryJournalStore
from engine.storage.postgres import PostgresJournalStore

NewDatabase = Callable[[AsyncioThread], Awaitable[str]]


class Journal(Protocol):
    """One journal that any number of stores may share, with a hand on its faults."""

    def store(self, limits: StoreLimits = ...) -> JournalStore:
        """A store of its own, as another engine would have."""
        ...

    async def cut_writer(self) -> None:
        """End the connection of whoever holds the lock."""
        ...


QUICK = StoreLimits(lock_wait_s=0.1, block_bytes_max=1000)
PATIENT = StoreLimits(lock_wait_s=30)


class InMemory:
    def __init__(self) -> None:
        self._journal = MemoryJournal()

    def store(self, limits: StoreLimits = QUICK) -> JournalStore:
        return MemoryJournalStore(self._journal, limits)

    async def cut_writer(self) -> None:
        self._journal.cut_writer()


class InPostgres:
    def __init__(self, bridge: AsyncioThread, dsn: str) -> None:
        self._bridge, self._dsn = bridge, dsn

    def store(self, limits: StoreLimits = QUICK) -> JournalStore:
        return PostgresJournalStore(self._bridge, self._dsn, limits, allow_unsafe=True)

    async def cut_writer(self) -> None:
        await self._bridge.run(self._end_lock_holder)

    async def _end_lock_holder(self) -> None:
        session = await asyncpg.connect(self._dsn)
        ended = await session.fetchval(
            "SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_locks JOIN pg_database d"
            " ON d.oid = database WHERE locktype = 'advisory' AND granted"
            " AND datname = current_database()"
        )
        await session.close()
        assert ended == 1


@pytest.fixture(params=["memory", pytest.param("postgres", marks=pytest.mark.database)])
def place(request: pytest.FixtureRequest) -> Callable[[], AbstractAsyncContextManager[Journal]]:
    if request.param == "memory":
        return in_memory
    new_database: NewDatabase = request.getfixturevalue("new_database")

    @asynccontextmanager
    async def in_postgres() -> AsyncIterator[Journal]:
        async with AsyncioThread() as bridge:
            yield InPostgres(bridge, await new_database(bridge))

    return in_postgres


@asynccontextmanager
async def in_memory() -> AsyncIterator[Journal]:
    yield InMemory()


@pytest.fixture
async def journal(
    place: Callable[[], AbstractAsyncContextManager[Journal]],
) -> AsyncIterator[Journal]:
    async with place() as journal:
        yield journal


@pytest.fixture
async def store(journal: Journal) -> AsyncIterator[JournalStore]:
    store = journal.store()
    yield store
    await store.aclose()


async def append(store: JournalStore, head: Head, records: int = 3) -> Head:
    block = seal(head, head.sequence + records, b"records of block %d" % (head.number + 1))
    await store.append(block)
    return block.head


async def append_many(store: JournalStore, count: int) -> list[Block]:
    head, blocks = await store.open(), []
    for _ in range(count):
        blocks.append(seal(head, head.sequence + 3, b"payload %d" % head.number))
        await store.append(blocks[-1])
        head = blocks[-1].head
    return blocks


def snapshot(block_number: int, payload: bytes = b"state") -> Snapshot:
    return Snapshot(
        block_number,
        block_number * 3,
        b"d" * 32,
        rules_version=1,
        payload=payload,
        payload_digest=blake2b(payload, digest_size=32).digest(),
    )


async def test_the_first_opening_of_an_empty_journal_begins_epoch_one(store: JournalStore) -> None:
    assert await store.open() == Head(1, 0, 0, GENESIS_DIGEST)


async def test_appended_blocks_are_read_back_in_order_and_unchanged(store: JournalStore) -> None:
    blocks = await append_many(store, 5)
    assert await store.read_blocks(1, 10) == blocks
    assert await store.read_blocks(2, 3) == blocks[1:4]
    assert await store.read_blocks(6, 10) == []


async def test_the_head_after_an_append_is_the_block_s_own(store: JournalStore) -> None:
    blocks = await append_many(store, 2)
    assert await store.open() == blocks[-1].head


async def test_the_block_of_a_sequence_is_found(store: JournalStore) -> None:
    blocks = await append_many(store, 3)
    for block in blocks:
        for sequence in range(block.first_sequence, block.last_sequence + 1):
            assert await store.read_block_of(sequence) == block


async def test_no_block_holds_a_sequence_outside_the_journal(store: JournalStore) -> None:
    assert await store.read_block_of(1) is None
    await append_many(store, 2)
    assert await store.read_block_of(0) is None
    assert await store.read_block_of(7) is None


@pytest.mark.parametrize(
    "wrong",
    [
        {"number": 4},
        {"number": 2},
        {"first_sequence": 8, "last_sequence": 9},
        {"first_sequence": 6, "last_sequence": 9},
        {"previous_digest": b"x" * 32},
        {"epoch": 2},
        {"epoch": 0},
    ],
    ids=str,
)
async def test_a_block_that_does_not_follow_the_head_is_fenced_and_not_written(
    store: JournalStore, wrong: dict[str, Any]
) -> None:
    blocks = await append_many(store, 2)
    follower = seal(blocks[-1].head, 9, b"next")
    with pytest.raises(Fenced):
        await store.append(msgspec.structs.replace(follower, **wrong))
    assert await store.read_blocks(1, 10) == blocks


async def test_the_same_block_twice_is_fenced(store: JournalStore) -> None:
    blocks = await append_many(store, 1)
    with pytest.raises(Fenced):
        await store.append(blocks[0])
    assert await store.read_blocks(1, 10) == blocks


async def test_a_fenced_store_writes_nothing_more_until_it_is_opened(store: JournalStore) -> None:
    [block] = await append_many(store, 1)
    with pytest.raises(Fenced):
        await store.append(block)
    with pytest.raises(StorageError):
        await append(store, block.head)


async def test_nothing_is_appended_before_opening(store: JournalStore) -> None:
    with pytest.raises(StorageError):
        await append(store, Head(0, 0, 0, GENESIS_DIGEST))


async def test_an_unfit_block_is_refused_and_leaves_the_store_open(store: JournalStore) -> None:
    head = await store.open()
    with pytest.raises(InvariantViolated):
        await store.append(seal(head, 1, bytes(1001)))
    with pytest.raises(InvariantViolated):
        await store.append(seal(head, 0, b"no sequence"))
    await append(store, head)


async def test_reading_needs_no_lock(journal: Journal, store: JournalStore) -> None:
    blocks = await append_many(store, 2)
    reader = journal.store()
    assert await reader.read_blocks(1, 10) == blocks
    assert await reader.read_block_of(4) == blocks[1]
    await reader.aclose()


async def test_a_second_writer_is_refused_while_the_first_lives(
    journal: Journal, store: JournalStore
) -> None:
    head = await store.open()
    second = journal.store()
    with pytest.raises(Fenced, match="another engine holds the journal"):
        await second.open()
    await append(store, head)
    await second.aclose()


async def test_a_second_writer_waits_and_takes_over_in_a_new_epoch(journal: Journal) -> None:
    first, second = journal.store(), journal.store(PATIENT)
    head = await append(first, await first.open())
    heads = []

    async def take_over() -> None:
        heads.append(await second.open())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(take_over)
        await trio.sleep(0.05)
        assert not heads
        await first.aclose()
    assert heads == [Head(2, head.number, head.sequence, head.digest)]
    await append(second, heads[0])
    await second.aclose()


async def test_opening_again_keeps_the_epoch_and_the_lock(
    journal: Journal, store: JournalStore
) -> None:
    first = await store.open()
    assert await store.open() == first
    rival = journal.store()
    with pytest.raises(Fenced):
        await rival.open()
    await rival.aclose()
    await append(store, first)


async def test_a_cut_writer_reopens_at_the_true_head_and_goes_on(
    journal: Journal, store: JournalStore
) -> None:
    head = await append(store, await store.open())
    block = seal(head, head.sequence + 1, b"in hand")
    await journal.cut_writer()
    with pytest.raises(StorageError):
        await store.append(block)
    with pytest.raises(StorageError):
        await store.append(block)  # not before it has looked
    assert await store.open() == head
    await store.append(block)
    assert await store.read_blocks(2, 10) == [block]


async def test_a_writer_that_lost_the_journal_writes_nothing_and_learns_it(
    journal: Journal,
) -> None:
    first, second = journal.store(), journal.store()
    stale = await append(first, await first.open())
    await journal.cut_writer()
    taken = await second.open()
    with pytest.raises(StorageError):
        await append(first, stale)
    with pytest.raises(Fenced):
        await first.open()  # the other one holds it
    newest = await append(second, taken)
    await second.aclose()
    with pytest.raises(Fenced, match="epoch 2"):
        await first.open()  # free, but an epoch has passed
    with pytest.raises(StorageError):
        await append(first, stale)
    reader = journal.store()
    assert [block.epoch for block in await reader.read_blocks(1, 10)] == [1, 2]
    assert await reader.open() == msgspec.structs.replace(newest, epoch=3)
    await first.aclose()
    await reader.aclose()


async def test_after_a_cancelled_append_the_head_tells_what_happened(
    store: JournalStore,
) -> None:
    head = await store.open()
    block = seal(head, 1, b"cancelled")
    with trio.CancelScope() as scope:
        scope.cancel()
        await store.append(block)
    with trio.move_on_after(0.0005):
        await store.append(block)
    found = await store.open()
    assert found in (head, block.head)
    if found == head:
        await store.append(block)
    assert await store.read_blocks(1, 10) == [block]


async def test_the_head_can_be_read_without_the_lock(journal: Journal) -> None:
    writer, reader = journal.store(), journal.store()
    assert (await reader.read_head()).number == 0
    head = await append(writer, await writer.open())
    assert await reader.read_head() == head
    await writer.aclose()
    assert await reader.read_head() == head
    await reader.aclose()


async def test_snapshots_come_newest_first_and_only_the_newest_are_kept(
    store: JournalStore,
) -> None:
    assert await store.read_snapshot_sequence() == 0
    for number in (1, 5, 3, 9, 7):
        await store.write_snapshot(snapshot(number))
    assert await store.read_snapshots() == [snapshot(9), snapshot(7), snapshot(5)]
    assert await store.read_snapshot_sequence() == snapshot(9).sequence


async def test_a_snapshot_of_the_same_block_replaces_the_earlier_one(store: JournalStore) -> None:
    await store.write_snapshot(snapshot(2, b"old rules"))
    await store.write_snapshot(snapshot(2, b"new rules"))
    assert await store.read_snapshots() == [snapshot(2, b"new rules")]


async def test_a_damaged_snapshot_is_handed_out_with_its_digest(store: JournalStore) -> None:
    damaged = msgspec.structs.replace(snapshot(2), payload=b"stAte")
    await store.write_snapshot(damaged)
    [found] = await store.read_snapshots()
    assert blake2b(found.payload, digest_size=32).digest() != found.payload_digest


async def test_closing_is_idempotent_and_final(journal: Journal) -> None:
    store = journal.store()
    head = await store.open()
    await store.aclose()
    await store.aclose()
    with pytest.raises(StorageError):
        await append(store, head)
    with pytest.raises(StorageError):
        await store.open()


@pytest.mark.parametrize("fault", AppendFault)
async def test_the_memory_journal_fails_as_armed(fault: AppendFault) -> None:
    journal = MemoryJournal()
    store = MemoryJournalStore(journal)
    head = await store.open()
    block = seal(head, 1, b"ambiguous")
    journal.faults.append(fault)
    with pytest.raises(StorageError):
        await store.append(block)
    expected = block.head if fault is AppendFault.ANSWER_LOST else head
    assert await store.open() == expected

"""A journal store in memory: for tests, simulation and engines that may forget.

Same contract as PostgreSQL (`tests/contracts`), the lock included: stores that share one
`MemoryJournal` fence each other like engines that share one database.
"""

from bisect import bisect_left
from collections import deque
from enum import Enum, auto

import trio

from engine.errors import Fenced, StorageError
from engine.journal.blocks import GENESIS_DIGEST, Block, Head
from engine.ports import Snapshot
from engine.storage.limits import DEFAULT_LIMITS, StoreLimits, refuse_unfit


class AppendFault(Enum):
    """How an armed append fails; the writer's connection is gone afterwards in both cases."""

    NOT_COMMITTED = auto()  # the request was lost
    ANSWER_LOST = auto()  # committed, but the writer never hears of it


class MemoryJournal:
    """What a database would hold: the blocks, the head, the snapshots and who has the lock."""

    def __init__(self) -> None:
        self.epoch = 0
        self.blocks: list[Block] = []
        self.snapshots: dict[int, Snapshot] = {}
        self.writer: MemoryJournalStore | None = None
        #: Appends take their fault from the front; an empty queue means all goes well.
        self.faults: deque[AppendFault] = deque()
        self._lock = trio.Semaphore(1)

    def __repr__(self) -> str:
        return f"<MemoryJournal {self.head.number} blocks, epoch {self.epoch}>"

    @property
    def head(self) -> Head:
        """The newest block's head in the newest epoch."""
        if not self.blocks:
            return Head(self.epoch, 0, 0, GENESIS_DIGEST)
        newest = self.blocks[-1]
        return Head(self.epoch, newest.number, newest.last_sequence, newest.digest)

    async def take_lock(self, store: "MemoryJournalStore", lock_wait_s: float) -> None:
        """Make `store` the writer; waits until the lock is free. Raises: Fenced."""
        try:
            with trio.fail_after(lock_wait_s):
                await self._lock.acquire()
        except trio.TooSlowError:
            raise Fenced("another engine holds the journal") from None
        self.writer = store

    def cut_writer(self) -> None:
        """End the writer's connection, as a dying database would: its lock is free at once."""
        if self.writer is not None:
            self.writer = None
            self._lock.release()


class MemoryJournalStore:
    """One engine's access to a `MemoryJournal`. Keeps the very blocks it is given."""

    def __init__(
        self, journal: MemoryJournal | None = None, limits: StoreLimits = DEFAULT_LIMITS
    ) -> None:
        self.journal = journal if journal is not None else MemoryJournal()
        self._limits = limits
        self._epoch: int | None = None
        self._closed = False

    async def open(self) -> Head:
        """See `JournalStore.open`. Waits for the lock."""
        await self._checkpoint()
        journal = self.journal
        self._let_go()
        await journal.take_lock(self, self._limits.lock_wait_s)
        if self._epoch is None:
            journal.epoch += 1
            self._epoch = journal.epoch
        elif journal.epoch != self._epoch:
            self._let_go()
            raise Fenced(f"epoch {journal.epoch} has begun, ours was {self._epoch}")
        return journal.head

    async def append(self, block: Block) -> None:
        """See `JournalStore.append`. Complexity: O(1)."""
        refuse_unfit(block, self._limits.block_bytes_max)
        await self._checkpoint()
        journal = self.journal
        if journal.writer is not self:
            raise StorageError("the store is not open for writing")
        fault = journal.faults.popleft() if journal.faults else None
        if fault is AppendFault.NOT_COMMITTED:
            journal.cut_writer()
            raise StorageError("connection lost before the commit")
        expected = Head(
            block.epoch, block.number - 1, block.first_sequence - 1, block.previous_digest
        )
        if journal.head != expected:
            self._let_go()
            raise Fenced(f"block {block.number} does not follow {journal!r}")
        journal.blocks.append(block)
        if fault is AppendFault.ANSWER_LOST:
            journal.cut_writer()
            raise StorageError("connection lost after the commit")

    async def read_blocks(self, first_number: int, blocks_max: int) -> list[Block]:
        """See `JournalStore.read_blocks`."""
        await self._checkpoint()
        start = max(first_number, 1) - 1
        return self.journal.blocks[start : start + blocks_max]

    async def read_block_of(self, sequence: int) -> Block | None:
        """See `JournalStore.read_block_of`. Complexity: O(log n)."""
        await self._checkpoint()
        blocks = self.journal.blocks
        index = bisect_left(blocks, sequence, key=lambda block: block.last_sequence)
        return blocks[index] if sequence >= 1 and index < len(blocks) else None

    async def read_head(self) -> Head:
        """See `JournalStore.read_head`."""
        await self._checkpoint()
        return self.journal.head

    async def write_snapshot(self, snapshot: Snapshot) -> None:
        """See `JournalStore.write_snapshot`."""
        await self._checkpoint()
        kept = self.journal.snapshots
        kept[snapshot.block_number] = snapshot
        for number in sorted(kept)[: -self._limits.snapshots_kept_max]:
            del kept[number]

    async def read_snapshots(self) -> list[Snapshot]:
        """See `JournalStore.read_snapshots`."""
        await self._checkpoint()
        return [snapshot for _, snapshot in sorted(self.journal.snapshots.items(), reverse=True)]

    async def read_snapshot_sequence(self) -> int:
        """See `JournalStore.read_snapshot_sequence`."""
        await self._checkpoint()
        return max((one.sequence for one in self.journal.snapshots.values()), default=0)

    async def aclose(self) -> None:
        """See `JournalStore.aclose`."""
        self._closed = True
        self._let_go()
        await trio.lowlevel.checkpoint()

    async def _checkpoint(self) -> None:
        await trio.lowlevel.checkpoint()
        if self._closed:
            raise StorageError("the journal store is closed")

    def _let_go(self) -> None:
        if self.journal.writer is self:
            self.journal.cut_writer()

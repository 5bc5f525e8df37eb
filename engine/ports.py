"""Everything the engine asks of the world, as protocols; adapters live in gateways and storage."""

from typing import Protocol

import msgspec

from engine.journal.blocks import Block, Head
from engine.journal.snapshots import Snapshot as Snapshot
from engine.units import AmountMinor, TimeNs


class Clock(Protocol):
    """Wall time that never goes back: wall time at start plus monotonic time."""

    def now_ns(self) -> TimeNs:
        """Nanoseconds since the Unix epoch, never less than an earlier answer."""
        ...


class JournalStore(Protocol):
    """Where blocks are kept. One writer, fenced by a lock and by compare-and-set of the head.

    Reads work at any time, in any process; `append` only between `open` and `aclose`.
    """

    async def open(self) -> Head:
        """Become the one writer and return the head.

        Called again after a StorageError: ends our previous backend, reconnects, takes the lock
        again and returns the head as it then is. The first call of a process starts a new epoch
        (the returned head carries it); later calls of the same process keep it.
        Waits for the lock up to the store's own limit.
        Raises: StorageError (try again), Fenced (another engine holds the journal),
        StorageUnusable (this database cannot serve us).
        """
        ...

    async def append(self, block: Block) -> None:
        """Commit one block durably, or raise.

        Raises: StorageError when it may or may not have been committed, Fenced when the head is
        not the block's predecessor.
        """
        ...

    async def read_blocks(self, first_number: int, blocks_max: int) -> list[Block]:
        """At most `blocks_max` committed blocks from `first_number` on, in order."""
        ...

    async def read_block_of(self, sequence: int) -> Block | None:
        """The committed block that holds `sequence`, or None beyond the head."""
        ...

    async def read_head(self) -> Head:
        """The head of what is committed; needs no lock and begins no epoch.

        Raises: StorageError.
        """
        ...

    async def write_snapshot(self, snapshot: Snapshot) -> None:
        """Keep a snapshot; older ones beyond the store's own number are dropped."""
        ...

    async def read_snapshots(self) -> list[Snapshot]:
        """The kept snapshots, newest first."""
        ...

    async def aclose(self) -> None:
        """Give up the lock and every connection. Idempotent."""
        ...


class CustodyOutcome(msgspec.Struct, frozen=True):
    """What custody definitely knows of one withdrawal."""

    settled: bool  # True: the money has left; False: it never will
    evidence: str  # custody's own reference or reason


class Custody(Protocol):
    """The outside party that performs withdrawals. Queryable by key: a timeout is resolved by ask.

    Raises from both calls: VenueUnreachable (certainly not arrived), VenueTimeout (may have).
    """

    async def submit(
        self, key: str, asset: str, amount_minor: AmountMinor, destination: str
    ) -> CustodyOutcome | None:
        """Ask for the movement under `key`; None means accepted and still in progress."""
        ...

    async def query(self, key: str) -> CustodyOutcome | None:
        """What became of `key`: an outcome, or None while in progress.

        Raises: NotFound when custody has never heard of the key.
        """
        ...

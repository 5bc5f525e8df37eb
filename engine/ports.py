"""Everything the engine asks of the world, as protocols; adapters live in gateways and storage."""

from typing import NamedTuple, Protocol

import msgspec

from engine.history.rows import (
    AuditRow,
    CandleRow,
    EffectsRow,
    EntryRow,
    OrderRow,
    Position,
    Rows,
    TradeRow,
)
from engine.journal.blocks import Block, Head
from engine.journal.keys import Answered
from engine.journal.snapshots import Snapshot as Snapshot
from engine.units import AccountId, AmountMinor, AssetId, InstrumentId, OrderId, TimeNs


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

    async def read_snapshot_sequence(self) -> int:
        """Through which record the newest of them goes; 0 without one. Reads no payload."""
        ...

    async def aclose(self) -> None:
        """Give up the lock and every connection. Idempotent."""
        ...


class Lag(NamedTuple):
    """How far behind something is; `seconds` at most, since it counts from the last thing done."""

    records: int
    seconds: float


class Watermark(msgspec.Struct, frozen=True):
    """How far the read models have come: through this block and sequence.

    `time_ns` is the stamp of that record.
    """

    block_number: int = 0
    sequence: int = 0
    time_ns: int = 0

    def behind(self, sequence: int, now_ns: int) -> Lag:
        """How far this is behind a journal that ends with `sequence`, at that time.

        >>> Watermark(1, 7, 500_000_000).behind(9, 2_000_000_000)
        Lag(records=2, seconds=1.5)
        >>> Watermark(2, 9, 500_000_000).behind(9, 2_000_000_000)
        Lag(records=0, seconds=0.0)
        """
        records = max(0, sequence - self.sequence)
        waits = records and self.time_ns  # before the first record there is no time to count from
        return Lag(records, max(0, now_ns - self.time_ns) / 1e9 if waits else 0.0)


class HistoryWriter(Protocol):
    """Where the projector writes the read models; one writer at a time."""

    async def open(self) -> Watermark:
        """Get ready to write; makes what is missing, empty. Returns how far it has come.

        Called again after a StorageError: nothing of the earlier write can still land then.
        Raises: StorageError, Fenced when another projector writes here or another release's read
        models are here.
        """
        ...

    async def write(self, rows: Rows, before: Watermark, after: Watermark) -> None:
        """Add rows and move the watermark from `before` to `after`, both or neither.

        Raises: StorageError when it may or may not have happened: open again and compare.
        Fenced when the watermark is not `before`.
        """
        ...

    async def aclose(self) -> None:
        """Give up every connection. Idempotent."""
        ...


class HistoryRebuild(HistoryWriter, Protocol):
    """A writer of read models that nobody sees yet, empty when opened, until they are published."""

    async def is_wanted(self) -> bool:
        """Whether those that are read are another release's, so that nobody may go on with them.

        Raises: StorageError.
        """
        ...

    async def publish(self) -> bool:
        """Put them in the place of those that are read, at once and whole.

        False: those have come further meanwhile; write on and ask again.
        Raises: StorageError, after which everything starts anew.
        """
        ...


class History(Protocol):
    """The read models, for reading. Every page is in order of position, from `after` (excluded) on.

    With `newest_first` a page goes backwards, from before `after`. All raise StorageError.
    Nothing that authorises money may read here.
    """

    async def watermark(self) -> Watermark:
        """How far the read models have come."""
        ...

    async def trades(
        self,
        instrument_id: InstrumentId,
        after: Position | None,
        rows_max: int,
        *,
        newest_first: bool,
    ) -> list[TradeRow]:
        """The trades of an instrument."""
        ...

    async def fills(
        self,
        account_id: AccountId,
        instrument_id: InstrumentId | None,
        after: Position | None,
        rows_max: int,
        *,
        newest_first: bool,
    ) -> list[TradeRow]:
        """The trades of an account, as maker or taker."""
        ...

    async def entries(
        self,
        account_id: AccountId | None,
        asset_id: AssetId | None,
        after: Position | None,
        rows_max: int,
        *,
        newest_first: bool,
    ) -> list[EntryRow]:
        """Ledger entries that debit or credit an account (None: all)."""
        ...

    async def orders(
        self,
        account_id: AccountId,
        instrument_id: InstrumentId | None,
        after: int | None,
        rows_max: int,
        *,
        newest_first: bool,
    ) -> list[OrderRow]:
        """Every order an account ever placed, by order id."""
        ...

    async def order(self, order_id: OrderId) -> OrderRow | None:
        """One order, however long ago it ended."""
        ...

    async def candles(
        self,
        instrument_id: InstrumentId,
        interval_s: int,
        from_s: int,
        to_s: int,
        rows_max: int,
    ) -> list[CandleRow]:
        """Candles that start in [from_s, to_s); the newest `rows_max`, oldest first.

        Intervals without trades have none.
        """
        ...

    async def effects(
        self, account_id: AccountId, after: int, through: int, rows_max: int
    ) -> list[EffectsRow]:
        """What records `after` < sequence <= `through` did to an account."""
        ...

    async def effects_kept_after(self) -> int:
        """Effects of records after this sequence are still there, all of them."""
        ...

    async def answered(self, scope: int, keys: list[str]) -> dict[str, Answered]:
        """Which of these idempotency keys were answered."""
        ...

    async def audit(
        self, after: int | None, rows_max: int, *, newest_first: bool
    ) -> list[AuditRow]:
        """Acts of administration, by sequence."""
        ...

    async def aclose(self) -> None:
        """Give up every connection. Idempotent."""
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

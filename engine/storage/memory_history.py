"""Read models in memory: for tests, simulation and engines that may forget.

Same contract as PostgreSQL (`tests/contracts`), for a single writer in the same process.
`FollowingHistory` is its own projector: it folds what a journal has whenever somebody reads.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable
from typing import Any, Final, Generic, TypeVar

import trio

from engine.errors import Fenced, StorageError
from engine.history.fold import HistoryFold
from engine.history.rows import (
    AuditRow,
    BalanceRow,
    CandleRow,
    EffectsRow,
    EntryRow,
    OrderRow,
    Position,
    Rows,
    TradeRow,
)
from engine.journal.blocks import GENESIS_DIGEST, Block, Head, check_follows
from engine.journal.keys import Answered
from engine.journal.records import decode
from engine.journal.released import Released
from engine.ports import JournalStore, Watermark
from engine.units import AccountId, AssetId, InstrumentId, OrderId

#: Of each table so many rows are kept per owner (an account on an instrument, say): the newest.
ROWS_KEPT_MAX: Final = 100_000
_BLOCKS_PER_READ_MAX: Final = 64
#: After so many folded records other tasks get a turn: some milliseconds.
_RECORDS_PER_TURN_MAX: Final = 256

_Row = TypeVar("_Row")


class _Table(Generic[_Row]):
    """Rows by owner, each owner's in order of their place; of each the newest `rows_max` or more.

    A row has as many owners as there are questions that it answers.
    Complexity: O(1) to add a newest row, O(log n) to change one and to find a page.
    """

    def __init__(self, place: Callable[[_Row], Any], rows_max: int) -> None:
        self._place = place
        self._rows_max = rows_max
        self._rows: dict[Any, list[_Row]] = {}
        #: The newest row dropped.
        self.dropped: _Row | None = None

    def put(self, owner: Any, row: _Row) -> None:
        """Add a row, or put it in place of the one with its place."""
        rows = self._rows.setdefault(owner, [])
        place = self._place(row)
        if not rows or place > self._place(rows[-1]):
            rows.append(row)
        else:
            at = bisect_left(rows, place, key=self._place)
            rows[at : at + (self._place(rows[at]) == place)] = [row]
        if len(rows) >= 2 * self._rows_max:
            self._drop(rows)

    def _drop(self, rows: list[_Row]) -> None:
        newest = rows[-self._rows_max - 1]
        if self.dropped is None or self._place(newest) > self._place(self.dropped):
            self.dropped = newest
        del rows[: -self._rows_max]

    def get(self, owner: Any, place: Any) -> _Row | None:
        """The row with that place."""
        rows = self._rows.get(owner, [])
        at = bisect_left(rows, place, key=self._place)
        return rows[at] if at < len(rows) and self._place(rows[at]) == place else None

    def page(self, owner: Any, after: Any, rows_max: int, newest_first: bool) -> list[_Row]:
        """At most `rows_max` rows beyond `after`, or from the end."""
        rows = self._rows.get(owner, [])
        if newest_first:
            end = len(rows) if after is None else bisect_left(rows, after, key=self._place)
            return rows[max(0, end - rows_max) : end][::-1]
        start = 0 if after is None else bisect_right(rows, after, key=self._place)
        return rows[start : start + rows_max]


def _position(row: TradeRow | EntryRow) -> tuple[int, int]:
    return row.sequence, row.index


def _key(after: Position | None) -> tuple[int, int] | None:
    return None if after is None else (after.sequence, after.index)


class MemoryHistory:
    """`History` and `HistoryWriter` at once. Idempotency keys are all kept, as the engine does."""

    def __init__(self, rows_kept_max: int = ROWS_KEPT_MAX) -> None:
        self._watermark = Watermark()
        self._closed = False
        self._trades = _Table[TradeRow](_position, rows_kept_max)
        self._fills = _Table[TradeRow](_position, rows_kept_max)
        self._entries = _Table[EntryRow](_position, rows_kept_max)
        self._orders = _Table[OrderRow](lambda row: row.order.order_id, rows_kept_max)
        self._candles = _Table[CandleRow](lambda row: row.start_s, rows_kept_max)
        self._effects = _Table[EffectsRow](lambda row: row.sequence, rows_kept_max)
        self._audit = _Table[AuditRow](lambda row: row.sequence, rows_kept_max)
        self._keys: dict[tuple[int, str], Answered] = {}
        #: The newest row per account and asset.
        self.balances: dict[tuple[AccountId, AssetId], BalanceRow] = {}

    def __repr__(self) -> str:
        return f"<{type(self).__name__} through {self._watermark.sequence}>"

    async def open(self) -> Watermark:
        """See `HistoryWriter.open`."""
        await self._checkpoint()
        return self._watermark

    async def write(self, rows: Rows, before: Watermark, after: Watermark) -> None:
        """See `HistoryWriter.write`."""
        await self._checkpoint()
        if before != self._watermark:
            raise Fenced(f"the read models are at {self._watermark}, not {before}")
        self._add(rows)
        self._watermark = after

    def _add(self, rows: Rows) -> None:
        for trade in rows.trades:
            self._trades.put(trade.instrument_id, trade)
            for account_id in (trade.maker_account_id, trade.taker_account_id):
                for instrument_id in (None, trade.instrument_id):
                    self._fills.put((account_id, instrument_id), trade)
        for entry in rows.entries:
            for owner in (None, entry.debit_account_id, entry.credit_account_id):
                for asset_id in (None, entry.asset_id):
                    self._entries.put((owner, asset_id), entry)
        for order in rows.orders:
            terms = order.order.terms
            self._orders.put(None, order)
            for traded in (None, terms.instrument_id):
                self._orders.put((terms.account_id, traded), order)
        for balance in rows.balances:
            self.balances[balance.account_id, balance.asset_id] = balance
        for candle in rows.candles:
            chart = (candle.instrument_id, candle.interval_s)
            earlier = self._candles.get(chart, candle.start_s)
            self._candles.put(chart, earlier.followed_by(candle) if earlier else candle)
        for key in rows.keys:
            self._keys[key.scope, key.key] = Answered(key.sequence, key.body_digest)
        for effects in rows.effects:
            self._effects.put(effects.account_id, effects)
        for act in rows.audit:
            self._audit.put(None, act)

    async def watermark(self) -> Watermark:
        """See `History.watermark`."""
        await self._ready()
        return self._watermark

    async def trades(
        self,
        instrument_id: InstrumentId,
        after: Position | None,
        rows_max: int,
        *,
        newest_first: bool,
    ) -> list[TradeRow]:
        """See `History.trades`."""
        await self._ready()
        return self._trades.page(instrument_id, _key(after), rows_max, newest_first)

    async def fills(
        self,
        account_id: AccountId,
        instrument_id: InstrumentId | None,
        after: Position | None,
        rows_max: int,
        *,
        newest_first: bool,
    ) -> list[TradeRow]:
        """See `History.fills`."""
        await self._ready()
        owner = (account_id, instrument_id)
        return self._fills.page(owner, _key(after), rows_max, newest_first)

    async def entries(
        self,
        account_id: AccountId | None,
        asset_id: AssetId | None,
        after: Position | None,
        rows_max: int,
        *,
        newest_first: bool,
    ) -> list[EntryRow]:
        """See `History.entries`."""
        await self._ready()
        return self._entries.page((account_id, asset_id), _key(after), rows_max, newest_first)

    async def orders(
        self,
        account_id: AccountId,
        instrument_id: InstrumentId | None,
        after: int | None,
        rows_max: int,
        *,
        newest_first: bool,
    ) -> list[OrderRow]:
        """See `History.orders`."""
        await self._ready()
        return self._orders.page((account_id, instrument_id), after, rows_max, newest_first)

    async def order(self, order_id: OrderId) -> OrderRow | None:
        """See `History.order`."""
        await self._ready()
        return self._orders.get(None, order_id)

    async def candles(
        self,
        instrument_id: InstrumentId,
        interval_s: int,
        from_s: int,
        to_s: int,
        rows_max: int,
    ) -> list[CandleRow]:
        """See `History.candles`."""
        await self._ready()
        newest = self._candles.page((instrument_id, interval_s), to_s, rows_max, newest_first=True)
        return [row for row in reversed(newest) if row.start_s >= from_s]

    async def effects(
        self, account_id: AccountId, after: int, through: int, rows_max: int
    ) -> list[EffectsRow]:
        """See `History.effects`."""
        await self._ready()
        rows = self._effects.page(account_id, after, rows_max, newest_first=False)
        return [row for row in rows if row.sequence <= through]

    async def effects_kept_after(self) -> int:
        """See `History.effects_kept_after`."""
        await self._ready()
        dropped = self._effects.dropped
        return 0 if dropped is None else dropped.sequence

    async def answered(self, scope: int, keys: list[str]) -> dict[str, Answered]:
        """See `History.answered`."""
        await self._ready()
        found = {key: self._keys.get((scope, key)) for key in keys}
        return {key: answered for key, answered in found.items() if answered is not None}

    async def audit(
        self, after: int | None, rows_max: int, *, newest_first: bool
    ) -> list[AuditRow]:
        """See `History.audit`."""
        await self._ready()
        return self._audit.page(None, after, rows_max, newest_first)

    async def aclose(self) -> None:
        """See `History.aclose`."""
        self._closed = True
        await trio.lowlevel.checkpoint()

    async def _ready(self) -> None:
        """Called before every read."""
        await self._checkpoint()

    async def _checkpoint(self) -> None:
        await trio.lowlevel.checkpoint()
        if self._closed:
            raise StorageError("the read models are closed")


class FollowingHistory(MemoryHistory):
    """Read models of a journal that are never behind it: every read first folds what is new."""

    def __init__(self, store: JournalStore, rows_kept_max: int = ROWS_KEPT_MAX) -> None:
        super().__init__(rows_kept_max)
        self._store = store
        self._head = Head(0, 0, 0, GENESIS_DIGEST)
        self._fold = HistoryFold(Released())
        self._folding = trio.Lock()

    async def _ready(self) -> None:
        """Catch up with the journal.

        Raises: StorageError from the store, JournalCorrupt on a broken chain.
        """
        await super()._ready()
        async with self._folding:
            while blocks := await self._store.read_blocks(
                self._head.number + 1, _BLOCKS_PER_READ_MAX
            ):
                for block in blocks:
                    await self._follow(block)

    async def _follow(self, block: Block) -> None:
        """Fold one block; a reader that is cancelled on the way leaves the rest to the next."""
        check_follows(self._head, block)
        released = self._fold.released
        records = [one for one in decode(block.payload) if one.sequence > released.sequence]
        for start in range(0, len(records), _RECORDS_PER_TURN_MAX):
            self._fold.apply_all(records[start : start + _RECORDS_PER_TURN_MAX])
            await trio.lowlevel.checkpoint()
        self._add(self._fold.take())
        self._watermark = Watermark(block.number, block.last_sequence, released.now_ns)
        self._head = block.head

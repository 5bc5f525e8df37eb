"""State that follows the journal, and the rows that it hands to the read models, exactly once."""

import sys
from collections.abc import Callable

import msgspec
import structlog
import trio

from engine.actors.crash_points import CrashPoint, passing
from engine.actors.keys_forgetting import forget
from engine.actors.recovery import BLOCKS_PER_READ_MAX, RECORDS_PER_TURN_MAX, newest_state
from engine.errors import Fenced, StorageUnusable
from engine.history.fold import HistoryFold
from engine.history.rows import Rows
from engine.journal.blocks import GENESIS_DIGEST, Block, Head, check_follows
from engine.journal.records import decode
from engine.journal.state import EngineState
from engine.ports import HistoryWriter, JournalStore, Watermark
from engine.settings import ProjectorSettings

_log = structlog.get_logger("projector")


class _Batch(msgspec.Struct, frozen=True):
    """Rows on their way, and where the read models stand before and after them."""

    rows: Rows
    before: Watermark
    after: Watermark


class Projection:
    """Follow: `advance`, again and again. Write what was folded: `flush`.

    State and rows go together: a row is made only of a record that the state had not folded, and
    only beyond the watermark. Where the read models are not ours to write (another projector does,
    or another release's are there), the state follows alone and tries again now and then.
    """

    def __init__(
        self,
        store: JournalStore,
        history: HistoryWriter | None,
        settings: ProjectorSettings,
        make_state: Callable[[], EngineState] = EngineState,
    ) -> None:
        self.head = Head(0, 0, 0, GENESIS_DIGEST)
        self.state = make_state()
        #: How far the read models have come; None while they are not ours to write.
        self.watermark: Watermark | None = None
        #: Whether the last look at the journal found its end.
        self.is_caught_up = False
        self._store = store
        self._history = history
        self._settings = settings
        self._make_state = make_state
        self._rows = HistoryFold(self.state.released, self.state.apply)
        self._batch: _Batch | None = None  # handed over, and perhaps not there
        self._has_begun = False
        self._asked_at_s = 0.0
        self._refusal = ""  # why the read models are not ours to write, as last told

    async def begin(self) -> None:
        """Find the place to go on from, unless that is done. Raises: as `advance`."""
        if not self._has_begun:
            await self._begin()

    def begin_anew(self) -> None:
        """Ask the read models where they stand before anything else is done."""
        self._has_begun = False

    async def advance(self) -> bool:
        """Fold the next blocks; whether there were any.

        Raises: StorageError, and then it must be called again; JournalCorrupt, InvariantViolated.
        """
        await self._settle()
        blocks = await self._store.read_blocks(self.head.number + 1, BLOCKS_PER_READ_MAX)
        self.is_caught_up = len(blocks) < BLOCKS_PER_READ_MAX
        for block in blocks:
            check_follows(self.head, block)
            await self._fold(block)
            if self._records_folded >= self._settings.batch_records_max:
                await self.flush()
                if self.head != block.head:
                    return True  # we had to begin somewhere else
        if self.is_caught_up:
            await self.flush()
        return bool(blocks)

    async def flush(self) -> None:
        """Write the rows of everything folded. Raises: StorageError."""
        await self._settle()
        if self.watermark is not None and self._records_folded > 0:
            now_ns = self.state.released.now_ns
            after = Watermark(self.head.number, self.head.sequence, now_ns)
            await self._write(_Batch(self._rows.take(), self.watermark, after))

    @property
    def _records_folded(self) -> int:
        """Records whose rows are not handed over yet; not above 0 before the watermark."""
        return self.head.sequence - self.watermark.sequence if self.watermark is not None else 0

    async def _fold(self, block: Block) -> None:
        watermark, records = self.watermark, decode(block.payload)
        collects = watermark is not None and block.number > watermark.block_number
        apply_all = self._rows.apply_all if collects else self.state.apply_all
        for start in range(0, len(records), RECORDS_PER_TURN_MAX):
            apply_all(records[start : start + RECORDS_PER_TURN_MAX])
            await trio.lowlevel.checkpoint()
        self.head = block.head

    async def _write(self, batch: _Batch) -> None:
        if self._history is None:
            return
        self._batch = batch
        try:
            await self._history.write(batch.rows, batch.before, batch.after)
        except Fenced as error:
            _log.warning("the read models were moved", reason=str(error))
            await self._begin()
            return
        passing(CrashPoint.ROWS_COMMITTED)
        self._batch, self.watermark = None, batch.after
        await forget(self.state, batch.after.sequence, turns_max=sys.maxsize)

    async def _begin(self) -> None:
        """Open the read models and stand where they do, or at the newest snapshot before."""
        self._batch = self.watermark = None
        watermark = await self._open()
        through = None if watermark is None else watermark.sequence
        if through is not None and self.head.sequence > through:
            self._has_begun = False
        if not self._has_begun:
            self.state, self.head = await newest_state(self._store, self._make_state, through)
            _log.info("projecting", sequence=self.head.sequence, read_models=through)
        self._rows = HistoryFold(self.state.released, self.state.apply)
        self._has_begun, self.watermark = True, watermark

    async def _settle(self) -> None:
        """Begin, or see what became of a batch in doubt, or ask for the read models once more."""
        batch = self._batch
        if batch is None:
            asked_s = trio.current_time() - self._asked_at_s
            wants_rows = self._history is not None and self.watermark is None
            if not self._has_begun or (wants_rows and asked_s >= self._settings.retry_s_max):
                await self._begin()
            return
        if await self._open() == batch.before:
            await self._write(batch)
        else:
            await self._begin()

    async def _open(self) -> Watermark | None:
        """Where the read models stand, or None while they are not ours to write."""
        self._asked_at_s = trio.current_time()
        if self._history is None:
            return None
        try:
            watermark = await self._history.open()
        except (Fenced, StorageUnusable) as error:
            if str(error) != self._refusal:
                self._refusal = str(error)
                _log.warning("no rows are written", reason=self._refusal)
            return None
        self._refusal = ""
        return watermark

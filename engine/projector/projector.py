"""The projector's life: rows, snapshots and lag; and the rebuild of the read models beside it."""

import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

import structlog
import trio

from engine.actors.crash_points import CrashPoint, passing
from engine.errors import InvariantViolated, JournalCorrupt, StorageError
from engine.journal.blocks import Head
from engine.journal.snapshots import take
from engine.journal.state import EngineState
from engine.ports import HistoryRebuild, HistoryWriter, JournalStore, Lag, Watermark
from engine.projector.projection import Projection
from engine.settings import ProjectorSettings

_log = structlog.get_logger("projector")

#: The exit code that says: the journal contradicts itself, another start would not help.
EXIT_CORRUPT: Final = 3
#: Writing snapshots may take at most one part in so many of the time.
_PAUSE_PER_WRITE: Final = 10

NewState = Callable[[], EngineState]


class Projector:
    """Rows and snapshots of a journal that it follows.

    Ask: `head` (folded through), `lag` (of the rows, where it writes them; as last looked).
    """

    def __init__(
        self,
        store: JournalStore,
        settings: ProjectorSettings | None = None,
        make_state: NewState = EngineState,
        history: HistoryWriter | None = None,
    ) -> None:
        self.lag = Lag(0, 0.0)
        self.snapshots_written = 0
        self._store = store
        self._settings = settings or ProjectorSettings()
        self._projection = Projection(store, history, self._settings, make_state)
        self._kept_through = 0  # the sequence of the newest snapshot
        self._kept_at_s = 0.0
        self._write_s = 0.0
        self._reported_at_s = 0.0
        self._reported_sequence = -1

    @property
    def head(self) -> Head:
        """The newest block folded."""
        return self._projection.head

    async def run(self, stopping: trio.Event) -> None:
        """Follow the journal until `stopping` is set; leaves a last snapshot behind.

        Waits out a store that does not answer.
        Raises: JournalCorrupt, InvariantViolated when the journal contradicts itself.
        """
        patiently = partial(_patiently, stopping, self._settings)
        await patiently(self._projection.begin)
        self._kept_through, self._kept_at_s = self.head.sequence, trio.current_time()
        while not stopping.is_set():
            came_further = await patiently(self._projection.advance)
            if trio.current_time() - self._reported_at_s >= self._settings.report_every_s:
                await patiently(self._report)
            if self._is_due():
                await patiently(self._write_snapshot)
            if not came_further:
                with trio.move_on_after(self._settings.poll_s):
                    await stopping.wait()
        if self.head.sequence > self._kept_through:
            await self._write_snapshot()

    async def _report(self) -> None:
        """Say how far behind we are.

        Raises: JournalCorrupt when the journal is behind us: it was replaced by another.
        """
        head, watermark = await self._store.read_head(), self._projection.watermark
        ours = (
            self.head.sequence if watermark is None else max(self.head.sequence, watermark.sequence)
        )
        if head.sequence < ours:
            raise JournalCorrupt(
                f"the journal went back to sequence {head.sequence}, we have {ours}:"
                " if that is right, drop the schema `history` and start again"
            )
        self._reported_at_s = trio.current_time()
        released = self._projection.state.released
        stand = watermark or Watermark(self.head.number, self.head.sequence, released.now_ns)
        self.lag = stand.behind(head.sequence, time.time_ns())
        if head.sequence != self._reported_sequence:
            self._reported_sequence = head.sequence
            _log.info(
                "projected",
                sequence=stand.sequence,
                behind=self.lag.records,
                behind_s=round(self.lag.seconds, 3),
                writes_rows=watermark is not None,
            )

    def _is_due(self) -> bool:
        records = self.head.sequence - self._kept_through
        waited_s = trio.current_time() - self._kept_at_s
        if records <= 0 or waited_s < self._write_s * _PAUSE_PER_WRITE:
            return False
        settings = self._settings
        return records >= settings.snapshot_every_records or waited_s >= settings.snapshot_every_s

    async def _write_snapshot(self) -> None:
        await self._projection.flush()  # so that read models can always be gone on with from here
        began_s = trio.current_time()
        passing(CrashPoint.SNAPSHOT_WRITING)
        snapshot = take(self.head, self._projection.state.snapshot())
        passing(CrashPoint.SNAPSHOT_WRITTEN)
        await self._store.write_snapshot(snapshot)
        passing(CrashPoint.SNAPSHOT_REGISTERED)
        self.snapshots_written += 1
        self._kept_through, self._kept_at_s = snapshot.sequence, trio.current_time()
        self._write_s = self._kept_at_s - began_s
        _log.info(
            "snapshot kept",
            sequence=snapshot.sequence,
            bytes=len(snapshot.payload),
            seconds=round(self._write_s, 3),
        )


async def _patiently(
    stopping: trio.Event,
    settings: ProjectorSettings,
    work: Callable[[], Awaitable[bool | None]],
) -> bool:
    """Do work that asks the store, again while it does not answer; False once stopped."""
    pause_s = settings.poll_s
    while not stopping.is_set():
        try:
            return bool(await work())
        except StorageError as error:
            _log.warning("store unreachable", error=str(error), retry_in_s=pause_s)
        with trio.move_on_after(pause_s):
            await stopping.wait()
        pause_s = min(settings.retry_s_max, pause_s * 2)
    return False


async def rebuild(
    store: JournalStore,
    history: HistoryRebuild,
    stopping: trio.Event,
    settings: ProjectorSettings | None = None,
    make_state: NewState = EngineState,
) -> bool:
    """Fold the whole journal into new read models and publish them; whether that was done.

    Those that are there go on being read, and written by another projector, until then. Waits out
    a store that does not answer.
    Raises: JournalCorrupt, InvariantViolated when the journal contradicts itself.
    """
    settings = settings or ProjectorSettings()
    patiently = partial(_patiently, stopping, settings)
    projection = Projection(store, history, settings, make_state)
    await patiently(projection.begin)
    began_s = trio.current_time()
    while not stopping.is_set() and projection.watermark is not None:
        came_further = await patiently(projection.advance)
        if projection.is_caught_up:
            passing(CrashPoint.READ_MODELS_REBUILT)
            if await _published(history, projection):
                passing(CrashPoint.READ_MODELS_PUBLISHED)
                seconds = round(trio.current_time() - began_s, 1)
                _log.info("read models rebuilt", sequence=projection.head.sequence, seconds=seconds)
                return True
        if not came_further:
            with trio.move_on_after(settings.poll_s):
                await stopping.wait()
    return False


async def _published(history: HistoryRebuild, projection: Projection) -> bool:
    try:
        return await history.publish()
    except StorageError as error:
        _log.warning("perhaps not published", error=str(error))
        projection.begin_anew()
        return False


async def run_projector(
    store: JournalStore,
    stopping: trio.Event,
    settings: ProjectorSettings | None = None,
    make_state: NewState = EngineState,
    history: HistoryWriter | None = None,
    replacement: HistoryRebuild | None = None,
) -> int:
    """The life of a projector process; returns its exit code. Closes what it is given.

    Where another release's read models are, the `replacement` is built beside them.
    """
    settings, code = settings or ProjectorSettings(), 0
    try:
        async with trio.open_nursery() as nursery:
            if replacement is not None:
                nursery.start_soon(
                    _rebuild_if_wanted, store, replacement, stopping, settings, make_state
                )
            await Projector(store, settings, make_state, history).run(stopping)
            nursery.cancel_scope.cancel()
    except* (JournalCorrupt, InvariantViolated) as contradictions:
        _log.critical(
            "the journal contradicts itself: run `outcry verify`", error=_said(contradictions)
        )
        code = EXIT_CORRUPT
    except* StorageError as outage:
        _log.error("no last snapshot", error=_said(outage))
    finally:
        for opened in (history, replacement, store):
            if opened is not None:
                await opened.aclose()
    return code


async def run_rebuild(
    store: JournalStore,
    replacement: HistoryRebuild,
    stopping: trio.Event,
    settings: ProjectorSettings | None = None,
    make_state: NewState = EngineState,
) -> int:
    """The life of a process that only rebuilds; its exit code, 1 if it was not done.

    Closes what it is given.
    """
    try:
        return int(not await rebuild(store, replacement, stopping, settings, make_state))
    except (JournalCorrupt, InvariantViolated) as error:
        _log.critical("the journal contradicts itself: run `outcry verify`", error=str(error))
        return EXIT_CORRUPT
    finally:
        await replacement.aclose()
        await store.aclose()


async def _rebuild_if_wanted(
    store: JournalStore,
    replacement: HistoryRebuild,
    stopping: trio.Event,
    settings: ProjectorSettings,
    make_state: NewState,
) -> None:
    if await _patiently(stopping, settings, replacement.is_wanted):
        _log.info("the read models are another release's: building new ones")
        await rebuild(store, replacement, stopping, settings, make_state)


def _said(errors: BaseExceptionGroup[BaseException]) -> str:
    return "; ".join(str(error) for error in errors.exceptions)

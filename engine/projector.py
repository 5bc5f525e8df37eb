"""The projector: a process beside the engine that folds committed blocks into snapshots.

One interpreter cannot both trade and project, and a living engine never stops to dump its state. So
this process reads the journal like anybody else, without its lock; it may be killed at any moment
and goes on from its own newest snapshot.
"""

import signal
import subprocess
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Final

import structlog
import trio

from engine.actors.crash_points import CrashPoint, passing
from engine.actors.recovery import BLOCKS_PER_READ_MAX, fold, newest_state
from engine.actors.supervisor import Child, RestartLimit, restarting
from engine.errors import InvariantViolated, JournalCorrupt, StorageError
from engine.journal.blocks import Head, check_follows
from engine.journal.snapshots import take
from engine.journal.state import EngineState
from engine.ports import JournalStore
from engine.settings import ProjectorSettings

_log = structlog.get_logger("projector")

#: The exit code that says: the journal contradicts itself, another start would not help.
EXIT_CORRUPT: Final = 3
#: Writing may take at most one part in so many of the time.
_PAUSE_PER_WRITE: Final = 10
_RESTARTS: Final = RestartLimit(count=5, period_s=300.0, pause_s_min=0.5, pause_s_max=30.0)


class Projector:
    """State that follows the journal, and the snapshots it leaves behind.

    Ask: `head` (folded through), `records_behind` (as last looked).
    """

    def __init__(
        self,
        store: JournalStore,
        settings: ProjectorSettings | None = None,
        make_state: Callable[[], EngineState] = EngineState,
    ) -> None:
        self.head = Head(0, 0, 0, b"")
        self.records_behind = 0
        self.snapshots_written = 0
        self._store = store
        self._settings = settings or ProjectorSettings()
        self._make_state = make_state
        self._state = make_state()
        self._kept_through = 0  # the sequence of the newest snapshot
        self._kept_at_s = 0.0
        self._write_s = 0.0
        self._reported_at_s = 0.0
        self._reported_sequence = -1

    async def run(self, stopping: trio.Event) -> None:
        """Follow the journal until `stopping` is set; leaves a last snapshot behind.

        Waits out a store that does not answer.
        Raises: JournalCorrupt, InvariantViolated when the journal contradicts itself.
        """
        await self._patiently(self._begin, stopping)
        while not stopping.is_set():
            came_further = await self._patiently(self._advance, stopping)
            if self._is_due():
                await self._patiently(self._write_snapshot, stopping)
            if not came_further:
                with trio.move_on_after(self._settings.poll_s):
                    await stopping.wait()
        if self.head.sequence > self._kept_through:
            await self._write_snapshot()

    async def _begin(self) -> None:
        self._state, self.head = await newest_state(self._store, self._make_state)
        self._kept_through = self.head.sequence
        self._kept_at_s = trio.current_time()
        _log.info("projecting", sequence=self.head.sequence, block=self.head.number)

    async def _advance(self) -> bool:
        """Fold the next blocks; whether there were any."""
        blocks = await self._store.read_blocks(self.head.number + 1, BLOCKS_PER_READ_MAX)
        for block in blocks:
            check_follows(self.head, block)
            await fold(self._state, block)
            self.head = block.head
        if trio.current_time() - self._reported_at_s >= self._settings.report_every_s:
            await self._report()
        return bool(blocks)

    async def _report(self) -> None:
        """Say how far behind we are.

        Raises: JournalCorrupt when the journal is behind us: it was replaced by another.
        """
        head = await self._store.read_head()
        if head.sequence < self.head.sequence:
            raise JournalCorrupt(
                f"the journal went back to sequence {head.sequence}, we have {self.head.sequence}"
            )
        self._reported_at_s = trio.current_time()
        self.records_behind = head.sequence - self.head.sequence
        if head.sequence != self._reported_sequence:
            self._reported_sequence = head.sequence
            _log.info("projected", sequence=self.head.sequence, behind=self.records_behind)

    def _is_due(self) -> bool:
        records = self.head.sequence - self._kept_through
        waited_s = trio.current_time() - self._kept_at_s
        if not records or waited_s < self._write_s * _PAUSE_PER_WRITE:
            return False
        settings = self._settings
        return records >= settings.snapshot_every_records or waited_s >= settings.snapshot_every_s

    async def _write_snapshot(self) -> None:
        began_s = trio.current_time()
        passing(CrashPoint.SNAPSHOT_WRITING)
        snapshot = take(self.head, self._state.snapshot())
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
        self, work: Callable[[], Awaitable[bool | None]], stop: trio.Event
    ) -> bool:
        """Do work that asks the store, again while it does not answer; False once stopped."""
        pause_s = self._settings.poll_s
        while not stop.is_set():
            try:
                return bool(await work())
            except StorageError as error:
                _log.warning("store unreachable", error=str(error), retry_in_s=pause_s)
            with trio.move_on_after(pause_s):
                await stop.wait()
            pause_s = min(self._settings.retry_s_max, pause_s * 2)
        return False


async def run_projector(
    store: JournalStore,
    stopping: trio.Event,
    settings: ProjectorSettings | None = None,
    make_state: Callable[[], EngineState] = EngineState,
) -> int:
    """The life of a projector process; returns its exit code. Closes the store."""
    try:
        await Projector(store, settings, make_state).run(stopping)
    except (JournalCorrupt, InvariantViolated) as error:
        _log.critical("the journal contradicts itself: run `outcry verify`", error=str(error))
        return EXIT_CORRUPT
    except StorageError as error:
        _log.error("no last snapshot", error=str(error))
    finally:
        await store.aclose()
    return 0


async def stop_on_signals(stopping: trio.Event) -> None:
    """Set `stopping` when the process is asked to end. Waits for that."""
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async for _ in signals:
            stopping.set()
            return


async def stop_on_end_of_input(stopping: trio.Event) -> None:
    """Set `stopping` when standard input ends: whoever held its other end is gone."""
    async with trio.lowlevel.FdStream(0) as lifeline:
        while await lifeline.receive_some():
            pass
    stopping.set()


class ProjectorFell(Exception):
    """The projector's process ended by itself."""


async def keep_projecting(
    argv: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    limit: RestartLimit = _RESTARTS,
    stop_s_max: float = 10.0,
    task_status: "trio.TaskStatus[None]" = trio.TASK_STATUS_IGNORED,
) -> None:
    """Keep a projector process running beside this one, as a child of the supervision tree.

    It is started again within the limit. Beyond that, and on a journal that contradicts itself,
    this says so and lets the engine go on without new snapshots. The process gets a pipe as its
    standard input that ends with us, however we end. Stops it when cancelled: politely first.
    """
    life = partial(_live, argv, env, stop_s_max)
    child: Child = restarting("projector", life, limit, last_resort=_live_without)
    await child(task_status=task_status)


async def _live(
    argv: Sequence[str],
    env: Mapping[str, str] | None,
    stop_s_max: float,
    *,
    task_status: "trio.TaskStatus[None]" = trio.TASK_STATUS_IGNORED,
) -> None:
    process = await trio.lowlevel.open_process(
        list(argv),
        stdin=subprocess.PIPE,
        env=env,
        start_new_session=True,  # ^C in a terminal is for the engine, which stops us last
    )
    try:
        task_status.started()
        code = await process.wait()
    finally:
        await _end(process, stop_s_max)
    if code != EXIT_CORRUPT:
        raise ProjectorFell(f"the projector's process ended with {code}")
    await _live_without()


async def _live_without(*, task_status: "trio.TaskStatus[None]" = trio.TASK_STATUS_IGNORED) -> None:
    _log.critical("no projector: recovery will take longer with every record")
    task_status.started()
    await trio.sleep_forever()


async def _end(process: trio.Process, stop_s_max: float) -> None:
    """Ask a process to stop, wait, and kill it if it does not."""
    with trio.CancelScope(shield=True):
        if process.stdin is not None:
            await process.stdin.aclose()
        if process.returncode is None:
            process.terminate()
            with trio.move_on_after(stop_s_max):
                await process.wait()
        if process.returncode is None:
            process.kill()
            await process.wait()

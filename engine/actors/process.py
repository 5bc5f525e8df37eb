"""Keeping another process running beside this one, and how such a process is stopped."""

import signal
import subprocess
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Final

import msgspec
import structlog
import trio

from engine.actors.supervisor import Child, RestartLimit, restarting

_log = structlog.get_logger("process")
_RESTARTS: Final = RestartLimit(count=5, period_s=300.0, pause_s_min=0.5, pause_s_max=30.0)


class Companion(msgspec.Struct, frozen=True):
    """A process that runs beside ours, and what its absence means.

    After one of the `final_codes` another life would not help. `without` is said when there is no
    such process any more.
    """

    name: str
    without: str
    final_codes: frozenset[int] = frozenset()


class ProcessFell(Exception):
    """A companion ended by itself."""


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


async def keep_running(
    companion: Companion,
    argv: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    limit: RestartLimit = _RESTARTS,
    stop_s_max: float = 10.0,
    task_status: "trio.TaskStatus[None]" = trio.TASK_STATUS_IGNORED,
) -> None:
    """Keep a process running beside this one, as a child of the supervision tree.

    It is started again within the limit; beyond that this says so and waits. The process gets a
    pipe as its standard input that ends with us, however we end. Stops it when cancelled: politely
    first.
    """
    life = partial(_live, companion, argv, env, stop_s_max)
    child: Child = restarting(
        companion.name, life, limit, last_resort=partial(_live_without, companion)
    )
    await child(task_status=task_status)


async def _live(
    companion: Companion,
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
        start_new_session=True,  # ^C in a terminal is for us, who stop it last
    )
    try:
        task_status.started()
        code = await process.wait()
    finally:
        await _end(process, stop_s_max)
    if code not in companion.final_codes:
        raise ProcessFell(f"the process of the {companion.name} ended with {code}")
    await _live_without(companion)


async def _live_without(
    companion: Companion, *, task_status: "trio.TaskStatus[None]" = trio.TASK_STATUS_IGNORED
) -> None:
    _log.critical(companion.without)
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

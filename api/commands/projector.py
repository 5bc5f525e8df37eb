"""`outcry projector`: the process beside a running engine that keeps read models and snapshots."""

import os
import sys
from functools import partial
from typing import Annotated

import trio
from cyclopts import Parameter

from api import logs
from api.commands.journal_store import running_url
from api.commands.settings import ConfigPath, settings_of
from api.diagnosis import data_folder
from config import Settings
from engine import runtime
from engine.actors.crash_points import CrashPoint, passing
from engine.actors.process import stop_on_end_of_input, stop_on_signals
from engine.journal.state import EngineState
from engine.projector.projector import run_projector, run_rebuild
from engine.storage.bridge import AsyncioThread
from engine.storage.history_writer import PostgresHistoryRebuild, PostgresHistoryWriter
from engine.storage.postgres import PostgresJournalStore

UNREADABLE = 2
#: Whoever trades goes first where both want the same core; see `nice(1)`.
NICENESS = 10

WithInput = Annotated[
    bool, Parameter(name="--until-input-ends", help="Stop when standard input ends.")
]
Rebuild = Annotated[
    bool,
    Parameter(
        name="--rebuild",
        negative=(),
        help="Build the read models anew from the whole journal, put them in place, and end.",
    ),
]


async def projector(
    path: ConfigPath = None, *, until_input_ends: WithInput = False, rebuild: Rebuild = False
) -> int:
    """Follow the journal: write the read models, and snapshots so that a restart takes moments.

    `outcry serve` starts one by itself. Any number may run: one of them writes the read models, the
    others stand by, and none can harm the journal. The exit code is 3 if the journal contradicts
    itself, and 1 if a rebuild was not done.
    """
    settings = settings_of(path)
    logs.configure(settings.log)
    os.nice(NICENESS)
    runtime.tune()
    url = settings.database.url or running_url(data_folder(settings.database))
    if url is None:
        print("no engine is running here, and database.url is not set", file=sys.stderr)
        return UNREADABLE
    async with trio.open_nursery() as nursery:
        stopping = trio.Event()
        nursery.start_soon(stop_on_signals, stopping)
        if until_input_ends:
            nursery.start_soon(stop_on_end_of_input, stopping)
        code = await _project(url, settings, stopping, rebuilding=rebuild)
        nursery.cancel_scope.cancel()
    return code


async def _project(url: str, settings: Settings, stopping: trio.Event, *, rebuilding: bool) -> int:
    kept = settings.projector.effects_kept_records
    before_commit = partial(passing, CrashPoint.ROWS_WRITTEN)
    make_state = partial(_new_state, settings)
    async with AsyncioThread() as bridge:
        store = PostgresJournalStore(bridge, url)
        replacement = PostgresHistoryRebuild(bridge, url, kept, before_commit=before_commit)
        if rebuilding:
            return await run_rebuild(store, replacement, stopping, settings.projector, make_state)
        history = PostgresHistoryWriter(bridge, url, kept, before_commit=before_commit)
        return await run_projector(
            store, stopping, settings.projector, make_state, history, replacement
        )


def _new_state(settings: Settings) -> EngineState:
    return EngineState(settings.engine.closed_orders_max, settings.engine.keys_exact_max)

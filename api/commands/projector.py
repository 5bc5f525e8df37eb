"""`outcry projector`: the process beside a running engine that leaves snapshots behind."""

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
from engine.journal.state import EngineState
from engine.projector import run_projector, stop_on_end_of_input, stop_on_signals
from engine.storage.bridge import AsyncioThread
from engine.storage.postgres import PostgresJournalStore

UNREADABLE = 2

WithInput = Annotated[
    bool, Parameter(name="--until-input-ends", help="Stop when standard input ends.")
]


async def projector(path: ConfigPath = None, *, until_input_ends: WithInput = False) -> int:
    """Follow the journal and keep its state in snapshots, so that a restart takes moments.

    `outcry serve` starts one by itself. Any number may run; none of them can harm the journal. The
    exit code is 3 if the journal contradicts itself.
    """
    settings = settings_of(path)
    logs.configure(settings.log)
    runtime.tune()
    url = settings.database.url or running_url(data_folder(settings.database))
    if url is None:
        print("no engine is running here, and database.url is not set", file=sys.stderr)
        return UNREADABLE
    async with AsyncioThread() as bridge, trio.open_nursery() as nursery:
        stopping = trio.Event()
        nursery.start_soon(stop_on_signals, stopping)
        if until_input_ends:
            nursery.start_soon(stop_on_end_of_input, stopping)
        store, make_state = PostgresJournalStore(bridge, url), partial(_new_state, settings)
        code = await run_projector(store, stopping, settings.projector, make_state)
        nursery.cancel_scope.cancel()
    return code


def _new_state(settings: Settings) -> EngineState:
    return EngineState(settings.engine.closed_orders_max)

"""A whole server in one tree: database, journal, engine, door; up in this order, down in reverse.

database        the embedded PostgreSQL, brought back whenever it dies; or a server by URL
  engine        recovered from the journal, lives until everybody is answered
    door        accepts until the first signal, then finishes what is in flight
"""

import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from functools import partial
from pathlib import Path
from signal import SIGINT, SIGTERM
from typing import Final, NamedTuple

import structlog
import trio

from api.app import app_of, door_of
from api.diagnosis import data_folder
from api.keys.master_secret import MasterSecret, master_secret
from api.keys.signing import AHEAD_MS_MAX
from api.metrics.scrape import Metrics
from api.sockets.feed import feed_session
from api.sockets.private import PrivateStream
from api.web.server import serve
from config import Settings
from config.loading import PREFIX
from config.settings import DatabaseSettings
from engine import runtime
from engine.accounts.messages import KeyScheme
from engine.gateways.custody import FileCustody, SimulatedCustody
from engine.ports import Custody, History, JournalStore
from engine.projector.process import keep_projecting
from engine.service import Service
from engine.storage.bridge import AsyncioThread
from engine.storage.embedded import EmbeddedPostgres
from engine.storage.history import PostgresHistory
from engine.storage.limits import StoreLimits
from engine.storage.memory import MemoryJournalStore
from engine.storage.memory_history import FollowingHistory
from engine.storage.migrate import migrate
from engine.storage.postgres import PostgresJournalStore
from engine.wiring import Engine

_log = structlog.get_logger("serving")
_CUSTODY_FOLDER: Final = "custody"
_URL: Final = f"{PREFIX}DATABASE__URL"

#: What to tell a newcomer once the server listens, given its service and its URL.
Greet = Callable[[Service, str], Awaitable[str]]


class Stores(NamedTuple):
    """Where a server's journal is kept, and the history that follows it."""

    journal: JournalStore
    history: History


class Shutdown:
    """What signals mean: while serving, the first one finishes and the second one ends at once.

    Before serving nothing has been accepted, so the first one ends at once too.
    """

    def __init__(self) -> None:
        self.stopping = trio.Event()
        self.everything = trio.CancelScope()
        self.is_serving = False

    async def watch(
        self, *, task_status: "trio.TaskStatus[None]" = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Act on signals. Waits for two at the most; a third one has its usual effect."""
        with trio.open_signal_receiver(SIGINT, SIGTERM) as signals:
            task_status.started()
            async for number in signals:
                if self.stopping.is_set() or not self.is_serving:
                    _log.warning("ending at once", signal=number)
                    self.stopping.set()
                    self.everything.cancel()
                    return
                _log.info("stopping; a second signal ends at once", signal=number)
                self.stopping.set()


async def run_server(
    settings: Settings,
    greet: Greet,
    *,
    in_memory: bool = False,
    config_path: Path | None = None,
) -> None:
    """Serve until told to stop. With `in_memory` everything is forgotten at the end.

    `config_path` is where the settings came from: the projector's process reads them there too.
    Raises: what makes serving impossible: EngineError, OSError, supervisor.GaveUp; in groups.
    """
    runtime.tune()
    shutdown = Shutdown()
    async with trio.open_nursery() as nursery:
        await nursery.start(shutdown.watch)
        with shutdown.everything:
            if in_memory:
                journal = MemoryJournalStore()
                await _serve_from(
                    Stores(journal, FollowingHistory(journal)),
                    SimulatedCustody(),
                    master_secret(settings.api, None),
                    settings,
                    greet,
                    shutdown,
                )
            else:
                async with _stored(settings.database, config_path) as stores:
                    folder = data_folder(settings.database)
                    custody, master = _file_custody(folder), master_secret(settings.api, folder)
                    await _serve_from(stores, custody, master, settings, greet, shutdown)
        nursery.cancel_scope.cancel()
    _log.info("stopped")


async def _serve_from(
    stores: Stores,
    custody: Custody,
    master: MasterSecret,
    settings: Settings,
    greet: Greet,
    shutdown: Shutdown,
) -> None:
    """Run an engine on its journal, and a door in front of it."""
    engine = Engine(stores.journal, custody, settings.engine, stores.history)
    service = Service(engine, stores.history)
    async with trio.open_nursery() as nursery:
        await nursery.start(engine.run)
        runtime.freeze()
        _warn_of_void_keys(service, master)
        await _keep_door(service, master, settings, greet, shutdown)
        await engine.drain()
        nursery.cancel_scope.cancel()


def _warn_of_void_keys(service: Service, master: MasterSecret) -> None:
    """Say so when a database came without the master secret that its keys were made under."""
    keys = service.released.rules.directory.keys.values()
    void = [key.key_id for key in keys if key.scheme is KeyScheme.HMAC and master.is_new]
    if void:
        _log.warning("the master secret is new: bring back the old one, or replace", keys=void)


def signed_ahead_s(now_ns: int, stamped_ns: int) -> float:
    """How long a new door stays shut, so that nothing counts twice that was signed ahead of time.

    What counted in an earlier life was stamped then, and signed for a second later at the most;
    what was signed before the door opens is refused.
    """
    return max(0, stamped_ns + AHEAD_MS_MAX * 1_000_000 - now_ns) / 1e9 if stamped_ns else 0.0


async def _keep_door(
    service: Service, master: MasterSecret, settings: Settings, greet: Greet, shutdown: Shutdown
) -> None:
    """Let callers in until told to stop; returns once everybody inside is answered."""
    await trio.sleep(signed_ahead_s(service.now_ns(), service.released.now_ns))
    door = door_of(service, settings.api, master)
    metrics = Metrics(door)
    serving = partial(
        serve,
        app_of(door.edge, door, metrics),
        settings.server.bind,
        settings.server.limits,
        sessions={
            "/v1/feed": feed_session(service, settings.api, door.edge.traffic.refused),
            "/v1/stream": PrivateStream(door),
        },
        stopping=shutdown.stopping,
        counts=door.edge.counts,
    )
    async with metrics.watching(), trio.open_nursery() as nursery:
        addresses = await nursery.start(serving)
        shutdown.is_serving = True
        url = addresses[0].url
        _log.info("serving", url=url, sequence=service.released.sequence)
        print(await greet(service, url), flush=True)


@asynccontextmanager
async def _stored(settings: DatabaseSettings, config_path: Path | None) -> AsyncIterator[Stores]:
    """Journal and history in a migrated database, and the projector between them."""
    limits = StoreLimits(lock_wait_s=settings.lock_wait_s)
    async with (
        _database(settings) as dsn,
        AsyncioThread() as bridge,
        aclosing(PostgresHistory(bridge, dsn, limits)) as history,
        trio.open_nursery() as nursery,
    ):
        for name in await migrate(bridge, dsn):
            _log.info("migrated", migration=name)
        projector = partial(keep_projecting, projector_command(config_path), env=projector_env(dsn))
        await nursery.start(projector)
        yield Stores(PostgresJournalStore(bridge, dsn, limits), history)
        nursery.cancel_scope.cancel()


def projector_command(config_path: Path | None) -> list[str]:
    """How to start a projector of the same release, by the same settings."""
    command = [sys.executable, "-m", "api", "projector", "--until-input-ends"]
    return command if config_path is None else [*command, "--config", str(config_path)]


def projector_env(dsn: str) -> dict[str, str]:
    """Our environment, but with the database that we found: not an argument, for all to see."""
    environ = {name: text for name, text in os.environ.items() if name != f"{_URL}_FILE"}
    return {**environ, _URL: dsn}


@asynccontextmanager
async def _database(settings: DatabaseSettings) -> AsyncIterator[str]:
    """The database's URL: the one given, or that of a server of our own, kept running."""
    if settings.url:
        yield settings.url
        return
    async with EmbeddedPostgres(data_folder(settings)) as server:
        for note in server.notes:
            _log.info(note)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(server.keep_running)
            yield server.dsn()
            nursery.cancel_scope.cancel()


def _file_custody(folder: Path) -> FileCustody:
    """Withdrawals by hand, in a folder for the engine's user alone."""
    custody_folder = folder / _CUSTODY_FOLDER
    custody_folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return FileCustody(custody_folder)

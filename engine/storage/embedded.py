"""A PostgreSQL server of our own: started as our child, stopped with us, reached by socket only.

Below the data folder: `cluster` (PostgreSQL's files, its user's own), `socket`, the access rules,
the log and the lock that says whose folder this is. What is not `cluster` or `socket` belongs to
the engine's user, so that the server's user cannot lead a privileged engine astray by links.
"""

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from signal import SIGINT, SIGKILL, SIGQUIT, Signals
from subprocess import DEVNULL
from types import MappingProxyType, TracebackType
from typing import Final, Self
from urllib.parse import quote

import msgspec
import trio

from engine.errors import StorageError, StorageUnusable
from engine.storage.cluster import (
    DATABASE,
    PORT,
    ROLE,
    child_options,
    cluster_major,
    make_cluster,
    private_socket_folder,
    replace_file,
    write_access_rules,
)
from engine.storage.installation import (
    blocked_at,
    find_installation,
    made_reachable,
    own_user,
    server_user,
)
from engine.storage.leftovers import FolderLock, clear_stale_locks, end_leftover_servers

LOG_CHECK_S: Final = 30.0
RESTART_WAIT_S_MIN: Final = 0.05

#: Ours to decide; `settings` given to EmbeddedPostgres may override them.
SETTINGS: Final = MappingProxyType(
    {
        "synchronous_commit": "on",
        "fsync": "on",
        "full_page_writes": "on",
        "max_connections": "32",
        "shared_buffers": "64MB",
        "max_wal_size": "1GB",
        "wal_compression": "off",
        "jit": "off",
        "max_parallel_workers_per_gather": "0",
        "timezone": "UTC",
        "log_timezone": "UTC",
        "log_min_error_statement": "panic",  # statements hold payloads
        "log_parameter_max_length": "0",
        "log_parameter_max_length_on_error": "0",
    }
)


class EmbeddedLimits(msgspec.Struct, frozen=True):
    """Deadlines and bounds of an embedded server."""

    ready_s: float = 600.0  # recovery after a crash replays up to max_wal_size
    stop_s: float = 60.0  # a fast shutdown writes a checkpoint
    quit_s: float = 10.0
    restart_wait_s_max: float = 10.0  # the wait doubles while the server keeps ending
    log_bytes_max: int = 16 * 1024 * 1024  # and as much again in the rotated file


DEFAULT_LIMITS: Final = EmbeddedLimits()


def default_data_folder() -> Path:
    """Where an engine keeps its database unless told otherwise.

    Root gets a folder that PostgreSQL's user can reach, which nothing below /root is.
    """
    if os.geteuid() == 0:
        return Path("/var/lib/outcry")
    home = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(home) / "outcry"


class EmbeddedPostgres:
    """A server for the length of an `async with` block; `notes` says what an operator should know.

    The data folder belongs to one process at a time. A server that a killed engine left running
    there is stopped and replaced, because only a child of ours can be waited for.
    """

    def __init__(
        self,
        data_folder: Path,
        *,
        settings: Mapping[str, str] = MappingProxyType({}),
        limits: EmbeddedLimits = DEFAULT_LIMITS,
        installation_cache: Path | None = None,
    ) -> None:
        """Touches nothing yet. `installation_cache` takes the programs if they must be copied."""
        self.notes: list[str] = []
        self.data_folder = data_folder.absolute()
        self._settings = {**SETTINGS, **settings}
        self._limits = limits
        self._cache = installation_cache or Path("/var/lib/outcry")
        self._cluster = self.data_folder / "cluster"
        self._log = self.data_folder / "server.log"
        self._folder_lock = FolderLock(self.data_folder / "owner.lock")
        self._changing = trio.Lock()
        self._wanted = False
        self._process: trio.Process | None = None

    async def __aenter__(self) -> Self:
        """Take the folder and start the server; see `start`."""
        await trio.to_thread.run_sync(self._take_folder)
        try:
            await self.start()
        except BaseException:
            await self._let_go()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop the server and give the folder back."""
        await self._let_go()

    @property
    def process_id(self) -> int | None:
        """The running server's process number."""
        process = self._process
        return process.pid if process is not None and process.poll() is None else None

    def dsn(self, database: str = DATABASE) -> str:
        """The URL by which asyncpg reaches `database` over the socket."""
        return (
            f"postgresql://{ROLE}@/{quote(database, safe='')}"
            f"?host={quote(str(self._socket_folder), safe='')}&port={PORT}"
        )

    async def start(self) -> None:
        """Start the server and wait until it answers; initialises an empty folder first.

        Raises: StorageUnusable (wrong version, rights, no programs), StorageError (it ended, was
        not ready in time, or the disk is full; the last words are in the message).
        """
        async with self._changing:
            if self.process_id is not None:
                return
            self._wanted = True
            try:
                await self._start()
            except OSError as error:  # a full disk, say: it may be better later
                raise StorageError(f"the server cannot be started: {error}") from error

    async def _start(self) -> None:
        await self._end_leftovers()
        if not self._cluster.exists():
            durably = self._settings["fsync"] == "on"
            await make_cluster(self._cluster, self._installation, self._user, durably=durably)
            version = self._installation.version
            self.notes.append(f"made a PostgreSQL {version} cluster in {self._cluster}")
        write_access_rules(self.data_folder, self._user)
        self._bound_log()
        self._process = await self._spawn()
        await self._wait_ready(self._process)

    async def stop(self) -> None:
        """Stop the server: fast, then immediately, then by force. Waits, also when cancelled."""
        self._wanted = False
        with trio.CancelScope(shield=True):
            async with self._changing:
                steps = (
                    (SIGINT, self._limits.stop_s),
                    (SIGQUIT, self._limits.quit_s),
                    (SIGKILL, self._limits.quit_s),
                )
                for number, wait_s in steps:
                    if await self._ended_by(number, wait_s):
                        return

    async def wait(self) -> int:
        """Wait until the running server ends; its exit status, negative for a signal."""
        if self._process is None:
            raise StorageError("the embedded server was not started")
        return await self._process.wait()

    async def keep_running(self) -> None:
        """Start the server again whenever it ends by itself, until `stop` is called.

        Never gives up, only slows down: a full disk, say, ends one start after the other, and is
        an outage until there is room again. Also keeps the log within its bound.
        Raises: StorageUnusable when a start is refused.
        """
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._watch_log)
            wait_s = RESTART_WAIT_S_MIN
            started = trio.current_time()
            while True:
                status = await self.wait()
                if not self._wanted:
                    break
                ran_s = trio.current_time() - started
                wait_s = restart_wait_s(wait_s, ran_s, self._limits.restart_wait_s_max)
                await trio.sleep(wait_s)
                started = trio.current_time()
                with suppress(StorageError):  # it ended again: seen by the next wait
                    await self.start()
                    _note(self.notes, f"restarted the server, which had ended ({status})")
            nursery.cancel_scope.cancel()

    def _take_folder(self) -> None:
        folder = self.data_folder
        self._refuse_blocked_user()
        if not folder.exists():
            folder.mkdir(parents=True)
            folder.chmod(0o711 if os.geteuid() == 0 else 0o700)
            self._refuse_blocked_user()  # the parents made now obey our umask
        if (folder / "PG_VERSION").exists():
            raise StorageUnusable(f"{folder} is a PostgreSQL data folder itself: choose another")
        self._folder_lock.acquire()
        try:
            self._choose_means()
        except BaseException:
            self._folder_lock.release()
            raise

    def _refuse_blocked_user(self) -> None:
        us, user = own_user(), server_user(self._cluster)
        if (blocked := blocked_at(self.data_folder, user)) is not None:
            raise StorageUnusable(
                f"the user {user.name}, who runs PostgreSQL for {us.name}, cannot enter {blocked}:"
                f" choose another data folder, for instance {default_data_folder()}"
            )

    def _choose_means(self) -> None:
        us, user = own_user(), server_user(self._cluster)
        if user != us:
            self.notes.append(f"PostgreSQL runs as the user {user.name}, since {us.name} may not")
        installation = find_installation(cluster_major(self._cluster))
        self._user = user
        self._installation = made_reachable(installation, user, self._cache, self.notes)
        self._socket_folder = private_socket_folder(self.data_folder, user, self.notes)

    async def _let_go(self) -> None:
        await self.stop()
        self._folder_lock.release()

    async def _end_leftovers(self) -> None:
        limits = self._limits
        ended = await end_leftover_servers(self._cluster, limits.stop_s, limits.quit_s)
        for number in ended:
            _note(self.notes, f"stopped the server {number} that an earlier engine left running")
        for line in clear_stale_locks(self._cluster, self._socket_folder):
            _note(self.notes, line)

    async def _spawn(self) -> trio.Process:
        fixed = {
            "listen_addresses": "",
            "unix_socket_directories": str(self._socket_folder),
            "unix_socket_permissions": "0700",
            "port": str(PORT),
            "hba_file": str(self.data_folder / "pg_hba.conf"),
            "ident_file": str(self.data_folder / "pg_ident.conf"),
            "logging_collector": "off",
        }
        command = [self._installation.program("postgres"), "-D", str(self._cluster)]
        for name, value in {**self._settings, **fixed}.items():
            command += ["-c", f"{name}={value}"]
        log = os.open(self._log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        try:
            return await trio.lowlevel.open_process(
                command,
                stdin=DEVNULL,
                stdout=log,
                stderr=log,
                **child_options(self._user, self.data_folder),
            )
        finally:
            os.close(log)

    async def _wait_ready(self, process: trio.Process) -> None:
        ask = [self._installation.program("pg_isready"), "-h", str(self._socket_folder)]
        ask += ["-p", str(PORT), "-d", DATABASE, "-U", ROLE, "-q"]
        with trio.move_on_after(self._limits.ready_s):
            while self._wanted:
                if process.poll() is not None:
                    raise StorageError(f"the server ended at once: {self._last_words()}")
                asked = await trio.run_process(ask, check=False, stderr=DEVNULL)
                if asked.returncode == 0:
                    return
                await trio.sleep(0.02)
        raise StorageError(f"the server did not become ready: {self._last_words()}")

    async def _ended_by(self, number: Signals, wait_s: float) -> bool:
        process = self._process
        if process is None:
            return True
        process.send_signal(number)
        with trio.move_on_after(wait_s):
            await process.wait()
        return process.returncode is not None

    async def _watch_log(self) -> None:
        while True:
            await trio.sleep(LOG_CHECK_S)
            self._bound_log()

    def _bound_log(self) -> None:
        """Copy and truncate: the server keeps its open file, and writes only at the end."""
        with suppress(OSError):  # no log yet, or no room to copy it: next time
            if self._log.stat().st_size > self._limits.log_bytes_max:
                replace_file(self._log.with_suffix(".log.1"), self._log.read_bytes(), 0o600)
                os.truncate(self._log, 0)

    def _last_words(self) -> str:
        with self._log.open("rb") as log:
            log.seek(max(0, self._log.stat().st_size - 1000))
            return log.read().decode("utf-8", "replace").strip()


def restart_wait_s(waited_s: float, ran_s: float, wait_s_max: float) -> float:
    """How long to wait before the next start: twice as long while the server keeps ending.

    >>> restart_wait_s(0.05, ran_s=0.1, wait_s_max=10.0)
    0.1
    >>> restart_wait_s(8.0, ran_s=0.1, wait_s_max=10.0)
    10.0
    >>> restart_wait_s(8.0, ran_s=3600.0, wait_s_max=10.0)
    0.05
    """
    return min(2 * waited_s, wait_s_max) if ran_s < wait_s_max else RESTART_WAIT_S_MIN


def _note(notes: list[str], line: str, notes_max: int = 100) -> None:
    """Keep the newest notes; a server that ends for days must not fill our memory."""
    notes.append(line)
    del notes[:-notes_max]

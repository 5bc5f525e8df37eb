"""Would an engine run well here? One short check per thing that has to be right.

Each check looks and tells; none changes anything, except that it listens on the port for a moment.
"""

import os
import resource
import shutil
import socket
import sys
import time
from collections.abc import Callable, Iterator
from enum import StrEnum
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

import msgspec

from api.web.limits import FILES_BESIDE_CONNECTIONS
from config import Settings
from config.settings import DatabaseSettings, ServerSettings
from engine.errors import EngineError
from engine.runtime import SWITCH_INTERVAL_S
from engine.storage.bridge import AsyncioThread
from engine.storage.cluster import cluster_major
from engine.storage.embedded import default_data_folder
from engine.storage.examination import examine
from engine.storage.installation import blocked_at, find_installation, server_user

#: The guards of `connection` were written against this release and no other.
HYPERCORN: Final = "0.18."
LIBRARIES: Final = ("trio", "hypercorn", "quart-trio", "asyncpg", "msgspec")
YEARS: Final = range(2025, 2100)
CLOCKS_APART_S_MAX: Final = 0.02
FREE_BYTES_MIN: Final = 512 * 1024**2
FREE_BYTES_GOOD: Final = 10 * 1024**3

ReadClock = Callable[[], int]


class Verdict(StrEnum):
    """What a finding means for an engine started here."""

    OK = "ok"
    WARN = "warn"  # it will run, but somebody should look
    FAIL = "fail"  # it will not run, or not safely


class Finding(msgspec.Struct, frozen=True):
    """The result of one check; `advice` says what to do where that is not nothing."""

    name: str
    verdict: Verdict
    found: str
    advice: str = ""


async def diagnose(settings: Settings) -> list[Finding]:
    """Every finding, in the order in which an engine would stumble. Waits for the database."""
    found = [*check_libraries(), check_clock(time.time_ns, time.monotonic_ns)]
    found += [
        check_switch_interval(),
        check_open_files(settings.server),
        check_port(settings.server),
    ]
    if settings.database.url:
        return [*found, await check_database(settings.database)]
    folder = data_folder(settings.database)
    return [*found, check_data_folder(folder), check_embedded(folder)]


def data_folder(settings: DatabaseSettings) -> Path:
    """Where the embedded database keeps its files."""
    return Path(settings.data_folder) if settings.data_folder else default_data_folder()


def check_libraries() -> Iterator[Finding]:
    """Whether Python and the libraries are those that this release was made for."""
    python = ".".join(map(str, sys.version_info[:3]))
    old = sys.version_info < (3, 11)
    yield Finding(
        "python", Verdict.FAIL if old else Verdict.OK, python, "Use 3.11 or newer." if old else ""
    )
    for library in LIBRARIES:
        try:
            found = version(library)
        except PackageNotFoundError:
            yield Finding(library, Verdict.FAIL, "missing", "Install Outcry with its dependencies.")
            continue
        if library == "hypercorn" and not found.startswith(HYPERCORN):
            advice = f"The server's guards were made for {HYPERCORN}x; install that."
            yield Finding(library, Verdict.FAIL, found, advice)
        else:
            yield Finding(library, Verdict.OK, found)


def check_clock(wall_ns: ReadClock, steady_ns: ReadClock, wait_s: float = 0.05) -> Finding:
    """Whether the wall clock shows a believable year and runs as fast as the steady one."""
    wall, steady = wall_ns(), steady_ns()
    time.sleep(wait_s)
    apart_s = abs((wall_ns() - wall) - (steady_ns() - steady)) / 1e9
    year = time.gmtime(wall // 10**9).tm_year
    shown = f"year {year}, {apart_s * 1e3:.1f} ms apart"
    if year not in YEARS:
        return Finding("clock", Verdict.FAIL, shown, "Set the system clock; use NTP.")
    if apart_s > CLOCKS_APART_S_MAX:
        return Finding("clock", Verdict.WARN, shown, "The clock was set just now, or drifts.")
    return Finding("clock", Verdict.OK, shown)


def check_switch_interval() -> Finding:
    """Whether threads take turns as fast as the storage thread needs."""
    before_s = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    possible_s = sys.getswitchinterval()
    sys.setswitchinterval(before_s)
    shown = f"{before_s * 1e3:g} ms, an engine uses {possible_s * 1e3:g} ms"
    return Finding("thread switch", Verdict.OK, shown)


def check_open_files(server: ServerSettings) -> Finding:
    """Whether the process may open a file for every connection it grants."""
    _, limit = resource.getrlimit(resource.RLIMIT_NOFILE)  # the server raises its own to this
    needed = server.limits.connections_max + FILES_BESIDE_CONNECTIONS
    shown = "unlimited" if limit == resource.RLIM_INFINITY else str(limit)
    if limit != resource.RLIM_INFINITY and limit < needed:
        advice = f"Raise it (ulimit -Hn {needed}), or lower server.limits.connections_max."
        return Finding("open files", Verdict.WARN, shown, advice)
    return Finding("open files", Verdict.OK, shown)


def check_port(server: ServerSettings) -> Finding:
    """Whether the server's address is free for us."""
    name = f"port {server.port}"
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            server.host, server.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind, protocol) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen(1)
    except OSError as error:
        advice = "End what listens there, or set server.host and server.port."
        return Finding(name, Verdict.FAIL, f"{server.host}: {error.strerror}", advice)
    return Finding(name, Verdict.OK, f"{server.bind.url} is free")


def check_data_folder(folder: Path) -> Finding:
    """Whether the embedded database may write there, and has room."""
    existing = next(step for step in (folder, *folder.parents) if step.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        advice = f"Give this user the right to write in {existing}, or set database.data_folder."
        return Finding("data folder", Verdict.FAIL, f"{folder}: not writable", advice)
    free = shutil.disk_usage(existing).free
    shown = f"{folder}, {free / 1024**3:.1f} GiB free"
    if free < FREE_BYTES_MIN:
        return Finding("data folder", Verdict.FAIL, shown, "Make room; a full disk stops trading.")
    if free < FREE_BYTES_GOOD:
        return Finding("data folder", Verdict.WARN, shown, "Make room before the disk fills.")
    return Finding("data folder", Verdict.OK, shown)


def check_embedded(folder: Path) -> Finding:
    """Whether we carry a PostgreSQL that can serve this folder, and have a user to run it."""
    name, cluster = "embedded database", folder / "cluster"
    try:
        installation = find_installation(cluster_major(cluster))
        user = server_user(cluster)
    except EngineError as fault:
        return Finding(name, Verdict.FAIL, str(fault), "Or set database.url.")
    if blocked := blocked_at(folder, user):
        advice = f"Let {user.name} enter {blocked}, or set database.data_folder."
        return Finding(name, Verdict.FAIL, f"{user.name} cannot reach {folder}", advice)
    return Finding(name, Verdict.OK, f"PostgreSQL {installation.version} as {user.name}")


async def check_database(settings: DatabaseSettings) -> Finding:
    """Whether the given server answers, can keep a journal, and lets us work."""
    try:
        async with AsyncioThread() as bridge:
            seen = await examine(bridge, settings.url)
    except EngineError as fault:
        return Finding("database", Verdict.FAIL, str(fault), "See database.url and the server.")
    shown = f"PostgreSQL {seen.server_version}, {seen.database} as {seen.role}"
    if seen.pending_migrations and not seen.may_create:
        advice = f"Grant {seen.role} CREATE on the schema: tables are missing."
        return Finding("database", Verdict.FAIL, shown, advice)
    if seen.pending_migrations:
        shown += f", {seen.pending_migrations} migrations will run at the next start"
    return Finding("database", Verdict.OK, shown)

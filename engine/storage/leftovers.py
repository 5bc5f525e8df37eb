"""What a killed engine leaves in a data folder: a running server, lock files, a held folder.

A server is known by its working folder, not by the number in a lock file, since numbers are used
again and a zombie keeps its own. Only the holder of the folder's lock may end what it finds.
"""

import fcntl
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import trio

from engine.errors import StorageUnusable

PROC: Final = Path("/proc")
POLL_S: Final = 0.05


class FolderLock:
    """A file that one process holds locked; the kernel lets go of it when the process dies."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None

    def acquire(self, *, wait: bool = False) -> None:
        """Take the lock. Raises: StorageUnusable when another process has it."""
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(self._path, flags, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            holder = os.read(descriptor, 32).decode("ascii", "replace").strip()
            os.close(descriptor)
            raise StorageUnusable(
                f"{self._path.parent} is in use by another engine (process {holder or 'unknown'})"
            ) from None
        os.truncate(descriptor, 0)
        os.write(descriptor, b"%d\n" % os.getpid())
        self._descriptor = descriptor

    def release(self) -> None:
        """Let go of the lock. Idempotent."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)

    @contextmanager
    def held(self, *, wait: bool = False) -> Iterator[None]:
        """Hold the lock for the length of a `with` block."""
        self.acquire(wait=wait)
        try:
            yield
        finally:
            self.release()


async def end_leftover_servers(cluster: Path, stop_s: float, quit_s: float) -> list[int]:
    """End every server process that works in `cluster`; returns the numbers of the first ones.

    Asks for a fast shutdown, then an immediate one, then kills. Waits until all are gone: a
    backend without its postmaster still writes.
    Raises: StorageUnusable when something does not go, or cannot be told apart.
    """
    found = _top(_servers_in(cluster))
    steps = ((signal.SIGINT, stop_s, _top), (signal.SIGQUIT, quit_s, _top))
    for number, wait_s, choose in (*steps, (signal.SIGKILL, quit_s, list)):
        _signal_all(choose(_servers_in(cluster)), number)
        if await _gone(lambda: not _servers_in(cluster), wait_s):
            return found
    raise StorageUnusable(f"a server in {cluster} does not end: processes {_servers_in(cluster)}")


def clear_stale_locks(cluster: Path, socket_folder: Path) -> list[str]:
    """Remove lock files whose process number now belongs to a zombie or a stranger.

    PostgreSQL would take such a number for a running server. A number that nobody has is left to
    PostgreSQL, which also looks for memory still shared. To be called when no server lives here.
    """
    removed = []
    for lock in (cluster / "postmaster.pid", *socket_folder.glob(".s.PGSQL.*.lock")):
        number = _first_number(lock)
        if number is not None and _exists(number):
            lock.unlink(missing_ok=True)
            removed.append(f"removed the stale lock file {lock} of process {number}")
    return removed


def _servers_in(cluster: Path) -> dict[int, int]:
    """Live PostgreSQL processes working in `cluster`: process number to parent's number."""
    if not cluster.exists():
        return {}
    if not PROC.is_dir():
        return _refuse_unknown_server(cluster)
    home = cluster.stat()
    servers = {}
    for entry in os.listdir(PROC):
        if entry.isdigit():
            with suppress(OSError):  # ended meanwhile, a zombie, or not ours to look at
                folder = os.stat(PROC / entry / "cwd")
                program = os.readlink(PROC / entry / "exe").removesuffix(" (deleted)")
                if os.path.samestat(folder, home) and os.path.basename(program) == "postgres":
                    servers[int(entry)] = _parent(entry)
    return servers


def _refuse_unknown_server(cluster: Path) -> dict[int, int]:
    number = _first_number(cluster / "postmaster.pid")
    if number is not None and _exists(number):
        raise StorageUnusable(
            f"process {number} may be a server left running in {cluster}: end it, then try again"
        )
    return {}


def _top(servers: dict[int, int]) -> list[int]:
    """Those that no other one started: the postmaster, or orphans of a dead one."""
    return [number for number, parent in servers.items() if parent not in servers]


def _parent(entry: str) -> int:
    # The program's name, in brackets, may hold spaces and brackets itself.
    return int((PROC / entry / "stat").read_text().rpartition(")")[2].split()[1])


def _signal_all(numbers: list[int], kind: signal.Signals) -> None:
    for number in numbers:
        with suppress(ProcessLookupError):
            os.kill(number, kind)


async def _gone(check: Callable[[], bool], wait_s: float) -> bool:
    deadline = trio.current_time() + wait_s
    while not (gone := check()) and trio.current_time() < deadline:  # noqa: ASYNC110 - not ours
        await trio.sleep(POLL_S)
    return gone


def _first_number(lock: Path) -> int | None:
    try:
        return abs(int(lock.read_text("ascii", "replace").split("\n", 1)[0]))
    except (OSError, ValueError):
        return None


def _exists(number: int) -> bool:
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True

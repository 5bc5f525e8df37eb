"""What is on disk before a server starts: the cluster, the socket's folder, who may connect."""

import os
import shutil
import stat
import tempfile
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path
from subprocess import STDOUT
from typing import Any, Final

import trio

from engine.errors import StorageUnusable
from engine.storage.installation import Installation, OsUser, own_user

ROLE: Final = "outcry"
DATABASE: Final = "outcry"
PORT: Final = 5432  # part of the socket's name, no network port
SOCKET_PATH_BYTES_MAX: Final = 103  # Linux takes 107, macOS 103


def cluster_major(cluster: Path) -> int | None:
    """The major version that wrote `cluster`, None when there is none yet.

    Raises: StorageUnusable when something else is there.
    """
    if not cluster.exists():
        return None
    try:
        return int((cluster / "PG_VERSION").read_text())
    except (OSError, ValueError):
        raise StorageUnusable(f"{cluster} exists but holds no PostgreSQL cluster") from None


async def make_cluster(
    cluster: Path, installation: Installation, user: OsUser, *, durably: bool
) -> None:
    """Initialise a cluster with our database in it: UTF-8, C locale, data checksums.

    It is made in a folder of its own and renamed, so that half of one is never taken for all.
    Waits for initdb. Raises: StorageUnusable with its words when it fails.
    """
    parent = cluster.parent
    for unfinished in parent.glob("cluster.new-*"):
        shutil.rmtree(unfinished)
    folder = tempfile.mkdtemp(prefix="cluster.new-", dir=parent)
    os.chown(folder, user.uid, user.gid)
    initdb = [installation.program("initdb"), "--pgdata", folder, "--username", ROLE]
    initdb += ["--encoding", "UTF8", "--locale", "C", "--data-checksums", "--auth", "peer"]
    initdb += ["--no-instructions"] if durably else ["--no-instructions", "--no-sync"]
    single = [installation.program("postgres"), "--single", "-D", folder]
    single += ["-c", f"fsync={'on' if durably else 'off'}", "template1"]
    options = child_options(user, parent)
    await _run(initdb, b"", options)
    await _run(single, f"CREATE DATABASE {DATABASE};\n".encode(), options)
    os.rename(folder, cluster)
    if durably:
        _sync_folder(parent)


def child_options(user: OsUser, folder: Path) -> dict[str, Any]:
    """How every server program is started; it gets none of our environment, which has secrets."""
    return {
        "env": {"PATH": os.defpath, "LC_ALL": "C"},
        "cwd": folder,
        "start_new_session": True,  # ^C in a terminal is for the engine, which stops us last
        **user.identity(),
    }


def private_socket_folder(data_folder: Path, user: OsUser, notes: list[str]) -> Path:
    """A folder only `user` may enter, whose socket's path is short enough for the kernel."""
    folder = data_folder / "socket"
    if len(os.fsencode(folder / f".s.PGSQL.{PORT}")) > SOCKET_PATH_BYTES_MAX:
        name = blake2b(os.fsencode(data_folder), digest_size=8).hexdigest()
        runtime = os.environ.get("XDG_RUNTIME_DIR") if os.geteuid() != 0 else None
        folder = Path(runtime or "/tmp") / f"outcry-{name}"
        notes.append(f"the socket is in {folder}: the data folder's path is too long for one")
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
        os.chown(folder, user.uid, user.gid)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != user.uid or found.st_mode & 0o077:
        raise StorageUnusable(f"{folder} is not a private folder of the user {user.name}")
    return folder


def write_access_rules(data_folder: Path, user: OsUser) -> None:
    """Let the engine's and the server's user in as our role, and nobody else."""
    names = dict.fromkeys((own_user().name, user.name))
    maps = "".join(f'outcry "{name}" {ROLE}\n' for name in names)
    rules = {"pg_hba.conf": "local all all peer map=outcry\n", "pg_ident.conf": maps}
    for name, text in rules.items():
        replace_file(data_folder / name, text.encode(), 0o644)


def replace_file(path: Path, content: bytes, mode: int) -> None:
    """Put a whole new file in the place of `path`, never writing through a link that is there."""
    descriptor, unfinished = tempfile.mkstemp(dir=path.parent, prefix=path.name)
    try:
        with open(descriptor, "wb") as file:
            file.write(content)
            os.fchmod(descriptor, mode)
        os.replace(unfinished, path)
    except BaseException:
        os.unlink(unfinished)
        raise


async def _run(command: list[str], stdin: bytes, options: dict[str, Any]) -> None:
    done = await trio.run_process(
        command, stdin=stdin, capture_stdout=True, stderr=STDOUT, check=False, **options
    )
    if done.returncode != 0:
        words = done.stdout.decode("utf-8", "replace")[-2000:].strip()
        raise StorageUnusable(f"{command[0]} failed with status {done.returncode}: {words}")


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

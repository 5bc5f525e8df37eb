"""Which programs run, and as whom."""

import os
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from engine.errors import StorageUnusable
from engine.storage.embedded import default_data_folder
from engine.storage.installation import (
    CARRIER,
    Installation,
    OsUser,
    blocked_at,
    find_installation,
    made_reachable,
    own_user,
    server_user,
)

STRANGER = OsUser("stranger", 4242, 4242)

carried = pytest.mark.skipif(find_spec(CARRIER) is None, reason="needs outcry[embedded]")
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root acts for another user")


@pytest.fixture
def open_folder(tmp_path: Path, shared_folder: Path) -> Path:
    folder = shared_folder / tmp_path.name
    folder.mkdir(mode=0o755)
    folder.chmod(0o755)
    return folder


@carried
def test_the_newest_carried_version_is_chosen_for_a_new_cluster() -> None:
    newest = find_installation(None)
    assert find_installation(newest.major) == newest
    for newer in range(newest.major + 1, newest.major + 10):
        with pytest.raises(StorageUnusable):
            find_installation(newer)


@carried
def test_a_version_that_is_not_carried_is_refused() -> None:
    with pytest.raises(StorageUnusable, match="written by PostgreSQL 9"):
        find_installation(9)


@carried
def test_looking_for_programs_does_not_import_their_carrier() -> None:
    find_installation(None)
    assert CARRIER not in sys.modules


def test_a_private_folder_on_the_way_blocks_a_stranger(open_folder: Path) -> None:
    inner = open_folder / "private" / "inner"
    inner.mkdir(parents=True)
    assert blocked_at(inner, STRANGER) is None
    inner.parent.chmod(0o700)
    assert blocked_at(inner, STRANGER) == inner.parent
    assert blocked_at(inner, own_user()) is None


def test_a_group_member_needs_the_group_s_right(open_folder: Path) -> None:
    member = OsUser("member", 4242, open_folder.stat().st_gid)
    open_folder.chmod(0o701)
    assert blocked_at(open_folder, member) == open_folder
    open_folder.chmod(0o710)
    assert blocked_at(open_folder, member) is None
    assert blocked_at(open_folder, STRANGER) == open_folder


@as_root
def test_root_lets_the_owner_of_an_existing_cluster_serve_it(open_folder: Path) -> None:
    assert server_user(open_folder / "none").uid != 0
    os.chown(open_folder, 1, 1)
    assert server_user(open_folder).uid == 1


def test_the_default_folder_can_be_reached_by_the_server_s_user() -> None:
    folder = default_data_folder()
    assert blocked_at(folder, server_user(folder / "cluster")) is None


@as_root
def test_programs_out_of_reach_are_copied_once_with_their_libraries(open_folder: Path) -> None:
    site = open_folder / "private"
    programs = site / CARRIER / "pginstall18"
    for name, mode in (("bin/postgres", 0o700), ("share/sample", 0o600), ("include/x.h", 0o600)):
        (programs / name).parent.mkdir(parents=True)
        (programs / name).touch(mode)
    (site / f"{CARRIER}.libs").mkdir()
    (site / f"{CARRIER}.libs" / "libpq.so").touch(0o600)
    (programs / "bin" / "link").symlink_to("postgres")
    site.chmod(0o700)
    notes: list[str] = []
    found = Installation(programs, "18.4")
    for _ in range(2):
        copy = made_reachable(found, STRANGER, open_folder / "cache", notes)
    assert len(notes) == 1
    assert "stranger cannot enter" in notes[0]
    assert blocked_at(Path(copy.program("postgres")), STRANGER) is None
    assert (copy.folder / "share" / "sample").stat().st_mode & 0o777 == 0o644
    assert (copy.folder.parent.parent / f"{CARRIER}.libs" / "libpq.so").exists()
    assert not (copy.folder / "include").exists()


@as_root
def test_programs_within_reach_are_used_where_they_are(open_folder: Path) -> None:
    program = open_folder / "bin" / "postgres"
    program.parent.mkdir()
    program.touch()
    program.chmod(0o755)
    notes: list[str] = []
    found = Installation(open_folder, "18.4")
    assert made_reachable(found, STRANGER, open_folder / "cache", notes) == found
    assert notes == []

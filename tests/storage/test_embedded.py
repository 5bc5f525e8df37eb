"""Our own PostgreSQL: its start and stop, its death and ours, folders it must not touch."""

import itertools
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest
import trio

from engine.errors import StorageError, StorageUnusable
from engine.journal.blocks import seal
from engine.storage.bridge import AsyncioThread
from engine.storage.embedded import EmbeddedLimits, EmbeddedPostgres
from engine.storage.limits import StoreLimits
from engine.storage.migrate import migrate
from engine.storage.postgres import PostgresJournalStore

pytestmark = [pytest.mark.database, pytest.mark.slow]

UNSAFE = {"fsync": "off", "full_page_writes": "off"}
FOLDERS = itertools.count()


@pytest.fixture(scope="module")
def folder(shared_folder: Path) -> Path:
    """A data folder made once; whatever a test does to its server, the next one recovers it."""
    folder = shared_folder / "embedded"
    (folder / "cluster.new-left").mkdir(parents=True)  # of an initialisation that was killed
    folder.chmod(0o711)

    async def make() -> None:
        async with EmbeddedPostgres(folder, settings=UNSAFE):
            pass

    trio.run(make)
    return folder


@pytest.fixture
def strange_folder(shared_folder: Path) -> Path:
    """A data folder whose cluster nobody here has made."""
    folder = shared_folder / f"strange-{next(FOLDERS)}"
    (folder / "cluster" / "base").mkdir(parents=True)
    return folder


@pytest.fixture
async def bridge() -> AsyncIterator[AsyncioThread]:
    async with AsyncioThread() as bridge:
        yield bridge


async def ask(bridge: AsyncioThread, dsn: str, query: str) -> object:
    async def run() -> object:
        session = await asyncpg.connect(dsn)
        try:
            return await session.fetchval(query)
        finally:
            await session.close()

    return await bridge.run(run)


def alive(number: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{number}/status").read_text()
    except FileNotFoundError:
        return False


async def test_an_empty_folder_becomes_a_durable_server_reached_by_socket_only(
    folder: Path, bridge: AsyncioThread
) -> None:
    assert not (folder / "cluster.new-left").exists()
    async with EmbeddedPostgres(folder) as server:
        dsn = server.dsn()
        assert await ask(bridge, dsn, "SHOW server_encoding") == "UTF8"
        collation = "SELECT datcollate FROM pg_database WHERE datname = current_database()"
        assert await ask(bridge, dsn, collation) == "C"
        for setting in ("fsync", "full_page_writes", "synchronous_commit", "data_checksums"):
            assert await ask(bridge, dsn, f"SHOW {setting}") == "on"
        assert await ask(bridge, dsn, "SHOW listen_addresses") == ""
        number = server.process_id
        assert number is not None
    assert not alive(number)
    assert os.geteuid() != 0 or any("runs as the user" in note for note in server.notes)


async def test_what_was_committed_is_there_after_a_restart(
    folder: Path, bridge: AsyncioThread
) -> None:
    async with EmbeddedPostgres(folder, settings=UNSAFE) as server:
        await migrate(bridge, server.dsn())
        limits = StoreLimits(lock_wait_s=1)
        store = PostgresJournalStore(bridge, server.dsn(), limits, allow_unsafe=True)
        head = await store.open()
        block = seal(head, head.sequence + 3, b"kept")
        await store.append(block)
        await server.stop()
        lost = seal(block.head, block.last_sequence + 1, b"in hand")
        with pytest.raises(StorageError):
            await store.append(lost)
        with pytest.raises(StorageError):
            await store.open()
        await server.start()
        assert await store.open() == block.head
        await store.append(lost)
        assert await store.read_blocks(block.number, 9) == [block, lost]
        await store.aclose()


async def test_a_killed_server_is_started_again_each_time(
    folder: Path, bridge: AsyncioThread
) -> None:
    async with EmbeddedPostgres(folder, settings=UNSAFE) as server, trio.open_nursery() as nursery:
        nursery.start_soon(server.keep_running)
        for times in (1, 2):
            before = server.process_id
            assert before is not None
            os.kill(before, signal.SIGKILL)
            with trio.fail_after(30):
                while sum("restarted" in note for note in server.notes) < times:  # noqa: ASYNC110
                    await trio.sleep(0.02)
            assert server.process_id not in (before, None)
            assert await ask(bridge, server.dsn(), "SELECT 1") == 1
        await server.stop()


ENGINE = """
import sys, trio
from pathlib import Path
from engine.storage.embedded import EmbeddedPostgres
async def main():
    async with EmbeddedPostgres(Path(sys.argv[1]), settings={"fsync": "off"}) as server:
        print(server.process_id, flush=True)
        await trio.sleep_forever()
trio.run(main)
"""


async def test_the_server_of_a_killed_engine_is_replaced(
    folder: Path, bridge: AsyncioThread
) -> None:
    engine = await trio.lowlevel.open_process(
        [sys.executable, "-c", ENGINE, str(folder)], stdout=-1, cwd=Path(__file__).parents[2]
    )
    assert engine.stdout is not None
    left = int(await engine.stdout.receive_some())
    with pytest.raises(StorageUnusable, match=f"in use by another engine .process {engine.pid}"):
        async with EmbeddedPostgres(folder, settings=UNSAFE):
            pass
    engine.kill()
    await engine.wait()
    await engine.stdout.aclose()
    assert alive(left)
    async with EmbeddedPostgres(folder, settings=UNSAFE) as server:
        assert not alive(left)
        assert server.process_id != left
        assert f"stopped the server {left} that an earlier engine left running" in server.notes
        assert await ask(bridge, server.dsn(), "SELECT 1") == 1


@pytest.mark.parametrize("named", ["stranger", "zombie"])
async def test_lock_files_that_name_no_server_of_ours_are_cleared(folder: Path, named: str) -> None:
    zombie = subprocess.Popen(["true"])  # noqa: ASYNC220 - nobody is to wait for it yet
    number = os.getppid() if named == "stranger" else zombie.pid
    stale = f"{number}\n{folder / 'cluster'}\n1\n5432\n{folder / 'socket'}\n\n"
    for lock in (folder / "cluster" / "postmaster.pid", folder / "socket" / ".s.PGSQL.5432.lock"):
        lock.write_text(stale)
    async with EmbeddedPostgres(folder, settings=UNSAFE) as server:
        assert sum("stale lock file" in note for note in server.notes) == 2
    zombie.wait()


async def test_a_cluster_of_another_major_version_is_refused_untouched(
    strange_folder: Path,
) -> None:
    (strange_folder / "cluster" / "PG_VERSION").write_text("12\n")
    with pytest.raises(StorageUnusable, match="written by PostgreSQL 12"):
        async with EmbeddedPostgres(strange_folder):
            pass
    assert sorted(os.listdir(strange_folder / "cluster")) == ["PG_VERSION", "base"]


async def test_a_folder_that_is_no_cluster_is_refused_untouched(strange_folder: Path) -> None:
    with pytest.raises(StorageUnusable, match="holds no PostgreSQL cluster"):
        async with EmbeddedPostgres(strange_folder):
            pass
    assert os.listdir(strange_folder / "cluster") == ["base"]


async def test_a_bare_postgresql_folder_is_not_taken_for_ours(strange_folder: Path) -> None:
    (strange_folder / "PG_VERSION").write_text("18\n")
    with pytest.raises(StorageUnusable, match="is a PostgreSQL data folder itself"):
        async with EmbeddedPostgres(strange_folder):
            pass


@pytest.mark.skipif(os.geteuid() != 0, reason="only root acts for another user")
async def test_a_folder_the_server_s_user_cannot_reach_is_refused_untouched(
    shared_folder: Path,
) -> None:
    private = shared_folder / "private"
    private.mkdir(mode=0o700)
    with pytest.raises(StorageUnusable, match=f"cannot enter {private}"):
        async with EmbeddedPostgres(private / "data"):
            pass
    assert os.listdir(private) == []


async def test_a_long_path_gets_its_socket_elsewhere(folder: Path, bridge: AsyncioThread) -> None:
    deep = folder.with_name("x" * 120)
    os.rename(folder, deep)
    async with EmbeddedPostgres(deep, settings=UNSAFE) as server:
        assert await ask(bridge, server.dsn(), "SELECT 1") == 1
        assert any("too long" in note for note in server.notes)
        socket_folder = str(await ask(bridge, server.dsn(), "SHOW unix_socket_directories"))
    os.rename(deep, folder)
    assert os.stat(socket_folder).st_mode & 0o077 == 0
    shutil.rmtree(socket_folder)


async def test_a_setting_the_server_refuses_is_explained(folder: Path) -> None:
    with pytest.raises(StorageError, match="nonsense"):
        async with EmbeddedPostgres(folder, settings={"nonsense": "1"}):
            pass


async def test_the_log_stays_within_its_bound(folder: Path, bridge: AsyncioThread) -> None:
    limits = EmbeddedLimits(log_bytes_max=100)
    for _ in range(2):
        async with EmbeddedPostgres(folder, settings=UNSAFE, limits=limits) as server:
            assert await ask(bridge, server.dsn(), "SELECT 1") == 1
    first_life, second_life = folder / "server.log.1", folder / "server.log"
    assert "shut down" in first_life.read_text()
    assert second_life.read_text().count("starting PostgreSQL") == 1

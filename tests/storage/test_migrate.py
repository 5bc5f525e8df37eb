"""Migrations: once, in order, never changed, never backwards."""

from collections.abc import AsyncIterator, Awaitable, Callable

import asyncpg
import pytest
import trio

from engine.errors import StorageUnusable
from engine.storage.bridge import AsyncioThread
from engine.storage.migrate import Migration, load_migrations, migrate, pending

NewDatabase = Callable[[AsyncioThread], Awaitable[str]]

ONE = Migration(1, "0001_one.sql", "CREATE TABLE one (n int)")
TWO = Migration(2, "0002_two.sql", "CREATE TABLE two (n int)")
APPLIED_ONE, APPLIED_TWO = (1, ONE.checksum), (2, TWO.checksum)


def test_our_own_migrations_are_numbered_without_gaps() -> None:
    assert [migration.number for migration in load_migrations()][:1] == [1]


def test_only_what_was_not_applied_is_pending() -> None:
    assert list(pending([ONE, TWO], [])) == [ONE, TWO]
    assert list(pending([ONE, TWO], [APPLIED_ONE])) == [TWO]
    assert list(pending([ONE, TWO], [APPLIED_ONE, APPLIED_TWO])) == []


def test_a_changed_migration_is_refused() -> None:
    with pytest.raises(StorageUnusable, match=r"0001_one.sql was changed"):
        pending([ONE, TWO], [(1, TWO.checksum)])


def test_a_database_of_a_newer_release_is_refused() -> None:
    with pytest.raises(StorageUnusable, match="migration 2 is unknown here"):
        pending([ONE], [APPLIED_ONE, APPLIED_TWO])


def test_a_hole_in_the_applied_migrations_is_refused() -> None:
    with pytest.raises(StorageUnusable, match="migration 1 is missing"):
        pending([ONE, TWO], [APPLIED_TWO])


def test_line_ends_do_not_change_a_checksum() -> None:
    assert Migration(1, "", "a\r\nb").checksum == Migration(1, "", "a\nb").checksum


@pytest.fixture
async def bridge() -> AsyncIterator[AsyncioThread]:
    async with AsyncioThread() as bridge:
        yield bridge


@pytest.fixture
async def dsn(bridge: AsyncioThread, new_database: NewDatabase) -> str:
    return await new_database(bridge)


def after_ours(*statements: str) -> list[Migration]:
    ours = list(load_migrations())
    start = len(ours) + 1
    return ours + [Migration(start + i, f"{start + i}.sql", s) for i, s in enumerate(statements)]


async def tables(bridge: AsyncioThread, dsn: str) -> set[str]:
    async def look() -> set[str]:
        session = await asyncpg.connect(dsn)
        rows = await session.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        await session.close()
        return {row["tablename"] for row in rows}

    return await bridge.run(look)


@pytest.mark.database
async def test_migrating_twice_applies_nothing_the_second_time(
    bridge: AsyncioThread, dsn: str
) -> None:
    more = after_ours(TWO.sql)
    assert await migrate(bridge, dsn, more) == [more[-1].name]
    assert await migrate(bridge, dsn, more) == []


@pytest.mark.database
async def test_a_failing_migration_leaves_the_one_before(bridge: AsyncioThread, dsn: str) -> None:
    with pytest.raises(StorageUnusable, match="syntax error"):
        await migrate(bridge, dsn, after_ours(ONE.sql, f"{TWO.sql}; CREATE NONSENSE"))
    found = await tables(bridge, dsn)
    assert "one" in found
    assert "two" not in found


@pytest.mark.database
async def test_a_newer_database_is_refused_untouched(bridge: AsyncioThread, dsn: str) -> None:
    await migrate(bridge, dsn, after_ours(ONE.sql))
    with pytest.raises(StorageUnusable, match="newer release"):
        await migrate(bridge, dsn)


@pytest.mark.database
async def test_processes_migrating_at_once_apply_a_migration_once(
    bridge: AsyncioThread, dsn: str
) -> None:
    applied: list[str] = []

    async def run() -> None:
        applied.extend(await migrate(bridge, dsn, after_ours(f"SELECT pg_sleep(0.05); {ONE.sql}")))

    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(run)
    assert len(applied) == 1

"""Migrations: hand-numbered SQL files, applied once each, in order, never backwards.

A file that was applied may never change again: its checksum is kept, and a difference is refused.
So is a database that a newer release has migrated, since this one does not know what it means.
"""

from collections.abc import Sequence
from hashlib import sha256
from importlib.resources import files
from typing import Final

import asyncpg
import msgspec

from engine.errors import StorageUnusable
from engine.storage.bridge import AsyncioThread
from engine.storage.limits import DEFAULT_LIMITS, StoreLimits
from engine.storage.sessions import Connection, close_quietly, faults_translated

MIGRATION_LOCK: Final = int.from_bytes(b"migrate\0")

_CREATE_TABLE: Final = """
    CREATE TABLE IF NOT EXISTS schema_migration (
        number     integer     PRIMARY KEY,
        name       text        NOT NULL,
        checksum   bytea       NOT NULL,
        applied_at timestamptz NOT NULL DEFAULT now()
    )
"""


class Migration(msgspec.Struct, frozen=True):
    """One file of SQL statements that run in one transaction."""

    number: int
    name: str
    sql: str

    @property
    def checksum(self) -> bytes:
        """SHA-256 of the text, however its lines end."""
        return sha256(self.sql.replace("\r\n", "\n").encode()).digest()


def load_migrations() -> tuple[Migration, ...]:
    """The migrations of this release, by number.

    Raises: StorageUnusable when the numbers do not run 1, 2, 3, … without a gap.

    >>> load_migrations()[0].name
    '0001_journal.sql'
    """
    folder = files("engine.storage") / "migrations"
    found = sorted((f for f in folder.iterdir() if f.name.endswith(".sql")), key=lambda f: f.name)
    migrations = tuple(
        Migration(int(file.name.split("_")[0]), file.name, file.read_text("utf-8"))
        for file in found
    )
    if [migration.number for migration in migrations] != list(range(1, len(migrations) + 1)):
        raise StorageUnusable(f"migrations are numbered wrongly: {[m.name for m in migrations]}")
    return migrations


def pending(
    migrations: Sequence[Migration], applied: Sequence[tuple[int, bytes]]
) -> Sequence[Migration]:
    """The migrations still to apply, given (number, checksum) of those applied, in order.

    Raises: StorageUnusable when the database was migrated by other files than ours.
    """
    for (number, checksum), migration in zip(applied, migrations, strict=False):
        if number != migration.number:
            raise StorageUnusable(f"migration {migration.number} is missing from the database")
        if checksum != migration.checksum:
            raise StorageUnusable(f"migration {migration.name} was changed after it was applied")
    if len(applied) > len(migrations):
        unknown = applied[len(migrations)][0]
        raise StorageUnusable(
            f"migration {unknown} is unknown here: a newer release has used this database"
        )
    return migrations[len(applied) :]


async def migrate(
    bridge: AsyncioThread,
    dsn: str,
    migrations: Sequence[Migration] | None = None,
    limits: StoreLimits = DEFAULT_LIMITS,
) -> list[str]:
    """Bring the database up to date; returns the names of what was applied now.

    Waits while another process migrates. Each migration is one transaction: a failed one leaves
    the database as the one before left it.
    Raises: StorageUnusable (see `pending`, or SQL that fails), StorageError (try again).
    """
    wanted = load_migrations() if migrations is None else migrations
    return await bridge.run(_migrate, dsn, wanted, limits)


async def _migrate(dsn: str, migrations: Sequence[Migration], limits: StoreLimits) -> list[str]:
    names: list[str] = []
    async with faults_translated("migrating"):
        session = await asyncpg.connect(
            dsn, timeout=limits.connect_s, server_settings={"application_name": "outcry-migrate"}
        )
        try:
            await session.execute(f"SET lock_timeout = '{int(limits.command_s * 1000)}ms'")
            while (migration := await _apply_next(session, migrations)) is not None:
                names.append(migration.name)
        finally:
            await close_quietly(session)
    return names


async def _apply_next(session: Connection, migrations: Sequence[Migration]) -> Migration | None:
    async with session.transaction():
        await session.execute("SELECT pg_advisory_xact_lock($1)", MIGRATION_LOCK)
        await session.execute(_CREATE_TABLE)
        rows = await session.fetch("SELECT number, checksum FROM schema_migration ORDER BY number")
        todo = pending(migrations, [(row["number"], row["checksum"]) for row in rows])
        if not todo:
            return None
        migration = todo[0]
        try:
            await session.execute(migration.sql)
        except (asyncpg.SyntaxOrAccessError, asyncpg.IntegrityConstraintViolationError) as error:
            raise StorageUnusable(f"migration {migration.name}: {error}") from error
        await session.execute(
            "INSERT INTO schema_migration (number, name, checksum) VALUES ($1, $2, $3)",
            migration.number,
            migration.name,
            migration.checksum,
        )
        return migration

"""Where the read models are in a database: a schema of their own, its version, how it is replaced.

Asyncio code: everything here runs in the storage thread. What readers see is always the schema
`history`; a rebuild fills another one beside it and takes its name.
"""

from importlib.resources import files
from typing import Final

import asyncpg
import msgspec

from engine.storage.sessions import Connection

#: Raised with every change of `history.sql`, or of what the fold puts into it.
VERSION: Final = 1
SCHEMA: Final = "history"
#: Where a rebuild writes until it is published.
NEXT_SCHEMA: Final = "history_next"
#: What was replaced, until it is dropped.
OLD_SCHEMA: Final = "history_old"

#: Columns that every version has.
_MARK: Final = "SELECT version, block_number, sequence, time_ns, effects_kept_after FROM"
_SWAP_LOCK_S: Final = 2.0


class Mark(msgspec.Struct, frozen=True):
    """The one row of a schema's watermark."""

    version: int
    block_number: int
    sequence: int
    time_ns: int
    effects_kept_after: int


async def read_mark(session: Connection, schema: str) -> Mark | None:
    """The mark of a schema, or None if it does not exist."""
    if not await session.fetchval("SELECT to_regclass($1)", f"{schema}.watermark"):
        return None
    row = await session.fetchrow(f"{_MARK} {schema}.watermark")
    return None if row is None else Mark(*row)


async def create(session: Connection, schema: str) -> None:
    """Make a schema with empty tables in it, both or neither."""
    sql = (files("engine.storage") / "history.sql").read_text("utf-8")
    async with session.transaction():
        await session.execute(f"CREATE SCHEMA {schema}")
        await session.execute(f"SET LOCAL search_path TO {schema}")
        await session.execute(sql)
        await session.execute("INSERT INTO watermark (version) VALUES ($1)", VERSION)


async def drop(session: Connection, schema: str) -> None:
    """Remove a schema and all that is in it, if it exists."""
    await session.execute(f"DROP SCHEMA IF EXISTS {schema} CASCADE")


async def publish(session: Connection) -> bool:
    """Let the next schema take the place of the present one, unless it is behind it.

    False also when somebody was in the way for too long. Readers wait for milliseconds at the most
    and find either the old tables or the new ones: names are looked up again once a lock is had.
    """
    await session.execute(f"ANALYZE {', '.join(await _tables(session, NEXT_SCHEMA))}")
    try:
        async with session.transaction():
            swapped = await _swap(session)
    except (asyncpg.LockNotAvailableError, asyncpg.DuplicateSchemaError):
        return False
    if swapped:
        await drop(session, OLD_SCHEMA)
    return swapped


async def _swap(session: Connection) -> bool:
    await session.execute(f"SET LOCAL lock_timeout = '{int(_SWAP_LOCK_S * 1000)}ms'")
    await session.execute("SET LOCAL synchronous_commit = on")  # a rebuild is worth a disk write
    if await session.fetchval("SELECT to_regclass($1)", f"{SCHEMA}.watermark"):
        # A writer touches the watermark first of all, so from here on none is between two tables.
        await session.execute(f"LOCK TABLE {SCHEMA}.watermark IN ACCESS EXCLUSIVE MODE")
        theirs = await session.fetchval(f"SELECT sequence FROM {SCHEMA}.watermark")
        ours = await session.fetchval(f"SELECT sequence FROM {NEXT_SCHEMA}.watermark")
        if ours < theirs:
            return False
        await session.execute(f"ALTER SCHEMA {SCHEMA} RENAME TO {OLD_SCHEMA}")
    await session.execute(f"ALTER SCHEMA {NEXT_SCHEMA} RENAME TO {SCHEMA}")
    return True


async def _tables(session: Connection, schema: str) -> list[str]:
    rows = await session.fetch("SELECT tablename FROM pg_tables WHERE schemaname = $1", schema)
    return [f"{schema}.{row['tablename']}" for row in rows]

"""What a database is and what we may do there, found out without changing anything.

For operators who look before they start an engine; the engine itself refuses by `sessions`.
"""

import asyncpg
import msgspec

from engine.storage.bridge import AsyncioThread
from engine.storage.limits import DEFAULT_LIMITS, StoreLimits
from engine.storage.migrate import load_migrations, pending
from engine.storage.sessions import Connection, close_quietly, faults_translated, refuse_server

_FACTS = """
    SELECT current_setting('server_version') AS server_version,
           current_setting('server_version_num')::int AS version,
           current_setting('server_encoding') AS encoding,
           current_setting('fsync') AS fsync,
           current_setting('full_page_writes') AS full_page_writes,
           pg_is_in_recovery() AS in_recovery,
           current_user::text AS role,
           current_database()::text AS database,
           has_schema_privilege(current_schema(), 'CREATE') AS may_create,
           to_regclass('schema_migration') IS NOT NULL AS is_migrated
"""


class Examination(msgspec.Struct, frozen=True):
    """A database that an engine can use, and what is still to be done there."""

    server_version: str
    database: str
    role: str
    may_create: bool  # tables in the schema, which migrations need
    pending_migrations: int


async def examine(
    bridge: AsyncioThread, dsn: str, limits: StoreLimits = DEFAULT_LIMITS
) -> Examination:
    """Connect once, look, and leave; takes no lock and writes nothing.

    Raises: StorageUnusable naming what has to change; StorageError when there is no answer.
    """
    return await bridge.run(_examine, dsn, limits)


async def _examine(dsn: str, limits: StoreLimits) -> Examination:
    async with faults_translated("examining the database"):
        session = await asyncpg.connect(
            dsn, timeout=limits.connect_s, server_settings={"application_name": "outcry-doctor"}
        )
        try:
            return await _look(session)
        finally:
            await close_quietly(session)


async def _look(session: Connection) -> Examination:
    row = await session.fetchrow(_FACTS)
    facts = dict(row) if row is not None else {}
    refuse_server(facts, allow_unsafe=False)
    applied: list[tuple[int, bytes]] = []
    if facts["is_migrated"]:
        rows = await session.fetch("SELECT number, checksum FROM schema_migration ORDER BY number")
        applied = [(row["number"], row["checksum"]) for row in rows]
    return Examination(
        facts["server_version"],
        facts["database"],
        facts["role"],
        bool(facts["may_create"]),
        len(pending(load_migrations(), applied)),
    )

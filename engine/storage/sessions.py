"""What a PostgreSQL session must be before an engine trusts it with its journal.

Asyncio code: everything here runs in the storage thread. The rule of the file: it looks and
refuses, it never writes a row.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final, Protocol, TypeAlias

import asyncpg

from engine.errors import EngineError, InvariantViolated, StorageError, StorageUnusable

Connection: TypeAlias = "asyncpg.Connection[Any]"

SERVER_VERSION_MIN: Final = 150_000

#: A pooler with several threads may hide once by chance.
PROBES: Final = 3

#: Faults that repeating cannot heal; a person has to change something first.
_UNUSABLE: Final = (
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.InsufficientPrivilegeError,
    asyncpg.UndefinedColumnError,
    asyncpg.exceptions.UnsupportedClientFeatureError,
    asyncpg.exceptions.ClientConfigurationError,
    asyncpg.DataCorruptedError,  # a page whose checksum is wrong
    asyncpg.IndexCorruptedError,
)

#: A dead host must lose its lock soon, and nobody else's settings may weaken our commits.
_WRITER_SETTINGS: Final = {
    "synchronous_commit": "on",
    "idle_session_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "statement_timeout": "0",  # ours is on this side of the connection
    "default_transaction_read_only": "off",
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "30000",
}

_FACTS: Final = """
    SELECT current_setting('server_version_num')::int AS version,
           current_setting('server_encoding') AS encoding,
           current_setting('fsync') AS fsync,
           current_setting('full_page_writes') AS full_page_writes,
           pg_is_in_recovery() AS in_recovery
"""


class Session(Protocol):
    """As much of an asyncpg connection as the pooler probe needs."""

    async def fetchval(self, query: str) -> Any:
        """The first column of the first row."""
        ...

    async def execute(self, query: str) -> str:
        """Run a statement without reading rows."""
        ...


_END: Final = """
    SELECT count(pg_terminate_backend(pid, $2)) FROM pg_stat_activity
    WHERE application_name = $1 AND pid <> pg_backend_pid() AND datname = current_database()
"""
_COUNT: Final = """
    SELECT count(*) FROM pg_stat_activity
    WHERE application_name = $1 AND pid <> pg_backend_pid() AND datname = current_database()
"""


@asynccontextmanager
async def faults_translated(doing: str) -> AsyncIterator[None]:
    """Let only our own faults and contradictions out; what is unknown leaves the outcome unknown.

    Raises: StorageUnusable for what repeating cannot heal, else StorageError.
    """
    try:
        yield
    except (EngineError, InvariantViolated):
        raise
    except asyncpg.UndefinedTableError as error:
        raise StorageUnusable(f"{doing}: {error}; are all migrations applied?") from error
    except _UNUSABLE as error:
        raise StorageUnusable(f"{doing}: {error}") from error
    except TimeoutError as error:
        raise StorageError(f"{doing}: no answer in time") from error
    except Exception as error:  # asyncpg, OSError, protocol faults: the same to us
        raise StorageError(f"{doing}: {type(error).__name__}: {error}") from error


async def configure_writer(session: Connection, *, allow_unsafe: bool) -> None:
    """Set what a committing session needs and refuse a server that cannot keep a promise.

    Raises: StorageUnusable naming the setting; StorageError while the server is a standby.
    """
    facts = await session.fetchrow(_FACTS)
    if facts is None:
        raise StorageError("the server describes nothing")
    refuse_server(dict(facts), allow_unsafe=allow_unsafe)
    for name, value in _WRITER_SETTINGS.items():
        await session.execute(f"SET {name} = '{value}'")
    if await session.fetchval("SHOW synchronous_commit") != "on":
        raise StorageUnusable("synchronous_commit cannot be switched on in this session")


def refuse_server(facts: dict[str, Any], *, allow_unsafe: bool) -> None:
    """Refuse a server by what it says of itself."""
    if facts["version"] < SERVER_VERSION_MIN:
        raise StorageUnusable(
            f"server version {facts['version']}, needed is {SERVER_VERSION_MIN} (PostgreSQL 15)"
        )
    if facts["encoding"] != "UTF8":
        raise StorageUnusable(f"the database is encoded in {facts['encoding']}, UTF8 is needed")
    for name in ("fsync", "full_page_writes"):
        if facts[name] != "on" and not allow_unsafe:
            raise StorageUnusable(f"the server runs with {name}=off: a power cut would lose money")
    if facts["in_recovery"]:
        raise StorageError("the server is a standby or still recovering")


async def refuse_pooler(writer: Session, other: Session) -> None:
    """Refuse a pooler that lends server sessions per transaction or per statement.

    Such a pooler would give our lock to whoever comes next. While `other` is inside a transaction
    it keeps a server session to itself; a pooler either lent it the writer's, which is idle, or
    lends the writer a new one now or later. A true session is the same one throughout.

    Raises: StorageUnusable.
    """
    try:
        true_sessions = all([await _are_apart(writer, other) for _ in range(PROBES)])
    except (
        asyncpg.InvalidSQLStatementNameError,
        asyncpg.exceptions.DuplicatePreparedStatementError,
    ) as error:
        raise StorageUnusable(f"{_POOLER} (a prepared statement vanished)") from error
    if not true_sessions:
        raise StorageUnusable(_POOLER)


async def _are_apart(writer: Session, other: Session) -> bool:
    ask = "SELECT pg_backend_pid()"
    before = await writer.fetchval(ask)
    await other.execute("BEGIN")
    others = await other.fetchval(ask)
    # One shared session would make the writer wait for ever here, so it is asked only if apart.
    during = await writer.fetchval(ask) if others != before else None
    await other.execute("ROLLBACK")
    return bool(before == during == await writer.fetchval(ask))


_POOLER: Final = (
    "a connection pooler in transaction or statement mode stands before the database:"
    " connect to the server itself, or use session mode"
)


async def end_sessions(session: Connection, application_name: str, wait_s: float) -> None:
    """End every other session of that name on the server, and wait until they are gone.

    Raises: StorageError if one of them is still there.
    """
    await session.execute(_END, application_name, int(wait_s * 1000))
    if await session.fetchval(_COUNT, application_name):
        raise StorageError("our earlier session is still alive on the server")


async def close_quietly(session: Connection, close_s: float = 2.0) -> None:
    """Say goodbye if the server listens, else drop the connection. Never raises a fault."""
    try:
        await session.close(timeout=close_s)
    except (TimeoutError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
        session.terminate()
    except asyncio.CancelledError:
        session.terminate()
        raise

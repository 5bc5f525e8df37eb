"""The journal for commands that only read it, whether or not an engine is running."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import quote

from api.diagnosis import data_folder
from config.settings import DatabaseSettings
from engine.errors import StorageUnusable
from engine.storage.bridge import AsyncioThread
from engine.storage.cluster import DATABASE, PORT, ROLE
from engine.storage.embedded import EmbeddedPostgres
from engine.storage.postgres import PostgresJournalStore

_SOCKET_LINE = 4  # of postmaster.pid, counted from 0


@asynccontextmanager
async def reading(settings: DatabaseSettings) -> AsyncIterator[PostgresJournalStore]:
    """A store over the database that `reachable` finds.

    Raises: StorageUnusable, StorageError when there is none to read from.
    """
    async with reachable(settings) as url, AsyncioThread() as bridge:
        store = PostgresJournalStore(bridge, url)
        try:
            yield store
        finally:
            await store.aclose()


@asynccontextmanager
async def reachable(settings: DatabaseSettings) -> AsyncIterator[str]:
    """The URL of the configured server, of a running engine's, or of one started for this.

    Raises: StorageUnusable, StorageError when there is none.
    """
    if settings.url:
        yield settings.url
        return
    folder = data_folder(settings)
    if not (folder / "cluster").exists():
        raise StorageUnusable(f"{folder} holds no journal yet")
    server = EmbeddedPostgres(folder)
    try:
        await server.__aenter__()
    except StorageUnusable:
        url = running_url(folder)
        if url is None:
            raise
        yield url
        return
    try:
        yield server.dsn()
    finally:
        await server.__aexit__(None, None, None)


def running_url(folder: Path) -> str | None:
    """Where the server that an engine keeps running in `folder` is reached, if there is one."""
    try:
        lines = (folder / "cluster" / "postmaster.pid").read_text().splitlines()
        socket_folder = lines[_SOCKET_LINE]
    except (OSError, IndexError):
        return None
    return f"postgresql://{ROLE}@/{DATABASE}?host={quote(socket_folder, safe='')}&port={PORT}"

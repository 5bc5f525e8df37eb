"""Folders for servers and databases that a test may treat badly."""

import itertools
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from engine.storage.bridge import AsyncioThread
from engine.storage.embedded import EmbeddedPostgres

_FOLDERS = itertools.count(1)


@pytest.fixture
def folder(shared_folder: Path) -> Path:
    """A new folder that PostgreSQL's user can enter."""
    folder = shared_folder / f"crash-{next(_FOLDERS)}"
    folder.mkdir(mode=0o711)
    return folder


@pytest.fixture
async def database(folder: Path) -> AsyncIterator[EmbeddedPostgres]:
    """A durable database that outlives the servers under test, with an empty journal."""
    async with EmbeddedPostgres(folder / "database") as server:
        yield server


@pytest.fixture
async def bridge() -> AsyncIterator[AsyncioThread]:
    """A way to PostgreSQL for the test itself."""
    async with AsyncioThread() as bridge:
        yield bridge

"""The server that these tests call at."""

from collections.abc import AsyncIterator

import pytest

from tests.api.client.server import Server, server_running


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    """A server in its first life."""
    async with server_running() as running:
        yield running

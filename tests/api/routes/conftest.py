"""The venue that these tests call at."""

from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
import trio

from api.web.limits import ServerLimits
from engine.settings import EngineSettings
from tests.api.routes.venue import Venue

Open = Callable[..., Awaitable[Venue]]


@pytest.fixture
async def open_venue(nursery: trio.Nursery) -> AsyncIterator[Open]:
    """Opens venues with settings of the engine, closed after the test."""
    opened: list[Venue] = []

    async def open_one(**settings: float) -> Venue:
        venue = Venue(EngineSettings(**{"withdrawal_cooling_off_s": 0.0, **settings}))  # type: ignore[arg-type]
        opened.append(venue)
        await venue.open(nursery, ServerLimits(body_bytes_max=10_000))
        return venue

    yield open_one
    for venue in opened:
        venue.store.move_on()
        await venue.close()


@pytest.fixture
async def venue(open_venue: Open) -> Venue:
    """An open venue."""
    return await open_venue()

"""The demo's market on a journal in memory, with its doors, on a port of its own."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import trio

from api.app import app_of, door_of
from api.demo.seeding import Secrets, TraderSecrets, seed, seed_traders
from api.demo.traders import Does, Trader
from api.settings import ApiSettings
from api.sockets.private import PrivateStream
from api.web.limits import Bind, ServerCounts, ServerLimits
from api.web.server import serve
from engine.gateways.custody import SimulatedCustody
from engine.service import Service
from engine.settings import EngineSettings
from engine.storage.memory import MemoryJournal, MemoryJournalStore
from engine.storage.memory_history import FollowingHistory
from engine.wiring import Engine

PEOPLE = Secrets(admin="ock_admin", alice="ock_alice", bob="ock_bob")
TRADERS = TraderSecrets(makers=("ock_maker1",), takers=("ock_taker1",))
CAST = [
    Trader("maker1", TRADERS.makers[0], Does.MAKES),
    Trader("taker1", TRADERS.takers[0], Does.TAKES),
]


class MovingVenue:
    """A running server; `service` looks behind its doors."""

    def __init__(self, service: Service, url: str, counts: ServerCounts) -> None:
        self.service = service
        self.counts = counts
        self.url = url

    @property
    def trades(self) -> int:
        """How many instruments have traded."""
        return len(self.service.released.last_prices)


@asynccontextmanager
async def moving_venue(
    journal: MemoryJournal, port: int = 0, api: ApiSettings | None = None
) -> AsyncIterator[MovingVenue]:
    """A server, for the length of the block; what was recorded stays in the journal."""
    store = MemoryJournalStore(journal)
    history = FollowingHistory(store)
    engine = Engine(store, SimulatedCustody(), EngineSettings(), history)
    service = Service(engine, history)
    door = door_of(service, api)

    async def run(task_status: Any) -> None:
        await serve(
            app_of(door.edge, door),
            Bind(port=port),
            ServerLimits(),
            sessions={"/v1/stream": PrivateStream(door)},
            counts=door.edge.counts,
            task_status=task_status,
        )

    async with trio.open_nursery() as nursery:
        await nursery.start(engine.run)
        await seed(service, PEOPLE)
        await seed_traders(service, TRADERS)
        [bind] = await nursery.start(run)
        yield MovingVenue(service, bind.url, door.edge.counts)
        nursery.cancel_scope.cancel()


async def until(met: Any, wait_s: float = 10.0) -> None:
    """Wait until a condition is met; nobody tells tests what they want to see."""
    with trio.fail_after(wait_s):
        while not met():  # noqa: ASYNC110
            await trio.sleep(0.01)

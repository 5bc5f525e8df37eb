"""A whole engine on a journal in memory behind its private stream, and clients who speak frames."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import trio

from api.app import door_of
from api.keys.auth import bearer_key
from api.rates import NO_RATES, RateSettings
from api.settings import ApiSettings
from api.sockets.private import PrivateStream
from api.web.limits import ServerLimits
from engine.accounts.messages import (
    CreateAsset,
    CreateInstrument,
    CreateOwner,
    Deposit,
    OpenAccount,
    Permission,
    SetFees,
)
from engine.gateways.custody import SimulatedCustody
from engine.journal.records import Record
from engine.ledger.amounts import AssetKind
from engine.service import HealthStatus, Service
from engine.settings import EngineSettings
from engine.storage.memory import MemoryJournal, MemoryJournalStore
from engine.storage.memory_history import ROWS_KEPT_MAX, FollowingHistory
from engine.units import AccountId, AmountMinor, AssetId, InstrumentId, OwnerId
from engine.wiring import Engine
from tests.api.sockets.conftest import Caller, Hall

ALICE, BOB = AccountId(100), AccountId(101)
PATH = "/v1/stream"
_OF_TRADERS = (Permission.READ, Permission.TRADE)
#: Who holds the key of which secret, in order of key ids from 1.
KEYS = ("admin", "alice", "alice2", "bob", "reader")

_SEED = (
    CreateAsset("BTC", AssetKind.COIN, 8),
    CreateAsset("USD", AssetKind.CURRENCY, 5),
    CreateInstrument("BTC-USD", "BTC", "USD", "0.01", "0.001"),
    SetFees("", InstrumentId(0), 1_000, 2_000),
    CreateOwner("Founders"),
    OpenAccount(OwnerId(1), "Alice"),
    OpenAccount(OwnerId(1), "Bob"),
    bearer_key("ock_admin", Permission.ADMIN),
    bearer_key("ock_alice", *_OF_TRADERS, account_id=ALICE),
    bearer_key("ock_alice2", *_OF_TRADERS, account_id=ALICE),
    bearer_key("ock_bob", *_OF_TRADERS, account_id=BOB),
    bearer_key("ock_reader", Permission.READ, account_id=ALICE),
    *(
        Deposit(account, AssetId(asset), AmountMinor(amount), "seed")
        for account in (ALICE, BOB)
        for asset, amount in ((1, 10**12), (2, 10**14))
    ),
)


class Client:
    """One socket: asks, is answered, and keeps every event that it is told."""

    def __init__(self, caller: Caller) -> None:
        self.caller = caller
        self.events: list[dict[str, Any]] = []
        self.snapshots: list[dict[str, Any]] = []
        self._answers: dict[Any, dict[str, Any]] = {}
        self._ids = itertools.count(1_000_000)  # tests choose lower ones

    async def ask(self, op: str, **fields: Any) -> dict[str, Any]:
        """The answer to one operation."""
        return await self.answer(await self.tell(op, **fields))

    async def tell(self, op: str, **fields: Any) -> int:
        """Send one operation; returns its id."""
        message_id = next(self._ids)
        await self.caller.say({"id": message_id, "op": op, **fields})
        return message_id

    async def answer(self, message_id: Any) -> dict[str, Any]:
        """The answer to the message with this id."""
        while message_id not in self._answers:
            await self.hear()
        return self._answers.pop(message_id)

    async def result(self, op: str, **fields: Any) -> Any:
        """The result of an operation that succeeds."""
        answer = await self.ask(op, **fields)
        assert answer["status"] < 300, answer
        return answer["result"]

    async def place(self, client_order_id: str, **terms: Any) -> Any:
        """The result of placing a limit order at 100, unless `terms` say otherwise."""
        return await self.result("place", order=order(client_order_id, **terms))

    async def hear(self) -> dict[str, Any]:
        """Take in the next message."""
        message: dict[str, Any] = await self.caller.hear()
        match message["type"]:
            case "answer":
                self._answers[message["id"]] = message
            case "snapshot":
                self.snapshots.append(message)
            case "closing":
                pass
            case _:
                self.events.append(message)
        return message

    async def hear_event(self, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The first event, told already or yet to come, that is wanted."""
        seen = 0
        while True:
            for event in self.events[seen:]:
                seen += 1
                if wanted(event):
                    return event
            await self.hear()

    async def subscribe(self, **fields: Any) -> dict[str, Any]:
        """Subscribe, and return the snapshot with all of its parts."""
        await self.result("subscribe", **fields)
        parts = len(self.snapshots)
        while not (self.snapshots[parts:] and self.snapshots[-1]["complete"]):
            await self.hear()
        whole = self.snapshots[-1]
        orders = [order for part in self.snapshots[parts:] for order in part["orders"]]
        return {**whole, "orders": orders}


def order(client_order_id: str, **terms: Any) -> dict[str, Any]:
    """A limit order to buy 1 at 100, unless `terms` say otherwise."""
    return {
        "client_order_id": client_order_id,
        "instrument": "BTC-USD",
        "side": "buy",
        "type": "limit",
        "price": "100.00",
        "quantity": "1.000",
        **terms,
    }


async def until(met: Callable[[], bool], wait_s: float = 10.0) -> None:
    """Wait until a condition is met; nobody tells tests what they want to see."""
    with trio.fail_after(wait_s):
        while not met():  # noqa: ASYNC110
            await trio.sleep(0.005)


class PrivateVenue:
    """One process: an engine, its door, and its clients. Several may share a journal in turn."""

    def __init__(
        self, journal: MemoryJournal, api: ApiSettings, rows_kept_max: int, **settings: Any
    ) -> None:
        self.store = MemoryJournalStore(journal)
        self.history = FollowingHistory(self.store, rows_kept_max)
        self.engine = Engine(
            self.store, SimulatedCustody(), EngineSettings(**settings), self.history
        )
        self.service = Service(self.engine, self.history)
        self.hall = Hall()
        self.limits = ServerLimits()
        self.door = door_of(self.service, api)

    async def open(self, nursery: trio.Nursery) -> None:
        """Start everything, in order."""
        await nursery.start(self.engine.run)
        if not self.service.released.rules.directory.accounts:
            answers = await self.service.submit_batch([(one, 0, "", 0) for one in _SEED])
            assert all(isinstance(one, Record) and one.refusal is None for one in answers)
        sessions = {PATH: PrivateStream(self.door)}

        async def run(task_status: Any) -> None:
            await self.hall.run(sessions, self.limits, task_status)

        [self.hall.bind] = await nursery.start(run)

    @property
    def lives(self) -> int:
        """How often the engine began; 0 while it does not run."""
        running = self.service.health().status is not HealthStatus.DOWN
        return self.engine.lives if running else 0

    @asynccontextmanager
    async def client(self, who: str, *headers: str, **dial: int) -> AsyncIterator[Client]:
        """A socket of a key; of nobody if `who` is empty."""
        if who:
            headers = (f"Authorization: Bearer ock_{who}", *headers)
        async with self.hall.socket(PATH, *headers, **dial) as caller:
            yield Client(caller)


@asynccontextmanager
async def private_venue(
    journal: MemoryJournal | None = None,
    *,
    rates: bool | RateSettings = False,
    rows_kept_max: int = ROWS_KEPT_MAX,
    limits: ServerLimits | None = None,
    **settings: Any,
) -> AsyncIterator[PrivateVenue]:
    """Run a venue; at the end it is killed without farewell."""
    if isinstance(rates, bool):
        rates = RateSettings() if rates else NO_RATES
    api = ApiSettings(rates=rates)
    venue = PrivateVenue(journal or MemoryJournal(), api, rows_kept_max, **settings)
    venue.limits = limits or venue.limits
    async with trio.open_nursery() as nursery:
        await venue.open(nursery)
        yield venue
        nursery.cancel_scope.cancel()

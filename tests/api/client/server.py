"""A whole server in memory on a real port, which can stop, die and come back where it was."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Literal

import msgspec
import trio

from api.app import app_of, door_of
from api.client import calls
from api.client.credentials import Signed
from api.keys.auth import bearer_key
from api.keys.master_secret import MasterSecret, new_salt
from api.rates import NO_RATES
from api.settings import ApiSettings
from api.sockets.feed import feed_session
from api.sockets.private import PrivateStream
from api.web.limits import Bind, ServerLimits
from api.web.server import serve
from engine.accounts.messages import (
    CreateAsset,
    CreateInstrument,
    CreateKey,
    CreateOwner,
    Deposit,
    KeyScheme,
    OpenAccount,
    Permission,
    SetFees,
    role_with,
)
from engine.gateways.custody import SimulatedCustody
from engine.journal.blocks import Block
from engine.journal.records import Record
from engine.ledger.amounts import AssetKind
from engine.service import Service
from engine.settings import EngineSettings
from engine.storage.memory import MemoryJournal, MemoryJournalStore
from engine.storage.memory_history import ROWS_KEPT_MAX, FollowingHistory
from engine.units import AccountId, AmountMinor, AssetId, InstrumentId, OwnerId
from engine.wiring import Engine

ALICE, BOB = AccountId(100), AccountId(101)
ADMIN_KEY, ALICE_KEY, BOB_KEY, SIGNED_KEY = "ock_admin", "ock_alice", "ock_bob", 4
_OF_TRADERS = (Permission.READ, Permission.TRADE, Permission.TRANSFER)


class StallingStore(MemoryJournalStore):
    """A store whose disk can be made to stand still."""

    def __init__(self, journal: MemoryJournal) -> None:
        super().__init__(journal)
        self._moving = trio.Event()
        self._moving.set()
        #: Whether something waits for the disk.
        self.is_waiting = False

    def stall(self) -> None:
        """Let no append finish from here on."""
        self._moving = trio.Event()
        self.is_waiting = False

    def move_on(self) -> None:
        """Let them finish."""
        self._moving.set()

    async def append(self, block: Block) -> None:
        """Commit once the disk moves."""
        self.is_waiting = True
        await self._moving.wait()
        await super().append(block)


class Server:
    """One port, one journal, and one life of a server after the other."""

    def __init__(self, nursery: trio.Nursery, rows_kept_max: int, api: ApiSettings) -> None:
        self._nursery = nursery
        self._rows_kept_max = rows_kept_max
        self._api = api
        self._journal = MemoryJournal()
        self._master = MasterSecret.random()
        self._salt = new_salt()
        self._scope = trio.CancelScope()
        self._stopping, self._stopped = trio.Event(), trio.Event()
        self.service: Service
        self.store: StallingStore
        self.bind = Bind(port=0)

    @property
    def url(self) -> str:
        """Where it listens."""
        return self.bind.url

    def signed(self, **terms: Any) -> Signed:
        """Alice's key that signs."""
        return Signed.hmac(SIGNED_KEY, self._master.secret_of(self._salt), **terms)

    @property
    def secret(self) -> str:
        """The secret of Alice's key that signs."""
        return self._master.secret_of(self._salt)

    async def start(self) -> None:
        """Begin a life."""
        self._scope = trio.CancelScope()
        self._stopping, self._stopped = trio.Event(), trio.Event()
        await self._nursery.start(self._live)

    async def stop(self) -> None:
        """End it with a farewell to all."""
        self._stopping.set()
        await self._stopped.wait()

    async def kill(self) -> None:
        """End it without."""
        self._scope.cancel()
        await self._stopped.wait()

    async def arrived(self) -> None:
        """Wait until a command is on its way to a disk that stands still."""
        await until(lambda: self.store.is_waiting)

    async def move_on_after(self, seconds: float) -> None:
        """Let the disk go on, a little later."""
        await trio.sleep(seconds)
        self.store.move_on()

    async def _live(self, task_status: trio.TaskStatus[None]) -> None:
        self.store = store = StallingStore(self._journal)
        history = FollowingHistory(store, self._rows_kept_max)
        engine = Engine(store, SimulatedCustody(), EngineSettings(), history)
        self.service = Service(engine, history)
        with self._scope:
            async with trio.open_nursery() as nursery:
                await nursery.start(engine.run)
                if not self.service.released.rules.directory.accounts:
                    await self._seed()
                [self.bind] = await nursery.start(self._serve)
                task_status.started()
                await self._stopping.wait()
        self._stopped.set()

    async def _serve(self, task_status: trio.TaskStatus[list[Bind]]) -> None:
        door = door_of(self.service, self._api, self._master)
        await serve(
            app_of(door.edge, door),
            self.bind,
            ServerLimits(shutdown_s_max=1.0),
            sessions={
                "/v1/feed": feed_session(self.service, self._api),
                "/v1/stream": PrivateStream(door),
            },
            stopping=self._stopping,
            task_status=task_status,
        )
        self._scope.cancel()

    async def _seed(self) -> None:
        signing = CreateKey(
            role_with(_OF_TRADERS),
            ALICE,
            "",
            "signs",
            KeyScheme.HMAC,
            self._salt,
            _OF_TRADERS,
        )
        commands = (
            CreateAsset("BTC", AssetKind.COIN, 8),
            CreateAsset("USD", AssetKind.CURRENCY, 5),
            CreateInstrument("BTC-USD", "BTC", "USD", "0.01", "0.001"),
            CreateInstrument("BTC/USD", "BTC", "USD", "0.01", "0.001"),
            SetFees("", InstrumentId(0), 1_000, 2_000),
            CreateOwner("Founders"),
            OpenAccount(OwnerId(1), "Alice"),
            OpenAccount(OwnerId(1), "Bob"),
            bearer_key(ADMIN_KEY, Permission.ADMIN),
            bearer_key(ALICE_KEY, *_OF_TRADERS, account_id=ALICE),
            bearer_key(BOB_KEY, *_OF_TRADERS, account_id=BOB),
            signing,
            *(
                Deposit(account, AssetId(asset), AmountMinor(amount), "seed")
                for account in (ALICE, BOB)
                for asset, amount in ((1, 10**12), (2, 10**14))
            ),
        )
        answers = await self.service.submit_batch([(command, 0, "", 0) for command in commands])
        assert all(isinstance(one, Record) and one.refusal is None for one in answers), answers


@asynccontextmanager
async def server_running(
    rows_kept_max: int = ROWS_KEPT_MAX, api: ApiSettings | None = None
) -> AsyncIterator[Server]:
    """A server in its first life, without rates."""
    api = msgspec.structs.replace(api or ApiSettings(), rates=NO_RATES)
    async with trio.open_nursery() as nursery:
        server = Server(nursery, rows_kept_max, api)
        await server.start()
        yield server
        nursery.cancel_scope.cancel()


def limit(
    client_order_id: str,
    side: Literal["buy", "sell"] = "buy",
    price: str = "100.00",
    quantity: str = "1.000",
    **terms: Any,
) -> calls.LimitForm:
    """A limit order."""
    return calls.LimitForm(
        client_order_id=client_order_id,
        instrument="BTC-USD",
        side=side,
        price=price,
        quantity=quantity,
        **terms,
    )


async def until(met: Callable[[], bool], wait_s: float = 5.0) -> None:
    """Wait until a condition is met; nobody tells tests what they want to see."""
    with trio.fail_after(wait_s):
        while not met():  # noqa: ASYNC110
            await trio.sleep(0.002)


in_thread = partial(trio.to_thread.run_sync, abandon_on_cancel=True)

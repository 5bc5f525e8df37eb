"""A whole engine on a journal in memory, its HTTP door on a free port, and callers at the door."""

from collections.abc import Callable
from typing import Any

import httpx2
import trio

from api.app import create_app
from api.keys.auth import bearer_key
from api.web.limits import Bind, ServerLimits
from api.web.server import serve
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
from engine.journal.blocks import Block
from engine.journal.records import Record
from engine.ledger.amounts import AssetKind
from engine.service import Service
from engine.settings import EngineSettings
from engine.storage.memory import MemoryJournalStore
from engine.storage.memory_history import FollowingHistory
from engine.units import AccountId, AmountMinor, AssetId, InstrumentId, OwnerId
from engine.wiring import Engine

ALICE, BOB = AccountId(100), AccountId(101)
#: Secret by name; every one of these keys is let in.
KEYS = {"admin": "ock_admin", "alice": "ock_alice", "bob": "ock_bob", "reader": "ock_reader"}

OF_TRADERS = (Permission.READ, Permission.TRADE, Permission.TRANSFER)


async def until(met: Callable[[], bool], wait_s: float = 2.0) -> None:
    """Wait until a condition is met; nobody tells tests what they want to see."""
    with trio.fail_after(wait_s):
        while not met():  # noqa: ASYNC110
            await trio.sleep(0.001)


class StallingStore(MemoryJournalStore):
    """A store whose disk can be made to stand still."""

    def __init__(self) -> None:
        super().__init__()
        self._moving = trio.Event()
        self._moving.set()
        self.rereads = 0

    def stall(self) -> None:
        """Let no append finish from here on."""
        self._moving = trio.Event()

    def move_on(self) -> None:
        """Let them finish."""
        self._moving.set()

    async def append(self, block: Block) -> None:
        """Commit once the disk moves."""
        await self._moving.wait()
        await super().append(block)

    async def read_block_of(self, sequence: int) -> Block | None:
        """Count who asks for old answers."""
        self.rereads += 1
        return await super().read_block_of(sequence)


class StallingHistory(FollowingHistory):
    """A history that can be made to fall behind its journal."""

    stalls = False

    async def _ready(self) -> None:
        if not self.stalls:
            await super()._ready()


class Caller:
    """One key's way to the door."""

    def __init__(self, client: httpx2.AsyncClient, secret: str | None) -> None:
        self.client = client
        self._headers = {} if secret is None else {"Authorization": f"Bearer {secret}"}

    async def ask(
        self, method: str, path: str, body: Any = None, *, key: str = "", **headers: str
    ) -> httpx2.Response:
        """Send a request; `body` is sent as JSON, text and bytes as they are."""
        sent = {**self._headers, **headers}
        if key:
            sent["Idempotency-Key"] = key
        if isinstance(body, str | bytes):
            sent.setdefault("Content-Type", "application/json")
            return await self.client.request(method, path, content=body, headers=sent)
        return await self.client.request(method, path, json=body, headers=sent)

    async def get(self, path: str) -> Any:
        """The JSON of a successful GET."""
        return self.read(await self.ask("GET", path), 200)

    async def post(self, path: str, status: int = 201, key: str = "", **body: Any) -> Any:
        """The JSON that a POST is answered with, with the status expected."""
        return self.read(await self.ask("POST", path, body, key=key), status)

    async def place(self, client_order_id: str, status: int = 201, **terms: Any) -> Any:
        """The answer to a limit order at 100, unless `terms` say otherwise."""
        order = {
            "client_order_id": client_order_id,
            "instrument": "BTC-USD",
            "side": "buy",
            "type": "limit",
            **({} if "type" in terms else {"price": "100.00", "quantity": "1.000"}),
            **terms,
        }
        return self.read(await self.ask("POST", "/v1/orders", order), status)

    async def delete(self, path: str, status: int = 200, key: str = "") -> Any:
        """The JSON that a DELETE is answered with."""
        return self.read(await self.ask("DELETE", path, key=key), status)

    async def put(self, path: str, status: int = 200, **body: Any) -> Any:
        """The JSON that a PUT is answered with."""
        return self.read(await self.ask("PUT", path, body), status)

    def read(self, response: httpx2.Response, status: int) -> Any:
        """The JSON of a response of the status expected; of an error, what stands inside."""
        assert response.status_code == status, response.text
        assert response.headers["content-type"] == "application/json"
        assert response.headers["x-request-id"]
        content = response.json()
        return content.get("error", content)


class Venue:
    """A running engine with BTC-USD (ticks of 0.01, lots of 0.001) and two funded accounts."""

    def __init__(self, settings: EngineSettings) -> None:
        self.store = StallingStore()
        self.history = StallingHistory(self.store)
        self.custody = SimulatedCustody()
        self.engine = Engine(self.store, self.custody, settings)
        self.service = Service(self.engine, self.history)
        self.bind = Bind(port=0)

    async def open(self, nursery: trio.Nursery, limits: ServerLimits) -> None:
        """Start everything, in order."""
        await nursery.start(self.engine.run)
        await self._seed()
        app = create_app(self.service)

        async def serve_it(task_status: "trio.TaskStatus[list[Bind]]") -> None:
            await serve(app, self.bind, limits, task_status=task_status)

        [self.bind] = await nursery.start(serve_it)
        self._client = httpx2.AsyncClient(
            base_url=self.bind.url, timeout=10, trust_env=False, verify=False
        )
        self.admin, self.alice, self.bob, self.reader = (
            self.caller(KEYS[name]) for name in ("admin", "alice", "bob", "reader")
        )
        self.nobody = self.caller(None)

    def caller(self, secret: str | None) -> Caller:
        """A caller with this key."""
        return Caller(self._client, secret)

    async def close(self) -> None:
        """Hang up on behalf of all callers."""
        await self._client.aclose()

    async def _seed(self) -> None:
        commands = (
            CreateAsset("BTC", AssetKind.COIN, 8),
            CreateAsset("USD", AssetKind.CURRENCY, 5),
            CreateInstrument("BTC-USD", "BTC", "USD", "0.01", "0.001"),
            CreateInstrument("BTC/USD", "BTC", "USD", "0.01", "0.001"),
            SetFees("", InstrumentId(0), 1_000, 2_000),
            CreateOwner("Founders"),
            OpenAccount(OwnerId(1), "Alice"),
            OpenAccount(OwnerId(1), "Bob"),
            bearer_key(KEYS["admin"], Permission.ADMIN),
            bearer_key(KEYS["alice"], *OF_TRADERS, account_id=ALICE),
            bearer_key(KEYS["bob"], *OF_TRADERS, account_id=BOB),
            bearer_key(KEYS["reader"], Permission.READ, account_id=ALICE),
            *(
                Deposit(account, AssetId(asset), AmountMinor(amount), "seed")
                for account in (ALICE, BOB)
                for asset, amount in ((1, 1_000_000_000), (2, 100_000_000_000))
            ),
        )
        answers = await self.service.submit_batch([(command, 0, "", 0) for command in commands])
        assert all(isinstance(one, Record) and one.refusal is None for one in answers)

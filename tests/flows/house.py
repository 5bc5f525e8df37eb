"""A whole engine over a journal in memory, with customers, money and an oracle.

`house` runs one engine process in a test's nursery; several may share one `MemoryJournal`, one
after the other (a restart) or at once (fencing). When the process is closed in order, what it
showed is compared with the fold of its journal from the very beginning.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from copy import copy
from typing import Any

import trio
from trio.testing import wait_all_tasks_blocked

from engine.accounts.messages import (
    CreateAsset,
    CreateInstrument,
    CreateOwner,
    Deposit,
    OpenAccount,
    SetFees,
)
from engine.gateways.custody import SimulatedCustody
from engine.journal.blocks import GENESIS_DIGEST, Head, check_follows
from engine.journal.records import Record, decode, encode
from engine.journal.state import EngineState
from engine.ledger.amounts import AssetKind
from engine.orderbook.messages import CancelOrder, OrderKind, PlaceOrder, TimeInForce
from engine.ports import Custody, History
from engine.service import Service
from engine.settings import EngineSettings
from engine.storage.memory import MemoryJournal, MemoryJournalStore
from engine.storage.memory_history import FollowingHistory
from engine.units import (
    AccountId,
    AmountMinor,
    AssetId,
    InstrumentId,
    OrderId,
    OwnerId,
    PriceTicks,
    QuantityLots,
    Side,
    TimeNs,
)
from engine.wiring import Engine

BASE, QUOTE = AssetId(1), AssetId(2)
ONE, TWO = InstrumentId(1), InstrumentId(2)
ANN, BOB = AccountId(100), AccountId(101)
FUNDS = AmountMinor(1_000_000)


class House:
    """One engine process, as its callers see it."""

    def __init__(self, journal: MemoryJournal, engine: Engine, scope: trio.CancelScope) -> None:
        self.journal = journal
        self.engine = engine
        self.service = Service(engine, FollowingHistory(engine.store))
        self._scope = scope

    @property
    def desks(self) -> Any:
        """The desks' actor of the present life."""
        return self.engine.line.desks

    async def submit(self, command: Any, key: str = "", digest: int = 0) -> Record:
        """Have a command decided, under a key of its account if stated."""
        scope = getattr(command, "account_id", 0)
        return await self.service.submit(command, scope=scope, key=key, body_digest=digest)

    async def founded(self) -> "House":
        """Make two instruments, two accounts and their money known."""
        for command in _FOUNDATION:
            record = await self.submit(command)
            assert record.refusal is None, record
        return self

    def kill(self) -> None:
        """End the process without any farewell."""
        self._scope.cancel()

    def balance(self, account_id: AccountId, asset_id: AssetId) -> tuple[int, int]:
        """Posted and held, as released."""
        balance = self.service.released.ledger.balance(account_id, asset_id)
        return (0, 0) if balance is None else (balance.posted_minor, balance.held_minor)

    def check(self) -> None:
        """Prove the books, and that all that is visible is the fold of the journal."""
        state = folded(self.journal)
        state.released.ledger.check_invariants()
        line = self.engine.line
        live = EngineState()
        live.released, live.accounts = copy(line.released), state.accounts
        assert line.released.keys.contradiction(state.released.keys) == ""
        live.released.keys = state.released.keys  # what it forgets is its own affair
        live.withdrawals, live.sessions = state.withdrawals, state.sessions
        live.desks = dict(state.desks)
        assert line.released.sequence == state.released.sequence
        assert live.snapshot() == state.snapshot()
        for desk_id, desk in self.desks.desks.items():
            if desk_id > 0 and desk.health == "LIVE":
                desk.machine.check_invariants()
                assert desk.machine.snapshot() == state.machine(desk_id).snapshot()
        check_holds(state)


def folded(journal: MemoryJournal) -> EngineState:
    """The state that the journal's blocks, proven to be a chain without gaps, amount to."""
    state, head = EngineState(), Head(0, 0, 0, GENESIS_DIGEST)
    for block in journal.blocks:
        check_follows(head, block)
        state.apply_all(decode(block.payload))
        head = block.head
    for instrument_id in state.accounts.rules.directory.instruments:
        state.desk(instrument_id)
    return state


def records_of(journal: MemoryJournal) -> list[Record]:
    """Every record of a journal, in sequence."""
    return [record for block in journal.blocks for record in decode(block.payload)]


def same(one: Record, other: Record) -> bool:
    """Whether two records are the same on paper."""
    return encode([one]) == encode([other])


def check_holds(state: EngineState) -> None:
    """Prove that nothing is held but for open orders and withdrawals under way."""
    released = state.released
    accounts = state.accounts.rules.directory.accounts
    wanting = {one for who in accounts for one in released.orders.open_of(who)}
    under_way = ("COOLING", "SUBMITTED", "UNKNOWN")
    wanting.update(w.withdrawal_id for w in released.withdrawals.all() if w.status in under_way)
    assert {hold.group_id for hold in released.ledger.snapshot().holds} == wanting


@asynccontextmanager
async def house(
    journal: MemoryJournal | None = None,
    *,
    store: MemoryJournalStore | None = None,
    custody: Custody | None = None,
    history: History | None = None,
    **settings: Any,
) -> AsyncIterator[House]:
    """Run an engine process; at the end wait until it is at rest, check it and kill it."""
    store = store or MemoryJournalStore(journal or MemoryJournal())
    engine = Engine(store, custody or SimulatedCustody(), EngineSettings(**settings), history)
    async with trio.open_nursery() as nursery:
        await nursery.start(engine.run)
        one = House(store.journal, engine, nursery.cancel_scope)
        yield one
        if not nursery.cancel_scope.cancel_called:
            await wait_all_tasks_blocked()
            one.check()
            nursery.cancel_scope.cancel()


_FOUNDATION = (
    CreateAsset("BASE", AssetKind.COIN, 0),
    CreateAsset("QUOTE", AssetKind.CURRENCY, 0),
    CreateInstrument("ONE", "BASE", "QUOTE", "1", "1"),
    CreateInstrument("TWO", "BASE", "QUOTE", "1", "1"),
    CreateOwner("house"),
    OpenAccount(OwnerId(1), "ann"),
    OpenAccount(OwnerId(1), "bob"),
    SetFees("", InstrumentId(0), 1_000, 2_000),
    *(
        Deposit(account_id, asset_id, FUNDS, "")
        for account_id in (ANN, BOB)
        for asset_id in (BASE, QUOTE)
    ),
)


def buy(lots: int, price: int, *, by: AccountId = ANN, on: InstrumentId = ONE) -> PlaceOrder:
    """A limit order to buy."""
    return _limit(by, on, Side.BUY, price, lots)


def sell(lots: int, price: int, *, by: AccountId = BOB, on: InstrumentId = ONE) -> PlaceOrder:
    """A limit order to sell."""
    return _limit(by, on, Side.SELL, price, lots)


def buy_until(now_ns: int, lots: int, price: int) -> PlaceOrder:
    """A limit order to buy that lives until a deadline."""
    return PlaceOrder(
        ANN,
        ONE,
        Side.BUY,
        OrderKind.LIMIT,
        PriceTicks(price),
        QuantityLots(lots),
        time_in_force=TimeInForce.GTD,
        expires_at_ns=TimeNs(now_ns),
    )


def cancel(order_id: int, *, by: AccountId = ANN, on: InstrumentId = ONE) -> CancelOrder:
    """Withdraw an order."""
    return CancelOrder(by, on, OrderId(order_id))


def _limit(
    account_id: AccountId, instrument_id: InstrumentId, side: Side, price: int, lots: int
) -> PlaceOrder:
    return PlaceOrder(
        account_id, instrument_id, side, OrderKind.LIMIT, PriceTicks(price), QuantityLots(lots)
    )

"""How long does a restart take, and what does a resting order weigh?

A journal of real flow is made in memory first; what is timed is folding it from zero, taking a
snapshot, and coming up from that snapshot.
"""

import gc
import time
import tracemalloc
from collections.abc import Callable
from typing import Any, Final

import trio

from bench.engine import ACCOUNTS, BATCHES, running, seed_market, send
from bench.machine import machine_line, spread
from bench.order_flow import order_flow
from engine.actors.recovery import recover
from engine.journal.keys import KeyIndex
from engine.journal.state import EngineState
from engine.ledger.ledger import Ledger
from engine.ledger.messages import Entry, EntryPurpose
from engine.ledger.system_accounts import CLEARING, OPEN_ENDED
from engine.orderbook.instrument import Instrument
from engine.orderbook.messages import OrderKind, PlaceOrder
from engine.products.exchange.desk import InstrumentDesk
from engine.products.exchange.messages import Reserved
from engine.runtime import tune
from engine.storage.memory import MemoryJournal, MemoryJournalStore
from engine.units import (
    AccountId,
    AmountMinor,
    AssetId,
    InstrumentId,
    PriceTicks,
    QuantityLots,
    Sequence,
    Side,
    TimeNs,
)

MILLION: Final = 1_000_000


def recover_report(*, orders: int = 200_000, repeats: int = 3, seed: int = 1) -> dict[str, Any]:
    """Seconds per million records folded and loaded from a snapshot, and bytes per order."""
    tune()
    journal = MemoryJournal()
    trio.run(_fill, journal, orders, seed)
    records = journal.head.sequence
    state = trio.run(_recovered, journal)
    payload = state.snapshot()
    del state
    scale = MILLION / records
    folds = _timed(repeats, lambda: trio.run(_recovered, journal))
    loads = _timed(repeats, lambda: EngineState().restore(payload))
    return {
        "machine": machine_line(),
        "seed": seed,
        "records": records,
        "fold_s_per_million": spread([round(s * scale, 2) for s in folds]),
        "snapshot_bytes": len(payload),
        "snapshot_load_s": spread([round(s, 3) for s in loads]),
        "bytes_per_resting_order": round(resting_order_bytes(), 1),
    }


def _timed(repeats: int, work: Callable[[], Any]) -> list[float]:
    times = []
    for _ in range(repeats):
        gc.collect()
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return times


async def _fill(journal: MemoryJournal, orders: int, seed: int) -> None:
    async with running(MemoryJournalStore(journal)) as (_, service):
        accounts, traded = await seed_market(service, 1)
        flow = order_flow(orders, seed, accounts, traded)
        await send(flow, BATCHES, service.submit, service.submit_batch)


async def _recovered(journal: MemoryJournal) -> EngineState:
    return await recover(MemoryJournalStore(journal), EngineState, journal.head)


def resting_order_bytes(orders: int = 100_000) -> float:
    """Bytes that one resting order with a client id costs in book, accounts and keys together."""
    instrument = Instrument(
        InstrumentId(1), "B", AssetId(1), AssetId(2), AmountMinor(1), AmountMinor(1), "1", "1"
    )
    desk, ledger, keys = InstrumentDesk(instrument), Ledger(OPEN_ENDED), KeyIndex()
    accounts = [AccountId(100 + number) for number in range(ACCOUNTS)]
    for account in accounts:
        funds = AmountMinor(10**15)
        ledger.apply([Entry(CLEARING, account, AssetId(2), funds, EntryPurpose.DEPOSIT)], [])
    tracemalloc.start()
    gc.collect()
    before = tracemalloc.get_traced_memory()[0]
    for number in range(orders):
        _rest(desk, ledger, keys, accounts[number % ACCOUNTS], number)
    gc.collect()
    after = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    return (after - before) / orders


def _rest(
    desk: InstrumentDesk, ledger: Ledger, keys: KeyIndex, account: AccountId, number: int
) -> None:
    sequence, price = Sequence(1_000_000 + number), PriceTicks(5_000 + number % 1_000)
    lots = QuantityLots(1_000 + number)
    order = PlaceOrder(account, InstrumentId(1), Side.BUY, OrderKind.LIMIT, price, lots)
    reserved = Reserved(account, AssetId(2), AmountMinor(price * lots), 500, 1_000)
    decision = desk.decide(sequence, TimeNs(1), order, reserved)
    ledger.apply(decision.entries, decision.holds)
    keys.add(account, f"client-order-{sequence}", sequence, 2**63 + number)

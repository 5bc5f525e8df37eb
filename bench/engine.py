"""How fast is the whole line: accounts, book, journal, release, on memory and on PostgreSQL?

The load generator runs in the same process, as the engine's door does; what it costs alone is
stated beside the result. Latency at a fixed rate is counted from the moment an order was due, not
from when the generator came to send it, so a stalled engine cannot hide behind a waiting client.
"""

import gc
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any, Final

import msgspec
import trio

from bench.machine import fsync_ms, lookup_ns, machine_line, percentiles_ms, spread
from bench.order_flow import Keyed, order_flow
from engine.accounts.messages import (
    CreateAsset,
    CreateInstrument,
    CreateOwner,
    Deposit,
    OpenAccount,
    SetFees,
)
from engine.gateways.custody import SimulatedCustody
from engine.journal.records import Record
from engine.ledger.amounts import AssetKind
from engine.ports import JournalStore
from engine.runtime import freeze, tune
from engine.service import Service
from engine.settings import EngineSettings
from engine.storage.bridge import AsyncioThread
from engine.storage.embedded import EmbeddedPostgres
from engine.storage.memory import MemoryJournal, MemoryJournalStore
from engine.storage.memory_history import FollowingHistory
from engine.storage.migrate import migrate
from engine.storage.postgres import PostgresJournalStore
from engine.units import AccountId, AmountMinor, AssetId, InstrumentId, OwnerId
from engine.wiring import Engine

ACCOUNTS: Final = 100
FUNDS: Final = AmountMinor(10**15)


class Load(msgspec.Struct, frozen=True):
    """One way of sending: how many callers, how many orders a call, how often."""

    name: str
    callers: int
    batch: int = 1
    rate: float | None = None  # orders a second; None sends as fast as answers come


SINGLE: Final = Load("single", callers=400)
BATCHES: Final = Load("batches", callers=8, batch=100)


def engine_report(
    *,
    store: str = "memory",
    orders: int = 100_000,
    instruments: int = 1,
    repeats: int = 3,
    seed: int = 1,
    loads: tuple[Load, ...] = (SINGLE, BATCHES),
    half_load: bool = True,
) -> dict[str, Any]:
    """Throughput of each load, then latency at half of the single callers' rate.

    Every repeat runs on a fresh journal. Rates are orders answered per second of wall time.
    """
    tune()
    report: dict[str, Any] = {
        "machine": machine_line(),
        "store": store,
        "orders": orders,
        "instruments": instruments,
        "seed": seed,
    }
    with tempfile.TemporaryDirectory(prefix="outcry-bench-") as folder:
        Path(folder).chmod(0o755)  # started by root, the database runs under another account
        if store == "postgres":
            report["fsync_ms"] = fsync_ms(Path(folder))
        for load in loads:
            runs = [
                _run(
                    store, orders, instruments, seed + number, load, f"{folder}/{load.name}{number}"
                )
                for number in range(repeats)
            ]
            report[load.name] = _summary(runs)
        if half_load:
            rate = report[loads[0].name]["orders_per_second"]["median"] / 2
            load = Load("half_load", SINGLE.callers, rate=rate)
            run = _run(store, int(rate * 5), instruments, seed, load, f"{folder}/half")
            report["half_load"] = {"rate": round(rate), "latency_ms": run["latency_ms"]}
    report["generator_us_per_order"] = round(_generator_cost_us(orders, instruments, seed), 2)
    return report


def _summary(runs: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "lookup_ns": spread([round(run["lookup_ns"], 1) for run in runs]),
        "orders_per_second": spread([round(run["rate"]) for run in runs]),
        "cpu_us_per_order": spread([round(run["cpu_us"], 2) for run in runs]),
        "latency_ms": runs[-1]["latency_ms"],
        "blocks": runs[-1]["blocks"],
    }


def _run(
    store: str, orders: int, instruments: int, seed: int, load: Load, folder: str
) -> dict[str, Any]:
    return trio.run(_measure, store, orders, instruments, seed, load, Path(folder))


async def _measure(
    store: str, orders: int, instruments: int, seed: int, load: Load, folder: Path
) -> dict[str, Any]:
    async with open_store(store, folder) as journal, running(journal) as (engine, service):
        accounts, traded = await seed_market(service, instruments)
        flow = order_flow(orders, seed, accounts, traded)
        freeze()
        block_before = engine.line.journal.head.number
        began, cpu_began = time.perf_counter(), time.process_time()
        latencies = await send(flow, load, service.submit, service.submit_batch, seed)
        wall, cpu = time.perf_counter() - began, time.process_time() - cpu_began
        gc.unfreeze()
        return {
            "lookup_ns": lookup_ns(),
            "rate": orders / wall,
            "cpu_us": cpu / orders * 1e6,
            "latency_ms": percentiles_ms(latencies),
            "blocks": engine.line.journal.head.number - block_before,
        }


@asynccontextmanager
async def open_store(kind: str, folder: Path) -> AsyncIterator[JournalStore]:
    """A journal to measure on: memory, or an embedded PostgreSQL of its own."""
    if kind == "memory":
        yield MemoryJournalStore(MemoryJournal())
        return
    async with EmbeddedPostgres(folder) as server, AsyncioThread() as bridge:
        await migrate(bridge, server.dsn())
        yield PostgresJournalStore(bridge, server.dsn())


@asynccontextmanager
async def running(store: JournalStore) -> AsyncIterator[tuple[Engine, Service]]:
    """An engine that is up, with its service."""
    engine = Engine(
        store,
        SimulatedCustody(),
        EngineSettings(order_slots_max=65_536, cancel_slots_max=65_536, edge_deadline_s=60.0),
    )
    async with trio.open_nursery() as nursery:
        await nursery.start(engine.run)
        yield engine, Service(engine, FollowingHistory(store))
        nursery.cancel_scope.cancel()


async def seed_market(
    service: Service, instruments: int
) -> tuple[list[AccountId], list[InstrumentId]]:
    """Two assets, instruments, fees, and funded accounts."""
    await service.submit(CreateAsset("BTC", AssetKind.COIN, 8))
    await service.submit(CreateAsset("USD", AssetKind.CURRENCY, 2))
    await service.submit(CreateOwner("bench"))
    await service.submit(SetFees("", InstrumentId(0), 500, 1_000))
    traded = []
    for number in range(instruments):
        await service.submit(CreateInstrument(f"B{number}", "BTC", "USD", "0.01", "1"))
        traded.append(InstrumentId(number + 1))
    accounts = []
    for number in range(ACCOUNTS):
        record = await service.submit(OpenAccount(OwnerId(1), f"account {number}"))
        account = record.events[0].account.account_id  # type: ignore[union-attr]
        accounts.append(account)
        for asset in (1, 2):
            await service.submit(Deposit(account, AssetId(asset), FUNDS, "bench"))
    return accounts, traded


async def send(
    flow: list[Keyed],
    load: Load,
    submit: Callable[..., Awaitable[Any]],
    submit_batch: Callable[..., Awaitable[Any]],
    seed: int = 1,
) -> list[float]:
    """Send the flow as the load says; returns each call's latency in seconds."""
    latencies: list[float] = []
    if load.rate is not None:
        await _send_at_rate(flow, load.rate, submit, latencies, Random(seed))
        return latencies
    parts: Iterator[Any] = (
        iter(flow)
        if load.batch == 1
        else iter([flow[at : at + load.batch] for at in range(0, len(flow), load.batch)])
    )

    async def single() -> None:
        for command, scope, key, body_digest in parts:
            began = time.perf_counter()
            await submit(command, scope=scope, key=key, body_digest=body_digest)
            latencies.append(time.perf_counter() - began)

    async def batches() -> None:
        for part in parts:
            began = time.perf_counter()
            await submit_batch(part)
            latencies.append(time.perf_counter() - began)

    async with trio.open_nursery() as nursery:
        for _ in range(load.callers):
            nursery.start_soon(single if load.batch == 1 else batches)
    return latencies


async def _send_at_rate(
    flow: list[Keyed],
    rate: float,
    submit: Callable[..., Awaitable[Any]],
    latencies: list[float],
    random: Random,
) -> None:
    """Open loop: orders fall due at random (Poisson) times, whatever the engine does."""

    async def one(keyed: Keyed, due: float) -> None:
        command, scope, key, body_digest = keyed
        try:
            await submit(command, scope=scope, key=key, body_digest=body_digest)
        finally:
            latencies.append(time.perf_counter() - due)

    due = time.perf_counter()
    async with trio.open_nursery() as nursery:
        for keyed in flow:
            due += random.expovariate(rate)
            wait_s = due - time.perf_counter()
            if wait_s > 0:
                await trio.sleep(wait_s)
            nursery.start_soon(one, keyed, due)


def _generator_cost_us(orders: int, instruments: int, seed: int) -> float:
    """What 400 callers cost when every order is answered at once, without an engine."""
    accounts = [AccountId(100 + number) for number in range(ACCOUNTS)]
    traded = [InstrumentId(number + 1) for number in range(instruments)]
    flow = order_flow(orders, seed, accounts, traded)

    async def answer(*_: Any, **__: Any) -> Record | None:
        await trio.lowlevel.checkpoint()
        return None

    began = time.process_time()
    trio.run(send, flow, SINGLE, answer, answer, seed)
    return (time.process_time() - began) / orders * 1e6

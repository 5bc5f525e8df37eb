"""How fast does the projector drain a journal into real read models, and does it keep up live?

Draining: an engine fills the journal first and is gone when the clock starts; what is timed is
everything between stored blocks and the committed watermark. Live: an engine trades at a fixed rate
while a projector in a process of its own follows, and a reader asks how far it has come.
"""

import gc
import os
import sys
import tempfile
import time
from collections import Counter, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

import trio

from bench.engine import BATCHES, SINGLE, Load, running, seed_market, send
from bench.machine import lookup_ns, machine_line, percentiles_ms, spread
from bench.order_flow import order_flow
from engine.errors import InvariantViolated
from engine.history.rows import Rows
from engine.journal.blocks import seal
from engine.ports import Watermark
from engine.projector.process import keep_projecting
from engine.projector.projection import Projection
from engine.runtime import tune
from engine.service import Service
from engine.settings import ProjectorSettings
from engine.storage.bridge import AsyncioThread
from engine.storage.embedded import EmbeddedPostgres
from engine.storage.history import PostgresHistory
from engine.storage.history_figures import table_bytes
from engine.storage.history_writer import PostgresHistoryWriter
from engine.storage.memory import MemoryJournal, MemoryJournalStore
from engine.storage.migrate import migrate
from engine.storage.postgres import PostgresJournalStore

_LOOK_EVERY_S: Final = 0.02


class CountingWriter(PostgresHistoryWriter):
    """Counts the rows of each table on their way."""

    def __init__(self, bridge: AsyncioThread, dsn: str) -> None:
        super().__init__(bridge, dsn)
        self.rows = Counter[str]()

    async def write(self, rows: Rows, before: Watermark, after: Watermark) -> None:
        """See `HistoryWriter.write`."""
        self.rows.update({name: len(getattr(rows, name)) for name in rows.__struct_fields__})
        await super().write(rows, before, after)


def projector_report(
    *,
    orders: int = 100_000,
    instruments: int = 1,
    repeats: int = 3,
    seed: int = 1,
    live_rate: int = 10_000,
    live_s: int = 10,
) -> dict[str, Any]:
    """Orders and rows a second from large blocks and small ones, bytes on disk, and lag live."""
    tune()
    report: dict[str, Any] = {
        "machine": machine_line(),
        "orders": orders,
        "instruments": instruments,
        "seed": seed,
    }
    with tempfile.TemporaryDirectory(prefix="outcry-bench-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # started by root, the database runs under another account
        for load in (BATCHES, SINGLE):
            journal = MemoryJournal()
            trio.run(_fill, journal, orders, instruments, seed, load)
            runs = [
                trio.run(_drain, journal, orders, folder / f"{load.name}{number}")
                for number in range(repeats)
            ]
            report[load.name] = _summary(runs)
        if live_rate:
            orders = live_rate * live_s
            load = Load("live", SINGLE.callers, rate=live_rate)
            report["live"] = trio.run(_live, orders, instruments, seed, load, folder / "live")
    return report


def _summary(runs: list[dict[str, Any]]) -> dict[str, Any]:
    last = runs[-1]
    return {
        "lookup_ns": spread([run["lookup_ns"] for run in runs]),
        "orders_per_second": spread([round(run["orders_per_second"]) for run in runs]),
        "rows_per_second": spread([round(run["rows_per_second"]) for run in runs]),
        "cpu_us_per_order": spread([round(run["cpu_us"], 1) for run in runs]),
        **{name: last[name] for name in ("blocks", "rows", "disk_bytes_per_order")},
    }


async def _fill(
    journal: MemoryJournal, orders: int, instruments: int, seed: int, load: Load
) -> None:
    async with running(MemoryJournalStore(journal)) as (_, service):
        accounts, traded = await seed_market(service, instruments)
        flow = order_flow(orders, seed, accounts, traded)
        await send(flow, load, service.submit, service.submit_batch)


async def _drain(journal: MemoryJournal, orders: int, folder: Path) -> dict[str, Any]:
    async with _database(folder) as (bridge, dsn):
        await _copy(journal, PostgresJournalStore(bridge, dsn))
        store, history = PostgresJournalStore(bridge, dsn), CountingWriter(bridge, dsn)
        projection = Projection(store, history, ProjectorSettings())
        await projection.begin()
        gc.collect()
        gc.freeze()
        began, cpu_began = time.perf_counter(), time.process_time()
        while await projection.advance():
            pass
        wall, cpu = time.perf_counter() - began, time.process_time() - cpu_began
        gc.unfreeze()
        if projection.head.sequence != journal.head.sequence:
            raise InvariantViolated("the projector did not reach the end")
        await history.aclose()
        await store.aclose()
        weight = await table_bytes(bridge, dsn)
    return {
        "orders_per_second": orders / wall,
        "rows_per_second": history.rows.total() / wall,
        "cpu_us": cpu / orders * 1e6,
        "blocks": journal.head.number,
        "rows": dict(history.rows),
        "disk_bytes_per_order": round(sum(weight.values()) / orders),
        "lookup_ns": round(lookup_ns(), 1),
    }


@asynccontextmanager
async def _database(folder: Path) -> AsyncIterator[tuple[AsyncioThread, str]]:
    async with EmbeddedPostgres(folder) as server, AsyncioThread() as bridge:
        await migrate(bridge, server.dsn())
        yield bridge, server.dsn()


async def _copy(journal: MemoryJournal, store: PostgresJournalStore) -> None:
    """Write a journal's blocks into a database, sealed again in the epoch that begins there."""
    head = await store.open()
    for block in journal.blocks:
        sealed = seal(head, block.last_sequence, block.payload)
        await store.append(sealed)
        head = sealed.head
    await store.aclose()


async def _live(
    orders: int, instruments: int, seed: int, load: Load, folder: Path
) -> dict[str, Any]:
    """How far behind the released state the read models are, as a reader beside the engine sees."""
    looks: list[tuple[int, float]] = []
    async with (
        _database(folder) as (bridge, dsn),
        running(PostgresJournalStore(bridge, dsn)) as (_, service),
        trio.open_nursery() as nursery,
    ):
        history = PostgresHistory(bridge, dsn)
        accounts, traded = await seed_market(service, instruments)
        flow = order_flow(orders, seed, accounts, traded)
        environ = {**os.environ, "OUTCRY__DATABASE__URL": dsn}
        argv = [sys.executable, "-m", "api", "projector", "--until-input-ends"]
        await nursery.start(partial(keep_projecting, argv, env=environ))
        await _caught_up(service, history)
        nursery.start_soon(_look, service, history, looks)
        began = time.perf_counter()
        latencies = await send(flow, load, service.submit, service.submit_batch, seed)
        wall, ended = time.perf_counter() - began, time.perf_counter()
        while_trading = len(looks)
        await _caught_up(service, history)
        behind_s = time.perf_counter() - ended
        nursery.cancel_scope.cancel()
        await history.aclose()
    records = [one for one, _ in looks[:while_trading]]
    return {
        "orders_per_second": round(orders / wall),
        "latency_ms": percentiles_ms(latencies),
        "lag_ms": percentiles_ms([seconds for _, seconds in looks[:while_trading]]),
        "records_behind": spread([float(one) for one in records]),
        "caught_up_s_after_the_end": round(behind_s, 2),
    }


async def _look(service: Service, history: PostgresHistory, looks: list[tuple[int, float]]) -> None:
    """Note how many records are missing, and for how long the oldest of them has been."""
    released: deque[tuple[int, float]] = deque()
    while True:
        released.append((service.released.sequence, trio.current_time()))
        watermark = await history.watermark()
        while released and released[0][0] <= watermark.sequence:
            released.popleft()
        waited_s = trio.current_time() - released[0][1] if released else 0.0
        looks.append((max(0, service.released.sequence - watermark.sequence), waited_s))
        await trio.sleep(_LOOK_EVERY_S)


async def _caught_up(service: Service, history: PostgresHistory) -> None:
    while (await history.watermark()).sequence < service.released.sequence:  # noqa: ASYNC110
        await trio.sleep(_LOOK_EVERY_S)  # it happens in another process

"""The projector dies while an engine trades: every row is in the read models once, or not yet."""

import os
import signal
import subprocess
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from random import Random
from typing import Any, Final

import asyncpg
import msgspec
import pytest
import trio

from bench.engine import running, seed_market
from bench.order_flow import order_flow
from engine.service import Service
from engine.storage.bridge import AsyncioThread
from engine.storage.embedded import EmbeddedPostgres
from engine.storage.history import PostgresHistory
from engine.storage.migrate import migrate
from engine.storage.postgres import PostgresJournalStore
from engine.units import AccountId
from engine.wiring import until_stored
from tests.crash.process import ROOT, outcry

pytestmark = [pytest.mark.slow, pytest.mark.database]

SEED: Final = 4_711
KILLS: Final = 6
PATIENT_S: Final = 60.0
TABLES: Final = ("trades", "entries", "orders", "balances", "candles", "keys", "effects", "audit")
#: Small batches and frequent snapshots, so that a death may come anywhere.
BUSY: Final = {
    "OUTCRY__PROJECTOR__BATCH_RECORDS_MAX": "50",
    "OUTCRY__PROJECTOR__SNAPSHOT_EVERY_S": "0.3",
    "OUTCRY__PROJECTOR__POLL_S": "0.01",
}


def environ(dsn: str, crash_at: str = "") -> dict[str, str]:
    ours = {name: text for name, text in os.environ.items() if not name.startswith("OUTCRY_")}
    more = {"OUTCRY_CRASH_AT": crash_at} if crash_at else {}
    return {**ours, **BUSY, **more, "PYTHONPATH": str(ROOT), "OUTCRY__DATABASE__URL": dsn}


async def command(*arguments: str, env: Mapping[str, str]) -> "subprocess.CompletedProcess[bytes]":
    with trio.fail_after(PATIENT_S):
        return await trio.run_process(
            outcry(*arguments), env=env, capture_stdout=True, capture_stderr=True, check=False
        )


@asynccontextmanager
async def projecting(dsn: str, crash_at: str = "") -> AsyncIterator[trio.Process]:
    """A projector's process, killed at the end of the block if it still lives."""
    process = await trio.lowlevel.open_process(
        outcry("projector"),
        env=environ(dsn, crash_at),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()


@asynccontextmanager
async def trading(bridge: AsyncioThread, dsn: str) -> AsyncIterator[Service]:
    """An engine that trades a few hundred orders a second for the length of the block."""
    await migrate(bridge, dsn)
    async with running(PostgresJournalStore(bridge, dsn)) as (_, service):
        accounts, traded = await seed_market(service, 2)
        flow, stopping = order_flow(50_000, SEED, accounts, traded), trio.Event()

        async def trade() -> None:
            for at in range(0, len(flow), 20):
                await service.submit_batch(flow[at : at + 20])
                with trio.move_on_after(0.03):
                    await stopping.wait()
                    return

        async with trio.open_nursery() as nursery:
            nursery.start_soon(trade)
            yield service
            stopping.set()


async def content(bridge: AsyncioThread, dsn: str) -> dict[str, list[Any]]:
    """Every row of every table, in an order that does not depend on when it was written."""

    async def read() -> dict[str, list[Any]]:
        session = await asyncpg.connect(dsn)
        try:
            return {
                table: sorted(map(tuple, await session.fetch(f"SELECT * FROM history.{table}")))
                for table in TABLES
            }
        finally:
            await session.close()

    return await bridge.run(read)


async def caught_up(bridge: AsyncioThread, dsn: str) -> None:
    """Let a projector come to the journal's end."""
    store, history = PostgresJournalStore(bridge, dsn), PostgresHistory(bridge, dsn)
    head = await until_stored(store.read_head)
    async with projecting(dsn) as process:
        with trio.fail_after(PATIENT_S):
            while (await history.watermark()).sequence < head.sequence:
                assert process.returncode is None
                await trio.sleep(0.05)
    await store.aclose()
    await history.aclose()


async def check_against_a_rebuild(bridge: AsyncioThread, dsn: str) -> None:
    """What is there must be, row by row, what the journal leads to when folded at one go."""
    await caught_up(bridge, dsn)
    found = await content(bridge, dsn)
    assert all(found.values())
    rebuilt = await command("projector", "--rebuild", env=environ(dsn))
    assert rebuilt.returncode == 0, rebuilt.stderr.decode()
    anew = await content(bridge, dsn)
    for table in TABLES:
        assert found[table] == anew[table], table
    verified = await command("verify", "--json", env=environ(dsn))
    report = msgspec.json.decode(verified.stdout)
    assert verified.returncode == 0, report["contradictions"]
    assert report["history_through"] == report["sequence"] > 0


async def test_killed_at_random_moments_every_row_is_there_once(
    database: EmbeddedPostgres, bridge: AsyncioThread
) -> None:
    dsn, random = database.dsn(), Random(SEED)
    history, came = PostgresHistory(bridge, dsn), [0]
    async with trading(bridge, dsn):
        for _ in range(KILLS):
            async with projecting(dsn):
                with trio.fail_after(PATIENT_S):
                    while (await history.watermark()).sequence <= came[-1]:  # noqa: ASYNC110
                        await trio.sleep(0.02)
                await trio.sleep(random.uniform(0.0, 0.5))
            came.append((await history.watermark()).sequence)
    await history.aclose()
    assert came == sorted(came)
    await check_against_a_rebuild(bridge, dsn)


@pytest.mark.parametrize("crash_at", ["P16:7", "P17:1", "P11:2"])
async def test_killed_around_a_commit_every_row_is_there_once(
    database: EmbeddedPostgres, bridge: AsyncioThread, crash_at: str
) -> None:
    dsn = database.dsn()
    async with trading(bridge, dsn):
        for _ in range(2):
            async with projecting(dsn, crash_at) as process:
                with trio.fail_after(PATIENT_S):
                    assert await process.wait() == -signal.SIGKILL
    await check_against_a_rebuild(bridge, dsn)


async def test_a_database_that_dies_under_it_loses_and_doubles_no_row(
    database: EmbeddedPostgres, bridge: AsyncioThread
) -> None:
    """The server forgets commits that did not wait for the disk; they are folded again."""
    dsn, random = database.dsn(), Random(SEED)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(database.keep_running)
        async with trading(bridge, dsn), projecting(dsn):
            await trio.sleep(1.5)
            for _ in range(3):
                await trio.sleep(random.uniform(0.5, 1.0))
                assert database.process_id is not None
                os.kill(database.process_id, signal.SIGKILL)
        await check_against_a_rebuild(bridge, dsn)
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("crash_at", ["P16:4", "P18", "P19"])
async def test_a_rebuild_killed_anywhere_leaves_whole_read_models(
    database: EmbeddedPostgres, bridge: AsyncioThread, crash_at: str
) -> None:
    dsn = database.dsn()
    async with trading(bridge, dsn), projecting(dsn):
        await trio.sleep(2.0)
        killed = await command("projector", "--rebuild", env=environ(dsn, crash_at))
        assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
        await trio.sleep(0.5)
    await check_against_a_rebuild(bridge, dsn)


async def test_read_models_are_rebuilt_while_an_engine_trades_and_others_read(
    database: EmbeddedPostgres, bridge: AsyncioThread
) -> None:
    dsn = database.dsn()
    history, seen, placed = PostgresHistory(bridge, dsn), [0], [0]
    async with trading(bridge, dsn), projecting(dsn), trio.open_nursery() as nursery:

        async def read() -> None:
            while True:
                seen.append((await history.watermark()).sequence)
                found = await history.orders(AccountId(100), None, None, 999, newest_first=False)
                placed.append(len(found))

        nursery.start_soon(read)
        await trio.sleep(2.0)
        for _ in range(2):
            rebuilt = await command("projector", "--rebuild", env=environ(dsn))
            assert rebuilt.returncode == 0, rebuilt.stderr.decode()
        before = seen[-1]
        await trio.sleep(0.5)
        assert seen[-1] > before  # the projector went on with what was put in place
        nursery.cancel_scope.cancel()
    await history.aclose()
    assert seen == sorted(seen)
    assert placed == sorted(placed)
    assert placed[-1] > 10
    await check_against_a_rebuild(bridge, dsn)

"""The projector follows the journal, leaves snapshots, and may be killed anywhere."""

import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio
from structlog.testing import capture_logs
from trio.testing import MockClock

from engine.actors.recovery import recover
from engine.actors.supervisor import RestartLimit
from engine.errors import JournalCorrupt, StorageError
from engine.journal.blocks import GENESIS_DIGEST, Block, Head, seal
from engine.journal.snapshots import take
from engine.journal.state import EngineState
from engine.ports import JournalStore, Snapshot
from engine.projector.process import keep_projecting
from engine.projector.projector import (
    EXIT_CORRUPT,
    Projector,
    run_projector,
)
from engine.settings import ProjectorSettings
from engine.storage.bridge import AsyncioThread
from engine.storage.memory import MemoryJournal, MemoryJournalStore
from engine.storage.postgres import PostgresJournalStore
from tests.journal.flow import copy_of, records_of

ROOT = Path(__file__).parents[2]
NewDatabase = Callable[[AsyncioThread], Awaitable[str]]
EAGER = ProjectorSettings(snapshot_every_records=100, poll_s=0.01)


@pytest.fixture
def bare(journal: MemoryJournal) -> MemoryJournal:
    """The journal without snapshots."""
    copied = copy_of(journal)
    copied.snapshots.clear()
    return copied


@asynccontextmanager
async def projecting(
    store: MemoryJournalStore, settings: ProjectorSettings = EAGER
) -> AsyncIterator[Projector]:
    """A projector at work, stopped in good order at the end."""
    projector, stopping = Projector(store, settings), trio.Event()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(projector.run, stopping)
        yield projector
        stopping.set()


async def test_it_catches_up_and_leaves_a_snapshot_of_the_head(
    bare: MemoryJournal, autojump_clock: MockClock
) -> None:
    async with projecting(MemoryJournalStore(bare)) as projector:
        await trio.sleep(1)
        assert projector.head == bare.head
    newest = bare.snapshots[bare.head.number]
    whole = EngineState()
    whole.apply_all(records_of(bare))
    assert newest.payload == whole.snapshot()
    assert newest.digest == bare.head.digest


async def test_it_follows_what_is_committed_later(
    bare: MemoryJournal, autojump_clock: MockClock
) -> None:
    blocks, growing = bare.blocks, copy_of(bare, bare.blocks[:20])
    async with projecting(MemoryJournalStore(growing)) as projector:
        await trio.sleep(1)
        assert projector.head.sequence == growing.head.sequence
        growing.blocks.extend(blocks[20:])
        await trio.sleep(1)
        assert projector.head == bare.head


async def test_snapshots_are_due_by_records_and_by_time(
    bare: MemoryJournal, autojump_clock: MockClock
) -> None:
    rare = ProjectorSettings(snapshot_every_records=10**9, snapshot_every_s=30.0)
    async with projecting(MemoryJournalStore(bare), rare) as projector:
        await trio.sleep(29)
        assert projector.snapshots_written == 0
        await trio.sleep(2)
        assert projector.snapshots_written == 1
        await trio.sleep(100)
        assert projector.snapshots_written == 1  # nothing new since
    assert projector.snapshots_written == 1


async def test_it_leaves_a_last_snapshot_when_it_is_stopped(
    bare: MemoryJournal, autojump_clock: MockClock
) -> None:
    async with projecting(MemoryJournalStore(bare), ProjectorSettings()) as projector:
        await trio.sleep(1)
        assert bare.snapshots == {}
    assert list(bare.snapshots) == [projector.head.number]


async def test_it_goes_on_from_its_own_snapshot(
    bare: MemoryJournal, autojump_clock: MockClock
) -> None:
    async with projecting(MemoryJournalStore(bare)):
        await trio.sleep(1)
    async with projecting(MemoryJournalStore(bare)) as again:
        await trio.sleep(1)
        assert again.head == bare.head
        assert again.snapshots_written == 0


async def test_lag_is_told(bare: MemoryJournal, autojump_clock: MockClock) -> None:
    with capture_logs() as logs:
        async with projecting(MemoryJournalStore(bare)) as projector:
            await trio.sleep(20)
            assert projector.lag.records == 0
    told = [log for log in logs if log["event"] == "projected"]
    assert told[0]["sequence"] + told[0]["behind"] == bare.head.sequence
    assert told[-1]["behind"] == 0


class Moody(MemoryJournalStore):
    """Does not answer the first few reads."""

    refusals = 3

    async def read_blocks(self, first_number: int, blocks_max: int) -> list[Block]:
        if self.refusals:
            self.refusals -= 1
            raise StorageError("away for a moment")
        return await super().read_blocks(first_number, blocks_max)


async def test_a_store_that_does_not_answer_is_waited_for(
    bare: MemoryJournal, autojump_clock: MockClock
) -> None:
    async with projecting(Moody(bare)) as projector:
        await trio.sleep(10)
        assert projector.head == bare.head


async def test_a_corrupt_chain_ends_it_with_a_clear_message(bare: MemoryJournal) -> None:
    block = bare.blocks[50]
    flipped = bytes([*block.payload[:-1], block.payload[-1] ^ 1])
    bare.blocks[50] = msgspec.structs.replace(block, payload=flipped)
    with capture_logs() as logs, trio.fail_after(10):
        code = await run_projector(MemoryJournalStore(bare), trio.Event(), EAGER)
    assert code == EXIT_CORRUPT
    assert logs[-1]["event"].startswith("the journal contradicts itself")
    assert "block 51" in logs[-1]["error"]
    assert all(number <= 50 for number in bare.snapshots)


async def test_a_journal_that_went_back_ends_it(
    bare: MemoryJournal, autojump_clock: MockClock
) -> None:
    async def set_back() -> None:
        await trio.sleep(1)
        del bare.blocks[30:]

    async with trio.open_nursery() as nursery:
        nursery.start_soon(set_back)
        with pytest.raises(JournalCorrupt, match="went back"), trio.fail_after(60):
            await Projector(MemoryJournalStore(bare), EAGER).run(trio.Event())


# -- as a child process


def script(text: str) -> list[str]:
    return [sys.executable, "-c", text]


async def until(so: Callable[[], bool]) -> None:
    """Look every now and then: what happens in another process cannot wake us."""
    with trio.fail_after(30):
        while not so():  # noqa: ASYNC110
            await trio.sleep(0.02)


def gone(place: Path) -> bool:
    """Whether the process that wrote its number there is no more."""
    try:
        os.kill(int(place.read_text()), 0)
    except ProcessLookupError:
        return True
    return False


@pytest.mark.slow
async def test_the_process_is_stopped_with_us(tmp_path: Path) -> None:
    place = tmp_path / "pid"
    argv = script(f"import os, sys; open({str(place)!r}, 'w').write(str(os.getpid()));"
                  "sys.stdin.read()")  # fmt: skip
    async with trio.open_nursery() as nursery:
        await nursery.start(keep_projecting, argv)
        await until(place.exists)
        nursery.cancel_scope.cancel()
    assert gone(place)


@pytest.mark.slow
async def test_the_process_is_asked_to_stop_before_it_is_killed(tmp_path: Path) -> None:
    ready, farewell = tmp_path / "ready", tmp_path / "farewell"
    argv = script(
        "import signal, sys, time\n"
        f"leave = lambda *_: sys.exit(open({str(farewell)!r}, 'w').close())\n"
        "signal.signal(signal.SIGTERM, leave)\n"
        f"open({str(ready)!r}, 'w').close()\n"
        "time.sleep(60)"
    )
    async with trio.open_nursery() as nursery:
        await nursery.start(keep_projecting, argv)
        await until(ready.exists)
        nursery.cancel_scope.cancel()
    assert farewell.exists()


@pytest.mark.slow
async def test_a_process_that_does_not_stop_is_killed(tmp_path: Path) -> None:
    place = tmp_path / "pid"
    argv = script(
        "import os, signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
        f"open({str(place)!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    )
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            await nursery.start(partial(keep_projecting, argv, stop_s_max=0.2))
            await until(place.exists)
            nursery.cancel_scope.cancel()
    assert gone(place)


def gave_up(logs: Sequence[Mapping[str, Any]]) -> bool:
    return any("no projector" in log["event"] for log in logs)


@pytest.mark.slow
async def test_a_process_that_fell_is_started_again_until_the_limit(tmp_path: Path) -> None:
    lives = tmp_path / "lives"
    argv = script(f"open({str(lives)!r}, 'a').write('x'); raise SystemExit(1)")
    with capture_logs() as logs:
        async with trio.open_nursery() as nursery:
            await nursery.start(partial(keep_projecting, argv, limit=RestartLimit(2, 60.0)))
            await until(lambda: gave_up(logs))
            nursery.cancel_scope.cancel()
    assert lives.read_text() == "xxx"


@pytest.mark.slow
async def test_a_corrupt_journal_is_no_reason_to_start_again(tmp_path: Path) -> None:
    lives = tmp_path / "lives"
    argv = script(f"open({str(lives)!r}, 'a').write('x'); raise SystemExit({EXIT_CORRUPT})")
    with capture_logs() as logs:
        async with trio.open_nursery() as nursery:
            await nursery.start(keep_projecting, argv)
            await until(lambda: gave_up(logs))
            nursery.cancel_scope.cancel()
    assert lives.read_text() == "x"


# -- the command itself, on a real database


async def filled(dsn: str, bridge: AsyncioThread, journal: MemoryJournal) -> None:
    """Write the journal's blocks into a database, in one epoch of its own."""
    store = PostgresJournalStore(bridge, dsn, allow_unsafe=True)
    head = await store.open()
    for block in blocks_in_epoch(head.epoch, journal):
        await store.append(block)
    await store.aclose()


def blocks_in_epoch(epoch: int, journal: MemoryJournal) -> list[Block]:
    head, blocks = Head(epoch, 0, 0, GENESIS_DIGEST), []
    for block in journal.blocks:
        blocks.append(seal(head, block.last_sequence, block.payload))
        head = blocks[-1].head
    return blocks


def command(*arguments: str) -> list[str]:
    return script(f"import sys; from api.cli import main; sys.exit(main({list(arguments)!r}))")


def environment(dsn: str, **more: str) -> dict[str, str]:
    return {**os.environ, "OUTCRY__DATABASE__URL": dsn, "PYTHONPATH": str(ROOT), **more}


async def run(argv: list[str], env: dict[str, str]) -> "subprocess.CompletedProcess[bytes]":
    with trio.fail_after(60):
        return await trio.run_process(
            argv, env=env, cwd=ROOT, capture_stdout=True, capture_stderr=True, check=False
        )


async def snapshot_of(store: JournalStore, head: Head) -> Snapshot:
    with trio.fail_after(30):
        while True:
            for snapshot in await store.read_snapshots():
                if snapshot.sequence == head.sequence:
                    return snapshot
            await trio.sleep(0.05)


@pytest.mark.slow
@pytest.mark.database
@pytest.mark.parametrize("point", ["P9", "P10", "P11"])
async def test_killed_at_any_point_it_goes_on_and_recovery_agrees(
    journal: MemoryJournal, new_database: NewDatabase, point: str
) -> None:
    async with AsyncioThread() as bridge:
        dsn = await new_database(bridge)
        await filled(dsn, bridge, journal)
        often = {"OUTCRY__PROJECTOR__SNAPSHOT_EVERY_RECORDS": "50"}
        killed = await run(command("projector"), environment(dsn, OUTCRY_CRASH_AT=point, **often))
        assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
        store = PostgresJournalStore(bridge, dsn)
        assert bool(await store.read_snapshots()) == (point == "P11")
        async with trio.open_nursery() as nursery:
            argv = command("projector", "--until-input-ends")
            await nursery.start(partial(keep_projecting, argv, env=environment(dsn, **often)))
            head = await store.read_head()
            newest = await snapshot_of(store, head)
            nursery.cancel_scope.cancel()
        state = await recover(store, EngineState, head)
        whole = EngineState()
        whole.apply_all(records_of(journal))
        await store.aclose()
    assert newest.sequence == head.sequence
    assert state.snapshot() == whole.snapshot() == newest.payload


@pytest.mark.slow
@pytest.mark.database
async def test_verify_reads_a_real_journal_and_says_what_it_found(
    journal: MemoryJournal, new_database: NewDatabase
) -> None:
    async with AsyncioThread() as bridge:
        dsn = await new_database(bridge)
        await filled(dsn, bridge, journal)
        told = await run(command("verify", "--json"), environment(dsn))
        assert told.returncode == 0, told.stderr.decode()
        report = msgspec.json.decode(told.stdout)
        assert report["records"] == journal.head.sequence
        assert report["contradictions"] == []
        store = PostgresJournalStore(bridge, dsn)
        head = await store.read_head()
        await store.write_snapshot(lying(head))
        await store.aclose()
        told = await run(command("verify"), environment(dsn))
        assert told.returncode == 1
        assert b"SNAPSHOT at block" in told.stdout
        assert b"does NOT hold" in told.stdout
    nowhere = environment("postgresql://nobody@127.0.0.1:9/nothing")
    assert (await run(command("verify"), nowhere)).returncode == 2


def lying(head: Head) -> Snapshot:
    state: Any = EngineState()
    state.released.sequence = head.sequence
    return take(head, state.snapshot())

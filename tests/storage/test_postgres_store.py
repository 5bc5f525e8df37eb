"""What only PostgreSQL can do wrong: ambiguous commits, ghosts, poolers, unfit servers."""

import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import asyncpg
import msgspec
import pytest
import trio

from engine.errors import Fenced, JournalCorrupt, StorageError, StorageUnusable
from engine.journal.blocks import Head, seal
from engine.ports import Snapshot
from engine.storage.bridge import AsyncioThread
from engine.storage.limits import StoreLimits
from engine.storage.postgres import JOURNAL_LOCK, PostgresJournalStore
from engine.storage.sessions import configure_writer, refuse_server

pytestmark = pytest.mark.database

NewDatabase = Callable[[AsyncioThread], Awaitable[str]]
SOCKET = ".s.PGSQL.5432"


@pytest.fixture
async def bridge() -> AsyncIterator[AsyncioThread]:
    async with AsyncioThread() as bridge:
        yield bridge


@pytest.fixture
async def dsn(bridge: AsyncioThread, new_database: NewDatabase) -> str:
    return await new_database(bridge)


StoreOn = Callable[..., PostgresJournalStore]


@pytest.fixture
async def store_on(bridge: AsyncioThread) -> AsyncIterator[StoreOn]:
    """Makes impatient stores that the end of the test closes."""
    async with AsyncExitStack() as stack:

        def make(dsn: str, **limits: float) -> PostgresJournalStore:
            quick = msgspec.convert({"lock_wait_s": 0.1, "command_s": 5.0, **limits}, StoreLimits)
            store = PostgresJournalStore(bridge, dsn, quick, allow_unsafe=True)
            stack.push_async_callback(store.aclose)
            return store

        yield make


async def execute(bridge: AsyncioThread, dsn: str, *statements: str) -> None:
    async def run() -> None:
        session = await asyncpg.connect(dsn)
        for statement in statements:
            await session.execute(statement)
        await session.close()

    await bridge.run(run)


class Wire:
    """A socket before the server's that passes bytes on until it is told where to cut.

    `cut` = (direction, bytes): that many more bytes pass that way, then both ends are closed.
    """

    def __init__(self, folder: Path, dsn: str) -> None:
        folder.mkdir(mode=0o700)
        self._folder = folder
        self._server = Path(parse_qs(urlsplit(dsn).query)["host"][0]) / SOCKET
        self._budget: dict[str, int] = {}

    def cut(self, direction: str, after_bytes: int) -> None:
        self._budget[direction] = after_bytes

    def through(self, dsn: str) -> str:
        return f"{dsn.split('?')[0]}?host={self._folder}&port=5432"

    async def serve(self, task_status: "trio.TaskStatus[None]") -> None:
        with trio.socket.socket(trio.socket.AF_UNIX) as listener:
            await listener.bind(str(self._folder / SOCKET))
            listener.listen()
            task_status.started()
            async with trio.open_nursery() as nursery:
                while True:
                    client, _ = await listener.accept()
                    nursery.start_soon(self._join, trio.SocketStream(client))

    async def _join(self, client: trio.SocketStream) -> None:
        server = await trio.open_unix_socket(self._server)
        async with client, server, trio.open_nursery() as nursery:
            nursery.start_soon(self._pass, "request", client, server, nursery.cancel_scope)
            nursery.start_soon(self._pass, "answer", server, client, nursery.cancel_scope)

    async def _pass(
        self,
        direction: str,
        source: trio.SocketStream,
        sink: trio.SocketStream,
        both: trio.CancelScope,
    ) -> None:
        try:
            async for chunk in source:
                budget = self._budget.get(direction)
                await sink.send_all(chunk[:budget])
                if budget is not None and len(chunk) >= budget:
                    self._budget.pop(direction, None)  # another pair may have been faster
                    break
        except trio.BrokenResourceError:
            pass
        both.cancel()


@pytest.fixture
async def wire(
    shared_folder: Path, dsn: str, nursery: trio.Nursery, counter: "itertools.count[int]"
) -> Wire:
    wire = Wire(shared_folder / f"wire-{next(counter)}", dsn)
    await nursery.start(wire.serve)
    return wire


@pytest.fixture(scope="session")
def counter() -> "itertools.count[int]":
    return itertools.count()


CUTS = [
    *(("request", after) for after in (0, 1, 5, 30, 100, 190)),
    *(("answer", after) for after in (0, 1, 4, 5, 9, 20, 30)),
]


@pytest.mark.slow
async def test_wherever_the_wire_is_cut_the_head_tells_and_nothing_is_lost_or_doubled(
    store_on: StoreOn, dsn: str, wire: Wire
) -> None:
    store = store_on(wire.through(dsn))
    head, landed = await store.open(), set()
    for direction, after in CUTS:
        block = seal(head, head.sequence + 2, f"{direction} {after}".encode())
        wire.cut(direction, after)
        with pytest.raises(StorageError):
            await store.append(block)
        found = await store.open()
        assert found in (head, block.head)
        if found == block.head:
            landed.add(direction)
        else:
            await store.append(block)
        head = block.head
    assert landed == {"answer"}  # a cut request never commits, a cut answer always did
    blocks = await store.read_blocks(1, 100)
    assert [block.payload.decode() for block in blocks] == [f"{d} {a}" for d, a in CUTS]
    assert blocks[-1].head == head


async def test_an_append_still_under_way_cannot_land_after_reopening(
    bridge: AsyncioThread, store_on: StoreOn, dsn: str
) -> None:
    store = store_on(dsn)
    head = await store.open()
    block = seal(head, 1, b"late")
    waiting, release = trio.Event(), trio.Event()

    async def hold_the_head_row() -> None:
        session = await bridge.run(partial(asyncpg.connect, dsn))
        await bridge.run(session.execute, "BEGIN")
        await bridge.run(session.execute, "SELECT * FROM journal_head FOR UPDATE")
        waiting.set()
        await release.wait()
        await bridge.run(session.execute, "ROLLBACK")
        await bridge.run(session.close)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(hold_the_head_row)
        await waiting.wait()
        with trio.move_on_after(0.05):
            await store.append(block)  # stuck in the server, then given up
        assert await store.open() == head
        release.set()
    assert await store.read_blocks(1, 10) == []
    await store.append(block)


async def test_the_lock_is_held_by_the_very_session_that_commits(
    bridge: AsyncioThread, store_on: StoreOn, dsn: str
) -> None:
    store = store_on(dsn)
    head = await store.open()
    with pytest.raises(Fenced):
        await store_on(dsn).open()
    unlock = (
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_locks WHERE locktype = 'advisory'"
        f" AND granted AND (classid::bigint << 32) + objid::bigint = {JOURNAL_LOCK}"
        " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
    )
    await execute(bridge, dsn, unlock)
    with pytest.raises(StorageError):
        await store.append(seal(head, 1, b"without the lock"))
    assert await store.read_blocks(1, 10) == []


async def test_a_database_that_was_not_migrated_is_unusable(
    bridge: AsyncioThread, store_on: StoreOn, dsn: str
) -> None:
    await execute(bridge, dsn, "DROP TABLE journal_head")
    with pytest.raises(StorageUnusable, match="are all migrations applied"):
        await store_on(dsn).open()


async def test_a_database_that_does_not_exist_is_unusable(store_on: StoreOn, dsn: str) -> None:
    with pytest.raises(StorageUnusable, match="does not exist"):
        await store_on(dsn.replace("/test_", "/other_")).open()


async def test_a_server_that_is_away_is_an_outage(store_on: StoreOn, tmp_path: Path) -> None:
    store = store_on(f"postgresql://outcry@/outcry?host={tmp_path}&port=5432")
    with pytest.raises(StorageError):
        await store.open()
    with pytest.raises(StorageError):
        await store.read_blocks(1, 1)


async def test_a_journal_whose_newest_block_is_missing_is_refused(
    bridge: AsyncioThread, store_on: StoreOn, dsn: str
) -> None:
    store = store_on(dsn)
    head = await store.open()
    for _ in range(2):
        block = seal(head, head.sequence + 1, b"")
        await store.append(block)
        head = block.head
    await execute(bridge, dsn, "DELETE FROM journal_block WHERE number = 2")
    with pytest.raises(JournalCorrupt):
        await store.open()


async def test_old_snapshots_leave_the_table(
    bridge: AsyncioThread, store_on: StoreOn, dsn: str
) -> None:
    store = store_on(dsn)
    for number in range(1, 6):
        await store.write_snapshot(Snapshot(number, number, b"d", 1, b"state", b"p"))

    async def count() -> int:
        session = await asyncpg.connect(dsn)
        kept = await session.fetchval("SELECT count(*) FROM snapshot")
        await session.close()
        return int(kept)

    assert await bridge.run(count) == 3


async def test_commits_are_synchronous_whatever_the_database_s_default(
    bridge: AsyncioThread, dsn: str
) -> None:
    name = urlsplit(dsn).path[1:]
    await execute(bridge, dsn, f"ALTER DATABASE {name} SET synchronous_commit = off")

    async def configured() -> tuple[str, str]:
        session = await asyncpg.connect(dsn)
        before = await session.fetchval("SHOW synchronous_commit")
        await configure_writer(session, allow_unsafe=True)
        after = await session.fetchval("SHOW synchronous_commit")
        await session.close()
        return before, after

    assert await bridge.run(configured) == ("off", "on")


async def test_a_server_without_fsync_is_refused_unless_allowed(
    bridge: AsyncioThread, dsn: str
) -> None:
    store = PostgresJournalStore(bridge, dsn)
    with pytest.raises(StorageUnusable, match="fsync=off"):
        await store.open()
    await store.aclose()


GOOD = {
    "version": 150_000,
    "encoding": "UTF8",
    "fsync": "on",
    "full_page_writes": "on",
    "in_recovery": False,
}


@pytest.mark.parametrize(
    ("wrong", "fault"),
    [
        ({"version": 140_012}, StorageUnusable),
        ({"encoding": "SQL_ASCII"}, StorageUnusable),
        ({"fsync": "off"}, StorageUnusable),
        ({"full_page_writes": "off"}, StorageUnusable),
        ({"in_recovery": True}, StorageError),
    ],
    ids=str,
)
def test_an_unfit_server_is_refused(wrong: dict[str, Any], fault: type[Exception]) -> None:
    refuse_server(GOOD, allow_unsafe=False)
    with pytest.raises(fault):
        refuse_server({**GOOD, **wrong}, allow_unsafe=False)


IDLE = b"Z\0\0\0\5I"  # the server is ready for a query and in no transaction


class Pooler(Wire):
    """A pooler in transaction mode: a few server sessions, lent until a transaction ends.

    Like the usual ones it lends the session that was returned last, so that a client alone
    always gets the same and sees nothing wrong.
    """

    def __init__(self, folder: Path, dsn: str, sessions: int) -> None:
        super().__init__(folder, dsn)
        self._room = sessions
        self._free: list[tuple[trio.SocketStream, bytes]] = []
        self._returned = trio.Condition()
        self._sessions = AsyncExitStack()

    async def serve(self, task_status: "trio.TaskStatus[None]") -> None:
        async with self._sessions:
            await super().serve(task_status)

    async def _join(self, client: trio.SocketStream) -> None:
        async with client:
            startup = bytes(await client.receive_some())
            server, greeting = await self._lend(startup)
            answer = greeting
            while True:
                await self._give_back(server, greeting)
                await client.send_all(answer)
                request = await client.receive_some()
                if not request:
                    return
                server, _ = await self._lend(startup)
                await server.send_all(request)
                answer = await self._converse(client, server)

    async def _lend(self, startup: bytes) -> tuple[trio.SocketStream, bytes]:
        async with self._returned:
            while not self._free and not self._room:
                await self._returned.wait()
            if self._free:
                return self._free.pop()
            self._room -= 1
        server = await self._sessions.enter_async_context(await trio.open_unix_socket(self._server))
        await server.send_all(startup)
        greeting = b""
        while not greeting.endswith(IDLE):
            greeting += await server.receive_some()
        return server, greeting

    async def _give_back(self, server: trio.SocketStream, greeting: bytes) -> None:
        async with self._returned:
            self._free.append((server, greeting))
            self._returned.notify()

    async def _converse(self, client: trio.SocketStream, server: trio.SocketStream) -> bytes:
        """Pass bytes both ways until the server is idle again; what it said last, to be sent."""

        async def pass_requests() -> None:
            async for request in client:
                await server.send_all(request)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(pass_requests)
            while True:
                answer = bytes(await server.receive_some())
                if not answer or answer.endswith(IDLE):
                    nursery.cancel_scope.cancel()
                    return answer
                await client.send_all(answer)


@pytest.mark.parametrize("sessions", [1, 2, 5])
async def test_a_pooler_in_transaction_mode_is_refused(
    store_on: StoreOn,
    dsn: str,
    shared_folder: Path,
    counter: "itertools.count[int]",
    sessions: int,
) -> None:
    async with trio.open_nursery() as nursery:
        pooler = Pooler(shared_folder / f"wire-{next(counter)}", dsn, sessions)
        await nursery.start(pooler.serve)
        store = store_on(pooler.through(dsn), command_s=1.0)
        with pytest.raises(StorageUnusable, match="pooler"):
            await store.open()
        nursery.cancel_scope.cancel()


async def test_a_plain_wire_is_no_pooler(store_on: StoreOn, dsn: str, wire: Wire) -> None:
    store = store_on(wire.through(dsn))
    assert isinstance(await store.open(), Head)

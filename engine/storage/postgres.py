"""The journal in PostgreSQL: one writing session that holds the lock and commits, and readers.

Fenced twice (DESIGN rule 10). The writing session holds an advisory lock, and the append runs in
that very session or not at all; and each append compares and sets the head in the statement that
writes the block. Whatever goes wrong drops the session: the next `open` ends its backend before it
reads the head, so that no commit of ours can still be on its way then.

Methods starting with an underscore run in the storage thread, the others in trio.
"""

import asyncio
import secrets
from contextlib import suppress
from typing import Any, Final

import asyncpg
import trio

from engine.errors import Fenced, JournalCorrupt, StorageError, StorageUnusable
from engine.journal.blocks import Block, Head
from engine.ports import Snapshot
from engine.storage.bridge import AsyncioThread
from engine.storage.limits import DEFAULT_LIMITS, StoreLimits, refuse_unfit
from engine.storage.sessions import (
    Connection,
    close_quietly,
    configure_writer,
    end_sessions,
    faults_translated,
    refuse_pooler,
)

#: Advisory locks are per database, so one number serves every installation.
JOURNAL_LOCK: Final = int.from_bytes(b"journal\0")

_APPEND: Final = """
    WITH moved AS (
        UPDATE journal_head SET number = $2, sequence = $4, digest = $6
        WHERE epoch = $1 AND number = $2 - 1 AND sequence = $3 - 1 AND digest = $5
          AND pg_backend_pid() = $8
        RETURNING true
    )
    INSERT INTO journal_block
        (epoch, number, first_sequence, last_sequence, previous_digest, digest, payload)
    SELECT $1, $2, $3, $4, $5, $6, $7 FROM moved
    RETURNING number
"""

_HEAD: Final = """
    SELECT epoch, number, sequence, digest,
           (SELECT number FROM journal_block ORDER BY number DESC LIMIT 1) AS newest_number,
           (SELECT digest FROM journal_block ORDER BY number DESC LIMIT 1) AS newest_digest
    FROM journal_head
"""

_BLOCKS: Final = """
    SELECT epoch, number, first_sequence, last_sequence, previous_digest, digest, payload
    FROM journal_block WHERE
"""

_WRITE_SNAPSHOT: Final = """
    INSERT INTO snapshot (block_number, sequence, digest, rules_version, payload, payload_digest)
    VALUES ($1, $2, $3, $4, $5, $6)
    ON CONFLICT (block_number) DO UPDATE SET
        sequence = excluded.sequence, digest = excluded.digest,
        rules_version = excluded.rules_version, payload = excluded.payload,
        payload_digest = excluded.payload_digest, written_at = now()
"""

_DROP_SNAPSHOTS: Final = """
    DELETE FROM snapshot WHERE block_number NOT IN
        (SELECT block_number FROM snapshot ORDER BY block_number DESC LIMIT $1)
"""

_READ_SNAPSHOTS: Final = """
    SELECT block_number, sequence, digest, rules_version, payload, payload_digest
    FROM snapshot ORDER BY block_number DESC LIMIT $1
"""

_READ_SNAPSHOT_SEQUENCE: Final = "SELECT coalesce(max(sequence), 0) FROM snapshot"


class PostgresJournalStore:
    """The journal port on any PostgreSQL 15 or newer that is migrated and reached directly."""

    def __init__(
        self,
        bridge: AsyncioThread,
        dsn: str,
        limits: StoreLimits = DEFAULT_LIMITS,
        *,
        allow_unsafe: bool = False,
    ) -> None:
        """Nothing is connected yet. `allow_unsafe` accepts a server without fsync: tests only."""
        self._bridge = bridge
        self._dsn = dsn
        self._limits = limits
        self._allow_unsafe = allow_unsafe
        # By this name we find, and end, every writing session this object ever had.
        self._session_name = f"outcry-journal-{secrets.token_hex(8)}"
        self._epoch: int | None = None
        self._writer: _Writer | None = None
        self._pool: asyncpg.Pool[Any] | None = None
        self._closed = False

    async def open(self) -> Head:
        """See `JournalStore.open`. Waits for the lock, `lock_wait_s` at the most."""
        return await self._bridge.run(self._open)

    async def append(self, block: Block) -> None:
        """See `JournalStore.append`. One round trip; waits for the disk."""
        refuse_unfit(block, self._limits.block_bytes_max)
        await self._bridge.run(self._append, block)

    async def read_blocks(self, first_number: int, blocks_max: int) -> list[Block]:
        """See `JournalStore.read_blocks`."""
        query = f"{_BLOCKS} number >= $1 ORDER BY number LIMIT $2"
        rows = await self._bridge.run(self._fetch, query, first_number, blocks_max)
        return [Block(*row) for row in rows]

    async def read_block_of(self, sequence: int) -> Block | None:
        """See `JournalStore.read_block_of`. Complexity: O(log n)."""
        query = f"{_BLOCKS} last_sequence >= $1 ORDER BY last_sequence LIMIT 1"
        rows = await self._bridge.run(self._fetch, query, sequence)
        blocks = [Block(*row) for row in rows]
        return next((block for block in blocks if block.first_sequence <= sequence), None)

    async def read_head(self) -> Head:
        """See `JournalStore.read_head`. The head's own row, whatever blocks there are."""
        rows = await self._bridge.run(self._fetch, _HEAD)
        if not rows:
            raise JournalCorrupt("the journal has no head")
        return Head(rows[0]["epoch"], rows[0]["number"], rows[0]["sequence"], rows[0]["digest"])

    async def write_snapshot(self, snapshot: Snapshot) -> None:
        """See `JournalStore.write_snapshot`. Needs no lock, so the projector may call it."""
        if len(snapshot.payload) > self._limits.snapshot_bytes_max:
            raise StorageUnusable(f"a snapshot of {len(snapshot.payload)} bytes does not fit")
        await self._bridge.run(self._write_snapshot, snapshot)

    async def read_snapshots(self) -> list[Snapshot]:
        """See `JournalStore.read_snapshots`."""
        rows = await self._bridge.run(self._fetch, _READ_SNAPSHOTS, self._limits.snapshots_kept_max)
        return [Snapshot(*row) for row in rows]

    async def read_snapshot_sequence(self) -> int:
        """See `JournalStore.read_snapshot_sequence`."""
        [row] = await self._bridge.run(self._fetch, _READ_SNAPSHOT_SEQUENCE)
        return int(row[0])

    async def aclose(self) -> None:
        """See `JournalStore.aclose`. Waits a few seconds at the most, also when cancelled."""
        if not self._closed:
            self._closed = True
            with trio.CancelScope(shield=True), suppress(StorageError):  # bounded inside
                await self._bridge.run(self._close)

    async def _open(self) -> Head:
        self._refuse_closed()
        self._drop_writer()
        async with faults_translated("opening the journal"):
            session = await self._connect()
            try:
                head, writer = await self._become_writer(session)
            except BaseException:
                session.terminate()
                raise
        self._epoch, self._writer = head.epoch, writer
        return head

    async def _connect(self) -> Connection:
        return await asyncpg.connect(
            self._dsn,
            timeout=self._limits.connect_s,
            command_timeout=self._limits.command_s,
            server_settings={"application_name": self._session_name},
        )

    async def _become_writer(self, session: Connection) -> "tuple[Head, _Writer]":
        await configure_writer(session, allow_unsafe=self._allow_unsafe)
        pool = await self._readers()
        async with pool.acquire(timeout=self._limits.acquire_s) as other:
            await refuse_pooler(session, other)
        await end_sessions(session, self._session_name, self._limits.command_s / 2)
        await self._take_lock(session)
        head = await self._begin_or_keep_epoch(session)
        append = await session.prepare(_APPEND)
        return head, _Writer(session, append, await session.fetchval("SELECT pg_backend_pid()"))

    async def _take_lock(self, session: Connection) -> None:
        wait_s = self._limits.lock_wait_s
        await session.execute(f"SET lock_timeout = '{max(1, int(wait_s * 1000))}ms'")
        try:
            await session.execute(
                "SELECT pg_advisory_lock($1)", JOURNAL_LOCK, timeout=wait_s + self._limits.command_s
            )
        except asyncpg.LockNotAvailableError as error:
            raise Fenced(f"another engine holds the journal; waited {wait_s:g} s for it") from error
        await session.execute("SET lock_timeout = 0")

    async def _begin_or_keep_epoch(self, session: Connection) -> Head:
        if self._epoch is None:
            await session.execute("UPDATE journal_head SET epoch = epoch + 1")
        row = await session.fetchrow(_HEAD)
        if row is None:
            raise JournalCorrupt("the journal has no head")
        head = Head(row["epoch"], row["number"], row["sequence"], row["digest"])
        if self._epoch not in (None, head.epoch):
            raise Fenced(f"epoch {head.epoch} has begun, ours was {self._epoch}")
        newest = (row["newest_number"] or 0, row["newest_digest"] or head.digest)
        if newest != (head.number, head.digest):
            raise JournalCorrupt(f"the head is block {head.number}, the newest is {newest[0]}")
        return head

    async def _append(self, block: Block) -> None:
        self._refuse_closed()
        writer, self._writer = self._writer, None  # back only if all goes well
        if writer is None:
            raise StorageError("the journal is not open for writing")
        try:
            async with faults_translated(f"appending block {block.number}"):
                written = await writer.append.fetchval(
                    block.epoch,
                    block.number,
                    block.first_sequence,
                    block.last_sequence,
                    block.previous_digest,
                    block.digest,
                    block.payload,
                    writer.backend_pid,
                )
            if written is None:
                raise Fenced(f"block {block.number} does not follow the journal's head")
        except BaseException:
            writer.session.terminate()
            raise
        self._writer = writer

    async def _fetch(self, query: str, *args: Any) -> list[asyncpg.Record]:
        async with faults_translated("reading the journal"):
            pool = await self._readers()
            async with pool.acquire(timeout=self._limits.acquire_s) as session:
                return await session.fetch(query, *args)

    async def _write_snapshot(self, snapshot: Snapshot) -> None:
        async with faults_translated("writing a snapshot"):
            pool = await self._readers()
            async with (
                pool.acquire(timeout=self._limits.acquire_s) as session,
                session.transaction(),
            ):
                await session.execute(
                    _WRITE_SNAPSHOT,
                    snapshot.block_number,
                    snapshot.sequence,
                    snapshot.digest,
                    snapshot.rules_version,
                    snapshot.payload,
                    snapshot.payload_digest,
                )
                await session.execute(_DROP_SNAPSHOTS, self._limits.snapshots_kept_max)

    async def _readers(self) -> "asyncpg.Pool[Any]":
        self._refuse_closed()
        if self._pool is None:
            self._pool = asyncpg.create_pool(
                self._dsn,
                min_size=0,
                max_size=self._limits.read_connections_max,
                timeout=self._limits.connect_s,
                command_timeout=self._limits.command_s,
                server_settings={"application_name": "outcry-reader"},
            )
        return await self._pool

    async def _close(self) -> None:
        writer, self._writer = self._writer, None
        if writer is not None:
            await close_quietly(writer.session)
        pool, self._pool = self._pool, None
        if pool is not None:
            try:
                await asyncio.wait_for(pool.close(), 2.0)
            except (TimeoutError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
                pool.terminate()

    def _drop_writer(self) -> None:
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.session.terminate()

    def _refuse_closed(self) -> None:
        if self._closed:
            raise StorageError("the journal store is closed")


class _Writer:
    """The session that holds the lock, its prepared append and its backend's number."""

    __slots__ = ("append", "backend_pid", "session")

    def __init__(self, session: Connection, append: Any, backend_pid: int) -> None:
        self.session = session
        self.append = append
        self.backend_pid = backend_pid

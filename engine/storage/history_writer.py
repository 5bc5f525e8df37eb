"""How the projector's rows get into PostgreSQL: all of a batch and the watermark, or nothing.

Fenced twice, like the journal: the session holds an advisory lock, and every batch compares and
sets the watermark before it writes anything. Whatever goes wrong drops the session; the next `open`
ends its backend first, so that what the watermark says then is final.

Methods starting with an underscore run in the storage thread, the others in trio.
"""

import secrets
from collections.abc import Callable
from contextlib import suppress
from typing import ClassVar, Final

import asyncpg
import trio

from engine.errors import Fenced, InvariantViolated, StorageError
from engine.history.rows import Rows
from engine.ports import Watermark
from engine.storage import history_tables as tables
from engine.storage.bridge import AsyncioThread
from engine.storage.history_rows import copied, merged
from engine.storage.history_tables import Mark
from engine.storage.limits import DEFAULT_LIMITS, StoreLimits
from engine.storage.sessions import Connection, close_quietly, end_sessions, faults_translated

#: Effects of so many more records than were added may be dropped with one batch.
EFFECTS_DROPPED_MAX: Final = 2_000

_SETTINGS: Final = {
    # A lost batch is folded again: the journal has it, and is on disk before we ever read it.
    "synchronous_commit": "off",
    "idle_session_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "statement_timeout": "0",  # ours is on this side of the connection
    "default_transaction_read_only": "off",
}

_MOVE: Final = """
    UPDATE {schema}.watermark SET block_number = $3, sequence = $4, time_ns = $5,
        effects_kept_after = $6
    WHERE block_number = $1 AND sequence = $2 RETURNING true
"""
_DROP_EFFECTS: Final = "DELETE FROM {schema}.effects WHERE sequence > $1 AND sequence <= $2"


class PostgresHistoryWriter:
    """The port `HistoryWriter` on any PostgreSQL 15 or newer, reached directly."""

    SCHEMA: ClassVar[str] = tables.SCHEMA
    LOCK: ClassVar[int] = int.from_bytes(b"history\0")

    def __init__(
        self,
        bridge: AsyncioThread,
        dsn: str,
        effects_kept_records: int = 5_000_000,
        limits: StoreLimits = DEFAULT_LIMITS,
        before_commit: Callable[[], None] = lambda: None,
    ) -> None:
        """Nothing is connected yet. `before_commit` is told when all rows are written."""
        self._bridge = bridge
        self._dsn = dsn
        self._effects_kept_records = effects_kept_records
        self._limits = limits
        self._before_commit = before_commit
        # By this name we find, and end, every writing session this object ever had.
        self._session_name = f"outcry-{self.SCHEMA}-{secrets.token_hex(8)}"
        self._session: Connection | None = None
        self._effects_kept_after = 0
        self._closed = False

    async def open(self) -> Watermark:
        """See `HistoryWriter.open`. Does not wait for another projector."""
        return await self._bridge.run(self._open)

    async def write(self, rows: Rows, before: Watermark, after: Watermark) -> None:
        """See `HistoryWriter.write`. One transaction, which need not wait for the disk.

        Raises: InvariantViolated, beside what the port says, when a row is there already.
        """
        await self._bridge.run(self._write, rows, before, after)

    async def aclose(self) -> None:
        """See `HistoryWriter.aclose`. Waits a few seconds at the most, also when cancelled."""
        if not self._closed:
            self._closed = True
            with trio.CancelScope(shield=True), suppress(StorageError):  # bounded inside
                await self._bridge.run(self._close)

    async def _open(self) -> Watermark:
        self._refuse_closed()
        self._drop_session()
        async with faults_translated("opening the read models"):
            session = await asyncpg.connect(
                self._dsn,
                timeout=self._limits.connect_s,
                command_timeout=self._limits.command_s,
                server_settings={"application_name": self._session_name, **_SETTINGS},
            )
            try:
                await end_sessions(session, self._session_name, self._limits.command_s / 2)
                if not await session.fetchval("SELECT pg_try_advisory_lock($1)", self.LOCK):
                    raise Fenced("another projector writes the read models")
                mark = await self._prepare(session)
            except BaseException:
                session.terminate()
                raise
        self._session, self._effects_kept_after = session, mark.effects_kept_after
        return Watermark(mark.block_number, mark.sequence, mark.time_ns)

    async def _prepare(self, session: Connection) -> Mark:
        """What must be true before a session may write; returns the mark as it then is."""
        await tables.drop(session, tables.OLD_SCHEMA)
        mark = await tables.read_mark(session, self.SCHEMA)
        if mark is None:
            await tables.create(session, self.SCHEMA)
            mark = Mark(tables.VERSION, 0, 0, 0, 0)
        if mark.version != tables.VERSION:
            raise Fenced(
                f"the read models are of version {mark.version}, this release writes"
                f" {tables.VERSION}: they must be rebuilt"
            )
        return mark

    async def _write(self, rows: Rows, before: Watermark, after: Watermark) -> None:
        self._refuse_closed()
        session, self._session = self._session, None  # back only if all goes well
        if session is None:
            raise StorageError("the read models are not open for writing")
        kept_after = self._kept_after(before, after)
        try:
            async with (
                faults_translated(f"writing rows through block {after.block_number}"),
                session.transaction(),
            ):
                # First, because its lock is what keeps a rebuild from being published meanwhile.
                if not await session.fetchval(
                    self._sql(_MOVE),
                    before.block_number,
                    before.sequence,
                    after.block_number,
                    after.sequence,
                    after.time_ns,
                    kept_after,
                ):
                    raise Fenced(f"the read models do not stand at block {before.block_number}")
                await self._add(session, rows, kept_after)
                self._before_commit()
        except BaseException:
            session.terminate()
            raise
        self._session, self._effects_kept_after = session, kept_after

    def _kept_after(self, before: Watermark, after: Watermark) -> int:
        """From where on effects are kept after this batch: a bounded step further at the most."""
        step = 2 * (after.sequence - before.sequence) + EFFECTS_DROPPED_MAX
        wanted = after.sequence - self._effects_kept_records
        return max(self._effects_kept_after, min(wanted, self._effects_kept_after + step))

    async def _add(self, session: Connection, rows: Rows, effects_kept_after: int) -> None:
        try:
            for name, columns, records in copied(rows):
                if records:
                    await session.copy_records_to_table(
                        name, schema_name=self.SCHEMA, columns=columns, records=records
                    )
        except asyncpg.UniqueViolationError as error:
            raise InvariantViolated(f"a row is in the read models already: {error}") from error
        for statement, fields in merged(rows):
            if fields[0]:
                await session.execute(self._sql(statement), *fields)
        if effects_kept_after > self._effects_kept_after:
            await session.execute(
                self._sql(_DROP_EFFECTS), self._effects_kept_after, effects_kept_after
            )

    def _sql(self, statement: str) -> str:
        return statement.format(schema=self.SCHEMA)

    async def _close(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            await close_quietly(session)

    def _drop_session(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            session.terminate()

    def _refuse_closed(self) -> None:
        if self._closed:
            raise StorageError("the writer of the read models is closed")


class PostgresHistoryRebuild(PostgresHistoryWriter):
    """The port `HistoryRebuild`: fills a schema of its own, from nothing, and then publishes it."""

    SCHEMA: ClassVar[str] = tables.NEXT_SCHEMA
    LOCK: ClassVar[int] = int.from_bytes(b"rebuild\0")

    _begun = False

    async def is_wanted(self) -> bool:
        """See `HistoryRebuild.is_wanted`."""
        return await self._bridge.run(self._is_wanted)

    async def publish(self) -> bool:
        """See `HistoryRebuild.publish`. Waits for a few seconds at the most."""
        return await self._bridge.run(self._publish)

    async def _is_wanted(self) -> bool:
        async with faults_translated("looking at the read models"):
            session = await asyncpg.connect(self._dsn, timeout=self._limits.connect_s)
            try:
                mark = await tables.read_mark(session, tables.SCHEMA)
            finally:
                await close_quietly(session)
        return mark is not None and mark.version != tables.VERSION

    async def _prepare(self, session: Connection) -> Mark:
        mark = await tables.read_mark(session, self.SCHEMA) if self._begun else None
        if mark is None:  # what another process left unfinished here is nothing to build upon
            await tables.drop(session, tables.OLD_SCHEMA)
            await tables.drop(session, self.SCHEMA)
            await tables.create(session, self.SCHEMA)
            mark = Mark(tables.VERSION, 0, 0, 0, 0)
        self._begun = True
        return mark

    async def _publish(self) -> bool:
        session, self._session = self._session, None
        if session is None:
            raise StorageError("the read models are not open for writing")
        try:
            async with faults_translated("publishing the read models"):
                published = await tables.publish(session)
        except BaseException:
            session.terminate()
            raise
        self._session = session
        return published

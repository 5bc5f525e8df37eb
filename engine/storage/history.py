"""Reading the read models from PostgreSQL: a few connections, one statement for each page.

While nobody has made the tables yet there is nothing to read, and everything comes back empty, as
of sequence 0.

Methods starting with an underscore run in the storage thread, the others in trio.
"""

import asyncio
from contextlib import suppress
from typing import Any, Final, TypeVar

import asyncpg
import msgspec
import trio

from engine.errors import StorageError
from engine.history.effects import Effect
from engine.history.rows import (
    AuditRow,
    CandleRow,
    EffectsRow,
    EntryRow,
    OrderRow,
    Position,
    TradeRow,
)
from engine.journal.keys import Answered
from engine.ports import Watermark
from engine.storage.bridge import AsyncioThread
from engine.storage.history_page import Page
from engine.storage.history_rows import unsigned
from engine.storage.history_tables import SCHEMA
from engine.storage.limits import DEFAULT_LIMITS, StoreLimits
from engine.storage.sessions import faults_translated
from engine.units import AccountId, AssetId, InstrumentId, OrderId

#: A page that takes longer is given up by the server.
STATEMENT_S_MAX: Final = 5.0
CONNECTIONS_MAX: Final = 4

_SESSION: Final = {
    "application_name": "outcry-history-reader",
    "statement_timeout": str(int(STATEMENT_S_MAX * 1000)),
    "default_transaction_read_only": "on",
    # Every page has its index, to be read in its order. Right after a rebuild, or for an account
    # that trades more than all others, the planner would guess otherwise and sort a whole life.
    "plan_cache_mode": "force_custom_plan",
    "enable_bitmapscan": "off",
    "enable_seqscan": "off",
}

_Row = TypeVar("_Row")

_order_decoder: Final = msgspec.msgpack.Decoder(OrderRow)
_audit_decoder: Final = msgspec.msgpack.Decoder(AuditRow)
_effects_decoder: Final = msgspec.msgpack.Decoder(tuple[Effect, ...])


class PostgresHistory:
    """The port `History` on the tables that a projector keeps in the same database."""

    def __init__(
        self, bridge: AsyncioThread, dsn: str, limits: StoreLimits = DEFAULT_LIMITS
    ) -> None:
        """Nothing is connected yet."""
        self._bridge = bridge
        self._dsn = dsn
        self._limits = limits
        self._pool: asyncpg.Pool[Any] | None = None
        self._closed = False

    async def watermark(self) -> Watermark:
        """See `History.watermark`."""
        sql = f"SELECT block_number, sequence, time_ns FROM {SCHEMA}.watermark"
        found = await self._fetch(sql)
        return Watermark(*found[0]) if found else Watermark()

    async def trades(
        self,
        instrument_id: InstrumentId,
        after: Position | None,
        rows_max: int,
        *,
        newest_first: bool,
    ) -> list[TradeRow]:
        """See `History.trades`."""
        page = Page(_POSITION, rows_max, newest_first=newest_first)
        page.where("instrument_id", instrument_id).after(*_place(after))
        return await self._rows(page.sql(_TRADE, "trades"), TradeRow, page)

    async def fills(
        self,
        account_id: AccountId,
        instrument_id: InstrumentId | None,
        after: Position | None,
        rows_max: int,
        *,
        newest_first: bool,
    ) -> list[TradeRow]:
        """See `History.fills`."""
        page = Page(_POSITION, rows_max, newest_first=newest_first)
        page.where("instrument_id", instrument_id).after(*_place(after))
        account = page.argument(account_id)
        made = f"maker_account_id = {account}"
        took = f"taker_account_id = {account} AND maker_account_id <> {account}"
        return await self._rows(page.either(_TRADE, "trades", made, took), TradeRow, page)

    async def entries(
        self,
        account_id: AccountId | None,
        asset_id: AssetId | None,
        after: Position | None,
        rows_max: int,
        *,
        newest_first: bool,
    ) -> list[EntryRow]:
        """See `History.entries`."""
        page = Page(_POSITION, rows_max, newest_first=newest_first)
        page.where("asset_id", asset_id).after(*_place(after))
        if account_id is None:
            return await self._rows(page.sql(_ENTRY, "entries"), EntryRow, page)
        account = page.argument(account_id)
        debited, credited = f"debit_account_id = {account}", f"credit_account_id = {account}"
        return await self._rows(page.either(_ENTRY, "entries", debited, credited), EntryRow, page)

    async def orders(
        self,
        account_id: AccountId,
        instrument_id: InstrumentId | None,
        after: int | None,
        rows_max: int,
        *,
        newest_first: bool,
    ) -> list[OrderRow]:
        """See `History.orders`."""
        page = Page("order_id", rows_max, newest_first=newest_first)
        page.where("account_id", account_id).where("instrument_id", instrument_id).after(after)
        found = await self._fetch(page.sql("payload", "orders"), *page.arguments)
        return [_decoded(_order_decoder, payload) for (payload,) in found]

    async def order(self, order_id: OrderId) -> OrderRow | None:
        """See `History.order`."""
        sql = f"SELECT payload FROM {SCHEMA}.orders WHERE order_id = $1"
        found = await self._fetch(sql, order_id)
        return _decoded(_order_decoder, found[0][0]) if found else None

    async def candles(
        self,
        instrument_id: InstrumentId,
        interval_s: int,
        from_s: int,
        to_s: int,
        rows_max: int,
    ) -> list[CandleRow]:
        """See `History.candles`."""
        page = Page("start_s", rows_max, newest_first=True)
        page.where("instrument_id", instrument_id).where("interval_s", interval_s)
        page.where("start_s", from_s, ">=").where("start_s", to_s, "<")
        found = await self._rows(page.sql(_CANDLE, "candles"), CandleRow, page)
        return found[::-1]

    async def effects(
        self, account_id: AccountId, after: int, through: int, rows_max: int
    ) -> list[EffectsRow]:
        """See `History.effects`."""
        page = Page("sequence", rows_max)
        page.where("account_id", account_id).after(after).where("sequence", through, "<=")
        found = await self._fetch(
            page.sql("sequence, time_ns, effects", "effects"), *page.arguments
        )
        return [
            EffectsRow(account_id, sequence, time_ns, _decoded(_effects_decoder, effects))
            for sequence, time_ns, effects in found
        ]

    async def effects_kept_after(self) -> int:
        """See `History.effects_kept_after`."""
        found = await self._fetch(f"SELECT effects_kept_after FROM {SCHEMA}.watermark")
        return int(found[0][0]) if found else 0

    async def answered(self, scope: int, keys: list[str]) -> dict[str, Answered]:
        """See `History.answered`."""
        sql = f"SELECT key, sequence, body_digest FROM {SCHEMA}.keys"
        sql = f"{sql} WHERE scope = $1 AND key = ANY($2::bytea[])"
        found = await self._fetch(sql, scope, [key.encode() for key in keys])
        return {
            key.decode(): Answered(sequence, unsigned(digest)) for key, sequence, digest in found
        }

    async def audit(
        self, after: int | None, rows_max: int, *, newest_first: bool
    ) -> list[AuditRow]:
        """See `History.audit`."""
        page = Page("sequence", rows_max, newest_first=newest_first).after(after)
        found = await self._fetch(page.sql("payload", "audit"), *page.arguments)
        return [_decoded(_audit_decoder, payload) for (payload,) in found]

    async def aclose(self) -> None:
        """See `History.aclose`. Waits a few seconds at the most, also when cancelled."""
        if not self._closed:
            self._closed = True
            with trio.CancelScope(shield=True), suppress(StorageError):  # bounded inside
                await self._bridge.run(self._close)

    async def _rows(self, sql: str, kind: type[_Row], page: Page) -> list[_Row]:
        found = await self._fetch(sql, *page.arguments)
        try:
            return msgspec.convert(found, list[kind], strict=False)  # type: ignore[valid-type]
        except msgspec.ValidationError as error:
            raise StorageError(f"rows of another release: {error}") from error

    async def _fetch(self, sql: str, *arguments: Any) -> list[tuple[Any, ...]]:
        return await self._bridge.run(self._fetch_there, sql, arguments)

    async def _fetch_there(self, sql: str, arguments: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        async with faults_translated("reading the read models"):
            pool = await self._readers()
            async with pool.acquire(timeout=self._limits.acquire_s) as session:
                try:
                    found = await session.fetch(sql, *arguments)
                except asyncpg.UndefinedTableError:
                    return []  # no projector has been here yet
        return [tuple(row) for row in found]

    async def _readers(self) -> "asyncpg.Pool[Any]":
        if self._closed:
            raise StorageError("the read models are closed")
        if self._pool is None:
            self._pool = asyncpg.create_pool(
                self._dsn,
                min_size=0,
                max_size=CONNECTIONS_MAX,
                timeout=self._limits.connect_s,
                command_timeout=STATEMENT_S_MAX + 1.0,
                server_settings=_SESSION,
            )
        return await self._pool

    async def _close(self) -> None:
        pool, self._pool = self._pool, None
        if pool is not None:
            try:
                await asyncio.wait_for(pool.close(), 2.0)
            except (TimeoutError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
                pool.terminate()


_POSITION: Final = "sequence, index"
_TRADE: Final = ", ".join(TradeRow.__struct_fields__)
_ENTRY: Final = ", ".join(EntryRow.__struct_fields__)
_CANDLE: Final = ", ".join(
    f"{name}::text" if name in ("volume_lots", "tick_lots") else name
    for name in CandleRow.__struct_fields__
)


def _place(after: Position | None) -> tuple[int | None, int | None]:
    return (None, None) if after is None else (after.sequence, after.index)


def _decoded(decoder: "msgspec.msgpack.Decoder[_Row]", payload: bytes) -> _Row:
    try:
        return decoder.decode(payload)
    except msgspec.MsgspecError as error:
        raise StorageError(f"a row of another release: {error}") from error

"""Counting what is in the read models' tables, all of it as of one moment.

Reads every row, so it takes its time; `outcry verify` and the benchmark ask.
"""

import asyncpg

from engine.history.figures import Figures
from engine.storage.bridge import AsyncioThread
from engine.storage.history_tables import SCHEMA, VERSION, read_mark
from engine.storage.limits import DEFAULT_LIMITS
from engine.storage.sessions import Connection, close_quietly, faults_translated

_COUNTS = f"""
    SELECT (SELECT count(*) FROM {SCHEMA}.trades),
           (SELECT coalesce(sum(quantity_lots), 0)::text FROM {SCHEMA}.trades),
           (SELECT count(*) FROM {SCHEMA}.entries),
           (SELECT count(*) FROM {SCHEMA}.orders),
           (SELECT count(*) FROM {SCHEMA}.keys)
"""
_AMOUNTS = f"SELECT asset_id, sum(amount_minor)::text FROM {SCHEMA}.entries GROUP BY asset_id"
_BALANCES = f"""
    SELECT account_id, asset_id, balance_minor, held_minor FROM {SCHEMA}.balances
    WHERE balance_minor <> 0 OR held_minor <> 0
"""
_SIZES = """
    SELECT relname, pg_total_relation_size(pg_class.oid) AS bytes FROM pg_class
    JOIN pg_namespace ON relnamespace = pg_namespace.oid WHERE nspname = $1 AND relkind = 'r'
"""


async def read_figures(bridge: AsyncioThread, dsn: str) -> Figures | None:
    """What the read models add up to; None if there are none of this release.

    Waits as long as counting takes. Raises: StorageError.
    """
    return await bridge.run(_read_figures, dsn)


async def table_bytes(bridge: AsyncioThread, dsn: str) -> dict[str, int]:
    """What each table weighs on disk with its indexes. Raises: StorageError."""
    return await bridge.run(_table_bytes, dsn)


async def _read_figures(dsn: str) -> Figures | None:
    async with faults_translated("counting the read models"):
        session = await asyncpg.connect(dsn, timeout=DEFAULT_LIMITS.connect_s)
        try:
            async with session.transaction(isolation="repeatable_read", readonly=True):
                return await _figures(session)
        finally:
            await close_quietly(session)


async def _figures(session: Connection) -> Figures | None:
    mark = await read_mark(session, SCHEMA)
    if mark is None or mark.version != VERSION:
        return None
    trades, lots, entries, orders, keys = await session.fetchrow(_COUNTS) or (0,) * 5
    return Figures(
        mark.block_number,
        mark.sequence,
        trades,
        int(lots),
        entries,
        {asset_id: int(text) for asset_id, text in await session.fetch(_AMOUNTS)},
        orders,
        keys,
        {
            (account_id, asset_id): (balance_minor, held_minor)
            for account_id, asset_id, balance_minor, held_minor in await session.fetch(_BALANCES)
        },
    )


async def _table_bytes(dsn: str) -> dict[str, int]:
    async with faults_translated("weighing the read models"):
        session = await asyncpg.connect(dsn, timeout=DEFAULT_LIMITS.connect_s)
        try:
            found = await session.fetch(_SIZES, SCHEMA)
        finally:
            await close_quietly(session)
    return {row["relname"]: row["bytes"] for row in found}

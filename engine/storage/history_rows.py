"""Rows as PostgreSQL takes them: what is copied into a table, what is merged into it, and how."""

from collections.abc import Iterable
from typing import Any, Final

import msgspec

from engine.history.rows import BalanceRow, CandleRow, EntryRow, Rows, TradeRow

_ORDERS: Final = """
    INSERT INTO {schema}.orders (order_id, account_id, instrument_id, payload)
    SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bytea[])
    ON CONFLICT (order_id) DO UPDATE SET payload = excluded.payload
"""
_BALANCES: Final = """
    INSERT INTO {schema}.balances (account_id, asset_id, balance_minor, held_minor, sequence)
    SELECT * FROM unnest($1::bigint[], $2::int[], $3::bigint[], $4::bigint[], $5::bigint[])
    ON CONFLICT (account_id, asset_id) DO UPDATE SET balance_minor = excluded.balance_minor,
        held_minor = excluded.held_minor, sequence = excluded.sequence
"""
_CANDLES: Final = """
    INSERT INTO {schema}.candles AS kept (instrument_id, interval_s, start_s, open_ticks,
        high_ticks, low_ticks, close_ticks, volume_lots, tick_lots, trades)
    SELECT * FROM unnest($1::bigint[], $2::int[], $3::bigint[], $4::bigint[], $5::bigint[],
        $6::bigint[], $7::bigint[], $8::numeric[], $9::numeric[], $10::bigint[])
    ON CONFLICT (instrument_id, interval_s, start_s) DO UPDATE SET
        high_ticks = greatest(kept.high_ticks, excluded.high_ticks),
        low_ticks = least(kept.low_ticks, excluded.low_ticks),
        close_ticks = excluded.close_ticks,
        volume_lots = kept.volume_lots + excluded.volume_lots,
        tick_lots = kept.tick_lots + excluded.tick_lots,
        trades = kept.trades + excluded.trades
"""

_encode: Final = msgspec.msgpack.Encoder().encode


def copied(rows: Rows) -> Iterable[tuple[str, Iterable[str], list[Any]]]:
    """What is added as it is: table, columns, and a tuple for each row."""
    as_tuple = msgspec.structs.astuple
    yield "trades", TradeRow.__struct_fields__, [as_tuple(row) for row in rows.trades]
    yield "entries", EntryRow.__struct_fields__, [as_tuple(row) for row in rows.entries]
    yield (
        "keys",
        ("scope", "key", "sequence", "body_digest"),
        [(row.scope, row.key.encode(), row.sequence, signed(row.body_digest)) for row in rows.keys],
    )
    yield (
        "effects",
        ("account_id", "sequence", "time_ns", "effects"),
        [(row.account_id, row.sequence, row.time_ns, _encode(row.effects)) for row in rows.effects],
    )
    yield "audit", ("sequence", "payload"), [(row.sequence, _encode(row)) for row in rows.audit]


def merged(rows: Rows) -> Iterable[tuple[str, list[list[Any]]]]:
    """What may be there already: the statement, and a list for each of its columns."""
    orders = [row.order for row in rows.orders]
    yield (
        _ORDERS,
        [
            [order.order_id for order in orders],
            [order.terms.account_id for order in orders],
            [order.terms.instrument_id for order in orders],
            [_encode(row) for row in rows.orders],
        ],
    )
    for statement, kind, found in (
        (_BALANCES, BalanceRow, rows.balances),
        (_CANDLES, CandleRow, rows.candles),
    ):
        yield statement, [[getattr(row, name) for row in found] for name in kind.__struct_fields__]


def signed(digest: int) -> int:
    """The signed number with the same 64 bits.

    >>> signed(2**64 - 1), unsigned(signed(2**64 - 1)) == 2**64 - 1
    (-1, True)
    """
    return digest - 2**64 if digest >= 2**63 else digest


def unsigned(digest: int) -> int:
    """The number without a sign that has the same 64 bits."""
    return digest + 2**64 if digest < 0 else digest

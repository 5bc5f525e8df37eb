"""What the feed knows of the time before it began, read from the history."""

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Final

import trio

from engine.actors.reread import PAUSE_S_MIN, patiently
from engine.history.rows import CandleRow, TradeRow
from engine.marketdata.board import Board
from engine.marketdata.candles import INTERVALS, Candle
from engine.marketdata.market import CANDLES_KEPT_MAX, TRADES_KEPT_MAX, Market
from engine.marketdata.publications import PublicTrade
from engine.marketdata.ticker import MINUTE_S, WINDOW_S
from engine.ports import History
from engine.units import InstrumentId, Sequence

_NS: Final = 1_000_000_000


async def seed_from(
    history: History, through: int, instruments: Iterable[InstrumentId], now_ns: int
) -> Board:
    """Every market as of `through` or some later record of its own.

    Records after `through` are to be folded into the board; a market skips what it has counted.
    Waits for the history, however long it takes to answer.
    """
    board = Board()
    board.sequence = Sequence(through)
    for one in instruments:
        board.markets[one] = await patiently(partial(_market, history, one, now_ns))
    return board


async def _market(history: History, instrument_id: InstrumentId, now_ns: int) -> Market:
    """One market, read while the history stood still."""
    while True:
        before = await history.watermark()
        market = await _market_as_read(history, instrument_id, now_ns, before.sequence)
        if await history.watermark() == before:
            return market
        await trio.sleep(PAUSE_S_MIN)


async def _market_as_read(
    history: History, instrument_id: InstrumentId, now_ns: int, through: int
) -> Market:
    now_s = now_ns // _NS
    trades = await history.trades(instrument_id, None, TRADES_KEPT_MAX, newest_first=True)
    minutes = await history.candles(
        instrument_id, MINUTE_S, now_s - WINDOW_S, now_s + WINDOW_S, WINDOW_S // MINUTE_S
    )
    candles: Mapping[int, Iterable[Candle]] = {
        interval_s: _candles(
            await history.candles(
                instrument_id,
                interval_s,
                now_s - CANDLES_KEPT_MAX * interval_s,
                now_s + WINDOW_S,
                CANDLES_KEPT_MAX,
            )
        )
        for interval_s in INTERVALS.values()
    }
    return Market(through, map(_public, reversed(trades)), _candles(minutes), candles)


def _candles(rows: Iterable[CandleRow]) -> list[Candle]:
    return [
        Candle(
            row.start_s,
            row.open_ticks,
            row.high_ticks,
            row.low_ticks,
            row.close_ticks,
            row.volume_lots,
            row.tick_lots,
            row.trades,
        )
        for row in rows
    ]


def _public(row: TradeRow) -> PublicTrade:
    return PublicTrade(
        row.sequence, row.index, row.time_ns, row.price_ticks, row.quantity_lots, row.taker_side
    )

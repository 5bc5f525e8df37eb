"""What was traded: everybody's trades, one's own fills, and candles."""

from typing import Final, Literal

import msgspec
from quart import Response

from api.decimals import InstrumentText
from api.edge import Edge, answer, query
from api.queries import AccountNumber, Number
from api.routes.history_pages import (
    HISTORY_WEIGHT,
    HistoryAnswer,
    HistoryPages,
    HistoryQuery,
    PositionsQuery,
    position_text,
    positions_page,
)
from api.routing import Routes
from api.sockets.feed_messages import CandleText, TradeText
from engine.accounts.messages import Permission
from engine.history.rows import CandleRow, TradeRow
from engine.ledger.amounts import format_minor
from engine.marketdata.candles import INTERVALS
from engine.units import INT64_MAX, AccountId, InstrumentId, Side

_SECOND_NS: Final = 1_000_000_000


class TradesQuery(PositionsQuery, frozen=True, kw_only=True):
    """Whose trades: those of an instrument."""

    instrument: str


class FillsQuery(PositionsQuery, frozen=True, kw_only=True):
    """Whose fills: an account's, all or those on one instrument."""

    instrument: str | None = None
    account: AccountNumber | None = None


class CandlesQuery(HistoryQuery, frozen=True, kw_only=True):
    """Which candles: those that start in [from_ns, to_ns), the newest of them."""

    instrument: str
    interval: Literal["1s", "5s", "1m", "5m", "15m", "1h", "4h", "1d"] = "1m"
    from_ns: Number = 0
    to_ns: Number = INT64_MAX


class MarketTradesAnswer(HistoryAnswer, frozen=True, kw_only=True):
    """A page of trades."""

    instrument: str
    trades: list[TradeText]


class Fill(msgspec.Struct, frozen=True, kw_only=True):
    """An order's half of a trade; a negative `fee` was given, not taken."""

    trade: str
    time_ns: int
    order_id: str
    instrument: str
    side: str
    price: str
    quantity: str
    notional: str
    fee: str
    fee_asset: str
    liquidity: str


class FillsAnswer(HistoryAnswer, frozen=True, kw_only=True):
    """A page of fills."""

    account: int
    fills: list[Fill]


class CandlesAnswer(HistoryAnswer, frozen=True, kw_only=True):
    """Candles, oldest first; intervals without trades have none."""

    instrument: str
    interval: str
    candles: list[CandleText]


class TradeRoutes:
    """What was traded."""

    def __init__(self, edge: Edge) -> None:
        self._edge = edge
        self._pages = HistoryPages(edge)

    def routes(self) -> Routes:
        """What is declared to the app."""
        routes = Routes("trades", "/v1")
        read, weight = Permission.READ, HISTORY_WEIGHT
        routes.get(
            "/trades",
            self.trades,
            read,
            query=TradesQuery,
            answer=MarketTradesAnswer,
            weight=weight,
        )
        routes.get(
            "/candles", self.candles, read, query=CandlesQuery, answer=CandlesAnswer, weight=weight
        )
        routes.get("/fills", self.fills, read, query=FillsQuery, answer=FillsAnswer, weight=weight)
        return routes

    async def trades(self) -> Response:
        """GET /v1/trades: everybody's on one instrument, newest first, in pages."""
        wanted = query(TradesQuery)
        page = positions_page(wanted)
        text = self._text(self._edge.instrument(wanted.instrument).instrument_id)
        as_of = await self._pages.as_of(wanted)
        history = self._edge.service.history
        rows = await history.trades(text.instrument.instrument_id, **page)
        trades = [_market_trade(row, text) for row in rows]
        return answer(
            MarketTradesAnswer(**as_of._asdict(), instrument=wanted.instrument, trades=trades)
        )

    async def fills(self) -> Response:
        """GET /v1/fills: an account's own halves of trades, newest first, in pages."""
        wanted = query(FillsQuery)
        page = positions_page(wanted)
        account_id = self._edge.caller.acts_for(wanted.account)
        instrument_id = None
        if wanted.instrument is not None:
            instrument_id = self._edge.instrument(wanted.instrument).instrument_id
        as_of = await self._pages.as_of(wanted)
        rows = await self._edge.service.history.fills(account_id, instrument_id, **page)
        fills = [
            fill for row in rows for fill in _fills(row, account_id, self._text(row.instrument_id))
        ]
        return answer(FillsAnswer(**as_of._asdict(), account=account_id, fills=fills))

    async def candles(self) -> Response:
        """GET /v1/candles: of one instrument and interval, the newest in a time, oldest first."""
        wanted = query(CandlesQuery)
        text = self._text(self._edge.instrument(wanted.instrument).instrument_id)
        as_of = await self._pages.as_of(wanted)
        rows = await self._edge.service.history.candles(
            text.instrument.instrument_id,
            INTERVALS[wanted.interval],
            _first_second(wanted.from_ns),
            _first_second(wanted.to_ns),
            wanted.limit,
        )
        return answer(
            CandlesAnswer(
                **as_of._asdict(),
                instrument=wanted.instrument,
                interval=wanted.interval,
                candles=[_candle(row, text) for row in rows],
            )
        )

    def _text(self, instrument_id: InstrumentId) -> InstrumentText:
        directory = self._edge.directory
        return InstrumentText.of(directory.instruments[instrument_id], directory)


def _market_trade(row: TradeRow, text: InstrumentText) -> TradeText:
    return TradeText(
        position_text(row.sequence, row.index),
        row.time_ns,
        text.price(row.price_ticks),
        text.quantity(row.quantity_lots),
        _name(row.taker_side),
    )


def _fills(row: TradeRow, account_id: AccountId, text: InstrumentText) -> list[Fill]:
    """The account's halves of a trade: one, or both if it traded with itself."""
    taker_side = row.taker_side
    fills = []
    if row.taker_account_id == account_id:
        fills.append(_fill(row, text, taker_side, is_maker=False))
    if row.maker_account_id == account_id:
        fills.append(_fill(row, text, taker_side.opposite, is_maker=True))
    return fills


def _fill(row: TradeRow, text: InstrumentText, side: Side, *, is_maker: bool) -> Fill:
    fee_minor = row.maker_fee_minor if is_maker else row.taker_fee_minor
    # A rebate comes out of what the taker received, which is what a maker gave.
    fee_asset = text.paid_asset(side) if fee_minor < 0 else text.received_asset(side)
    return Fill(
        trade=position_text(row.sequence, row.index),
        time_ns=row.time_ns,
        order_id=str(row.maker_order_id if is_maker else row.taker_order_id),
        instrument=text.instrument.symbol,
        side=_name(side),
        price=text.price(row.price_ticks),
        quantity=text.quantity(row.quantity_lots),
        notional=text.notional(row.price_ticks * row.quantity_lots),
        fee=format_minor(fee_minor, fee_asset.scale),
        fee_asset=fee_asset.code,
        liquidity="maker" if is_maker else "taker",
    )


def _candle(row: CandleRow, text: InstrumentText) -> CandleText:
    return CandleText(
        start_ns=row.start_s * _SECOND_NS,
        open=text.price(row.open_ticks),
        high=text.price(row.high_ticks),
        low=text.price(row.low_ticks),
        close=text.price(row.close_ticks),
        volume=text.quantity(row.volume_lots),
        quote_volume=text.notional(row.tick_lots),
        trades=row.trades,
    )


def _name(side: Side) -> str:
    return side.name.lower()


def _first_second(time_ns: int) -> int:
    """The first whole second at or after a time; candles start on whole ones."""
    return -(-time_ns // _SECOND_NS)

"""The last 24 hours of an instrument as callers see them, over HTTP and on the feed."""

from collections.abc import Callable
from typing import Final, TypeVar

import msgspec

from api.decimals import InstrumentText
from engine.marketdata.ticker import Ticker
from engine.orderbook.depth import Top
from engine.units import RATE_ONE_PPM

_NONE: Final = (None, None)


class TickerAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The last 24 hours by the minute; null is what there was not.

    `last` is the price of the last trade ever; `change` is from `open` to it. While `warming` what
    was before the server started is not counted yet.
    """

    instrument: str
    last: str | None
    open: str | None
    high: str | None
    low: str | None
    change: str | None
    change_ppm: int | None
    volume: str
    quote_volume: str
    trades: int
    bid: str | None
    bid_quantity: str | None
    ask: str | None
    ask_quantity: str | None
    warming: bool
    time_ns: int
    sequence: int


class TickersAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Tickers in the order of their instruments."""

    tickers: list[TickerAnswer]
    as_of_sequence: int


Answer = TypeVar("Answer", bound=TickerAnswer)


def ticker_answer(kind: type[Answer], ticker: Ticker, text: InstrumentText) -> Answer:
    """A ticker in the instrument's decimals."""
    last, first, change_ticks, change_ppm = ticker.last_ticks, ticker.open_ticks, None, None
    if last is not None and first:
        change_ticks = last - first
        change_ppm = change_ticks * RATE_ONE_PPM // first
    bid, bid_quantity = _top_text(ticker.bid, text)
    ask, ask_quantity = _top_text(ticker.ask, text)
    return kind(
        instrument=text.instrument.symbol,
        last=_text(text.price, last),
        open=_text(text.price, first),
        high=_text(text.price, ticker.high_ticks),
        low=_text(text.price, ticker.low_ticks),
        change=_text(text.price, change_ticks),
        change_ppm=change_ppm,
        volume=text.quantity(ticker.volume_lots),
        quote_volume=text.notional(ticker.tick_lots),
        trades=ticker.trades,
        bid=bid,
        bid_quantity=bid_quantity,
        ask=ask,
        ask_quantity=ask_quantity,
        warming=ticker.is_warming,
        time_ns=ticker.time_ns,
        sequence=ticker.sequence,
    )


def _top_text(top: Top, text: InstrumentText) -> tuple[str | None, str | None]:
    return _NONE if top is None else (text.price(top[0]), text.quantity(top[1]))


def _text(write: Callable[[int], str], number: int | None) -> str | None:
    return None if number is None else write(number)

"""Instruments, their depth, and the time over HTTP."""

from collections.abc import Callable
from itertools import islice

import msgspec
from quart import Response

from api.decimals import InstrumentText
from api.edge import Edge, answer, query
from api.queries import Form, NoQuery, PageQuery, RowsWanted
from api.routes.tickers import TickerAnswer, TickersAnswer, ticker_answer
from api.routing import Routes
from engine.accounts.messages import Permission
from engine.orderbook.instrument import Instrument
from engine.orderbook.messages import InstrumentState


class DepthQuery(Form, frozen=True, kw_only=True):
    """Whose levels, and how many of each side."""

    instrument: str
    limit: RowsWanted = 100


class TickerQuery(PageQuery, frozen=True, kw_only=True):
    """One instrument, or a page of all: `after` is the last number of the page before."""

    instrument: str | None = None


class InstrumentAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The terms of an instrument; null means no limit of that kind."""

    number: int
    symbol: str
    base: str
    quote: str
    tick_size: str
    lot_size: str
    minimum_quantity: str
    maximum_quantity: str | None
    minimum_notional: str | None
    maximum_notional: str | None
    band_ppm: int | None
    state: str
    halted: bool
    last_price: str | None
    reference_price: str | None


class InstrumentsAnswer(msgspec.Struct, frozen=True):
    """A page of instruments."""

    instruments: list[InstrumentAnswer]


class TimeAnswer(msgspec.Struct, frozen=True):
    """The engine's clock."""

    server_time_ns: int


class DepthAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Price levels, best first, each as [price, quantity]."""

    instrument: str
    bids: list[tuple[str, str]]
    asks: list[tuple[str, str]]
    as_of_sequence: int


class MarketRoutes:
    """What anybody with a key may know of the markets; the time needs none."""

    def __init__(self, edge: Edge) -> None:
        self._edge = edge

    def routes(self) -> Routes:
        """What is declared to the app."""
        routes, read = Routes("markets", "/v1"), Permission.READ
        routes.get("/time", self.time, None, answer=TimeAnswer)
        routes.get(
            "/instruments", self.instruments, read, query=PageQuery, answer=InstrumentsAnswer
        )
        routes.get("/instruments/<path:symbol>", self.instrument, read, answer=InstrumentAnswer)
        routes.get("/depth", self.depth, read, query=DepthQuery, answer=DepthAnswer)
        routes.get("/ticker", self.ticker, read, query=TickerQuery, answer=TickersAnswer)
        return routes

    async def time(self) -> Response:
        """GET /v1/time: the engine's clock, in nanoseconds since the Unix epoch."""
        query(NoQuery)
        return answer(TimeAnswer(self._edge.service.now_ns()))

    async def instruments(self) -> Response:
        """GET /v1/instruments: in order of creation, in pages."""
        wanted = query(PageQuery)
        known = self._edge.directory.instruments
        found = (one for number, one in known.items() if number > wanted.after)
        rows = [self._instrument_answer(one) for one in islice(found, wanted.limit)]
        return answer(InstrumentsAnswer(rows))

    async def instrument(self, symbol: str) -> Response:
        """GET /v1/instruments/SYMBOL."""
        query(NoQuery)
        return answer(self._instrument_answer(self._edge.instrument(symbol)))

    async def depth(self) -> Response:
        """GET /v1/depth: the best levels of one instrument."""
        wanted = query(DepthQuery)
        instrument = self._edge.instrument(wanted.instrument)
        text = InstrumentText.of(instrument, self._edge.directory)
        released = self._edge.service.released
        bids, asks = released.depth(instrument.instrument_id).levels(wanted.limit)
        return answer(
            DepthAnswer(
                instrument=instrument.symbol,
                bids=[(text.price(price), text.quantity(lots)) for price, lots in bids],
                asks=[(text.price(price), text.quantity(lots)) for price, lots in asks],
                as_of_sequence=released.sequence,
            )
        )

    async def ticker(self) -> Response:
        """GET /v1/ticker: the last 24 hours of one instrument, or of all in pages."""
        wanted = query(TickerQuery)
        directory = self._edge.directory
        if wanted.instrument is not None:
            found = [self._edge.instrument(wanted.instrument)]
        else:
            known = directory.instruments.items()
            found = list(islice((one for n, one in known if n > wanted.after), wanted.limit))
        tickers = await self._edge.service.tickers([one.instrument_id for one in found])
        rows = [
            ticker_answer(TickerAnswer, ticker, InstrumentText.of(one, directory))
            for one, ticker in zip(found, tickers, strict=True)
        ]
        return answer(TickersAnswer(tickers=rows, as_of_sequence=self._edge.service.feed.sequence))

    def _instrument_answer(self, instrument: Instrument) -> InstrumentAnswer:
        released = self._edge.service.released
        number = instrument.instrument_id
        text = InstrumentText.of(instrument, self._edge.directory)
        halts = released.rules.halts.snapshot()
        last, reference = released.last_prices.get(number), instrument.reference_price_ticks
        least, most = instrument.minimum_notional_minor, instrument.maximum_notional_minor
        return InstrumentAnswer(
            number=number,
            symbol=instrument.symbol,
            base=text.base.code,
            quote=text.quote.code,
            tick_size=instrument.tick_size,
            lot_size=instrument.lot_size,
            minimum_quantity=text.quantity(instrument.minimum_lots),
            maximum_quantity=_text_or_none(text.quantity, instrument.maximum_lots),
            minimum_notional=_text_or_none(text.quote_amount, least),
            maximum_notional=_text_or_none(text.quote_amount, most),
            band_ppm=instrument.band_ppm or None,
            state=released.states.get(number, InstrumentState.OPEN).name,
            halted=halts.everything or number in halts.instruments,
            last_price=None if last is None else text.price(last),
            reference_price=_text_or_none(text.price, reference),
        )


def _text_or_none(write: Callable[[int], str], number: int) -> str | None:
    return write(number) if number else None

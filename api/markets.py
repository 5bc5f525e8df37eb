"""Instruments, their depth, and the time over HTTP."""

from collections.abc import Callable
from itertools import islice

import msgspec
from quart import Blueprint, Response

from api.decimals import InstrumentText
from api.edge import Edge, answer, query
from api.queries import Form, PageQuery, RowsWanted
from engine.accounts.messages import Role
from engine.orderbook.instrument import Instrument
from engine.orderbook.messages import InstrumentState


class DepthQuery(Form, frozen=True, kw_only=True):
    """Whose levels, and how many of each side."""

    instrument: str
    limit: RowsWanted = 100


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

    def blueprint(self) -> Blueprint:
        """The routes, to be registered with the app."""
        routes = Blueprint("markets", __name__, url_prefix="/v1")
        routes.get("/time")(self.time)
        routes.get("/instruments")(self.instruments)
        routes.get("/instruments/<path:symbol>")(self.instrument)
        routes.get("/depth")(self.depth)
        return routes

    async def time(self) -> Response:
        """GET /v1/time: the engine's clock, in nanoseconds since the Unix epoch."""
        return answer({"server_time_ns": self._edge.service.now_ns()})

    async def instruments(self) -> Response:
        """GET /v1/instruments: in order of creation, in pages."""
        self._edge.caller(Role.READ)
        wanted = query(PageQuery)
        known = self._edge.directory.instruments
        found = (one for number, one in known.items() if number > wanted.after)
        rows = [self._instrument_answer(one) for one in islice(found, wanted.limit)]
        return answer({"instruments": rows})

    async def instrument(self, symbol: str) -> Response:
        """GET /v1/instruments/SYMBOL."""
        self._edge.caller(Role.READ)
        return answer(self._instrument_answer(self._edge.instrument(symbol)))

    async def depth(self) -> Response:
        """GET /v1/depth: the best levels of one instrument."""
        self._edge.caller(Role.READ)
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

"""What makers and takers do next: pure, and the same for the same seed and the same answers.

A beat is one round of a mind; it yields requests of the private socket and is told what became of
each of them.
"""

from collections.abc import Iterator, Mapping
from decimal import Decimal
from itertools import cycle
from random import Random
from typing import Any, Final, NamedTuple, Protocol

import msgspec

from api.routes.markets import InstrumentAnswer

#: Of a walk per beat, one standard deviation, in parts per million of the price.
_STEP_PPM: Final = 150
#: How much of the way home a walk goes per beat: so it stays within a few per cent.
_PULL: Final = 0.000_2
#: A walk that was not asked for long goes on from where it was.
_STEPS_MAX: Final = 100_000
_LEVELS: Final = 12
#: Between two levels of a maker, in parts per million of the price.
_SPACING_PPM: Final = 150
#: The best levels of both sides, which are renewed more often.
_BEST: Final = range(6)
_REST: Final = range(6, 2 * _LEVELS)
#: How much of its lean a maker keeps per beat.
_LEAN_KEPT: Final = 0.98
_LEAN_PPM_MAX: Final = 200_000
#: How far a maker moves its price against a position as large as a taker's may be.
_SKEW_PPM: Final = 600
_TAKES_PER_BEAT: Final = 0.25
_LOTS_MIN: Final = 10
#: The largest order of a taker is so many times the smallest; most are small.
_LOTS_RANGE: Final = 100
#: A taker that has bought so many lots more than it sold only sells.
_POSITION_LOTS_MAX: Final = 20_000
_WOULD_TRADE: Final = "POST_ONLY_WOULD_TRADE"


class Request(NamedTuple):
    """One operation of the private socket."""

    op: str
    fields: dict[str, Any]


class Walk:
    """A fair price in ticks that wanders around where it began; the same for all who ask."""

    def __init__(self, rng: Random, start_ticks: int) -> None:
        self._rng = rng
        self._start_ticks = start_ticks
        self._ticks = float(start_ticks)
        self._number = 0

    def at(self, number: int) -> int:
        """The price at a beat; it never goes back to an earlier one."""
        for _ in range(min(number - self._number, _STEPS_MAX)):
            shock = self._rng.gauss(0, self._ticks * _STEP_PPM / 1_000_000)
            self._ticks += shock + (self._start_ticks - self._ticks) * _PULL
        self._number = max(self._number, number)
        return max(1, round(self._ticks))


class Market(msgspec.Struct, frozen=True):
    """What traders must know of an instrument."""

    symbol: str
    tick: Decimal
    lot: Decimal
    start_ticks: int

    @classmethod
    def of(cls, terms: InstrumentAnswer) -> "Market | None":
        """Of an instrument; None if it is closed, or has no price to begin at."""
        if terms.reference_price is None or terms.state == "CLOSED":
            return None
        tick = Decimal(terms.tick_size)
        start_ticks = int(Decimal(terms.reference_price) / tick)
        return cls(terms.symbol, tick, Decimal(terms.lot_size), start_ticks)

    def price(self, ticks: int) -> str:
        """As text. Never below one tick."""
        return f"{max(1, ticks) * self.tick:f}"

    def quantity(self, lots: int) -> str:
        """As text."""
        return f"{lots * self.lot:f}"

    def lots(self, quantity: str) -> int:
        """Of a quantity's text."""
        return int(Decimal(quantity) / self.lot)


class Mind(Protocol):
    """Decides for one account in one market. One of its kind: `Maker`, `Taker`."""

    def begin(self) -> None:
        """Nothing of ours rests any more."""
        ...

    def beat(self, number: int) -> Iterator[Request]:
        """What to send now."""
        ...

    def took(self, request: Request, result: Mapping[str, Any]) -> None:
        """A request was done."""
        ...

    def refused(self, request: Request, code: str) -> None:
        """A request was not done."""
        ...


class _Quote(msgspec.Struct):
    """One order of a maker: as it last was, and what a replace under way asks for."""

    client_order_id: str
    price_ticks: int
    total_lots: int
    asked_ticks: int
    asked_lots: int
    filled_lots: int = 0


class Maker:
    """Keeps a ladder of bids and offers around a fair price; it never takes.

    Each beat it renews what is missing or on the wrong side of the price, and one more in turn.
    Where others will not let it quote it leans: its price follows theirs, and comes back slowly.
    The more it has bought the lower it quotes, so that what it holds stays bounded.
    """

    def __init__(self, market: Market, walk: Walk, rng: Random, tag: str) -> None:
        """`tag` begins the id of every order: unique for ever among those of the account."""
        self._market = market
        self._walk = walk
        self._rng = rng
        self._tag = tag
        self._count = 0
        #: Bids on even places, offers on odd ones, best first.
        self._quotes: list[_Quote | None] = [None] * (2 * _LEVELS)
        self._turns = cycle([one for i, rest in enumerate(_REST) for one in (i % len(_BEST), rest)])
        self._lean_ppm = 0.0
        self._position_lots = 0

    @property
    def position_lots(self) -> int:
        """Bought less sold since it began, as far as it knows."""
        return self._position_lots

    def begin(self) -> None:
        """Quote everything anew."""
        self._quotes = [None] * len(self._quotes)

    def beat(self, number: int) -> Iterator[Request]:
        """Renew what must be renewed."""
        price_ticks = self._walk.at(number)
        skew_ppm = _SKEW_PPM * self._position_lots / _POSITION_LOTS_MAX
        away_ppm = max(-_LEAN_PPM_MAX, min(_LEAN_PPM_MAX, self._lean_ppm - skew_ppm))
        price_ticks = max(1, price_ticks + round(price_ticks * away_ppm / 1_000_000))
        self._lean_ppm *= _LEAN_KEPT
        for place in self._due(price_ticks):
            yield self._renewal(place, price_ticks)

    def took(self, request: Request, result: Mapping[str, Any]) -> None:
        """The quote stands as it was asked to; count what had traded of it."""
        place = self._place_of(request)
        quote = None if place is None else self._quotes[place]
        if place is None or quote is None:
            return
        quote.price_ticks, quote.total_lots = quote.asked_ticks, quote.asked_lots
        self._count_filled(place, quote, quote.total_lots - self._market.lots(result["remaining"]))

    def refused(self, request: Request, code: str) -> None:
        """What was not placed, or is gone, is missing; what would have traded makes us lean."""
        place = self._place_of(request)
        quote = None if place is None else self._quotes[place]
        if place is None or quote is None:
            return
        if request.op == "place":
            self._quotes[place] = None
        elif code == "UNKNOWN_ORDER":
            self._count_filled(place, quote, quote.total_lots)
            self._quotes[place] = None
        elif code == "QUANTITY_ALREADY_FILLED":  # or more; the next one asks for more
            self._count_filled(place, quote, quote.asked_lots)
        if code == _WOULD_TRADE:
            leant = self._lean_ppm + (_SPACING_PPM if place % 2 else -_SPACING_PPM)
            self._lean_ppm = max(-_LEAN_PPM_MAX, min(_LEAN_PPM_MAX, leant))

    def _count_filled(self, place: int, quote: _Quote, filled_lots: int) -> None:
        traded_lots = filled_lots - quote.filled_lots
        quote.filled_lots = filled_lots
        self._position_lots += -traded_lots if place % 2 else traded_lots

    def _due(self, middle_ticks: int) -> list[int]:
        turn = next(self._turns)
        return [
            place
            for place, quote in enumerate(self._quotes)
            if quote is None or place == turn or _is_wrong(place, quote.price_ticks, middle_ticks)
        ]

    def _renewal(self, place: int, middle_ticks: int) -> Request:
        level, sells = 1 + place // 2, bool(place % 2)
        away_ppm = (level - self._rng.random() / 2) * _SPACING_PPM
        away_ticks = max(level, round(middle_ticks * away_ppm / 1_000_000))
        ticks = max(1, middle_ticks + away_ticks if sells else middle_ticks - away_ticks)
        lots = level * self._rng.randint(10 * _LOTS_MIN, _LOTS_MIN * _LOTS_RANGE)
        quote = self._quotes[place]
        if quote is not None:
            quote.asked_ticks, quote.asked_lots = ticks, quote.filled_lots + lots
            order = {"client_order_id": quote.client_order_id, **self._terms(quote)}
            return Request("replace", order)
        self._count += 1
        client_order_id = f"{self._tag}-{self._count}"
        quote = self._quotes[place] = _Quote(client_order_id, ticks, lots, ticks, lots)
        order = _order(self._market, "limit", client_order_id, sells=sells)
        return Request("place", {"order": {**order, **self._terms(quote), "post_only": True}})

    def _terms(self, quote: _Quote) -> dict[str, str]:
        price, quantity = self._market.price, self._market.quantity
        return {"price": price(quote.asked_ticks), "quantity": quantity(quote.asked_lots)}

    def _place_of(self, request: Request) -> int | None:
        client_order_id = request.fields.get("order", request.fields)["client_order_id"]
        for place, quote in enumerate(self._quotes):
            if quote is not None and quote.client_order_id == client_order_id:
                return place
        return None


class Taker:
    """Buys and sells at the market, now and then; the more it has bought the more it sells."""

    def __init__(self, market: Market, rng: Random, tag: str) -> None:
        """`tag` begins the id of every order: unique for ever among those of the account."""
        self._market = market
        self._rng = rng
        self._tag = tag
        self._count = 0
        self._position_lots = 0

    @property
    def position_lots(self) -> int:
        """Bought less sold since it began."""
        return self._position_lots

    def begin(self) -> None:
        """Its orders never rest, so nothing has changed."""

    def beat(self, number: int) -> Iterator[Request]:
        """Perhaps one order."""
        rng = self._rng
        if rng.random() >= _TAKES_PER_BEAT:
            return
        sells = rng.random() < 0.5 + 0.5 * self._position_lots / _POSITION_LOTS_MAX
        lots = round(_LOTS_MIN * _LOTS_RANGE ** rng.random())
        self._count += 1
        order = _order(self._market, "market", f"{self._tag}-{self._count}", sells=sells)
        yield Request("place", {"order": {**order, "quantity": self._market.quantity(lots)}})

    def took(self, request: Request, result: Mapping[str, Any]) -> None:
        """Count what was traded."""
        self._add(request, self._market.lots(result["filled"]))

    def refused(self, request: Request, code: str) -> None:
        """Without the means for one side, trade on the other one for a while."""
        if code == "INSUFFICIENT_FUNDS":
            self._add(request, _POSITION_LOTS_MAX // 4)

    def _add(self, request: Request, lots: int) -> None:
        signed = -lots if request.fields["order"]["side"] == "sell" else lots
        limited = max(-_POSITION_LOTS_MAX, min(_POSITION_LOTS_MAX, self._position_lots + signed))
        self._position_lots = limited


def _is_wrong(place: int, price_ticks: int, middle_ticks: int) -> bool:
    """Whether a quote is on the other side's half of the ladder."""
    return price_ticks <= middle_ticks if place % 2 else price_ticks >= middle_ticks


def _order(market: Market, kind: str, client_order_id: str, *, sells: bool) -> dict[str, Any]:
    return {
        "type": kind,
        "client_order_id": client_order_id,
        "instrument": market.symbol,
        "side": "sell" if sells else "buy",
    }

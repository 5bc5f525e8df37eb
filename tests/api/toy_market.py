"""A market in a few lines, for minds: price-time priority, post-only, replace."""

from collections.abc import Iterable, Iterator
from decimal import Decimal
from typing import Any

from api.demo.minds import Market, Mind, Request

MARKET = Market("BTC-USD", Decimal("0.01"), Decimal("0.0001"), 60_000_00)


class ToyMarket:
    """One instrument. Orders are [buys, ticks, lots, whose, filled], by client id, oldest first."""

    def __init__(self, market: Market = MARKET) -> None:
        self.market = market
        self.orders: dict[str, list[Any]] = {}
        self.positions_lots: dict[int, int] = {}
        #: In tick-lots.
        self.money: dict[int, int] = {}
        self.traded_tick_lots = 0
        self.refusals: list[str] = []

    def best(self, *, buys: bool) -> int | None:
        """The best price of one side."""
        prices = [ticks for is_bid, ticks, *_ in self.orders.values() if is_bid is buys]
        return (max if buys else min)(prices, default=None)

    def depth(self) -> tuple[int, int]:
        """How many orders each side has."""
        bids = sum(order[0] for order in self.orders.values())
        return bids, len(self.orders) - bids

    def rest(self, name: str, *, buys: bool, ticks: int, lots: int, whose: int = -1) -> None:
        """Somebody's order, which trades with nobody first."""
        self.orders[name] = [buys, ticks, lots, whose, 0]

    def answer(self, whose: int, request: Request) -> dict[str, Any] | str:
        """The result, or the code of the refusal."""
        fields = request.fields
        if request.op == "replace":
            return self._replace(fields)
        order = fields["order"]
        buys, lots = order["side"] == "buy", self.market.lots(order["quantity"])
        if order["type"] == "market":
            return {"filled": self.market.quantity(self._take(whose, buys=buys, lots=lots))}
        ticks = int(Decimal(order["price"]) / self.market.tick)
        if self._would_trade(buys=buys, ticks=ticks):
            return "POST_ONLY_WOULD_TRADE"
        self.rest(order["client_order_id"], buys=buys, ticks=ticks, lots=lots, whose=whose)
        return {"remaining": order["quantity"]}

    def _replace(self, fields: dict[str, Any]) -> dict[str, Any] | str:
        order = self.orders.get(fields["client_order_id"])
        if order is None:
            return "UNKNOWN_ORDER"
        ticks = int(Decimal(fields["price"]) / self.market.tick)
        if self._would_trade(buys=order[0], ticks=ticks):
            return "POST_ONLY_WOULD_TRADE"
        remaining = self.market.lots(fields["quantity"]) - order[4]
        if remaining <= 0:
            return "QUANTITY_ALREADY_FILLED"
        order[1:3] = ticks, remaining
        self.orders[fields["client_order_id"]] = self.orders.pop(fields["client_order_id"])
        return {"remaining": self.market.quantity(remaining)}

    def _would_trade(self, *, buys: bool, ticks: int) -> bool:
        other = self.best(buys=not buys)
        return other is not None and (ticks >= other if buys else ticks <= other)

    def _take(self, whose: int, *, buys: bool, lots: int) -> int:
        filled = 0
        while filled < lots and (ticks := self.best(buys=not buys)) is not None:
            name = next(n for n, o in self.orders.items() if o[0] is not buys and o[1] == ticks)
            maker = self.orders[name]
            traded = min(lots - filled, maker[2])
            filled += traded
            maker[2] -= traded
            maker[4] += traded
            if not maker[2]:
                del self.orders[name]
            self._settle(whose, traded if buys else -traded, ticks)
            self._settle(maker[3], -traded if buys else traded, ticks)
        return filled

    def _settle(self, whose: int, lots: int, ticks: int) -> None:
        self.positions_lots[whose] = self.positions_lots.get(whose, 0) + lots
        self.money[whose] = self.money.get(whose, 0) - lots * ticks
        self.traded_tick_lots += max(0, lots) * ticks


def play(market: ToyMarket, minds: Iterable[Mind], beats: range) -> Iterator[list[Request]]:
    """Let minds beat; what they sent, beat by beat."""
    minds = list(minds)
    for number in beats:
        sent: list[Request] = []
        for whose, mind in enumerate(minds):
            for request in mind.beat(number):
                sent.append(request)
                answer = market.answer(whose, request)
                if isinstance(answer, str):
                    market.refusals.append(answer)
                    mind.refused(request, answer)
                else:
                    mind.took(request, answer)
        yield sent

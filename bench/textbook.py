"""The order book as textbooks build it: the yardstick for ours.

A SortedDict of price to a FIFO of orders, a dictionary by id, and trades as objects. An honest
design: nothing here grows with the number of resting orders, and nothing is slow on purpose.
"""

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from sortedcontainers import SortedDict

BUY = 0
PLACE, CANCEL = 0, 1


class TextbookTrade(NamedTuple):
    """One match, at the maker's price."""

    maker_id: int
    taker_id: int
    price: int
    quantity: int


class TextbookBook:
    """Limit orders, cancels and replaces in price-time priority. Side 0 buys, 1 sells."""

    def __init__(self) -> None:
        self._sides: tuple[
            SortedDict[int, OrderedDict[int, int]], SortedDict[int, OrderedDict[int, int]]
        ] = (SortedDict(), SortedDict())
        self._where: dict[int, tuple[int, int]] = {}

    def __contains__(self, order_id: int) -> bool:
        return order_id in self._where

    def place(self, side: int, order_id: int, price: int, quantity: int) -> list[TextbookTrade]:
        """Trade what crosses and rest what remains.

        Raises: ValueError for a duplicate id, an unknown side, or a price or quantity below 1.
        """
        if order_id in self._where or side not in (0, 1) or price < 1 or quantity < 1:
            raise ValueError(f"cannot place order {order_id}")
        trades: list[TextbookTrade] = []
        makers = self._sides[1 - side]
        while quantity and makers:
            best, level = makers.peekitem(0 if side == BUY else -1)
            if best > price if side == BUY else best < price:
                break
            quantity = self._trade(level, best, order_id, quantity, trades)
            if not level:
                del makers[best]
        if quantity:
            levels = self._sides[side]
            level = levels.get(price)
            if level is None:
                level = levels[price] = OrderedDict()
            level[order_id] = quantity
            self._where[order_id] = (side, price)
        return trades

    def cancel(self, order_id: int) -> int:
        """Take an order out and return the quantity that was open.

        Raises: ValueError for an id that does not rest.
        """
        where = self._where.pop(order_id, None)
        if where is None:
            raise ValueError(f"cannot cancel order {order_id}")
        side, price = where
        level = self._sides[side][price]
        quantity: int = level.pop(order_id)
        if not level:
            del self._sides[side][price]
        return quantity

    def replace(self, side: int, order_id: int, price: int, quantity: int) -> list[TextbookTrade]:
        """Cancel and place under the same id, at the back of the queue."""
        self.cancel(order_id)
        return self.place(side, order_id, price, quantity)

    def run(self, operations: Iterable[tuple[int, int, int, int, int]]) -> list[TextbookTrade]:
        """Perform operations (kind, side, id, price, quantity) call by call."""
        trades: list[TextbookTrade] = []
        place, cancel, replace, keep = self.place, self.cancel, self.replace, trades.extend
        for kind, side, order_id, price, quantity in operations:
            if kind == PLACE:
                keep(place(side, order_id, price, quantity))
            elif kind == CANCEL:
                cancel(order_id)
            else:
                keep(replace(side, order_id, price, quantity))
        return trades

    def standing(self, order_id: int) -> tuple[int, int, int]:
        """Side, price and open quantity of a resting order."""
        side, price = self._where[order_id]
        return side, price, self._sides[side][price][order_id]

    def resting(self) -> Iterator[tuple[int, int, int, int]]:
        """Side, id, price and quantity, bids then asks, in priority order."""
        bids, asks = self._sides
        for side, levels in ((0, reversed(bids.items())), (1, iter(asks.items()))):
            for price, level in levels:
                for order_id, quantity in level.items():
                    yield side, order_id, price, quantity

    def _trade(
        self,
        level: "OrderedDict[int, int]",
        price: int,
        taker_id: int,
        quantity: int,
        trades: list[TextbookTrade],
    ) -> int:
        while quantity and level:
            maker_id, standing = next(iter(level.items()))
            traded = min(standing, quantity)
            trades.append(TextbookTrade(maker_id, taker_id, price, traded))
            quantity -= traded
            if traded == standing:
                del level[maker_id]
                del self._where[maker_id]
            else:
                level[maker_id] = standing - traded
        return quantity

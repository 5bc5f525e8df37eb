"""The public picture of a book: price levels folded from events alone, and what changed in them.

Never looks at an order book; that it always equals one is a property the tests hold.
"""

from collections.abc import Iterable, Sequence
from itertools import islice
from typing import cast

from sortedcontainers import SortedDict

from engine.errors import InvariantViolated
from engine.messages import Message
from engine.orderbook.fold import Levels
from engine.orderbook.messages import (
    BookEvent,
    OrderCancelled,
    OrderReplaced,
    OrderRested,
    SelfTradePrevented,
    Trade,
)
from engine.orderbook.resting import SIDES
from engine.units import PriceTicks, QuantityLots, Side


class DepthDelta(Message, frozen=True):
    """What one record changed: each level's new total quantity, 0 if the level is gone.

    `update_id` is one more than the previous delta's of the same instrument, without gaps.
    """

    update_id: int
    changes: list[tuple[Side, PriceTicks, QuantityLots]]


class Depth:
    """Price levels of one instrument (L2).

    Complexity: O(log levels) per change, O(levels asked for) per read.

    >>> from engine.units import OrderId
    >>> depth = Depth()
    >>> rested = OrderRested(OrderId(1), Side.SELL, PriceTicks(101), QuantityLots(5))
    >>> depth.apply([rested]).changes
    [(<Side.SELL: 1>, 101, 5)]
    >>> depth.top, depth.update_id
    ((None, (101, 5)), 1)
    """

    __slots__ = ("_sides", "update_id")

    def __init__(
        self,
        bids: Iterable[tuple[PriceTicks, QuantityLots]] = (),
        asks: Iterable[tuple[PriceTicks, QuantityLots]] = (),
        update_id: int = 0,
    ) -> None:
        #: The id of the last delta; what is read here includes it.
        self.update_id = update_id
        self._sides: tuple[SortedDict[int, int], SortedDict[int, int]] = (
            SortedDict(bids),
            SortedDict(asks),
        )

    def apply(self, events: Sequence[BookEvent]) -> DepthDelta | None:
        """Fold one record's events; None if every level is as before.

        Raises: InvariantViolated if a level would fall below zero.
        """
        before: dict[tuple[Side, PriceTicks], int] = {}
        for event in events:
            for side, price_ticks, lots in _differences(event):
                levels = self._sides[side]
                standing = levels.get(price_ticks, 0)
                before.setdefault((side, price_ticks), standing)
                _set(levels, price_ticks, standing + lots)
        changes = []
        for (side, price_ticks), old_lots in before.items():
            lots = self._sides[side].get(price_ticks, 0)
            if lots < 0:
                raise InvariantViolated(f"{side.name} level {price_ticks} holds {lots} lots")
            if lots != old_lots:
                changes.append((side, price_ticks, QuantityLots(lots)))
        if not changes:
            return None
        self.update_id += 1
        return DepthDelta(self.update_id, changes)

    def levels(self, levels_max: int) -> tuple[Levels, Levels]:
        """At most `levels_max` bids and asks, best first."""
        bids, asks = self._sides
        best_bids = [(price, bids[price]) for price in islice(reversed(bids), levels_max)]
        return cast("Levels", best_bids), cast("Levels", list(islice(asks.items(), levels_max)))

    @property
    def top(
        self,
    ) -> tuple[tuple[PriceTicks, QuantityLots] | None, tuple[PriceTicks, QuantityLots] | None]:
        """The best bid and the best ask, each as price and quantity."""
        bids, asks = self._sides
        return bids.peekitem(-1) if bids else None, asks.peekitem(0) if asks else None


def _differences(event: BookEvent) -> tuple[tuple[Side, PriceTicks, int], ...]:
    """What an event adds to levels, or takes from them."""
    match event:
        case Trade() | SelfTradePrevented():
            maker_side = SIDES[1 - event.taker_side]
            return ((maker_side, event.price_ticks, -event.quantity_lots),)
        case OrderRested():
            return ((event.side, event.price_ticks, event.quantity_lots),)
        case OrderCancelled(rested=True):
            return ((event.side, event.price_ticks, -event.quantity_lots),)
        case OrderReplaced():
            left = (event.side, event.old_price_ticks, -event.old_quantity_lots)
            if not event.kept_priority:
                return (left,)
            return (left, (event.side, event.price_ticks, event.quantity_lots))
        case _:
            return ()


def _set(levels: "SortedDict[int, int]", price_ticks: int, lots: int) -> None:
    if lots:
        levels[price_ticks] = lots
    else:
        levels.pop(price_ticks, None)

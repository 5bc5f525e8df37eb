"""The public picture of a book: price levels folded from events alone, and what changed in them.

Never looks at an order book; that it always equals one is a property the tests hold.
"""

from collections.abc import Iterable, Sequence
from typing import Final, TypeAlias, cast

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

#: A best level, or None on an empty side.
Top: TypeAlias = tuple[PriceTicks, QuantityLots] | None
#: The kinds of event that can change a level; the others need not be folded.
MOVES_DEPTH: Final = frozenset(
    (OrderRested, Trade, SelfTradePrevented, OrderCancelled, OrderReplaced)
)


class DepthDelta(Message, frozen=True):
    """What changed since the delta before: each level's new total quantity, 0 if the level is gone.

    `update_id` is one more than the previous delta's of the same instrument, without gaps.
    """

    update_id: int
    changes: list[tuple[Side, PriceTicks, QuantityLots]]


class Depth:
    """Price levels of one instrument (L2).

    Complexity: O(1) per change, O(levels x log levels) per read.

    >>> from engine.units import OrderId
    >>> depth = Depth()
    >>> rested = OrderRested(OrderId(1), Side.SELL, PriceTicks(101), QuantityLots(5))
    >>> depth.apply([rested]).changes
    [(<Side.SELL: 1>, 101, 5)]
    >>> depth.top, depth.update_id
    ((None, (101, 5)), 1)
    """

    __slots__ = ("_before", "_sides", "update_id")

    def __init__(
        self,
        bids: Iterable[tuple[PriceTicks, QuantityLots]] = (),
        asks: Iterable[tuple[PriceTicks, QuantityLots]] = (),
        update_id: int = 0,
    ) -> None:
        #: The id of the last delta; what is read here includes it.
        self.update_id = update_id
        # bids and asks, price to lots: written with every order, sorted only when somebody reads
        self._sides: tuple[dict[int, int], dict[int, int]] = (dict(bids), dict(asks))
        # the levels changed since the last delta, as they stood in it; None while nobody wants any
        self._before: tuple[dict[int, int], dict[int, int]] | None = None

    def fold(self, event: BookEvent) -> None:
        """Fold one event of a kind in `MOVES_DEPTH`.

        Raises: InvariantViolated if a level would fall below zero.
        """
        kind = type(event)
        if kind is OrderRested:
            self._add(event.side, event.price_ticks, event.quantity_lots)  # type: ignore[union-attr]
        elif kind is OrderCancelled:
            if event.rested:  # type: ignore[union-attr]
                self._add(event.side, event.price_ticks, -event.quantity_lots)  # type: ignore[union-attr]
        elif kind is OrderReplaced:
            self._fold_replaced(event)  # type: ignore[arg-type]
        else:
            maker_side = 1 - event.taker_side  # type: ignore[union-attr]
            self._add(maker_side, event.price_ticks, -event.quantity_lots)  # type: ignore[union-attr]

    def _fold_replaced(self, event: OrderReplaced) -> None:
        self._add(event.side, event.old_price_ticks, -event.old_quantity_lots)
        if event.kept_priority:
            self._add(event.side, event.price_ticks, event.quantity_lots)

    def _add(self, side: int, price_ticks: int, lots: int) -> None:
        levels = self._sides[side]
        standing = levels.get(price_ticks, 0)
        if self._before is not None:
            self._before[side].setdefault(price_ticks, standing)
        if standing + lots > 0:
            levels[price_ticks] = standing + lots
        elif standing + lots == 0:
            levels.pop(price_ticks, None)
        else:
            raise InvariantViolated(f"{Side(side).name} level {price_ticks} holds too little")

    def take_delta(self) -> DepthDelta | None:
        """What changed since the last delta, numbered; None if every level is as it was then.

        Changes are kept from the first call on, whose answer is None.
        """
        before, self._before = self._before, ({}, {})
        changes = [
            (side, PriceTicks(price_ticks), QuantityLots(levels.get(price_ticks, 0)))
            for side, levels, old in zip(SIDES, self._sides, before or self._before, strict=True)
            for price_ticks, old_lots in old.items()
            if levels.get(price_ticks, 0) != old_lots
        ]
        if not changes:
            return None
        self.update_id += 1
        return DepthDelta(self.update_id, changes)

    def stop_deltas(self) -> None:
        """Keep no changes any more; the next `take_delta` begins anew."""
        self._before = None

    def apply(self, events: Sequence[BookEvent]) -> DepthDelta | None:
        """Fold one record's events and take their delta."""
        if self._before is None:
            self._before = ({}, {})
        for event in events:
            if type(event) in MOVES_DEPTH:
                self.fold(event)
        return self.take_delta()

    def levels(self, levels_max: int) -> tuple[Levels, Levels]:
        """At most `levels_max` bids and asks, best first."""
        bids, asks = self._sides
        best_bids = sorted(bids.items(), reverse=True)[:levels_max]
        return cast("Levels", best_bids), cast("Levels", sorted(asks.items())[:levels_max])

    @property
    def top(self) -> tuple[Top, Top]:
        """The best bid and the best ask, each as price and quantity."""
        bids, asks = self._sides
        best = max(bids.items(), default=None), min(asks.items(), default=None)
        return cast("tuple[Top, Top]", best)

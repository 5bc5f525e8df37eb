"""Who stands where: resting orders in price-time priority, and how a taker meets them.

The inner loop of the engine. Only integers in builtin containers live here: no messages, no enums,
no accounts, no time. What an order *means* is decided one floor up, in `matching`.

An order is a dense *handle* into parallel lists. Every level is a ring through a handle of its own
(its sentinel), so cancelling from the middle is two writes and needs no search, and nothing is ever
deleted lazily: a freed handle is in no ring and in no map before it can be handed out again.
"""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Final

from engine.errors import InvariantViolated
from engine.orderbook.ladder import Ladder

PLACE: Final = 0
CANCEL: Final = 1
REPLACE: Final = 2

#: The best key of an empty side: below every key, and never crossed.
NO_KEY: Final = -(2**64)

_INT64_MAX: Final = 2**63 - 1

_BLOCK: Final = (0,) * 64  # handles are made so many at a time

#: One operation of a batch: kind, side, order id, price in ticks, quantity in lots.
Operation = tuple[int, int, int, int, int]


class Book:
    """Both sides of one instrument.

    Units: prices in ticks, quantities in lots; side 0 buys, 1 sells. A *key* is a price that grows
    towards the touch (see `ladder`): a bid's is positive, an ask's negative, so it tells the side.
    Trades leave through a flat list: maker id, taker id, price, quantity, and so on.
    Complexity: every operation is constant in the number of resting orders, per maker traded with;
    opening or closing a level costs what the ladder says.

    Callers check first: an id that rests already, a price or quantity below 1 or a dead handle
    would corrupt the book. `run` does that checking itself.

    >>> book, trades = Book(), []
    >>> book.run([(PLACE, 1, 1, 101, 5), (PLACE, 0, 2, 102, 8), (CANCEL, 0, 9, 0, 0)], trades)
    [(1, 0, 9, 0, 0)]
    >>> trades, book.best
    ([1, 2, 101, 5], [102, -18446744073709551616])
    """

    __slots__ = (
        "best",
        "free",
        "free_rings",
        "handle_of",
        "key_of",
        "ladders",
        "levels",
        "next_of",
        "order_id_of",
        "prev_of",
        "remaining_of",
    )

    def __init__(self) -> None:
        self.handle_of: dict[int, int] = {}
        # Handle 0 is never used, so that 0 can say "none".
        self.prev_of: list[int] = [0]
        self.next_of: list[int] = [0]
        self.key_of: list[int] = [0]
        self.remaining_of: list[int] = [0]
        self.order_id_of: list[int] = [0]
        #: Handles to hand out again. Sweeps append the handles of the makers they used up, in
        #: trade order, so a caller with lists of its own learns which to clear.
        self.free: list[int] = []
        self.free_rings: list[int] = []
        #: Per side: key to the sentinel of its level.
        self.levels: tuple[dict[int, int], dict[int, int]] = ({}, {})
        self.ladders = (Ladder(), Ladder())
        #: Per side: the best key, or NO_KEY.
        self.best: list[int] = [NO_KEY, NO_KEY]

    def insert(self, side: int, key: int, order_id: int, quantity: int) -> int:
        """Stand a new order last at its price and return its handle."""
        handle = self.free.pop() if self.free else self._grow()
        self.attach(handle, side, key, order_id, quantity)
        return handle

    def remove(self, handle: int) -> None:
        """Take an order out, wherever it stands in its level, and free its handle."""
        self.detach(handle)
        self.free.append(handle)

    def attach(self, handle: int, side: int, key: int, order_id: int, quantity: int) -> None:
        """Stand an order last at its price under a handle that stands nowhere."""
        sentinel = self.levels[side].get(key) or self._open_level(side, key)
        last = self.prev_of[sentinel]
        self.prev_of[handle] = last
        self.next_of[handle] = sentinel
        self.key_of[handle] = self.key_of[sentinel]
        self.remaining_of[handle] = quantity
        self.order_id_of[handle] = order_id
        self.next_of[last] = handle
        self.prev_of[sentinel] = handle
        self.handle_of[order_id] = handle

    def detach(self, handle: int) -> None:
        """Take an order out of its level and keep its handle reserved."""
        previous, following = self.prev_of[handle], self.next_of[handle]
        self.next_of[previous] = following
        self.prev_of[following] = previous
        if previous == following:
            self._close_level(previous)
        del self.handle_of[self.order_id_of[handle]]

    def first(self, side: int) -> int:
        """The handle with the highest priority of a side, or 0."""
        best = self.best[side]
        return self.next_of[self.levels[side][best]] if best != NO_KEY else 0

    def handles(self, side: int) -> Iterator[int]:
        """Every handle of a side in priority order. The book must not change meanwhile."""
        next_of = self.next_of
        for key in self.ladders[side]:
            sentinel = self.levels[side][key]
            handle = next_of[sentinel]
            while handle != sentinel:
                yield handle
                handle = next_of[handle]

    def sweep(
        self, side: int, key: int, order_id: int, quantity: int, fills_max: int, trades: list[int]
    ) -> int:
        """Trade a taker of `side` with the makers its `key` crosses, and return what remains.

        Ends when the quantity is used up, nothing crosses any more, or after `fills_max` trades.
        Trades are at the makers' prices, appended to `trades`.
        """
        opposite = 1 - side
        best, levels = self.best, self.levels[opposite]
        next_of, remaining_of, order_id_of = self.next_of, self.remaining_of, self.order_id_of
        handle_of, free = self.handle_of, self.free
        while quantity and fills_max and best[opposite] + key >= 0:
            price = abs(best[opposite])
            sentinel = levels[best[opposite]]
            maker = next_of[sentinel]
            while maker != sentinel and fills_max:
                fills_max -= 1
                standing = remaining_of[maker]
                if standing > quantity:
                    remaining_of[maker] = standing - quantity
                    trades.extend((order_id_of[maker], order_id, price, quantity))
                    quantity = 0
                    break
                maker_id = order_id_of[maker]
                trades.extend((maker_id, order_id, price, standing))
                quantity -= standing
                del handle_of[maker_id]
                free.append(maker)
                maker = next_of[maker]
                if not quantity:
                    break
            next_of[sentinel] = maker
            self.prev_of[maker] = sentinel
            if maker == sentinel:
                self._close_level(sentinel)
        return quantity

    def run(self, operations: Iterable[Operation], trades: list[int]) -> list[Operation]:
        """Check and perform many operations, and return those refused, in order.

        A place trades what it crosses and rests what remains. A replace is a remove and a place
        under the same id, at the back of the queue. Refused, and without effect: an unknown or
        duplicate id, an unknown kind or side, a side other than the order's own, a price or
        quantity below 1 or beyond 63 bits.
        """
        refused: list[Operation] = []
        handle_of, key_of = self.handle_of, self.key_of
        prev_of, next_of = self.prev_of, self.next_of
        remaining_of, order_id_of = self.remaining_of, self.order_id_of
        levels, best, free = self.levels, self.best, self.free
        take_handle, release = handle_of.pop, free.append
        for operation in operations:
            kind, side, order_id, price, quantity = operation
            if kind == CANCEL:
                handle = take_handle(order_id, 0)
                if not handle:
                    refused.append(operation)
                    continue
                previous, following = prev_of[handle], next_of[handle]
                next_of[previous] = following
                prev_of[following] = previous
                release(handle)
                if previous == following:
                    self._close_level(previous)
                continue
            if (
                not (0 < price <= _INT64_MAX and 0 < quantity <= _INT64_MAX)
                or (side != 0 and side != 1)
                or (
                    order_id in handle_of
                    if kind == PLACE
                    else kind != REPLACE or not self._stands(order_id, side)
                )
            ):
                refused.append(operation)
                continue
            if kind == REPLACE:
                self.remove(handle_of[order_id])
            key = -price if side else price
            if best[1 - side] + key >= 0:
                quantity = self.sweep(side, key, order_id, quantity, _INT64_MAX, trades)
                if not quantity:
                    continue
            sentinel = levels[side].get(key) or self._open_level(side, key)
            last = prev_of[sentinel]
            handle = free.pop() if free else self._grow()
            prev_of[handle] = last
            next_of[handle] = sentinel
            key_of[handle] = key_of[sentinel]
            remaining_of[handle] = quantity
            order_id_of[handle] = order_id
            next_of[last] = prev_of[sentinel] = handle_of[order_id] = handle
        return refused

    def depth(self, side: int, levels_max: int) -> list[tuple[int, int]]:
        """Price and total quantity of the best levels. O(orders standing in them)."""
        answer = []
        for key in islice(self.ladders[side], levels_max):
            total, sentinel = 0, self.levels[side][key]
            handle = self.next_of[sentinel]
            while handle != sentinel:
                total += self.remaining_of[handle]
                handle = self.next_of[handle]
            answer.append((abs(key), total))
        return answer

    def reserve(self) -> int:
        """A handle that stands in no level, for a ring of the caller's own."""
        free = self.free_rings or self.free
        return free.pop() if free else self._grow()

    def check_invariants(self) -> None:
        """Raise InvariantViolated unless rings, maps, ladders and best keys agree. O(n)."""
        standing: dict[int, int] = {}
        for side in (0, 1):
            keys = list(self.ladders[side])
            if keys != sorted(self.levels[side], reverse=True):
                raise InvariantViolated(f"side {side}: ladder {keys} and levels disagree")
            if self.best[side] != (keys[0] if keys else NO_KEY):
                raise InvariantViolated(f"side {side}: best key {self.best[side]} of {keys}")
            for handle in self.handles(side):
                standing[self.order_id_of[handle]] = handle
                self._check_order(handle, side)
        if standing != self.handle_of:
            raise InvariantViolated(f"orders {standing} stand, orders {self.handle_of} are known")
        if not set(self.free).isdisjoint(standing.values()):
            raise InvariantViolated("a free handle stands in the book")
        if self.best[0] + self.best[1] >= 0:
            raise InvariantViolated(f"the book is crossed: {self.best}")

    def _check_order(self, handle: int, side: int) -> None:
        key, previous = self.key_of[handle], self.prev_of[handle]
        if self.remaining_of[handle] < 1:
            raise InvariantViolated(f"handle {handle} stands with {self.remaining_of[handle]} lots")
        if self.next_of[previous] != handle or self.key_of[previous] != key:
            raise InvariantViolated(f"handle {handle} does not follow {previous} at its price")
        if (key < 0) != side:
            raise InvariantViolated(f"handle {handle} with key {key} stands on side {side}")

    def _stands(self, order_id: int, side: int) -> bool:
        handle = self.handle_of.get(order_id, 0)
        return handle != 0 and (self.key_of[handle] < 0) == side

    def _open_level(self, side: int, key: int) -> int:
        sentinel = self.reserve()
        self.prev_of[sentinel] = self.next_of[sentinel] = sentinel
        self.key_of[sentinel] = key
        self.levels[side][key] = sentinel
        self.ladders[side].add(key)
        self.best[side] = max(key, self.best[side])
        return sentinel

    def _close_level(self, sentinel: int) -> None:
        key = self.key_of[sentinel]
        side = key < 0
        ladder = self.ladders[side]
        del self.levels[side][key]
        ladder.remove(key)
        self.best[side] = ladder.near[-1] if ladder.near else NO_KEY
        self.free_rings.append(sentinel)

    def _grow(self) -> int:
        """A fresh handle; its block's others wait in `free`, lowest last."""
        first = len(self.prev_of)
        for column in (
            self.prev_of,
            self.next_of,
            self.key_of,
            self.remaining_of,
            self.order_id_of,
        ):
            column.extend(_BLOCK)
        self.free.extend(range(first + len(_BLOCK) - 1, first, -1))
        return first

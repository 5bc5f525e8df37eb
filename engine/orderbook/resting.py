"""Whose resting orders they are: the terms, the owners and the deadlines beside the priority book.

Adds to every handle of `book` what an exchange knows of an order. Decides nothing.
"""

from array import array
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Final, cast

from sortedcontainers import SortedList

from engine.errors import InvariantViolated
from engine.orderbook.book import Book
from engine.orderbook.messages import SelfTradePrevention
from engine.orderbook.snapshot import RestingOrder
from engine.units import INT64_MAX, Side

SIDES: Final = (Side.BUY, Side.SELL)
_MODES: Final = tuple(SelfTradePrevention)
# The book below counts in bare integers; naming each one's unit would cost a call per number.
_resting_order: Final = cast("Callable[..., RestingOrder]", RestingOrder)
_POST_ONLY: Final = 1 << 3  # above the bits of the mode


class RestingOrders:
    """The resting orders of one instrument with their terms, by id, by account and by deadline.

    The orders of one account form a ring through the same handles, oldest order id first, so that
    they can be cancelled in chunks without a search.

    Complexity: add and withdraw are constant in the number of resting orders; with a deadline
    O(log n); an id older than some of its account's resting orders (a triggered order) first walks
    past those. Memory: `docs/adr/0002-price-levels.md`.
    """

    __slots__ = (
        "_deadlines",
        "_flags_of",
        "_newer_of",
        "_older_of",
        "_ring_of",
        "account_of",
        "book",
        "expires_at_of",
        "next_expiry_ns",
        "total_of",
    )

    def __init__(self) -> None:
        self.book = Book()
        self.account_of: list[int] = [0]
        self.total_of: list[int] = [0]
        self.expires_at_of: list[int] = [0]
        self._flags_of = array("B", [0])
        self._older_of: list[int] = [0]
        self._newer_of: list[int] = [0]
        self._ring_of: dict[int, int] = {}
        self._deadlines: SortedList[tuple[int, int]] = SortedList()
        #: The earliest deadline, or INT64_MAX: before it no resting order can have expired.
        self.next_expiry_ns: int = INT64_MAX

    def __len__(self) -> int:
        return len(self.book.handle_of)

    def __contains__(self, order_id: int) -> bool:
        return order_id in self.book.handle_of

    def add(self, order: RestingOrder) -> None:
        """Stand an order last at its price. Its id must not rest yet."""
        self._link(self._stand(order), order)

    def load(self, orders: Iterable[RestingOrder]) -> None:
        """Stand orders given in priority order. O(n log n)."""
        handles = [(order.order_id, self._stand(order), order) for order in orders]
        for _, handle, order in sorted(handles):
            self._link(handle, order)

    def withdraw(self, handle: int) -> None:
        """Take an order out of the book and out of every index."""
        self.book.remove(handle)
        self.forget(handle)

    def forget(self, handle: int) -> None:
        """Clear the indexes of an order that the book itself has already let go."""
        older, newer = self._older_of[handle], self._newer_of[handle]
        self._newer_of[older] = newer
        self._older_of[newer] = older
        if older == newer:
            del self._ring_of[self.account_of[older]]
            self.book.free_rings.append(older)
        if expires_at_ns := self.expires_at_of[handle]:
            self._deadlines.remove((expires_at_ns, self.book.order_id_of[handle]))
            self.next_expiry_ns = self._deadlines[0][0] if self._deadlines else INT64_MAX

    def leave(self, handle: int) -> None:
        """Take an order out of its level only; `reenter` or `drop` must follow."""
        self.book.detach(handle)

    def reenter(self, handle: int, order: RestingOrder) -> None:
        """Stand an order that has left last at its new price, with its new quantities."""
        side = order.side
        key = -order.price_ticks if side else order.price_ticks
        self.book.attach(handle, side, key, order.order_id, order.remaining_lots)
        self.total_of[handle] = order.total_lots

    def drop(self, handle: int) -> None:
        """End an order that has left."""
        self.forget(handle)
        self.book.free.append(handle)

    def reduce(self, handle: int, lots: int) -> None:
        """Take lots from an order in place; with its last one it is withdrawn."""
        remaining_of = self.book.remaining_of
        if lots < remaining_of[handle]:
            remaining_of[handle] -= lots
        else:
            self.withdraw(handle)

    def resize(self, handle: int, remaining_lots: int, total_lots: int) -> None:
        """Give an order another quantity without moving it."""
        self.book.remaining_of[handle] = remaining_lots
        self.total_of[handle] = total_lots

    def owns_any(self, account_id: int) -> bool:
        """Whether an account has at least one resting order."""
        return account_id in self._ring_of

    def of_account(self, account_id: int, after_order_id: int = 0) -> Iterator[int]:
        """Handles of an account's orders, oldest id first. They must not change meanwhile.

        Begins behind `after_order_id` if that order of theirs rests, else with the oldest.
        """
        ring = self._ring_of.get(account_id, 0)
        handle = self._newer_of[self.book.handle_of.get(after_order_id, ring)]
        while handle != ring:
            yield handle
            handle = self._newer_of[handle]

    def expired(self, now_ns: int, orders_max: int) -> list[int]:
        """Handles of at most `orders_max` orders at or past their deadline, earliest first."""
        handle_of = self.book.handle_of
        due = self._deadlines.irange(maximum=(now_ns, INT64_MAX))
        return [handle_of[order_id] for _, order_id in islice(due, orders_max)]

    def order(self, handle: int) -> RestingOrder:
        """What stands under a handle."""
        book, flags = self.book, self._flags_of[handle]
        key = book.key_of[handle]
        return _resting_order(
            book.order_id_of[handle],
            self.account_of[handle],
            SIDES[key < 0],
            abs(key),
            book.remaining_of[handle],
            self.total_of[handle],
            self.expires_at_of[handle],
            _MODES[flags & ~_POST_ONLY],
            bool(flags & _POST_ONLY),
        )

    def orders(self, side: Side) -> Iterator[RestingOrder]:
        """The orders of a side in priority order. They must not change meanwhile."""
        return map(self.order, self.book.handles(side))

    def check_invariants(self) -> None:
        """Raise InvariantViolated unless book, accounts and deadlines agree. O(n log n)."""
        self.book.check_invariants()
        order_id_of = self.book.order_id_of
        owned = 0
        for account_id in self._ring_of:
            ids = [order_id_of[handle] for handle in self.of_account(account_id)]
            owned += len(ids)
            if not ids or ids != sorted(set(ids)) or not all(id_ in self for id_ in ids):
                raise InvariantViolated(f"account {account_id} is said to own {ids}")
        if owned != len(self):
            raise InvariantViolated(f"{owned} orders are owned, {len(self)} stand")
        book = self.book
        rings = len(self._ring_of) + len(book.levels[0]) + len(book.levels[1])
        accounted = len(self) + rings + len(book.free) + len(book.free_rings)
        if accounted != len(book.prev_of) - 1:
            raise InvariantViolated(f"{accounted} of {len(book.prev_of) - 1} handles are accounted")
        deadlines = []
        for order_id, handle in self.book.handle_of.items():
            if not 0 < self.book.remaining_of[handle] <= self.total_of[handle]:
                raise InvariantViolated(f"order {order_id} has more open than was ordered")
            if self.expires_at_of[handle]:
                deadlines.append((self.expires_at_of[handle], order_id))
        first = min(deadlines, default=(INT64_MAX, 0))[0]
        if sorted(deadlines) != list(self._deadlines) or first != self.next_expiry_ns:
            raise InvariantViolated(f"deadlines {deadlines} against {self._deadlines}")

    def _stand(self, order: RestingOrder) -> int:
        side, order_id, account_id = order.side, order.order_id, order.account_id
        key = -order.price_ticks if side else order.price_ticks
        handle = self.book.insert(side, key, order_id, order.remaining_lots)
        ring = self._ring_of.get(account_id) or self._open_ring(account_id)
        if handle >= len(self.account_of):
            self._grow()
        self.account_of[handle] = self.account_of[ring]
        self.total_of[handle] = order.total_lots
        self.expires_at_of[handle] = order.expires_at_ns
        self._flags_of[handle] = order.self_trade | _POST_ONLY * order.post_only
        if order.expires_at_ns:
            self._deadlines.add((order.expires_at_ns, order_id))
            self.next_expiry_ns = self._deadlines[0][0]
        return handle

    def _link(self, handle: int, order: RestingOrder) -> None:
        older_of, newer_of, order_id_of = self._older_of, self._newer_of, self.book.order_id_of
        ring, order_id = self._ring_of[order.account_id], order.order_id
        older = older_of[ring]
        while older != ring and order_id_of[older] > order_id:
            older = older_of[older]
        newer = newer_of[older]
        older_of[handle] = older
        newer_of[handle] = newer
        newer_of[older] = handle
        older_of[newer] = handle

    def _open_ring(self, account_id: int) -> int:
        ring = self.book.reserve()
        if ring >= len(self.account_of):
            self._grow()
        self.account_of[ring] = account_id
        self._older_of[ring] = self._newer_of[ring] = ring
        self._ring_of[account_id] = ring
        return ring

    def _grow(self) -> None:
        missing = [0] * (len(self.book.prev_of) - len(self.account_of))
        for column in (
            self.account_of,
            self.total_of,
            self.expires_at_of,
            self._older_of,
            self._newer_of,
        ):
            column.extend(missing)
        self._flags_of.extend(missing)

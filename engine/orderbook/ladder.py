"""Which prices have a level: sorted, cheap at the touch, bounded anywhere else.

Prices are kept as *keys* that grow towards the touch: a bid's key is its price, an ask's is its
price negated. So one class serves both sides, and the best price is always the last key.
"""

from bisect import bisect_left, insort
from collections.abc import Iterator
from typing import Final

from sortedcontainers import SortedList

NEAR_KEYS_MAX: Final = 512
_REFILL_KEYS: Final = NEAR_KEYS_MAX // 2


class Ladder:
    """The keys of one side's levels, ascending.

    The keys next to the touch, where levels come and go, are a plain list (`near`): changing its
    end is faster than any tree. The others are a SortedList (`far`), so that a book with a million
    levels still answers in microseconds.

    Invariants: every far key is below every near key; near is empty only if far is.
    Complexity: O(log n) at worst, constant at the touch (`docs/adr/0002-price-levels.md`).

    >>> ladder = Ladder()
    >>> for key in (5, 9, 7):
    ...     ladder.add(key)
    >>> ladder.near[-1], list(ladder)
    (9, [9, 7, 5])
    """

    __slots__ = ("far", "near")

    def __init__(self) -> None:
        self.near: list[int] = []
        self.far: SortedList[int] = SortedList()

    def __len__(self) -> int:
        return len(self.near) + len(self.far)

    def __iter__(self) -> Iterator[int]:
        """Keys from the best to the worst."""
        yield from reversed(self.near)
        yield from reversed(self.far)

    def add(self, key: int) -> None:
        """Insert a key that is not there yet."""
        near = self.near
        if not near or key > near[-1]:
            near.append(key)
        elif key > near[0] or not self.far:
            insort(near, key)
        else:
            self.far.add(key)
            return
        if len(near) > NEAR_KEYS_MAX:
            self.far.update(near[:_REFILL_KEYS])
            del near[:_REFILL_KEYS]

    def remove(self, key: int) -> None:
        """Delete a key that is there."""
        near = self.near
        if key == near[-1]:
            near.pop()
        elif key >= near[0]:
            del near[bisect_left(near, key)]
        else:
            self.far.remove(key)
        if not near and self.far:
            far = self.far
            near.extend(far.pop() for _ in range(min(_REFILL_KEYS, len(far))))
            near.reverse()

"""What accounts has reserved or debited for commands whose records are not released yet.

The ledger is the released state; this is the part of the future that must already restrict.
"""

from collections import deque

from engine.orderbook.messages import PlaceOrder
from engine.products.exchange.messages import PlaceConditional

#: Sequence, balance key, amount, and the new order it is for: a bare tuple, one per order.
_InFlight = tuple[int, int, int, PlaceOrder | PlaceConditional | None]


class SetAside:
    """Amounts in flight per balance, in sequence order.

    Complexity: O(1) per command added and forgotten.
    """

    def __init__(self) -> None:
        self._in_flight: deque[_InFlight] = deque()
        self._by_balance: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._in_flight)

    def add(
        self,
        sequence: int,
        balance_key: int,
        amount_minor: int,
        order: PlaceOrder | PlaceConditional | None = None,
    ) -> None:
        """Set an amount aside until the record of `sequence` is released."""
        self._in_flight.append((sequence, balance_key, amount_minor, order))
        by_balance = self._by_balance
        by_balance[balance_key] = by_balance.get(balance_key, 0) + amount_minor

    def amount_minor(self, balance_key: int) -> int:
        """What is in flight of one balance."""
        return self._by_balance.get(balance_key, 0)

    def release_through(self, sequence: int) -> None:
        """Forget what the ledger now says itself."""
        in_flight, by_balance = self._in_flight, self._by_balance
        while in_flight and in_flight[0][0] <= sequence:
            _, balance_key, amount_minor, _ = in_flight.popleft()
            left = by_balance[balance_key] - amount_minor
            if left:
                by_balance[balance_key] = left
            else:
                del by_balance[balance_key]

    def order(self, order_id: int) -> tuple[PlaceOrder | PlaceConditional, int] | None:
        """A new order in flight and what was set aside for it. O(in flight); replaces are rare."""
        for sequence, _, amount_minor, order in self._in_flight:
            if sequence == order_id and order is not None:
                return order, amount_minor
        return None

    def orders_of(self, account_id: int) -> list[PlaceOrder | PlaceConditional]:
        """New orders of an account in flight. O(in flight)."""
        return [
            order
            for _, _, _, order in self._in_flight
            if order is not None and order.account_id == account_id
        ]

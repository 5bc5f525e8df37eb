"""Conditional orders of one instrument, ranked by trigger price; the book knows nothing of them."""

from collections.abc import Iterator

from sortedcontainers import SortedDict, SortedList

from engine.errors import InvariantViolated
from engine.products.exchange.messages import Leg, PlaceConditional, TriggerWhen
from engine.units import AccountId, OrderId, QuantityLots, TimeNs


class Conditional:
    """One waiting order: its terms and what of its quantity is still open."""

    __slots__ = ("order_id", "remaining_lots", "terms")

    def __init__(
        self, order_id: OrderId, terms: PlaceConditional, remaining_lots: QuantityLots
    ) -> None:
        self.order_id = order_id
        self.terms = terms
        self.remaining_lots = remaining_lots

    @property
    def resting_leg(self) -> Leg | None:
        """The leg that stands in the book from the start, if there is one."""
        return next((leg for leg in self.terms.legs if leg.when == TriggerWhen.AT_ONCE), None)

    @property
    def earlier_lots(self) -> QuantityLots:
        """What of the quantity its resting leg has traded, or lost to a prevented trade."""
        return QuantityLots(self.terms.quantity_lots - self.remaining_lots)

    @property
    def waits_for_deadline(self) -> bool:
        """Whether the deadline is watched here; that of a resting leg is watched by the book."""
        return self.terms.expires_at_ns > 0 and self.resting_leg is None


class Conditionals:
    """The waiting orders of one instrument.

    Look up: `get`, `of_account`, `crossed`, `next_expiry_ns`, `expired`. Change: `add`, `remove`.
    Complexity: O(log n) to add and remove, O(log n + answers) for what a price range crossed.
    """

    def __init__(self) -> None:
        self._orders: SortedDict[OrderId, Conditional] = SortedDict()
        # (trigger price, order id, leg index), the nearest trigger first or last
        self._above: SortedList[tuple[int, OrderId, int]] = SortedList()
        self._below: SortedList[tuple[int, OrderId, int]] = SortedList()
        self._deadlines: SortedList[tuple[TimeNs, OrderId]] = SortedList()

    def __len__(self) -> int:
        return len(self._orders)

    def __iter__(self) -> Iterator[Conditional]:
        """In order of placement."""
        return iter(self._orders.values())

    def get(self, order_id: OrderId) -> Conditional | None:
        """The waiting order of that id."""
        return self._orders.get(order_id)  # type: ignore[no-any-return]

    def add(self, conditional: Conditional) -> None:
        """Start watching the triggers of an order."""
        if conditional.order_id in self._orders:
            raise InvariantViolated(f"conditional order {conditional.order_id} placed twice")
        self._orders[conditional.order_id] = conditional
        for ranked, row in self._rows(conditional):
            ranked.add(row)
        if conditional.waits_for_deadline:
            self._deadlines.add((conditional.terms.expires_at_ns, conditional.order_id))

    def remove(self, order_id: OrderId) -> Conditional:
        """Stop watching an order that was triggered, cancelled, filled or expired."""
        conditional: Conditional = self._orders.pop(order_id)
        for ranked, row in self._rows(conditional):
            ranked.remove(row)
        if conditional.waits_for_deadline:
            self._deadlines.remove((conditional.terms.expires_at_ns, order_id))
        return conditional

    def _rows(
        self, conditional: Conditional
    ) -> Iterator[tuple["SortedList[tuple[int, OrderId, int]]", tuple[int, OrderId, int]]]:
        for index, leg in enumerate(conditional.terms.legs):
            if leg.when != TriggerWhen.AT_ONCE:
                ranked = self._above if leg.when == TriggerWhen.AT_OR_ABOVE else self._below
                yield ranked, (leg.trigger_price_ticks, conditional.order_id, index)

    def crossed(
        self, low_ticks: int, high_ticks: int, through: OrderId, orders_max: int
    ) -> list[tuple[OrderId, int]]:
        """Orders up to `through`, and legs, that prices from `low_ticks` to `high_ticks` set off.

        Those whose trigger was nearest come first, in order of placement at one trigger price; one
        order at most once; no more than `orders_max`.
        """
        found: dict[OrderId, int] = {}
        for trigger, order_id, leg in self._above:
            if trigger > high_ticks or len(found) >= orders_max:
                break
            if order_id <= through:
                found.setdefault(order_id, leg)
        at_or_below = self._below.irange((low_ticks,), None, reverse=False)
        for _trigger, order_id, leg in sorted(at_or_below, key=_highest_trigger_first):
            if len(found) >= orders_max:
                break
            if order_id <= through:
                found.setdefault(order_id, leg)
        return list(found.items())

    @property
    def next_expiry_ns(self) -> TimeNs | None:
        """The earliest deadline of a waiting order."""
        return self._deadlines[0][0] if self._deadlines else None

    def expired(self, now_ns: TimeNs, orders_max: int) -> list[OrderId]:
        """Waiting orders whose deadline has come, earliest first."""
        due: list[OrderId] = []
        for deadline_ns, order_id in self._deadlines:
            if deadline_ns > now_ns or len(due) >= orders_max:
                break
            due.append(order_id)
        return due

    def of_account(
        self, account_id: AccountId, before: OrderId, orders_max: int, key_id: int = 0
    ) -> list[OrderId]:
        """Waiting orders of an account (0: of all) older than `before`, oldest first.

        With `key_id` only those that this key placed.
        Complexity: O(waiting orders older than `before`).
        """
        found: list[OrderId] = []
        for order_id, conditional in self._orders.items():
            if order_id >= before or len(found) >= orders_max:
                break
            terms = conditional.terms
            if account_id in (0, terms.account_id) and key_id in (0, terms.key_id):
                found.append(order_id)
        return found


def _highest_trigger_first(row: tuple[int, OrderId, int]) -> tuple[int, OrderId]:
    return -row[0], row[1]

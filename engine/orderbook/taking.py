"""How a taker meets the opposite side: trades, prevented self-trades, makers found expired.

Works on resting orders that crossed the taker's price; what becomes of its remainder, and whether
the order may enter at all, is decided in `matching`.
"""

from collections.abc import Callable, Iterator
from itertools import islice
from typing import Final, cast

from engine.orderbook.messages import (
    BookEvent,
    CancelReason,
    OrderCancelled,
    SelfTradePrevented,
    SelfTradePrevention,
    Trade,
)
from engine.orderbook.resting import SIDES, RestingOrders
from engine.units import Side

_NONE: Final = SelfTradePrevention.NONE
_CANCEL_TAKER: Final = SelfTradePrevention.CANCEL_TAKER
_CANCEL_MAKER: Final = SelfTradePrevention.CANCEL_MAKER
_CANCEL_BOTH: Final = SelfTradePrevention.CANCEL_BOTH
_DECREMENT: Final = SelfTradePrevention.DECREMENT

# The book below counts in bare integers; naming each one's unit would cost a call per number.
_trade: Final = cast("Callable[[int, int, int, int, Side], Trade]", Trade)
_prevented: Final = cast(
    "Callable[[int, int, int, int, Side], SelfTradePrevented]", SelfTradePrevented
)
cancelled: Final = cast(
    "Callable[[int, Side, int, int, CancelReason, bool], OrderCancelled]", OrderCancelled
)


class Taker:
    """An order on its way through the opposite side.

    Units: `key` is its limit in the ladder's sign, `remaining` in lots, `budget` in ticks x lots.
    With a budget, `remaining` is unbounded and the budget says how many lots each price still buys.
    `touches` is how many more makers it may meet. `ended` says why it stopped early, if it did;
    `last_trade_ticks` is 0 while it has not traded.
    """

    __slots__ = (
        "account_id",
        "budget",
        "ended",
        "key",
        "last_trade_ticks",
        "order_id",
        "remaining",
        "self_trade",
        "side",
        "touches",
    )

    def __init__(
        self,
        order_id: int,
        account_id: int,
        side: Side,
        price_ticks: int,
        remaining: int,
        *,
        self_trade: SelfTradePrevention,
        touches: int,
        budget: int | None = None,
    ) -> None:
        self.order_id = order_id
        self.account_id = account_id
        self.side = side
        self.key = -price_ticks if side else price_ticks
        self.remaining = remaining
        self.budget = budget
        self.self_trade = self_trade
        self.touches = touches
        self.ended: CancelReason | None = None
        self.last_trade_ticks = 0

    def crosses(self, resting: RestingOrders) -> bool:
        """Whether the best opposite price is within this order's limit."""
        return resting.book.best[1 - self.side] + self.key >= 0

    def first_live(self, resting: RestingOrders, now_ns: int) -> int:
        """The first crossed maker that has not expired, or 0 if none is within its touches."""
        for handle in self._reachable(resting):
            expires_at_ns = resting.expires_at_of[handle]
            if not expires_at_ns or expires_at_ns > now_ns:
                return handle
        return 0

    def tradable_lots(self, resting: RestingOrders, target: int, now_ns: int) -> int:
        """How much this order would trade now, counted only as far as `target`.

        O(makers it would touch). Changes nothing.
        """
        traded, remaining = 0, self.remaining
        for handle in self._reachable(resting):
            if 0 < resting.expires_at_of[handle] <= now_ns:
                continue
            lots = min(resting.book.remaining_of[handle], remaining)
            if not self._is_own(resting, handle):
                traded += lots
                remaining -= lots
            elif self.self_trade is _DECREMENT:
                remaining -= lots
            elif self.self_trade is not _CANCEL_MAKER:
                break
            if traded >= target or not remaining:
                break
        return traded

    def take(self, resting: RestingOrders, now_ns: int, events: list[BookEvent]) -> None:
        """Meet crossed makers until none is left, the order is used up, or something ends it."""
        book = resting.book
        # Nearly always no maker here can be special, and then whole levels go in one sweep.
        special = now_ns >= resting.next_expiry_ns or (
            self.self_trade is not _NONE and resting.owns_any(self.account_id)
        )
        while self.remaining and self.ended is None and self.crosses(resting):
            price_ticks = abs(book.best[1 - self.side])
            maker = book.first(1 - self.side) if special else 0
            if not self.touches:
                self.ended = CancelReason.MAKERS_TOUCHED_MAX
            elif special and 0 < resting.expires_at_of[maker] <= now_ns:
                self.touches -= 1
                events.append(end_resting(resting, maker, CancelReason.EXPIRED))
            elif self.budget is not None and self.budget < price_ticks:
                self.ended = CancelReason.BUDGET_SPENT
            elif special and self._is_own(resting, maker):
                self._prevent(resting, maker, price_ticks, events)
            else:
                self._fill(resting, price_ticks, 1 if special else self.touches, events)

    def _fill(
        self, resting: RestingOrders, price_ticks: int, fills_max: int, events: list[BookEvent]
    ) -> None:
        book, side, key, lots = resting.book, self.side, self.key, self.remaining
        if self.budget is not None:
            # One level at a time, since each price buys another number of lots.
            key = -price_ticks if side else price_ticks
            lots = self.budget // price_ticks
        trades: list[int] = []
        mark = len(book.free)
        left = book.sweep(side, key, self.order_id, lots, fills_max, trades)
        for handle in book.free[mark:]:
            resting.forget(handle)
        flat = iter(trades)
        events.extend(
            _trade(maker_id, taker_id, price, quantity, side)
            for maker_id, taker_id, price, quantity in zip(flat, flat, flat, flat, strict=True)
        )
        self.touches -= len(trades) // 4
        self.last_trade_ticks = trades[-2]
        self._use(lots - left, self.last_trade_ticks)

    def _prevent(
        self, resting: RestingOrders, maker: int, price_ticks: int, events: list[BookEvent]
    ) -> None:
        book, mode = resting.book, self.self_trade
        self.touches -= 1
        standing, lots = book.remaining_of[maker], 0
        if mode is _DECREMENT:
            affordable = self.remaining if self.budget is None else self.budget // price_ticks
            lots = min(standing, affordable)
        maker_id = book.order_id_of[maker]
        events.append(_prevented(maker_id, self.order_id, price_ticks, lots, self.side))
        if mode is _CANCEL_MAKER or mode is _CANCEL_BOTH:
            events.append(end_resting(resting, maker, CancelReason.SELF_TRADE))
        if mode is _CANCEL_TAKER or mode is _CANCEL_BOTH:
            self.ended = CancelReason.SELF_TRADE
        if mode is _DECREMENT:
            resting.reduce(maker, lots)
            self._use(lots, price_ticks)

    def _is_own(self, resting: RestingOrders, maker: int) -> bool:
        return self.self_trade is not _NONE and resting.account_of[maker] == self.account_id

    def _use(self, lots: int, price_ticks: int) -> None:
        if self.budget is None:
            self.remaining -= lots
            return
        self.budget -= lots * price_ticks
        # Further makers only cost more, so a budget below one lot here is spent.
        if self.budget < price_ticks:
            self.ended = CancelReason.BUDGET_SPENT

    def _reachable(self, resting: RestingOrders) -> Iterator[int]:
        key_of = resting.book.key_of
        for handle in islice(resting.book.handles(1 - self.side), self.touches):
            if key_of[handle] + self.key < 0:
                return
            yield handle


def end_resting(resting: RestingOrders, handle: int, reason: CancelReason) -> OrderCancelled:
    """Withdraw a resting order and say so."""
    book = resting.book
    key, lots = book.key_of[handle], book.remaining_of[handle]
    order_id = book.order_id_of[handle]
    resting.withdraw(handle)
    return cancelled(order_id, SIDES[key < 0], abs(key), lots, reason, True)

"""The order book of one instrument: commands in, events out.

Everything is checked before anything changes, so a refused command leaves no trace. Time and order
ids are arguments. Who stands where is `resting` and `book`; the form of an order is `checks`.
"""

from collections.abc import Callable, Iterable, Iterator
from itertools import chain, islice, takewhile
from typing import Final, cast

import msgspec

from engine.errors import InvariantViolated
from engine.messages import Refused
from engine.orderbook.checks import (
    effective_price,
    not_open,
    refusal_of_band,
    refusal_of_place,
    refusal_of_terms,
)
from engine.orderbook.fold import FoldedBook
from engine.orderbook.messages import (
    BookEvent,
    CancelOrder,
    CancelReason,
    InstrumentState,
    InstrumentStateChanged,
    OrderCancelled,
    OrderKind,
    OrderReplaced,
    OrderRested,
    PlaceOrder,
    ReplaceOrder,
    TimeInForce,
)
from engine.orderbook.snapshot import RestingOrder
from engine.orderbook.taking import Taker, cancelled, end_resting
from engine.refusals import Reason
from engine.units import (
    INT64_MAX,
    AccountId,
    OrderId,
    PriceTicks,
    QuantityLots,
    Side,
    TimeNs,
)

_BUY: Final = Side.BUY
_LIMIT: Final = OrderKind.LIMIT
_MARKET: Final = OrderKind.MARKET
_IOC: Final = TimeInForce.IOC
_FOK: Final = TimeInForce.FOK
_OPEN: Final = InstrumentState.OPEN

# Bare integers become events without a call per number, as in `taking`.
_rested: Final = cast("Callable[[int, Side, int, int], OrderRested]", OrderRested)
_resting_order: Final = cast("Callable[..., RestingOrder]", RestingOrder)


class OrderBook(FoldedBook):
    """Price-time priority matching of one instrument.

    place, cancel, replace           a trader's commands
    change_state, expire             the instrument's and the clock's
    cancel_resting, cancel_these     one chunk of a mass cancel
    apply, snapshot, restore         inherited: the same book at another time or place
    depth, resting, resting_orders   inherited: what stands

    Rules: better price first, then arrival; trades are at the maker's price. A replace keeps its
    place only as a pure reduction. An order past its deadline never trades: a taker that meets one
    cancels it. One command touches at most `instrument.makers_touched_max` makers; what is left of
    the taker then is cancelled, since it may not rest crossing the book.

    Invariants: never crossed by orders that can trade; every resting order has 1 lot or more.
    Complexity: per command O(makers touched), O(log levels) where a level opens or closes.
    """

    __slots__ = ()

    def place(self, order_id: OrderId, order: PlaceOrder, now_ns: TimeNs) -> list[BookEvent]:
        """Enter an order under an id that was never used before.

        Answers with one `Refused`, or with the makers met in order and then what became of the
        remainder: rested, cancelled, or no further event when nothing is left.
        Raises: InvariantViolated if the id rests already or the instrument is another.
        """
        self._check_addressed(order.instrument_id)
        if order_id in self._resting:
            raise InvariantViolated(f"order {order_id} rests already")
        if self.state is not _OPEN:
            return [not_open()]
        instrument, reference = self.instrument, self.reference_price_ticks
        if refused := refusal_of_place(instrument, reference, order, now_ns):
            return [refused]
        price_ticks = effective_price(instrument, reference, order)
        key = -price_ticks if order.side else price_ticks
        if self._resting.book.best[1 - order.side] + key < 0:
            return [self._place_alone(order_id, order)]
        taker = Taker(
            order_id,
            order.account_id,
            order.side,
            price_ticks,
            order.quantity_lots or INT64_MAX,
            self_trade=order.self_trade,
            touches=instrument.makers_touched_max,
            budget=order.budget_minor // instrument.tick_lot_minor if order.budget_minor else None,
        )
        if refused := self._refusal_of_crossing(taker, order, now_ns):
            return [refused]
        events: list[BookEvent] = []
        self._take(taker, now_ns, events)
        self._settle_remainder(taker, order, events)
        return events

    def cancel(self, command: CancelOrder) -> list[BookEvent]:
        """Withdraw a resting order, in any state of the instrument."""
        self._check_addressed(command.instrument_id)
        handle = self._resting.book.handle_of.get(command.order_id, 0)
        if not handle or self._resting.account_of[handle] != command.account_id:
            return [_unknown_order()]
        return [end_resting(self._resting, handle, CancelReason.REQUESTED)]

    def replace(self, command: ReplaceOrder, now_ns: TimeNs) -> list[BookEvent]:
        """Change price or total quantity of a resting order, or leave it exactly as it is."""
        self._check_addressed(command.instrument_id)
        if self.state is not _OPEN:
            return [not_open()]
        handle = self._resting.book.handle_of.get(command.order_id, 0)
        if not handle or self._resting.account_of[handle] != command.account_id:
            return [_unknown_order()]
        old = self._resting.order(handle)
        if 0 < old.expires_at_ns <= now_ns:
            return [_unknown_order()]
        if refused := self._refusal_of_replace(old, command):
            return [refused]
        new = msgspec.structs.replace(
            old,
            price_ticks=command.price_ticks,
            remaining_lots=command.quantity_lots - old.total_lots + old.remaining_lots,
            total_lots=command.quantity_lots,
        )
        if new.price_ticks == old.price_ticks and new.total_lots < old.total_lots:
            self._resting.resize(handle, new.remaining_lots, new.total_lots)
            return [_replaced(old, new, kept_priority=True)]
        return self._reenter(handle, old, new, now_ns)

    def change_state(self, state: InstrumentState) -> list[BookEvent]:
        """Move the instrument to another state; CLOSED is final.

        What rests stays: closing is completed by `cancel_resting` in chunks.
        """
        if self.state is InstrumentState.CLOSED and state is not InstrumentState.CLOSED:
            return [Refused(Reason.INSTRUMENT_NOT_OPEN, "state", "instrument.closed_is_final")]
        self.state = state
        return [InstrumentStateChanged(self.instrument.instrument_id, state)]

    def cancel_resting(
        self,
        reason: CancelReason,
        orders_max: int,
        *,
        account_id: AccountId | None = None,
        before_order_id: OrderId | None = None,
    ) -> list[BookEvent]:
        """Cancel at most `orders_max` resting orders; fewer means that none is left in scope.

        The scope is one account or all, and ids below `before_order_id`. An account's orders go
        oldest id first, in O(orders cancelled). Without an account they go by side and priority,
        bids first, and younger orders that stand before older ones are passed over.
        """
        before = INT64_MAX if before_order_id is None else before_order_id
        resting, order_id_of = self._resting, self._resting.book.order_id_of
        handles: Iterator[int]
        if account_id is None:
            every = chain(resting.book.handles(0), resting.book.handles(1))
            handles = (handle for handle in every if order_id_of[handle] < before)
        else:
            handles = takewhile(
                lambda handle: order_id_of[handle] < before, resting.of_account(account_id)
            )
        chunk = list(islice(handles, orders_max))
        return [end_resting(resting, handle, reason) for handle in chunk]

    def resting_of(
        self, account_id: AccountId, after_order_id: OrderId, before_order_id: OrderId
    ) -> Iterator[OrderId]:
        """Ids of an account's resting orders in between, oldest first. None may leave meanwhile.

        Complexity: O(1) each; if `after_order_id` rests no more, first a walk past what is older.
        """
        order_id_of = self._resting.book.order_id_of
        for handle in self._resting.of_account(account_id, after_order_id):
            order_id = OrderId(order_id_of[handle])
            if order_id >= before_order_id:
                return
            if order_id > after_order_id:
                yield order_id

    def cancel_these(self, order_ids: Iterable[OrderId], reason: CancelReason) -> list[BookEvent]:
        """Cancel resting orders by id; all of them must rest."""
        handle_of = self._resting.book.handle_of
        return [end_resting(self._resting, handle_of[one], reason) for one in order_ids]

    def expire(self, now_ns: TimeNs, orders_max: int) -> list[BookEvent]:
        """Cancel at most `orders_max` orders at or past their deadline, earliest first."""
        return [
            end_resting(self._resting, handle, CancelReason.EXPIRED)
            for handle in self._resting.expired(now_ns, orders_max)
        ]

    def _place_alone(self, order_id: OrderId, order: PlaceOrder) -> BookEvent:
        """An order that nothing opposite meets: it rests, or there is nothing it can do."""
        if order.kind is _MARKET:
            return Refused(Reason.NO_LIQUIDITY, "", "market.needs_liquidity")
        if order.time_in_force is _FOK or order.minimum_lots:
            return _not_fillable(order)
        if order.time_in_force is _IOC:
            return _ended(order_id, order, order.quantity_lots, CancelReason.IOC_REMAINDER)
        return self._rest(order_id, order, order.quantity_lots)

    def _refusal_of_crossing(
        self, taker: Taker, order: PlaceOrder, now_ns: TimeNs
    ) -> Refused | None:
        """Why an order that crosses the opposite side may not enter, or None."""
        if (order.post_only or order.kind is _MARKET) and order.post_only == bool(
            taker.first_live(self._resting, now_ns)
        ):
            if order.post_only:
                return _would_trade()
            return Refused(Reason.NO_LIQUIDITY, "", "market.needs_liquidity")
        target = order.quantity_lots if order.time_in_force is _FOK else order.minimum_lots
        if target and taker.tradable_lots(self._resting, target, now_ns) < target:
            return _not_fillable(order)
        return None

    def _refusal_of_replace(self, old: RestingOrder, command: ReplaceOrder) -> Refused | None:
        price_ticks, total_lots = command.price_ticks, command.quantity_lots
        if refused := refusal_of_terms(self.instrument, price_ticks, price_ticks, total_lots):
            return refused
        if total_lots <= old.total_lots - old.remaining_lots:
            return Refused(Reason.QUANTITY_ALREADY_FILLED, "quantity_lots", "replace.above_filled")
        if price_ticks == old.price_ticks and total_lots <= old.total_lots:
            if total_lots == old.total_lots:
                return Refused(Reason.NOTHING_TO_REPLACE, "", "replace.new_terms")
            return None
        return refusal_of_band(
            self.instrument, self.reference_price_ticks, old.side, command.price_ticks
        )

    def _reenter(
        self, handle: int, old: RestingOrder, new: RestingOrder, now_ns: TimeNs
    ) -> list[BookEvent]:
        """Take a replaced order out and let it meet the opposite side like a new one."""
        taker = Taker(
            new.order_id,
            new.account_id,
            new.side,
            new.price_ticks,
            new.remaining_lots,
            self_trade=new.self_trade,
            touches=self.instrument.makers_touched_max,
        )
        if new.post_only and taker.first_live(self._resting, now_ns):
            return [_would_trade()]
        self._resting.leave(handle)
        events: list[BookEvent] = [_replaced(old, new, kept_priority=False)]
        self._take(taker, now_ns, events)
        if taker.remaining and taker.ended is None:
            rests = msgspec.structs.replace(new, remaining_lots=QuantityLots(taker.remaining))
            self._resting.reenter(handle, rests)
            events.append(_rested(new.order_id, new.side, new.price_ticks, taker.remaining))
            return events
        self._resting.drop(handle)
        if taker.remaining and taker.ended is not None:
            lots, price_ticks = taker.remaining, new.price_ticks
            events.append(cancelled(new.order_id, new.side, price_ticks, lots, taker.ended, False))
        return events

    def _take(self, taker: Taker, now_ns: TimeNs, events: list[BookEvent]) -> None:
        taker.take(self._resting, now_ns, events)
        if taker.last_trade_ticks:
            self.reference_price_ticks = PriceTicks(taker.last_trade_ticks)

    def _settle_remainder(self, taker: Taker, order: PlaceOrder, events: list[BookEvent]) -> None:
        """Say what becomes of what a new order could not trade."""
        lots, reason = taker.remaining, taker.ended
        if taker.budget is not None:
            if not taker.budget and not order.budget_minor % self.instrument.tick_lot_minor:
                return
            lots = 0
        elif not lots:
            return
        if reason is None and order.kind is _MARKET:
            reason = CancelReason.MARKET_REMAINDER
        elif reason is None and order.time_in_force is _IOC:
            reason = CancelReason.IOC_REMAINDER
        if reason is None:
            events.append(self._rest(taker.order_id, order, lots))
        else:
            events.append(_ended(taker.order_id, order, lots, reason))

    def _rest(self, order_id: int, order: PlaceOrder, lots: int) -> OrderRested:
        self._resting.add(
            _resting_order(
                order_id,
                order.account_id,
                order.side,
                order.price_ticks,
                lots,
                order.quantity_lots,
                order.expires_at_ns,
                order.self_trade,
                order.post_only,
            )
        )
        return _rested(order_id, order.side, order.price_ticks, lots)


def _replaced(old: RestingOrder, new: RestingOrder, *, kept_priority: bool) -> OrderReplaced:
    return OrderReplaced(
        old.order_id,
        old.side,
        old.price_ticks,
        old.remaining_lots,
        new.price_ticks,
        new.remaining_lots,
        new.total_lots,
        kept_priority,
    )


def _ended(order_id: int, order: PlaceOrder, lots: int, reason: CancelReason) -> OrderCancelled:
    return cancelled(order_id, order.side, order.price_ticks, lots, reason, False)


def _unknown_order() -> Refused:
    return Refused(Reason.UNKNOWN_ORDER, "order_id", "order.rests_and_is_yours")


def _would_trade() -> Refused:
    return Refused(Reason.POST_ONLY_WOULD_TRADE, "price_ticks", "post_only.must_rest")


def _not_fillable(order: PlaceOrder) -> Refused:
    field = "quantity_lots" if order.time_in_force is _FOK else "minimum_lots"
    return Refused(Reason.NOT_FILLABLE, field, "order.fillable_now")

"""An order book so plain that one can believe it: the oracle for the real one.

It keeps a list, sorts it whenever somebody asks, and works on a copy so that a refusal needs no
undoing. Shares nothing with the real book but the messages.
"""

from copy import deepcopy
from dataclasses import dataclass
from fractions import Fraction

from engine.messages import Refused
from engine.orderbook.instrument import Instrument
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
    SelfTradePrevented,
    SelfTradePrevention,
    TimeInForce,
    Trade,
)
from engine.refusals import Reason
from engine.units import AccountId, OrderId, PriceTicks, QuantityLots, Side, TimeNs

INT64_MAX = 9_223_372_036_854_775_807


class No(Exception):
    """The command is refused for this reason."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass
class Standing:
    order_id: OrderId
    account_id: AccountId
    side: Side
    price: PriceTicks
    remaining: int
    total: int
    expires: TimeNs
    mode: SelfTradePrevention
    post_only: bool
    arrival: int = 0

    def is_expired(self, now: int) -> bool:
        return self.expires != 0 and self.expires <= now


class NaiveBook:
    def __init__(self, instrument: Instrument) -> None:
        self.instrument = instrument
        self.state = InstrumentState.OPEN
        self.reference = instrument.reference_price_ticks
        self.orders: list[Standing] = []
        self.arrivals = 0
        self.events: list[BookEvent] = []

    def place(self, order_id: OrderId, order: PlaceOrder, now: int) -> list[BookEvent]:
        return self._attempt(lambda: self._place(order_id, order, now))

    def cancel(self, command: CancelOrder) -> list[BookEvent]:
        return self._attempt(lambda: self._end(self._owned(command), CancelReason.REQUESTED))

    def replace(self, command: ReplaceOrder, now: int) -> list[BookEvent]:
        return self._attempt(lambda: self._replace(command, now))

    def change_state(self, state: InstrumentState) -> list[BookEvent]:
        if self.state is InstrumentState.CLOSED and state is not InstrumentState.CLOSED:
            return [Refused(Reason.INSTRUMENT_NOT_OPEN)]
        self.state = state
        return [InstrumentStateChanged(self.instrument.instrument_id, state)]

    def expire(self, now: int, orders_max: int) -> list[BookEvent]:
        due = [order for order in self.orders if order.is_expired(now)]
        due.sort(key=lambda order: (order.expires, order.order_id))
        return self._end_all(due[:orders_max], CancelReason.EXPIRED)

    def cancel_resting(
        self, reason: CancelReason, orders_max: int, account: int | None, before: int | None
    ) -> list[BookEvent]:
        scope = [*self.ranked(Side.BUY), *self.ranked(Side.SELL)]
        if account is not None:
            scope = [order for order in scope if order.account_id == account]
            scope.sort(key=lambda order: order.order_id)
        if before is not None:
            scope = [order for order in scope if order.order_id < before]
        return self._end_all(scope[:orders_max], reason)

    def ranked(self, side: Side) -> list[Standing]:
        """The orders of a side, best price first, then first come first."""
        better = -1 if side is Side.BUY else 1
        mine = [order for order in self.orders if order.side is side]
        return sorted(mine, key=lambda order: (better * order.price, order.arrival))

    def levels(self, side: Side) -> list[tuple[int, int]]:
        totals: dict[int, int] = {}
        for order in self.ranked(side):
            totals[order.price] = totals.get(order.price, 0) + order.remaining
        return list(totals.items())

    def _attempt(self, action: object) -> list[BookEvent]:
        before = deepcopy((self.orders, self.reference, self.arrivals))
        self.events = []
        try:
            action()  # type: ignore[operator]
        except No as no:
            self.orders, self.reference, self.arrivals = before
            return [Refused(no.reason)]
        return self.events

    # entering

    def _place(self, order_id: OrderId, order: PlaceOrder, now: int) -> None:
        if self.state is not InstrumentState.OPEN:
            raise No(Reason.INSTRUMENT_NOT_OPEN)
        self._check_form(order, now)
        price = self._bound(order)
        self._check_amounts(order, price)
        if order.kind is OrderKind.LIMIT and self._is_outside_band(order.side, price):
            raise No(Reason.PRICE_OUT_OF_BAND)
        makers = self._crossed(order.side, price)[: self.instrument.makers_touched_max]
        live = [maker for maker in makers if not maker.is_expired(now)]
        if order.post_only and live:
            raise No(Reason.POST_ONLY_WOULD_TRADE)
        if order.kind is OrderKind.MARKET and not live:
            raise No(Reason.NO_LIQUIDITY)
        walk = Walk(
            order_id, order.account_id, order.side, price, order.quantity_lots, order.self_trade
        )
        if order.budget_minor:
            walk.budget = Fraction(order.budget_minor, self.instrument.tick_lot_minor)
        reason = self._walk(walk, now)
        traded = sum(e.quantity_lots for e in self.events if isinstance(e, Trade))
        wanted = order.minimum_lots
        if order.time_in_force is TimeInForce.FOK:
            wanted = order.quantity_lots
        if traded < wanted:
            raise No(Reason.NOT_FILLABLE)
        if order.kind is OrderKind.MARKET:
            reason = reason or CancelReason.MARKET_REMAINDER
        elif order.time_in_force is TimeInForce.IOC:
            reason = reason or CancelReason.IOC_REMAINDER
        standing = Standing(
            order_id,
            order.account_id,
            order.side,
            order.price_ticks,
            walk.remaining,
            order.quantity_lots,
            order.expires_at_ns,
            order.self_trade,
            order.post_only,
        )
        self._finish(walk, standing, reason)

    def _replace(self, command: ReplaceOrder, now: int) -> None:
        if self.state is not InstrumentState.OPEN:
            raise No(Reason.INSTRUMENT_NOT_OPEN)
        order = self._owned(command)
        if order.is_expired(now):
            raise No(Reason.UNKNOWN_ORDER)
        price, total = command.price_ticks, command.quantity_lots
        self._check_price(price)
        self._check_quantity(total)
        self._check_notional(price * total * self.instrument.tick_lot_minor)
        remaining = total - (order.total - order.remaining)
        if remaining <= 0:
            raise No(Reason.QUANTITY_ALREADY_FILLED)
        if price == order.price and total == order.total:
            raise No(Reason.NOTHING_TO_REPLACE)
        keeps = price == order.price and total < order.total
        if not keeps and self._is_outside_band(order.side, price):
            raise No(Reason.PRICE_OUT_OF_BAND)
        self.events.append(
            OrderReplaced(
                order.order_id,
                order.side,
                order.price,
                QuantityLots(order.remaining),
                price,
                QuantityLots(remaining),
                total,
                keeps,
            )
        )
        order.price, order.remaining, order.total = price, remaining, total
        if keeps:
            return
        self.orders.remove(order)
        makers = self._crossed(order.side, price)[: self.instrument.makers_touched_max]
        if order.post_only and not all(maker.is_expired(now) for maker in makers):
            raise No(Reason.POST_ONLY_WOULD_TRADE)
        walk = Walk(order.order_id, order.account_id, order.side, price, remaining, order.mode)
        self._finish(walk, order, self._walk(walk, now))

    def _finish(self, walk: "Walk", order: Standing, reason: CancelReason | None) -> None:
        order.remaining = walk.remaining
        if walk.budget is not None:
            if walk.budget:
                assert reason is not None
                self._say_cancelled(order, 0, reason, rested=False)
        elif walk.remaining and reason is not None:
            self._say_cancelled(order, walk.remaining, reason, rested=False)
        elif walk.remaining:
            self.arrivals += 1
            order.arrival = self.arrivals
            self.orders.append(order)
            lots = QuantityLots(order.remaining)
            self.events.append(OrderRested(order.order_id, order.side, order.price, lots))

    # meeting makers

    def _walk(self, walk: "Walk", now: int) -> CancelReason | None:
        touched = 0
        while True:
            if walk.budget is None and walk.remaining == 0:
                return None
            if walk.is_spent():
                return CancelReason.BUDGET_SPENT
            makers = self._crossed(walk.side, walk.limit)
            if not makers:
                return None
            if touched == self.instrument.makers_touched_max:
                return CancelReason.MAKERS_TOUCHED_MAX
            maker = makers[0]
            if maker.is_expired(now):
                self._end(maker, CancelReason.EXPIRED)
            elif walk.lots_at(maker.price) == 0:
                return CancelReason.BUDGET_SPENT
            elif maker.account_id == walk.account_id and walk.mode is not SelfTradePrevention.NONE:
                if self._prevent(walk, maker):
                    return CancelReason.SELF_TRADE
            else:
                lots = min(maker.remaining, walk.lots_at(maker.price))
                self.events.append(
                    Trade(maker.order_id, walk.order_id, maker.price, QuantityLots(lots), walk.side)
                )
                self.reference = maker.price
                self._both_lose(walk, maker, lots)
            touched += 1

    def _prevent(self, walk: "Walk", maker: Standing) -> bool:
        """Say that two orders of one account met; True if that ends the taker."""
        lots = 0
        if walk.mode is SelfTradePrevention.DECREMENT:
            lots = min(maker.remaining, walk.lots_at(maker.price))
        self.events.append(
            SelfTradePrevented(
                maker.order_id, walk.order_id, maker.price, QuantityLots(lots), walk.side
            )
        )
        if lots:
            self._both_lose(walk, maker, lots)
        if walk.mode in (SelfTradePrevention.CANCEL_MAKER, SelfTradePrevention.CANCEL_BOTH):
            self._end(maker, CancelReason.SELF_TRADE)
        return walk.mode in (SelfTradePrevention.CANCEL_TAKER, SelfTradePrevention.CANCEL_BOTH)

    def _both_lose(self, walk: "Walk", maker: Standing, lots: int) -> None:
        walk.last_price = maker.price
        walk.remaining -= lots
        if walk.budget is not None:
            walk.budget -= lots * maker.price
        maker.remaining -= lots
        if not maker.remaining:
            self.orders.remove(maker)

    def _crossed(self, side: Side, limit: int) -> list[Standing]:
        if side is Side.BUY:
            return [maker for maker in self.ranked(Side.SELL) if maker.price <= limit]
        return [maker for maker in self.ranked(Side.BUY) if maker.price >= limit]

    # leaving

    def _owned(self, command: CancelOrder | ReplaceOrder) -> Standing:
        for order in self.orders:
            if (order.order_id, order.account_id) == (command.order_id, command.account_id):
                return order
        raise No(Reason.UNKNOWN_ORDER)

    def _end(self, order: Standing, reason: CancelReason) -> None:
        self.orders.remove(order)
        self._say_cancelled(order, order.remaining, reason, rested=True)

    def _end_all(self, orders: list[Standing], reason: CancelReason) -> list[BookEvent]:
        self.events = []
        for order in orders:
            self._end(order, reason)
        return self.events

    def _say_cancelled(
        self, order: Standing, lots: int, reason: CancelReason, *, rested: bool
    ) -> None:
        self.events.append(
            OrderCancelled(
                order.order_id, order.side, order.price, QuantityLots(lots), reason, rested
            )
        )

    # rules of form

    def _check_form(self, order: PlaceOrder, now: int) -> None:
        market = order.kind is OrderKind.MARKET
        deadline = order.expires_at_ns
        if order.budget_minor:
            buys = market and order.side is Side.BUY
            if not buys or order.time_in_force is TimeInForce.FOK:
                raise No(Reason.BUDGET_NOT_ALLOWED)
            if order.quantity_lots:
                raise No(Reason.INVALID_COMBINATION)
            if order.budget_minor < 0:
                raise No(Reason.INVALID_VALUE)
        if order.minimum_lots < 0:
            raise No(Reason.INVALID_VALUE)
        impatient = order.time_in_force in (TimeInForce.IOC, TimeInForce.FOK)
        contradictions = [
            order.minimum_lots > max(0, order.quantity_lots),
            order.post_only and (market or impatient or order.minimum_lots > 0),
            order.time_in_force is TimeInForce.GTD and deadline <= 0,
            order.time_in_force is not TimeInForce.GTD and deadline != 0,
            order.time_in_force is TimeInForce.GTD and market,
        ]
        if any(contradictions):
            raise No(Reason.INVALID_COMBINATION)
        if deadline > INT64_MAX:
            raise No(Reason.INVALID_VALUE)
        if deadline and deadline <= now:
            raise No(Reason.ALREADY_EXPIRED)

    def _check_amounts(self, order: PlaceOrder, price: int) -> None:
        self._check_price(order.price_ticks)
        if order.budget_minor:
            self._check_notional(order.budget_minor)
            return
        self._check_quantity(order.quantity_lots)
        if order.kind is OrderKind.MARKET and order.side is Side.SELL:
            price = max(price, self.reference)
        self._check_notional(price * order.quantity_lots * self.instrument.tick_lot_minor)

    def _check_price(self, price: int) -> None:
        if price <= 0:
            raise No(Reason.PRICE_NOT_POSITIVE)
        if price > INT64_MAX:
            raise No(Reason.PRICE_TOO_LARGE)

    def _check_quantity(self, lots: int) -> None:
        if lots < max(1, self.instrument.minimum_lots):
            raise No(Reason.QUANTITY_TOO_SMALL)
        if lots > (self.instrument.maximum_lots or INT64_MAX):
            raise No(Reason.QUANTITY_TOO_LARGE)

    def _check_notional(self, minor: int) -> None:
        if minor < self.instrument.minimum_notional_minor:
            raise No(Reason.NOTIONAL_TOO_SMALL)
        if minor > (self.instrument.maximum_notional_minor or INT64_MAX):
            raise No(Reason.NOTIONAL_TOO_LARGE)

    def _is_outside_band(self, side: Side, price: int) -> bool:
        if not self.instrument.band_ppm or not self.reference:
            return False
        off = Fraction(price - self.reference, self.reference)
        if side is Side.SELL:
            off = -off
        return off > Fraction(self.instrument.band_ppm, 1_000_000)

    def _bound(self, order: PlaceOrder) -> PriceTicks:
        """The price that binds: a market order's is the last of its way that the band allows."""
        price = order.price_ticks
        if order.kind is OrderKind.LIMIT or not self._is_outside_band(order.side, price):
            return price
        step = 1 if order.side is Side.BUY else -1
        allowed = self.reference
        while not self._is_outside_band(order.side, allowed + step):
            allowed = PriceTicks(allowed + step)
        return allowed


@dataclass
class Walk:
    order_id: OrderId
    account_id: AccountId
    side: Side
    limit: PriceTicks
    remaining: int
    mode: SelfTradePrevention
    budget: Fraction | None = None  # in ticks x lots
    last_price: int = 0

    def lots_at(self, price: int) -> int:
        return self.remaining if self.budget is None else int(self.budget // price)

    def is_spent(self) -> bool:
        """Whether nothing more can be bought where the last maker stood."""
        return self.budget is not None and self.last_price > 0 and self.budget < self.last_price

"""The book as its records state it: the fold, its snapshot, and what can be read from it.

Nothing is decided here; that is `matching`.
"""

from collections.abc import Sequence
from itertools import islice
from typing import Self, cast

import msgspec

from engine.errors import InvariantViolated
from engine.orderbook.book import NO_KEY
from engine.orderbook.instrument import Instrument
from engine.orderbook.messages import (
    BookCommand,
    BookEvent,
    InstrumentState,
    InstrumentStateChanged,
    OrderCancelled,
    OrderReplaced,
    OrderRested,
    PlaceOrder,
    SelfTradePrevented,
    Trade,
)
from engine.orderbook.resting import SIDES, RestingOrders
from engine.orderbook.snapshot import BookSnapshot, RestingOrder, digest
from engine.units import INT64_MAX, InstrumentId, OrderId, PriceTicks, QuantityLots, Side, TimeNs

#: Levels of one side, best first: price and total quantity.
Levels = list[tuple[PriceTicks, QuantityLots]]


class FoldedBook:
    """What rests on one instrument, rebuilt from records without deciding anything again."""

    __slots__ = ("_resting", "instrument", "reference_price_ticks", "state")

    def __init__(self, instrument: Instrument) -> None:
        self.instrument = instrument
        self.state = InstrumentState.OPEN
        #: The last trade's price, else the instrument's own, 0 if neither is known.
        self.reference_price_ticks = instrument.reference_price_ticks
        self._resting = RestingOrders()

    def __repr__(self) -> str:
        bids, asks = self.depth(1)
        return (
            f"<OrderBook {self.instrument.symbol} {self.state.name} {len(self._resting)} resting,"
            f" bid {bids[0] if bids else None} ask {asks[0] if asks else None}>"
        )

    @property
    def next_expiry_ns(self) -> TimeNs | None:
        """The earliest deadline of a resting order."""
        earliest = self._resting.next_expiry_ns
        return TimeNs(earliest) if earliest != INT64_MAX else None

    def resting(self, order_id: OrderId) -> RestingOrder | None:
        """The resting order of that id, expired ones included."""
        handle = self._resting.book.handle_of.get(order_id, 0)
        return self._resting.order(handle) if handle else None

    def resting_orders(self, side: Side, orders_max: int) -> list[RestingOrder]:
        """The first orders of a side in priority order (L3)."""
        return list(islice(self._resting.orders(side), orders_max))

    def depth(self, levels_max: int) -> tuple[Levels, Levels]:
        """The best bids and asks (L2). O(orders in them); live readers fold a `Depth` instead."""
        bids, asks = (self._resting.book.depth(side, levels_max) for side in SIDES)
        return cast("tuple[Levels, Levels]", (bids, asks))

    @property
    def best_bid(self) -> PriceTicks | None:
        """The highest price anybody bids."""
        return self._best(Side.BUY)

    @property
    def best_ask(self) -> PriceTicks | None:
        """The lowest price anybody asks."""
        return self._best(Side.SELL)

    def apply(
        self, order_id: OrderId, command: BookCommand | None, events: Sequence[BookEvent]
    ) -> None:
        """Fold one record: what it states becomes true.

        `command` matters only where an order comes to rest: a `PlaceOrder` states its terms, and
        after a replace they are the old ones with the quantities of `OrderReplaced`.
        Raises: InvariantViolated if the record does not fit this book.
        """
        _fold(self._resting, order_id, command, events)
        for event in events:
            if isinstance(event, Trade):
                self.reference_price_ticks = event.price_ticks
            elif isinstance(event, InstrumentStateChanged):
                self.state = event.state

    def snapshot(self) -> BookSnapshot:
        """Everything this book knows; equal books give equal snapshots. O(resting orders)."""
        orders = [order for side in SIDES for order in self._resting.orders(side)]
        return BookSnapshot(
            self.instrument.instrument_id, self.state, self.reference_price_ticks, orders
        )

    @classmethod
    def restore(cls, instrument: Instrument, snapshot: BookSnapshot) -> Self:
        """The book a snapshot was taken of."""
        book = cls(instrument)
        book._check_addressed(snapshot.instrument_id)
        book.state = snapshot.state
        book.reference_price_ticks = snapshot.reference_price_ticks
        book._resting.load(snapshot.orders)
        return book

    def digest(self) -> str:
        """SHA-256 over what rests, bids then asks, in priority order (see `snapshot.digest`)."""
        return digest(order for side in SIDES for order in self._resting.orders(side))

    def check_invariants(self) -> None:
        """Raise InvariantViolated unless every index agrees with every other. O(n log n)."""
        self._resting.check_invariants()

    def _best(self, side: Side) -> PriceTicks | None:
        key = self._resting.book.best[side]
        return PriceTicks(abs(key)) if key != NO_KEY else None

    def _check_addressed(self, instrument_id: InstrumentId) -> None:
        if instrument_id != self.instrument.instrument_id:
            raise InvariantViolated(f"instrument {instrument_id} reached {self!r}")


def _fold(
    resting: RestingOrders,
    order_id: OrderId,
    command: BookCommand | None,
    events: Sequence[BookEvent],
) -> None:
    left, terms = 0, None
    for event in events:
        match event:
            case OrderRested() if terms is not None:
                terms = msgspec.structs.replace(terms, remaining_lots=event.quantity_lots)
                resting.reenter(left, terms)
                left, terms = 0, None
            case OrderRested():
                resting.add(_newly_resting(event, order_id, command))
            case Trade() | SelfTradePrevented():
                if event.quantity_lots:
                    _reduce(resting, event.maker_order_id, event.quantity_lots)
            case OrderCancelled(rested=True):
                resting.withdraw(_standing(resting, event.order_id))
            case OrderReplaced(kept_priority=True):
                handle = _standing(resting, event.order_id)
                resting.resize(handle, event.quantity_lots, event.total_lots)
            case OrderReplaced():
                left = _standing(resting, event.order_id)
                terms = _new_terms(resting.order(left), event)
                resting.leave(left)
            case _:
                pass
    if terms is not None:
        resting.drop(left)


def _newly_resting(
    event: OrderRested, order_id: OrderId, command: BookCommand | None
) -> RestingOrder:
    if not isinstance(command, PlaceOrder) or order_id != event.order_id:
        raise InvariantViolated(f"order {event.order_id} came to rest without a command")
    return RestingOrder(
        event.order_id,
        command.account_id,
        event.side,
        event.price_ticks,
        event.quantity_lots,
        command.quantity_lots,
        command.expires_at_ns,
        command.self_trade,
        command.post_only,
    )


def _new_terms(old: RestingOrder, event: OrderReplaced) -> RestingOrder:
    return msgspec.structs.replace(old, price_ticks=event.price_ticks, total_lots=event.total_lots)


def _reduce(resting: RestingOrders, order_id: OrderId, lots: QuantityLots) -> None:
    handle = _standing(resting, order_id)
    if resting.book.remaining_of[handle] < lots:
        raise InvariantViolated(f"order {order_id} does not have {lots} lots to lose")
    resting.reduce(handle, lots)


def _standing(resting: RestingOrders, order_id: OrderId) -> int:
    handle = resting.book.handle_of.get(order_id, 0)
    if not handle:
        raise InvariantViolated(f"order {order_id} does not rest")
    return handle

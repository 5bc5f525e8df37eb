"""An instrument's desk as its records state it: the fold and the snapshot. Decides nothing."""

from typing import Any, Self, get_args

import msgspec

from engine.errors import InvariantViolated
from engine.ledger.fees import RateMeter
from engine.messages import Deferred, Refused
from engine.orderbook.instrument import Instrument
from engine.orderbook.matching import OrderBook
from engine.orderbook.messages import (
    BookEvent,
    OrderCancelled,
    OrderReplaced,
    OrderRested,
    PlaceOrder,
    SelfTradePrevented,
    Trade,
)
from engine.orderbook.snapshot import BookSnapshot
from engine.products.decision import Recorded
from engine.products.exchange import conditional_rules
from engine.products.exchange.conditionals import Conditional, Conditionals
from engine.products.exchange.messages import (
    ConditionalPlaced,
    EnterTriggered,
    OrderTriggered,
    PlaceConditional,
    Reserved,
)
from engine.products.exchange.settlement import OrderTerms, meter_trade
from engine.units import AccountId, AmountMinor, OrderId, PriceTicks, QuantityLots, Side, TimeNs

_BOOK_EVENTS = frozenset(get_args(BookEvent)) - {Refused}


class TermsRow(msgspec.Struct, frozen=True, array_like=True):
    """One open order's terms in a snapshot."""

    order_id: OrderId
    account_id: AccountId
    side: Side
    price_ticks: PriceTicks
    held_minor: AmountMinor
    maker_ppm: int
    taker_ppm: int
    fee_meter: RateMeter | None
    rebate_meter: RateMeter | None
    earlier_lots: QuantityLots = QuantityLots(0)
    key_id: int = 0


class WaitingRow(msgspec.Struct, frozen=True, array_like=True):
    """One conditional order in a snapshot."""

    order_id: OrderId
    terms: PlaceConditional
    remaining_lots: QuantityLots
    triggered: bool


class DeskSnapshot(msgspec.Struct, frozen=True, array_like=True):
    """A whole desk; equal desks give equal snapshots."""

    book: BookSnapshot
    open_orders: list[TermsRow]
    waiting: list[WaitingRow]


class FoldedDesk:
    """What is open on one instrument: the book, the waiting orders, and every order's terms."""

    def __init__(self, instrument: Instrument) -> None:
        self.instrument = instrument
        self.book = OrderBook(instrument)
        self.conditionals = Conditionals()
        self._open: dict[OrderId, OrderTerms] = {}
        # triggered, but the follow-up that places them has not arrived yet
        self._triggering: dict[OrderId, Conditional] = {}

    def __repr__(self) -> str:
        return (
            f"<{type(self).__name__} {self.instrument.symbol} {self.book.state.name}: "
            f"{len(self._open)} open, {len(self.conditionals)} waiting>"
        )

    @property
    def next_deadline_ns(self) -> TimeNs | None:
        """When something here expires next."""
        deadlines = (self.book.next_expiry_ns, self.conditionals.next_expiry_ns)
        return min((d for d in deadlines if d is not None), default=None)

    def apply(self, record: Recorded) -> None:
        """Fold one record of this desk: what it states becomes true.

        Raises: InvariantViolated if the record does not fit this desk.
        """
        command, events = record.command, record.events
        entering = _entering(record)
        entering_id, order = entering if entering is not None else (OrderId(0), None)
        book_events = [e for e in events if type(e) in _BOOK_EVENTS]
        self.book.apply(entering_id, order, book_events)
        taker = self._taker(record, entering_id)
        for event in events:
            self._apply_event(event, record, entering_id, taker)
        for hold in record.holds:
            self._apply_hold(OrderId(hold.group_id), hold.held_minor, entering_id, taker)
        if type(command) is EnterTriggered and type(events[-1]) is not Deferred:
            self._triggering.pop(command.order_id, None)

    def _taker(self, record: Recorded, entering_id: OrderId) -> OrderTerms | None:
        """The terms of the order that the record's command entered or moved."""
        reserved = next((e for e in record.events if type(e) is Reserved), None)
        command = record.command
        if type(command) in (PlaceOrder, PlaceConditional):
            if reserved is None:
                return None
            return OrderTerms(
                command.account_id,
                command.side,
                command.price_ticks if type(command) is PlaceOrder else PriceTicks(0),
                reserved.held_minor,
                reserved.maker_ppm,
                reserved.taker_ppm,
                key_id=command.key_id,
            )
        return self._open.get(entering_id)

    def _apply_event(
        self, event: Any, record: Recorded, entering_id: OrderId, taker: OrderTerms | None
    ) -> None:
        kind = type(event)
        if kind is Trade:
            if taker is None:
                raise InvariantViolated(f"{event} has no taker")
            meter_trade(event, self._open[event.maker_order_id], taker, self.instrument)
            self._lessen_waiting(event.maker_order_id, event.quantity_lots)
        elif kind is SelfTradePrevented:
            self._lessen_waiting(event.maker_order_id, event.quantity_lots)
        elif kind is OrderRested:
            if taker is not None:
                taker.price_ticks = event.price_ticks
            waiting = self.conditionals.get(event.order_id)
            if waiting is not None:
                waiting.remaining_lots = event.quantity_lots
        elif kind is OrderReplaced:
            self._open[event.order_id].price_ticks = event.price_ticks
        elif kind is ConditionalPlaced:
            placed: PlaceConditional = record.command
            self.conditionals.add(Conditional(event.order_id, placed, placed.quantity_lots))
        elif kind is OrderTriggered:
            waiting = self.conditionals.remove(event.order_id)
            self._triggering[event.order_id] = waiting
            leg = waiting.terms.legs[event.leg]
            terms = self._open.get(event.order_id, taker)
            if terms is None:
                raise InvariantViolated(f"{event} of an order without terms")
            terms.price_ticks = leg.price_ticks
            terms.earlier_lots = waiting.earlier_lots
        elif kind is OrderCancelled and not event.rested:
            self._triggering.pop(event.order_id, None)

    def _lessen_waiting(self, order_id: OrderId, lost_lots: QuantityLots) -> None:
        waiting = self.conditionals.get(order_id) if len(self.conditionals) else None
        if waiting is not None:
            waiting.remaining_lots = QuantityLots(waiting.remaining_lots - lost_lots)

    def _apply_hold(
        self,
        order_id: OrderId,
        held_minor: AmountMinor,
        entering_id: OrderId,
        taker: OrderTerms | None,
    ) -> None:
        terms = self._open.get(order_id)
        if terms is None and order_id == entering_id:
            terms = taker
        if terms is None:
            raise InvariantViolated(f"group {order_id} holds money but is no open order")
        terms.held_minor = held_minor
        if held_minor:
            self._open[order_id] = terms
            return
        self._open.pop(order_id, None)
        if len(self.conditionals) and self.conditionals.get(order_id) is not None:
            self.conditionals.remove(order_id)

    def snapshot(self) -> DeskSnapshot:
        """Everything this desk knows. O(open orders)."""
        rows = [
            TermsRow(
                order_id,
                terms.account_id,
                terms.side,
                terms.price_ticks,
                terms.held_minor,
                terms.maker_ppm,
                terms.taker_ppm,
                terms.fee_meter,
                terms.rebate_meter,
                terms.earlier_lots,
                terms.key_id,
            )
            for order_id, terms in sorted(self._open.items(), key=_order_id)
        ]
        waiting = [_waiting_row(one, triggered=False) for one in self.conditionals]
        triggering = sorted(self._triggering.items(), key=_order_id)
        waiting.extend(_waiting_row(one, triggered=True) for _, one in triggering)
        return DeskSnapshot(self.book.snapshot(), rows, waiting)

    @classmethod
    def restore(cls, instrument: Instrument, snapshot: DeskSnapshot) -> Self:
        """The desk a snapshot was taken of."""
        desk = cls(instrument)
        desk.book = OrderBook.restore(instrument, snapshot.book)
        for row in snapshot.open_orders:
            terms = OrderTerms(
                row.account_id,
                row.side,
                row.price_ticks,
                row.held_minor,
                row.maker_ppm,
                row.taker_ppm,
            )
            terms.fee_meter, terms.rebate_meter = row.fee_meter, row.rebate_meter
            terms.earlier_lots, terms.key_id = row.earlier_lots, row.key_id
            desk._open[row.order_id] = terms
        for one in snapshot.waiting:
            waiting = Conditional(one.order_id, one.terms, one.remaining_lots)
            if one.triggered:
                desk._triggering[one.order_id] = waiting
            else:
                desk.conditionals.add(waiting)
        return desk

    def check_invariants(self) -> None:
        """Raise InvariantViolated unless book, terms and waiting orders agree. O(open orders)."""
        self.book.check_invariants()
        waiting = {one.order_id for one in self.conditionals} | set(self._triggering)
        for order_id, terms in self._open.items():
            if terms.held_minor <= 0:
                raise InvariantViolated(f"open order {order_id} holds {terms.held_minor}")
            if self.book.resting(order_id) is None and order_id not in waiting:
                raise InvariantViolated(f"open order {order_id} is nowhere")
        if not waiting <= set(self._open):
            raise InvariantViolated("a waiting order has no terms")


def _entering(record: Recorded) -> tuple[OrderId, PlaceOrder | None] | None:
    """The id and terms under which the record's command may have come to rest in the book."""
    command = record.command
    kind = type(command)
    if kind is PlaceOrder:
        return OrderId(record.sequence), command
    if kind is EnterTriggered:
        return command.order_id, command.order
    if kind is PlaceConditional:
        leg = Conditional(OrderId(record.sequence), command, command.quantity_lots).resting_leg
        order = None
        if leg is not None:
            order = conditional_rules.order_of(command, leg, command.quantity_lots)
        return OrderId(record.sequence), order
    order_id = getattr(command, "order_id", None)
    return None if order_id is None else (order_id, None)


def _waiting_row(waiting: Conditional, *, triggered: bool) -> WaitingRow:
    return WaitingRow(waiting.order_id, waiting.terms, waiting.remaining_lots, triggered)


def _order_id(item: tuple[OrderId, Any]) -> OrderId:
    return item[0]

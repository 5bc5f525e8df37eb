"""An instrument's machine: its book, the conditional orders beside it, and what each order holds.

Every way in is `decide`; every recorded decision can be folded again with `apply`. Deciding and
changing are fused here for speed, so whoever runs this machine must rebuild it after any raise.
"""

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Final

from engine.errors import InvariantViolated
from engine.ledger.messages import Entry, HoldChange
from engine.messages import Message, Refused, Wake
from engine.orderbook.instrument import Instrument
from engine.orderbook.messages import (
    CancelOrder,
    CancelReason,
    ChangeInstrumentState,
    InstrumentState,
    OrderCancelled,
    OrderReplaced,
    OrderRested,
    PlaceOrder,
    ReplaceOrder,
    SelfTradePrevented,
    Trade,
)
from engine.products.decision import Decision
from engine.products.exchange import conditional_rules
from engine.products.exchange.conditionals import Conditional
from engine.products.exchange.fold import FoldedDesk
from engine.products.exchange.holds import (
    pays_with,
    required_for_conditional,
    required_minor,
)
from engine.products.exchange.messages import (
    CancelChunk,
    CancelChunkDone,
    ConditionalPlaced,
    EnterTriggered,
    OrderTriggered,
    PlaceConditional,
    ReportChunks,
    Reserved,
    SweepTriggers,
)
from engine.products.exchange.settlement import OrderTerms, settle_trade
from engine.refusals import Reason
from engine.units import AccountId, AmountMinor, OrderId, PriceTicks, QuantityLots, TimeNs
from engine.units import Sequence as SequenceNumber

#: One record cancels, expires or triggers at most this many orders; the rest follows in chunks.
ORDERS_PER_RECORD_MAX: Final = 200

_Decider = Callable[[SequenceNumber, TimeNs, Any, Reserved | None], Decision]


class _Draft:
    """The decision of one command while it grows."""

    __slots__ = (
        "entries",
        "events",
        "follow_ups",
        "high_ticks",
        "holds",
        "low_ticks",
        "now_ns",
        "sequence",
    )

    def __init__(self, sequence: SequenceNumber, now_ns: TimeNs, events: list[Any]) -> None:
        self.sequence = sequence
        self.now_ns = now_ns
        self.events = events
        self.entries: list[Entry] = []
        self.holds: list[HoldChange] = []
        self.follow_ups: list[Message] = []
        self.low_ticks = 0  # range of the prices traded in this record; 0 for none
        self.high_ticks = 0

    def traded_at(self, price_ticks: int) -> None:
        if not self.low_ticks or price_ticks < self.low_ticks:
            self.low_ticks = price_ticks
        self.high_ticks = max(self.high_ticks, price_ticks)

    def decision(self) -> Decision:
        return Decision(self.events, self.entries, self.holds, self.follow_ups)


class InstrumentDesk(FoldedDesk):
    """Decides everything about one instrument.

    Way in: `decide`. Fold: `apply`. Ask: `next_deadline_ns`, `snapshot`, `check_invariants`.
    """

    #: `decide` has already done what it states; only a rebuild folds it again.
    DECIDING_CHANGES: ClassVar = True

    def __init__(self, instrument: Instrument) -> None:
        super().__init__(instrument)
        self._deciders: dict[type, _Decider] = {
            PlaceOrder: self._place,
            CancelOrder: self._cancel,
            ReplaceOrder: self._replace,
            PlaceConditional: self._place_conditional,
            EnterTriggered: self._enter_triggered,
            CancelChunk: self._cancel_chunk,
            SweepTriggers: self._sweep_triggers,
            ChangeInstrumentState: self._change_state,
            Wake: self._wake,
        }

    def decide(
        self, sequence: SequenceNumber, now_ns: TimeNs, command: Any, reserved: Reserved | None
    ) -> Decision:
        """What the command does here, done.

        `reserved` is what accounts set aside for it, if anything.
        Raises: InvariantViolated on a contradiction; the desk must then be rebuilt.
        """
        return self._deciders[type(command)](sequence, now_ns, command, reserved)

    # -- orders

    def _place(
        self, sequence: SequenceNumber, now_ns: TimeNs, order: PlaceOrder, reserved: Reserved | None
    ) -> Decision:
        if reserved is None:
            raise InvariantViolated(f"order {sequence} came without a reservation")
        order_id = sequence
        events = self.book.place(order_id, order, now_ns)
        first = events[0]
        if type(first) is Refused:
            return Decision((reserved, first))
        terms = OrderTerms(
            order.account_id,
            order.side,
            order.price_ticks,
            reserved.held_minor,
            reserved.maker_ppm,
            reserved.taker_ppm,
        )
        if type(first) is OrderRested:
            self._open[order_id] = terms
            hold = HoldChange(order_id, order.account_id, reserved.asset_id, reserved.held_minor)
            return Decision((reserved, first), (), (hold,))
        draft = _Draft(sequence, now_ns, [reserved])
        return self._settle(order_id, terms, events, draft, was_held=False)

    def _cancel(
        self,
        sequence: SequenceNumber,
        now_ns: TimeNs,
        command: CancelOrder,
        _reserved: Reserved | None,
    ) -> Decision:
        order_id = command.order_id
        waiting = self.conditionals.get(order_id) or self._triggering.get(order_id)
        if waiting is not None and waiting.terms.account_id == command.account_id:
            draft = _Draft(sequence, now_ns, [])
            self._cancel_waiting(waiting, CancelReason.REQUESTED, draft)
            return draft.decision()
        events = self.book.cancel(command)
        if type(events[0]) is Refused:
            return Decision(events)
        return Decision(events, (), (self._close(order_id),))

    def _replace(
        self,
        sequence: SequenceNumber,
        now_ns: TimeNs,
        command: ReplaceOrder,
        reserved: Reserved | None,
    ) -> Decision:
        order_id = command.order_id
        start: list[Any] = [] if reserved is None else [reserved]
        if self.conditionals.get(order_id) is not None or order_id in self._triggering:
            return Decision((*start, Refused(Reason.INVALID_COMBINATION, "order_id")))
        resting, terms = self.book.resting(order_id), self._open.get(order_id)
        added_minor = 0 if reserved is None else reserved.held_minor
        if resting is not None and terms is not None:
            if terms.earlier_lots:
                if command.quantity_lots <= terms.earlier_lots:
                    return Decision((*start, Refused(Reason.QUANTITY_ALREADY_FILLED, "quantity")))
                command = _without_earlier(command, terms.earlier_lots)
            remaining = command.quantity_lots - (resting.total_lots - resting.remaining_lots)
            needed = self._required(terms, command.price_ticks, QuantityLots(remaining))
            if needed > terms.held_minor + added_minor:
                return Decision((*start, Refused(Reason.REPLACE_NOT_COVERED, "quantity")))
        events = self.book.replace(command, now_ns)
        first = events[0]
        if type(first) is Refused or terms is None:
            return Decision((*start, *events))
        if type(first) is not OrderReplaced:
            raise InvariantViolated(f"replace of {order_id} answered with {first}")
        terms.price_ticks = command.price_ticks
        terms.held_minor = AmountMinor(terms.held_minor + added_minor)
        if first.kept_priority:
            terms.held_minor = self._required(terms, terms.price_ticks, first.quantity_lots)
            return Decision((*start, *events), (), (self._hold(order_id, terms),))
        del self._open[order_id]
        draft = _Draft(sequence, now_ns, start)
        return self._settle(order_id, terms, events, draft, was_held=True)

    def _settle(
        self,
        order_id: OrderId,
        terms: OrderTerms,
        events: Sequence[Any],
        draft: _Draft,
        *,
        was_held: bool,
    ) -> Decision:
        """Turn the book's events of a taker into entries and holds, then look at the triggers."""
        rested_lots = self._follow(order_id, terms, events, draft)
        self._state_taker_hold(order_id, terms, rested_lots, draft, was_held=was_held)
        if draft.high_ticks:
            self._trigger(draft.low_ticks, draft.high_ticks, draft.sequence, draft)
        return draft.decision()

    def _follow(
        self, order_id: OrderId, terms: OrderTerms, events: Sequence[Any], draft: _Draft
    ) -> QuantityLots:
        """Copy the events with their settlements; returns what of the taker now rests."""
        rested_lots = QuantityLots(0)
        for event in events:
            draft.events.append(event)
            kind = type(event)
            if kind is Trade:
                maker = self._open[event.maker_order_id]
                draft.events.append(
                    settle_trade(event, maker, terms, self.instrument, draft.entries)
                )
                draft.traded_at(event.price_ticks)
                self._lessen_maker(event.maker_order_id, maker, event.quantity_lots, draft)
            elif kind is SelfTradePrevented and event.quantity_lots:
                maker = self._open[event.maker_order_id]
                self._decrement(maker, event.quantity_lots)
                self._lessen_maker(event.maker_order_id, maker, event.quantity_lots, draft)
            elif kind is OrderCancelled and event.order_id != order_id:
                draft.holds.append(self._close(event.order_id))
            elif kind is OrderRested:
                rested_lots = event.quantity_lots
        return rested_lots

    def _lessen_maker(
        self, order_id: OrderId, maker: OrderTerms, lost_lots: QuantityLots, draft: _Draft
    ) -> None:
        waiting = self.conditionals.get(order_id) if len(self.conditionals) else None
        if waiting is not None:
            waiting.remaining_lots = QuantityLots(waiting.remaining_lots - lost_lots)
            required = required_for_conditional(
                waiting.terms, waiting.remaining_lots, self.instrument
            )
            if required > maker.held_minor:
                raise InvariantViolated(f"order {order_id} holds too little for its legs")
            maker.held_minor = required
        if maker.held_minor:
            draft.holds.append(self._hold(order_id, maker))
        else:
            draft.holds.append(self._close(order_id))

    def _decrement(self, maker: OrderTerms, lost_lots: QuantityLots) -> None:
        freed = self._required(maker, maker.price_ticks, lost_lots)
        maker.held_minor = AmountMinor(maker.held_minor - freed)
        if maker.held_minor < 0:
            raise InvariantViolated("a prevented trade freed more than was held")

    def _state_taker_hold(
        self,
        order_id: OrderId,
        terms: OrderTerms,
        rested_lots: QuantityLots,
        draft: _Draft,
        *,
        was_held: bool,
    ) -> None:
        waiting = self.conditionals.get(order_id)
        if waiting is not None:
            waiting.remaining_lots = rested_lots
            required = required_for_conditional(waiting.terms, rested_lots, self.instrument)
            if not rested_lots:
                self.conditionals.remove(order_id)
        else:
            required = self._required(terms, terms.price_ticks, rested_lots)
        if required > terms.held_minor:
            raise InvariantViolated(f"order {order_id} needs {required}, holds {terms.held_minor}")
        terms.held_minor = required
        if rested_lots:
            self._open[order_id] = terms
        if rested_lots or was_held:
            draft.holds.append(self._hold(order_id, terms))

    # -- conditional orders

    def _place_conditional(
        self,
        sequence: SequenceNumber,
        now_ns: TimeNs,
        command: PlaceConditional,
        reserved: Reserved | None,
    ) -> Decision:
        if reserved is None:
            raise InvariantViolated(f"order {sequence} came without a reservation")
        refused = conditional_rules.refusal(command, self.book, now_ns)
        if refused is not None:
            return Decision((reserved, refused))
        order_id = sequence
        conditional = Conditional(order_id, command, command.quantity_lots)
        terms = OrderTerms(
            command.account_id,
            command.side,
            PriceTicks(0),
            reserved.held_minor,
            reserved.maker_ppm,
            reserved.taker_ppm,
        )
        placed = ConditionalPlaced(order_id)
        resting_leg = conditional.resting_leg
        if resting_leg is None:
            self.conditionals.add(conditional)
            self._open[order_id] = terms
            return Decision((reserved, placed), (), (self._hold(order_id, terms),))
        order = conditional_rules.order_of(command, resting_leg, command.quantity_lots)
        events = self.book.place(order_id, order, now_ns)
        if type(events[0]) is Refused:
            return Decision((reserved, *events))
        terms.price_ticks = order.price_ticks
        self.conditionals.add(conditional)
        # The hold is stated even if nothing is left, so that a fold forgets the waiting leg too.
        draft = _Draft(sequence, now_ns, [reserved, placed])
        return self._settle(order_id, terms, events, draft, was_held=True)

    def _enter_triggered(
        self,
        sequence: SequenceNumber,
        now_ns: TimeNs,
        command: EnterTriggered,
        _reserved: Reserved | None,
    ) -> Decision:
        order_id = command.order_id
        if self._triggering.pop(order_id, None) is None:
            return Decision((Refused(Reason.UNKNOWN_ORDER, "order_id"),))
        terms = self._open.pop(order_id)
        events = self.book.place(order_id, command.order, now_ns)
        if type(events[0]) is Refused:
            terms.held_minor = AmountMinor(0)
            return Decision(events, (), (self._hold(order_id, terms),))
        terms.price_ticks = command.order.price_ticks
        draft = _Draft(sequence, now_ns, [])
        return self._settle(order_id, terms, events, draft, was_held=True)

    def _sweep_triggers(
        self,
        sequence: SequenceNumber,
        now_ns: TimeNs,
        command: SweepTriggers,
        _reserved: Reserved | None,
    ) -> Decision:
        draft = _Draft(sequence, now_ns, [])
        traded_in = command.traded_in or sequence
        self._trigger(command.low_price_ticks, command.high_price_ticks, traded_in, draft)
        return draft.decision()

    def _trigger(
        self, low_ticks: int, high_ticks: int, traded_in: SequenceNumber, draft: _Draft
    ) -> None:
        """Set off what the prices crossed that were traded in the record `traded_in`.

        What has expired ends instead, even before the wake that would have ended it.
        """
        if not len(self.conditionals):
            return
        crossed = self.conditionals.crossed(low_ticks, high_ticks, traded_in, ORDERS_PER_RECORD_MAX)
        for order_id, leg_index in crossed:
            waiting = self.conditionals.get(order_id)
            if waiting is not None and 0 < waiting.terms.expires_at_ns <= draft.now_ns:
                self._cancel_waiting(waiting, CancelReason.EXPIRED, draft)
            else:
                self._trigger_one(order_id, leg_index, low_ticks, high_ticks, draft)
        if len(crossed) == ORDERS_PER_RECORD_MAX:
            instrument_id = self.instrument.instrument_id
            low, high = PriceTicks(low_ticks), PriceTicks(high_ticks)
            draft.follow_ups.append(SweepTriggers(instrument_id, low, high, traded_in))

    def _trigger_one(
        self, order_id: OrderId, leg_index: int, low_ticks: int, high_ticks: int, draft: _Draft
    ) -> None:
        waiting = self.conditionals.remove(order_id)
        terms = self._open[order_id]
        if waiting.resting_leg is not None:
            draft.events.append(self._take_from_book(waiting, CancelReason.OTHER_LEG))
        leg = waiting.terms.legs[leg_index]
        price = conditional_rules.crossing_price(leg, low_ticks, high_ticks)
        order = conditional_rules.order_of(waiting.terms, leg, waiting.remaining_lots)
        draft.events.append(OrderTriggered(order_id, leg_index, price, waiting.remaining_lots))
        draft.follow_ups.append(EnterTriggered(order_id, order))
        terms.price_ticks = leg.price_ticks
        terms.earlier_lots = waiting.earlier_lots
        terms.held_minor = self._required(terms, leg.price_ticks, waiting.remaining_lots)
        draft.holds.append(self._hold(order_id, terms))
        self._triggering[order_id] = waiting

    def _cancel_waiting(self, waiting: Conditional, reason: CancelReason, draft: _Draft) -> None:
        order_id = waiting.order_id
        if self._triggering.pop(order_id, None) is None and waiting.resting_leg is not None:
            draft.events.append(self._take_from_book(waiting, reason))
        else:
            leg = waiting.terms.legs[0]
            draft.events.append(
                OrderCancelled(
                    order_id,
                    waiting.terms.side,
                    leg.price_ticks,
                    waiting.remaining_lots,
                    reason,
                    rested=False,
                )
            )
        draft.holds.append(self._close(order_id))

    def _take_from_book(self, waiting: Conditional, reason: CancelReason) -> OrderCancelled:
        terms = waiting.terms
        events = self.book.cancel(
            CancelOrder(terms.account_id, terms.instrument_id, waiting.order_id)
        )
        event = events[0]
        if type(event) is not OrderCancelled:
            raise InvariantViolated(f"resting leg of {waiting.order_id} is not in the book")
        return OrderCancelled(
            event.order_id, event.side, event.price_ticks, event.quantity_lots, reason, event.rested
        )

    # -- wide work and deadlines

    def _cancel_chunk(
        self,
        sequence: SequenceNumber,
        now_ns: TimeNs,
        command: CancelChunk,
        _reserved: Reserved | None,
    ) -> Decision:
        draft = _Draft(sequence, now_ns, [])
        self._cancel_some_waiting(command, draft)
        waiting_cancelled = len(draft.holds)
        room = ORDERS_PER_RECORD_MAX - waiting_cancelled
        if room:
            events = self.book.cancel_resting(
                command.reason,
                room,
                account_id=command.account_id or None,
                before_order_id=command.before_order_id,
            )
            draft.events.extend(events)
            draft.holds.extend(self._close(e.order_id) for e in events if type(e) is OrderCancelled)
        finished = len(draft.holds) < ORDERS_PER_RECORD_MAX
        cancelled = command.cancelled_orders + len(draft.holds)
        draft.events.append(CancelChunkDone(cancelled, finished))
        if not finished:
            draft.follow_ups.append(
                CancelChunk(
                    command.instrument_id,
                    command.account_id,
                    command.before_order_id,
                    command.reason,
                    command.header_sequence,
                    cancelled,
                )
            )
        elif command.reason == CancelReason.CANCEL_ALL:
            draft.follow_ups.append(
                ReportChunks(command.header_sequence, command.instrument_id, cancelled)
            )
        return draft.decision()

    def _cancel_some_waiting(self, command: CancelChunk, draft: _Draft) -> None:
        account_id, before = command.account_id, command.before_order_id
        due = [
            waiting
            for order_id, waiting in self._triggering.items()
            if order_id < before and account_id in (0, waiting.terms.account_id)
        ][:ORDERS_PER_RECORD_MAX]
        room = ORDERS_PER_RECORD_MAX - len(due)
        for order_id in self.conditionals.of_account(account_id, before, room):
            waiting = self.conditionals.get(order_id)
            if waiting is not None:
                due.append(waiting)
        for waiting in due:
            self._cancel_waiting(waiting, command.reason, draft)

    def _change_state(
        self,
        sequence: SequenceNumber,
        _now_ns: TimeNs,
        command: ChangeInstrumentState,
        _reserved: Reserved | None,
    ) -> Decision:
        events = self.book.change_state(command.state)
        if command.state != InstrumentState.CLOSED or type(events[0]) is Refused:
            return Decision(events)
        chunk = CancelChunk(
            self.instrument.instrument_id,
            account_id=AccountId(0),
            before_order_id=sequence,
            reason=CancelReason.INSTRUMENT_CLOSED,
            header_sequence=sequence,
        )
        return Decision(events, (), (), (chunk,))

    def _wake(
        self, sequence: SequenceNumber, now_ns: TimeNs, _command: Wake, _reserved: Reserved | None
    ) -> Decision:
        draft = _Draft(sequence, now_ns, [])
        for order_id in self.conditionals.expired(now_ns, ORDERS_PER_RECORD_MAX):
            waiting = self.conditionals.get(order_id)
            if waiting is not None:
                self._cancel_waiting(waiting, CancelReason.EXPIRED, draft)
        events = self.book.expire(now_ns, ORDERS_PER_RECORD_MAX)
        draft.events.extend(events)
        draft.holds.extend(self._close(e.order_id) for e in events if type(e) is OrderCancelled)
        return draft.decision()

    # -- holds

    def _required(
        self, terms: OrderTerms, price_ticks: PriceTicks, quantity_lots: QuantityLots
    ) -> AmountMinor:
        return required_minor(terms.side, price_ticks, quantity_lots, self.instrument)

    def _hold(self, order_id: OrderId, terms: OrderTerms) -> HoldChange:
        asset_id = pays_with(terms.side, self.instrument)
        return HoldChange(order_id, terms.account_id, asset_id, terms.held_minor)

    def _close(self, order_id: OrderId) -> HoldChange:
        """Forget an order that has ended; its group holds nothing any more."""
        terms = self._open.pop(order_id)
        if len(self.conditionals) and self.conditionals.get(order_id) is not None:
            self.conditionals.remove(order_id)
        terms.held_minor = AmountMinor(0)
        return self._hold(order_id, terms)


def _without_earlier(command: ReplaceOrder, earlier_lots: QuantityLots) -> ReplaceOrder:
    """The replace as the book knows the order: without what went before its leg was triggered."""
    return ReplaceOrder(
        command.account_id,
        command.instrument_id,
        command.order_id,
        command.price_ticks,
        QuantityLots(command.quantity_lots - earlier_lots),
        command.client_order_id,
    )

"""An instrument's machine: its book, the conditional orders beside it, and what each order holds.

Every way in is `decide`; every recorded decision can be folded again with `apply`. Deciding and
changing are fused here for speed, so whoever runs this machine must rebuild it after any raise.
"""

from collections.abc import Callable
from typing import Any, ClassVar

from engine.errors import InvariantViolated
from engine.ledger.messages import HoldChange
from engine.messages import Refused, Wake
from engine.orderbook.instrument import Instrument
from engine.orderbook.messages import (
    CancelOrder,
    CancelReason,
    ChangeInstrumentState,
    InstrumentState,
    OrderReplaced,
    OrderRested,
    PlaceOrder,
    ReplaceOrder,
)
from engine.products.decision import Decision
from engine.products.exchange import conditional_rules
from engine.products.exchange.cancelling import CancellingDesk
from engine.products.exchange.conditionals import Conditional
from engine.products.exchange.messages import (
    CancelChunk,
    ConditionalPlaced,
    EnterTriggered,
    PlaceConditional,
    Reserved,
    SweepTriggers,
)
from engine.products.exchange.settlement import OrderTerms
from engine.products.exchange.settling import ORDERS_PER_RECORD_MAX, Draft
from engine.refusals import Reason
from engine.units import AccountId, AmountMinor, PriceTicks, QuantityLots, TimeNs
from engine.units import Sequence as SequenceNumber

_Decider = Callable[[SequenceNumber, TimeNs, Any, Reserved | None], Decision]


class InstrumentDesk(CancellingDesk):
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
            key_id=order.key_id,
        )
        if type(first) is OrderRested:
            self._open[order_id] = terms
            hold = HoldChange(order_id, order.account_id, reserved.asset_id, reserved.held_minor)
            return Decision((reserved, first), (), (hold,))
        draft = Draft(sequence, now_ns, [reserved])
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
            draft = Draft(sequence, now_ns, [])
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
        draft = Draft(sequence, now_ns, start)
        return self._settle(order_id, terms, events, draft, was_held=True)

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
            key_id=command.key_id,
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
        draft = Draft(sequence, now_ns, [reserved, placed])
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
        draft = Draft(sequence, now_ns, [])
        return self._settle(order_id, terms, events, draft, was_held=True)

    def _sweep_triggers(
        self,
        sequence: SequenceNumber,
        now_ns: TimeNs,
        command: SweepTriggers,
        _reserved: Reserved | None,
    ) -> Decision:
        draft = Draft(sequence, now_ns, [])
        traded_in = command.traded_in or sequence
        self._trigger(command.low_price_ticks, command.high_price_ticks, traded_in, draft)
        return draft.decision()

    # -- wide work and deadlines

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
        draft = Draft(sequence, now_ns, [])
        for order_id in self.conditionals.expired(now_ns, ORDERS_PER_RECORD_MAX):
            waiting = self.conditionals.get(order_id)
            if waiting is not None:
                self._cancel_waiting(waiting, CancelReason.EXPIRED, draft)
        self._state_cancelled(self.book.expire(now_ns, ORDERS_PER_RECORD_MAX), draft)
        return draft.decision()


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

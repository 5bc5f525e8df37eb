"""What becomes of a taker, its makers and the orders it sets off: entries, holds, triggers.

Turns the book's events into what a record says about money; `desk` decides which events there are.
"""

from collections.abc import Sequence
from typing import Any, Final

from engine.errors import InvariantViolated
from engine.ledger.messages import Entry, HoldChange
from engine.messages import Message
from engine.orderbook.messages import (
    CancelOrder,
    CancelReason,
    OrderCancelled,
    OrderRested,
    SelfTradePrevented,
    Trade,
)
from engine.products.decision import Decision
from engine.products.exchange import conditional_rules
from engine.products.exchange.conditionals import Conditional
from engine.products.exchange.fold import FoldedDesk
from engine.products.exchange.holds import pays_with, required_for_conditional, required_minor
from engine.products.exchange.messages import (
    EnterTriggered,
    OrderTriggered,
    SweepTriggers,
)
from engine.products.exchange.settlement import OrderTerms, settle_trade
from engine.units import AmountMinor, OrderId, PriceTicks, QuantityLots, TimeNs
from engine.units import Sequence as SequenceNumber

#: One record cancels, expires or triggers at most this many orders; the rest follows in chunks.
ORDERS_PER_RECORD_MAX: Final = 200


class Draft:
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
        """Widen the range of traded prices."""
        if not self.low_ticks or price_ticks < self.low_ticks:
            self.low_ticks = price_ticks
        self.high_ticks = max(self.high_ticks, price_ticks)

    def decision(self) -> Decision:
        """The draft, finished."""
        return Decision(self.events, self.entries, self.holds, self.follow_ups)


class SettlingDesk(FoldedDesk):
    """A desk that can settle what its book has done; the parent of the one that decides."""

    def _settle(
        self,
        order_id: OrderId,
        terms: OrderTerms,
        events: Sequence[Any],
        draft: Draft,
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
        self, order_id: OrderId, terms: OrderTerms, events: Sequence[Any], draft: Draft
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
        self, order_id: OrderId, maker: OrderTerms, lost_lots: QuantityLots, draft: Draft
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
        draft: Draft,
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

    def _trigger(
        self, low_ticks: int, high_ticks: int, traded_in: SequenceNumber, draft: Draft
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
        self, order_id: OrderId, leg_index: int, low_ticks: int, high_ticks: int, draft: Draft
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

    def _cancel_waiting(self, waiting: Conditional, reason: CancelReason, draft: Draft) -> None:
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

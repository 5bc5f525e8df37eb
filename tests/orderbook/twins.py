"""The order book and its naive twin side by side, driven by the same steps."""

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from engine.messages import Refused
from engine.orderbook.instrument import Instrument
from engine.orderbook.matching import OrderBook
from engine.orderbook.messages import (
    BookCommand,
    BookEvent,
    CancelOrder,
    CancelReason,
    InstrumentState,
    PlaceOrder,
    ReplaceOrder,
    TimeInForce,
)
from engine.units import (
    AccountId,
    AmountMinor,
    InstrumentId,
    OrderId,
    PriceTicks,
    QuantityLots,
    Side,
    TimeNs,
)
from tests.orderbook.naive_book import NaiveBook
from tests.orderbook.tables import INSTRUMENT, image, order_id

INSTRUMENT_ID = InstrumentId(1)

#: A step is a name and its arguments; order numbers and times are relative, so they shrink well.
Step = tuple[Any, ...]

INSTRUMENTS = [
    INSTRUMENT,
    msgspec.structs.replace(INSTRUMENT, makers_touched_max=3, tick_lot_minor=AmountMinor(7)),
    msgspec.structs.replace(
        INSTRUMENT,
        makers_touched_max=2,
        band_ppm=30_000,
        reference_price_ticks=PriceTicks(100),
        minimum_lots=QuantityLots(2),
        maximum_lots=QuantityLots(9),
        minimum_notional_minor=AmountMinor(300),
        maximum_notional_minor=AmountMinor(880),
    ),
]


class Twins:
    """Both books, driven by the same steps; `records` is what a journal would hold."""

    def __init__(self, instrument: Instrument) -> None:
        self.book = OrderBook(instrument)
        self.naive = NaiveBook(instrument)
        self.now = TimeNs(1_000)
        self.newest = 0
        self.records: list[tuple[OrderId, BookCommand | None, list[BookEvent]]] = []

    def compare(self, step: Step) -> list[BookEvent]:
        """Perform one step on both and compare everything that can be seen of them."""
        before = image(self.book)
        events, expected = self.step(step)
        assert reasons_only(events) == expected
        if expected and isinstance(expected[0], Refused):
            assert image(self.book) == before
        self.book.check_invariants()
        assert self.book.reference_price_ticks == self.naive.reference
        for side in Side:
            ranked = [order.order_id for order in self.naive.ranked(side)]
            assert [order.order_id for order in self.book.resting_orders(side, 1_000)] == ranked
        levels = self.naive.levels(Side.BUY), self.naive.levels(Side.SELL)
        assert self.book.depth(1_000) == levels
        expiries = [order.expires for order in self.naive.orders if order.expires]
        assert self.book.next_expiry_ns == min(expiries, default=None)
        return list(events)

    def step(self, step: Step) -> tuple[Sequence[BookEvent], Sequence[BookEvent]]:
        """Perform one step on both and return both answers."""
        name, *arguments = step
        act: Callable[..., tuple[list[BookEvent], list[BookEvent]]]
        act = getattr(self, "_" + name.replace(" ", "_"))
        return act(*arguments)

    def _place(self, order: PlaceOrder) -> tuple[list[BookEvent], list[BookEvent]]:
        # Even numbers; the odd ones below are what older orders may still enter under.
        self.newest += 2
        return self._enter(self.newest, order)

    def _place_late(self, order: PlaceOrder) -> tuple[list[BookEvent], list[BookEvent]]:
        number = max(1, self.newest - 5)
        if any(number == placed for placed, _, _ in self.records):
            return [], []
        return self._enter(number, order)

    def _place_gtd(self, order: PlaceOrder, ahead: int) -> tuple[list[BookEvent], list[BookEvent]]:
        deadline = TimeNs(self.now + ahead)
        return self._place(
            msgspec.structs.replace(order, time_in_force=TimeInForce.GTD, expires_at_ns=deadline)
        )

    def _enter(self, number: int, order: PlaceOrder) -> tuple[list[BookEvent], list[BookEvent]]:
        events = self.book.place(order_id(number), order, self.now)
        self.records.append((order_id(number), order, events))
        return events, self.naive.place(order_id(number), order, self.now)

    def _cancel(self, account: AccountId, back: int) -> tuple[list[BookEvent], list[BookEvent]]:
        command = CancelOrder(account, INSTRUMENT_ID, self._recent(back))
        return self._record(command, self.book.cancel(command)), self.naive.cancel(command)

    def _replace(
        self, account: AccountId, back: int, price: PriceTicks, total: int
    ) -> tuple[list[BookEvent], list[BookEvent]]:
        command = ReplaceOrder(
            account, INSTRUMENT_ID, self._recent(back), price, QuantityLots(total)
        )
        events = self._record(command, self.book.replace(command, self.now))
        return events, self.naive.replace(command, self.now)

    def _sleep(self, duration: int) -> tuple[list[BookEvent], list[BookEvent]]:
        self.now = TimeNs(self.now + duration)
        return [], []

    def _expire(self, orders_max: int) -> tuple[list[BookEvent], list[BookEvent]]:
        events = self._record(None, self.book.expire(self.now, orders_max))
        return events, self.naive.expire(self.now, orders_max)

    def _cancel_resting(
        self, orders_max: int, account: AccountId | None, back: int | None
    ) -> tuple[list[BookEvent], list[BookEvent]]:
        before = None if back is None else self._recent(back)
        reason = CancelReason.CANCEL_ALL
        events = self.book.cancel_resting(
            reason, orders_max, account_id=account, before_order_id=before
        )
        self._record(None, events)
        return events, self.naive.cancel_resting(reason, orders_max, account, before)

    def _state(self, state: InstrumentState) -> tuple[list[BookEvent], list[BookEvent]]:
        return self._record(None, self.book.change_state(state)), self.naive.change_state(state)

    def _recent(self, back: int) -> OrderId:
        return order_id(max(1, self.newest - back))

    def _record(self, command: BookCommand | None, events: list[BookEvent]) -> list[BookEvent]:
        self.records.append((order_id(1_000_000), command, events))
        return events


def reasons_only(events: Sequence[BookEvent]) -> list[BookEvent]:
    return [Refused(event.reason) if isinstance(event, Refused) else event for event in events]

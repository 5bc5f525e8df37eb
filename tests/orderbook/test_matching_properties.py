"""Random command streams against the naive twin, the fold, the snapshot and the depth."""

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.messages import Refused
from engine.orderbook.depth import Depth
from engine.orderbook.instrument import Instrument
from engine.orderbook.matching import OrderBook
from engine.orderbook.messages import (
    BookCommand,
    BookEvent,
    CancelOrder,
    CancelReason,
    InstrumentState,
    OrderKind,
    PlaceOrder,
    ReplaceOrder,
    SelfTradePrevention,
    TimeInForce,
    Trade,
)
from engine.orderbook.snapshot import BookSnapshot
from engine.units import (
    INT64_MAX,
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

accounts = st.integers(1, 3).map(AccountId)
prices = st.integers(96, 104).map(PriceTicks)
lots = st.integers(1, 9).map(QuantityLots)
modes = st.sampled_from(SelfTradePrevention)
sides = st.sampled_from(Side)
INSTRUMENT_ID = InstrumentId(1)

resting_orders = st.builds(
    PlaceOrder,
    accounts,
    st.just(INSTRUMENT_ID),
    sides,
    st.just(OrderKind.LIMIT),
    prices,
    lots,
    self_trade=modes,
)
any_orders = st.builds(
    PlaceOrder,
    accounts,
    st.just(INSTRUMENT_ID),
    sides,
    st.sampled_from(OrderKind),
    prices | st.sampled_from([-1, 0, 1, 1_000, INT64_MAX, INT64_MAX + 1]).map(PriceTicks),
    lots | st.sampled_from([-1, 0, 12, 40, INT64_MAX, INT64_MAX + 1]).map(QuantityLots),
    budget_minor=st.sampled_from([0, 0, 0, 0, -5]).map(AmountMinor),
    time_in_force=st.sampled_from(TimeInForce),
    expires_at_ns=st.sampled_from([0, 0, 0, -1, 5, INT64_MAX + 1]).map(TimeNs),
    post_only=st.booleans(),
    minimum_lots=st.sampled_from([0, 0, 0, -1, 2, 5, 100]).map(QuantityLots),
    self_trade=modes,
)
takers = st.builds(
    PlaceOrder,
    accounts,
    st.just(INSTRUMENT_ID),
    sides,
    st.sampled_from(OrderKind),
    prices,
    st.integers(1, 40).map(QuantityLots),
    time_in_force=st.sampled_from([TimeInForce.GTC, TimeInForce.IOC, TimeInForce.FOK]),
    minimum_lots=st.sampled_from([0, 0, 1, 10]).map(QuantityLots),
    self_trade=modes,
)
budgets = st.builds(
    PlaceOrder,
    accounts,
    st.just(INSTRUMENT_ID),
    st.just(Side.BUY),
    st.just(OrderKind.MARKET),
    prices,
    st.just(QuantityLots(0)),
    st.integers(1, 3_000).map(AmountMinor),
    self_trade=modes,
)
post_onlys = st.builds(
    PlaceOrder,
    accounts,
    st.just(INSTRUMENT_ID),
    sides,
    st.just(OrderKind.LIMIT),
    prices,
    lots,
    post_only=st.just(True),
    self_trade=modes,
)
recent = st.integers(0, 12)
steps = st.one_of(
    st.tuples(st.just("place"), resting_orders),
    st.tuples(st.just("place"), resting_orders),
    st.tuples(st.just("place"), st.one_of(takers, budgets, post_onlys, any_orders)),
    st.tuples(st.just("place gtd"), st.one_of(resting_orders, post_onlys), st.integers(1, 6)),
    st.tuples(st.just("place late"), resting_orders),
    st.tuples(st.just("cancel"), accounts, recent),
    st.tuples(st.just("replace"), accounts, recent, prices, st.integers(0, 12)),
    st.tuples(st.just("sleep"), st.integers(1, 5)),
    st.tuples(st.just("expire"), st.integers(1, 3)),
    st.tuples(
        st.just("cancel resting"), st.integers(1, 4), st.none() | accounts, st.none() | recent
    ),
    st.tuples(st.just("state"), st.sampled_from([InstrumentState.OPEN] * 6 + [*InstrumentState])),
)


class Twins:
    """Both books, driven by the same steps; `records` is what a journal would hold."""

    def __init__(self, instrument: Instrument) -> None:
        self.book = OrderBook(instrument)
        self.naive = NaiveBook(instrument)
        self.now = TimeNs(1_000)
        self.newest = 0
        self.records: list[tuple[OrderId, BookCommand | None, list[BookEvent]]] = []

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


def examples(count: int) -> Callable[[Any], Any]:
    return settings(max_examples=count, deadline=None, suppress_health_check=[HealthCheck.too_slow])


streams = st.lists(steps, min_size=10, max_size=60)
instruments = st.sampled_from(INSTRUMENTS)


@pytest.mark.slow
@examples(250)
@given(instruments, streams)
def test_the_book_answers_every_command_as_the_naive_twin_does(
    instrument: Instrument, stream: list[Step]
) -> None:
    twins = Twins(instrument)
    for step in stream:
        before = image(twins.book)
        events, expected = twins.step(step)
        assert reasons_only(events) == expected
        if expected and isinstance(expected[0], Refused):
            assert image(twins.book) == before
        twins.book.check_invariants()
        assert twins.book.reference_price_ticks == twins.naive.reference
        for side in Side:
            ranked = [order.order_id for order in twins.naive.ranked(side)]
            assert [order.order_id for order in twins.book.resting_orders(side, 100)] == ranked
        assert twins.book.depth(100) == (
            twins.naive.levels(Side.BUY),
            twins.naive.levels(Side.SELL),
        )
        expiries = [order.expires for order in twins.naive.orders if order.expires]
        assert twins.book.next_expiry_ns == min(expiries, default=None)


@pytest.mark.slow
@examples(100)
@given(instruments, streams)
def test_records_rebuild_the_book_and_its_depth_at_any_prefix(
    instrument: Instrument, stream: list[Step]
) -> None:
    twins, folded, depth, updates = Twins(instrument), OrderBook(instrument), Depth(), 0
    for step in stream:
        recorded = len(twins.records)
        twins.step(step)
        for number, command, events in twins.records[recorded:]:
            shown = depth.levels(100)
            folded.apply(number, command, events)
            delta = depth.apply(events)
            updates += depth.levels(100) != shown
            assert delta is None or delta.update_id == updates
        folded.check_invariants()
        assert image(folded) == image(twins.book)
        assert depth.levels(100) == twins.book.depth(100)
        assert depth.update_id == updates


@pytest.mark.slow
@examples(100)
@given(instruments, streams, st.integers(0, 60))
def test_a_restored_book_goes_on_exactly_like_the_one_it_was_taken_of(
    instrument: Instrument, stream: list[Step], cut: int
) -> None:
    twins = Twins(instrument)
    for step in stream[:cut]:
        twins.step(step)
    stayed, taken = twins.book, image(twins.book)
    twins.book = OrderBook.restore(instrument, msgspec.msgpack.decode(taken, type=BookSnapshot))
    assert image(twins.book) == taken
    for step in stream[cut:]:
        events, expected = twins.step(step)
        assert reasons_only(events) == expected
    twins.book.check_invariants()
    assert (
        stayed.digest()
        == OrderBook.restore(instrument, msgspec.msgpack.decode(taken, type=BookSnapshot)).digest()
    )


@pytest.mark.slow
@examples(100)
@given(instruments, streams)
def test_lots_are_neither_made_nor_lost(instrument: Instrument, stream: list[Step]) -> None:
    """Every lot that ever rested has traded, was prevented, was cancelled, or still rests."""
    twins, depth = Twins(instrument), Depth()
    for step in stream:
        events, _ = twins.step(step)
        depth.apply(events)
        for side in Side:
            resting = sum(o.remaining_lots for o in twins.book.resting_orders(side, 100))
            assert resting == sum(quantity for _, quantity in depth.levels(100)[side])
        for event in events:
            if isinstance(event, Trade):
                assert event.quantity_lots > 0
                assert event.maker_order_id != event.taker_order_id

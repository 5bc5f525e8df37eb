"""Random command streams against the naive twin, the fold, the snapshot and the depth."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.orderbook.depth import Depth
from engine.orderbook.instrument import Instrument
from engine.orderbook.matching import OrderBook
from engine.orderbook.messages import (
    InstrumentState,
    OrderKind,
    PlaceOrder,
    SelfTradePrevention,
    TimeInForce,
    Trade,
)
from engine.orderbook.snapshot import BookSnapshot
from engine.units import (
    INT64_MAX,
    AccountId,
    AmountMinor,
    PriceTicks,
    QuantityLots,
    Side,
    TimeNs,
)
from tests.orderbook.tables import image
from tests.orderbook.twins import INSTRUMENT_ID, INSTRUMENTS, Step, Twins, reasons_only

accounts = st.integers(1, 3).map(AccountId)
prices = st.integers(96, 104).map(PriceTicks)
lots = st.integers(1, 9).map(QuantityLots)
modes = st.sampled_from(SelfTradePrevention)
sides = st.sampled_from(Side)

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
#: Closing is final and stops everything else, so it must be rare to leave room for the rest.
rare_steps = st.one_of(
    st.tuples(st.just("place"), any_orders),
    st.tuples(st.just("expire"), st.integers(1, 3)),
    st.tuples(
        st.just("cancel resting"), st.integers(1, 4), st.none() | accounts, st.none() | recent
    ),
    st.tuples(st.just("state"), st.sampled_from([InstrumentState.OPEN] * 9 + [*InstrumentState])),
)
steps = st.one_of(
    *[st.tuples(st.just("place"), resting_orders)] * 3,
    st.tuples(st.just("place"), takers),
    st.tuples(st.just("place"), takers),
    st.tuples(st.just("place"), budgets),
    st.tuples(st.just("place"), post_onlys),
    st.tuples(st.just("place gtd"), st.one_of(resting_orders, post_onlys), st.integers(1, 6)),
    st.tuples(st.just("place late"), resting_orders),
    st.tuples(st.just("cancel"), accounts, recent),
    st.tuples(st.just("replace"), accounts, recent, prices, st.integers(0, 12)),
    st.tuples(st.just("sleep"), st.integers(1, 5)),
    rare_steps,
)


def examples(count: int) -> Callable[[Any], Any]:
    return settings(max_examples=count, deadline=None, suppress_health_check=[HealthCheck.too_slow])


streams = st.lists(steps, min_size=20, max_size=80)
instruments = st.sampled_from(INSTRUMENTS)


@pytest.mark.slow
@examples(250)
@given(instruments, streams)
def test_the_book_answers_every_command_as_the_naive_twin_does(
    instrument: Instrument, stream: list[Step]
) -> None:
    twins = Twins(instrument)
    for step in stream:
        twins.compare(step)


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

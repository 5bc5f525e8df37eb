"""Depth: levels from events alone, deltas without gaps."""

import pytest

from engine.errors import InvariantViolated
from engine.orderbook.depth import Depth, DepthDelta
from engine.orderbook.messages import (
    BookEvent,
    CancelReason,
    OrderCancelled,
    OrderReplaced,
    OrderRested,
    SelfTradePrevented,
    Trade,
)
from engine.units import PriceTicks, QuantityLots, Side
from tests.orderbook.tables import order_id

BUY, SELL = Side.BUY, Side.SELL


def rested(side: Side, price: int, lots: int) -> OrderRested:
    return OrderRested(order_id(1), side, PriceTicks(price), QuantityLots(lots))


def cancelled(side: Side, price: int, lots: int, *, rests: bool) -> OrderCancelled:
    return OrderCancelled(
        order_id(1), side, PriceTicks(price), QuantityLots(lots), CancelReason.REQUESTED, rests
    )


def replaced(old: tuple[int, int], new: tuple[int, int], *, kept: bool) -> OrderReplaced:
    lots = QuantityLots(new[0])
    return OrderReplaced(
        order_id(1),
        SELL,
        PriceTicks(old[1]),
        QuantityLots(old[0]),
        PriceTicks(new[1]),
        lots,
        lots,
        kept,
    )


def changes(delta: DepthDelta | None) -> list[tuple[Side, int, int]]:
    assert delta is not None
    return sorted((side, int(price), int(lots)) for side, price, lots in delta.changes)


def test_a_trade_lessens_the_makers_side_only() -> None:
    depth = Depth()
    depth.apply([rested(SELL, 101, 5)])
    trade = Trade(order_id(1), order_id(2), PriceTicks(101), QuantityLots(5), BUY)
    delta = depth.apply([trade, rested(BUY, 102, 3)])
    assert changes(delta) == [(BUY, 102, 3), (SELL, 101, 0)]
    assert depth.top == ((102, 3), None)


def test_a_prevented_self_trade_lessens_the_makers_side_only() -> None:
    depth = Depth()
    depth.apply([rested(BUY, 100, 5)])
    met = SelfTradePrevented(order_id(1), order_id(2), PriceTicks(100), QuantityLots(2), SELL)
    assert changes(depth.apply([met])) == [(BUY, 100, 3)]


def test_a_taker_that_ends_without_having_rested_changes_no_level() -> None:
    depth = Depth()
    depth.apply([rested(BUY, 100, 5)])
    assert depth.apply([cancelled(BUY, 100, 5, rests=False)]) is None
    assert changes(depth.apply([cancelled(BUY, 100, 5, rests=True)])) == [(BUY, 100, 0)]


def test_a_replace_moves_its_quantity_only_once_it_rests_again() -> None:
    depth = Depth()
    depth.apply([rested(SELL, 101, 5)])
    kept = depth.apply([replaced((5, 101), (3, 101), kept=True)])
    assert changes(kept) == [(SELL, 101, 3)]
    moved = depth.apply([replaced((3, 101), (4, 102), kept=False), rested(SELL, 102, 4)])
    assert changes(moved) == [(SELL, 101, 0), (SELL, 102, 4)]


def test_update_ids_count_only_records_that_change_a_level() -> None:
    depth = Depth()
    records: list[list[BookEvent]] = [
        [rested(SELL, 101, 5)],
        [],
        [replaced((5, 101), (5, 101), kept=False), rested(SELL, 101, 5)],
        [cancelled(SELL, 101, 5, rests=True)],
    ]
    deltas = [depth.apply(record) for record in records]
    assert [delta and delta.update_id for delta in deltas] == [1, None, None, 2]
    assert depth.update_id == 2


def test_levels_are_best_first_and_a_depth_can_start_from_them() -> None:
    depth = Depth()
    for price in (98, 100, 99):
        depth.apply([rested(BUY, price, price)])
        depth.apply([rested(SELL, price + 10, price)])
    bids, asks = depth.levels(2)
    assert bids == [(100, 100), (99, 99)]
    assert asks == [(108, 98), (109, 99)]
    again = Depth(*depth.levels(9), update_id=depth.update_id)
    assert again.levels(9) == depth.levels(9)
    assert changes(again.apply([rested(BUY, 100, 1)])) == [(BUY, 100, 101)]
    assert again.update_id == 7


def test_a_level_below_zero_is_a_contradiction() -> None:
    with pytest.raises(InvariantViolated, match="BUY level 100"):
        Depth().apply([cancelled(BUY, 100, 5, rests=True)])

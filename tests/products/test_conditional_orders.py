"""Stops, take-profits and pairs: what sets them off, and that they act exactly once."""

import pytest

from engine.accounts.messages import CancelAll
from engine.messages import Deferred, Wake
from engine.orderbook.messages import OrderKind, PlaceOrder
from engine.products.exchange.conditionals import Conditional, Conditionals
from engine.products.exchange.messages import (
    EnterTriggered,
    Leg,
    OrderTriggered,
    PlaceConditional,
    SweepTriggers,
    TriggerWhen,
)
from engine.products.exchange.orders import OrderStatus
from engine.products.exchange.settling import ORDERS_PER_RECORD_MAX
from engine.refusals import Reason
from engine.units import OrderId, PriceTicks, QuantityLots, Sequence, Side, TimeNs
from tests.products.exchange_tables import check
from tests.products.line import ANN, BOB, CAT, HERE, Line, folded_desk


def test_a_stop_is_set_off_in_the_record_of_the_trade_and_then_placed() -> None:
    check("""
        stop t1 buy 2 up 60 @ 65    -> waits; t1 holds 2730
        sell s1 1 @ 60 by bob       -> rested; t1 holds 2730, s1 holds 3
        buy b1 1 @ 60 by cat        -> trade s1 1 @ 60, t1 triggered leg 0 for 2 at 60; t1 holds 2730
        draw                        -> rested; t1 holds 2730
        sell s2 2 @ 60 by bob       -> trade t1 2 @ 65; nothing held
    """)  # noqa: E501


def test_an_order_acts_once_however_often_its_trigger_is_crossed() -> None:
    line = check("""
        stop t1 buy 2 up 60 @ 65    -> waits; t1 holds 2730
        sell s1 2 @ 60 by bob       -> rested; t1 holds 2730, s1 holds 6
        buy b1 1 @ 60 by cat        -> trade s1 1 @ 60, t1 triggered leg 0 for 2 at 60; t1 holds 2730, s1 holds 3
        buy b2 1 @ 60 by cat        -> trade s1 1 @ 60; t1 holds 2730
        draw                        -> rested; t1 holds 2730
    """)  # noqa: E501
    assert sum(isinstance(e, OrderTriggered) for r in line.records for e in r.events) == 1


@pytest.mark.parametrize("stop", ["up 50 @ 65", "down 50 @ 65", "up 49 @ 65", "down 51 @ 65"])
def test_a_trigger_that_the_last_price_has_crossed_is_refused(stop: str) -> None:
    check(f"""
        sell s1 1 @ 50 by bob       -> rested; s1 holds 3
        buy b1 1 @ 50 by cat        -> trade s1 1 @ 50; nothing held
        stop t1 buy 2 {stop}        -> TRIGGER_ALREADY_CROSSED; nothing held
    """)


def test_a_pair_with_a_resting_leg_holds_the_dearer_one() -> None:
    check("""
        pair t1 buy 4 @ 40 | up 60 @ 70   -> waits, rested; t1 holds 5880
        sell s1 1 @ 40 by bob             -> trade t1 1 @ 40; t1 holds 4410
        cancel t1                         -> t1 cancelled 3 REQUESTED; nothing held
    """)


def test_when_the_other_leg_triggers_it_takes_over_what_is_left() -> None:
    line = check("""
        pair t1 sell 10 @ 60 | down 40 @ 35   -> waits, rested; t1 holds 30
        buy b1 3 @ 60 by bob                  -> trade t1 3 @ 60; t1 holds 21
        buy b2 1 @ 40 by bob                  -> rested; t1 holds 21, b2 holds 840
        sell s1 1 @ 40 by cat                 -> trade b2 1 @ 40, t1 cancelled 7 OTHER_LEG, t1 triggered leg 1 for 7 at 40; t1 holds 21
        draw                                  -> rested; t1 holds 21
        buy b3 7 @ 35 by bob                  -> trade t1 7 @ 35; nothing held
    """)  # noqa: E501
    assert (line.order(14).filled_lots, line.order(14).status) == (10, OrderStatus.FILLED)


def test_a_replace_after_a_partly_filled_leg_counts_from_the_beginning() -> None:
    line = check("""
        pair t1 sell 10 @ 60 | down 40 @ 35   -> waits, rested; t1 holds 30
        buy b1 3 @ 60 by bob                  -> trade t1 3 @ 60; t1 holds 21
        buy b2 1 @ 40 by bob                  -> rested; t1 holds 21, b2 holds 840
        sell s1 1 @ 40 by cat                 -> trade b2 1 @ 40, t1 cancelled 7 OTHER_LEG, t1 triggered leg 1 for 7 at 40; t1 holds 21
        draw                                  -> rested; t1 holds 21
        replace t1 3 @ 35                     -> QUANTITY_ALREADY_FILLED; t1 holds 21
        replace t1 8 @ 35                     -> replaced; t1 holds 15
        draw                                  -> nothing; t1 holds 15
        replace t1 9 @ 36                     -> replaced, rested; t1 holds 18
        buy b3 6 @ 36 by bob                  -> trade t1 6 @ 36; nothing held
    """)  # noqa: E501
    assert (line.order(14).filled_lots, line.order(14).status) == (9, OrderStatus.FILLED)


def test_a_pair_whose_resting_leg_fills_at_once_waits_for_nothing() -> None:
    line = check("""
        buy b1 4 @ 60 by bob                  -> rested; b1 holds 5040
        pair t1 sell 4 @ 60 | down 40 @ 35    -> waits, trade b1 4 @ 60; nothing held
        buy b2 1 @ 40 by bob                  -> rested; b2 holds 840
        sell s1 1 @ 40 by cat                 -> trade b2 1 @ 40; nothing held
        draw                                  -> nothing; nothing held
    """)
    assert not folded_desk(line.records).snapshot().waiting


def test_a_pair_may_set_itself_off() -> None:
    check("""
        buy b1 1 @ 70 by bob                  -> rested; b1 holds 1470
        pair t1 sell 4 @ 60 | up 65 @ 68      -> waits, trade b1 1 @ 70, rested, t1 cancelled 3 OTHER_LEG, t1 triggered leg 1 for 3 at 70; t1 holds 9
        draw                                  -> rested; t1 holds 9
    """)  # noqa: E501


def test_a_waiting_order_cannot_be_replaced() -> None:
    check("""
        stop t1 buy 2 up 60 @ 65    -> waits; t1 holds 2730
        replace t1 3 @ 65           -> INVALID_COMBINATION; t1 holds 2730
    """)


def test_a_triggered_order_can_be_cancelled_before_it_is_placed() -> None:
    line = check("""
        stop t1 buy 2 up 60 @ 65    -> waits; t1 holds 2730
        sell s1 1 @ 60 by bob       -> rested; t1 holds 2730, s1 holds 3
        buy b1 1 @ 60 by cat        -> trade s1 1 @ 60, t1 triggered leg 0 for 2 at 60; t1 holds 2730
        cancel t1                   -> t1 cancelled 2 REQUESTED; nothing held
        draw                        -> UNKNOWN_ORDER; nothing held
    """)  # noqa: E501
    assert line.order(14).status is OrderStatus.CANCELLED


def test_a_triggered_order_that_the_book_refuses_frees_its_hold() -> None:
    line = check("""
        stop t1 buy 2 up 60 market 65   -> waits; t1 holds 2730
        sell s1 1 @ 60 by bob           -> rested; t1 holds 2730, s1 holds 3
        buy b1 1 @ 60 by cat            -> trade s1 1 @ 60, t1 triggered leg 0 for 2 at 60; t1 holds 2730
        draw                            -> NO_LIQUIDITY; nothing held
    """)  # noqa: E501
    assert line.order(14).status is OrderStatus.REJECTED


def test_a_waiting_order_expires_at_its_deadline() -> None:
    check("""
        stop t1 buy 2 up 60 @ 65 until 2000               -> waits; t1 holds 2730
        pair t2 buy 2 @ 10 | up 60 @ 65 until 3000        -> waits, rested; t1 holds 2730, t2 holds 2730
        wake 1999                                         -> nothing; t1 holds 2730, t2 holds 2730
        wake 2000                                         -> t1 cancelled 2 EXPIRED; t2 holds 2730
        wake 3000                                         -> t2 cancelled 2 EXPIRED; nothing held
    """)  # noqa: E501


def test_what_has_expired_is_not_set_off_even_before_its_wake() -> None:
    line = Line()
    check(
        """
        stop t1 buy 2 up 60 market 65 until 2000   -> waits; t1 holds 2730
        sell s1 1 @ 60 by bob                      -> rested; t1 holds 2730, s1 holds 3
        """,
        line,
    )
    line.now_ns = TimeNs(2_000)
    line.submit(limit(CAT, Side.BUY, 1, 60))
    line.check()
    assert (line.order(14).status, line.order(14).ended_because) == ("CANCELLED", "EXPIRED")
    line.check_at_rest()


def limit(who: int, side: Side, lots: int, price: int) -> PlaceOrder:
    return PlaceOrder(who, HERE, side, OrderKind.LIMIT, PriceTicks(price), QuantityLots(lots))  # type: ignore[arg-type]


def stop(trigger: int, when: TriggerWhen = TriggerWhen.AT_OR_ABOVE) -> PlaceConditional:
    leg = Leg(when, PriceTicks(trigger), OrderKind.LIMIT, PriceTicks(1))
    return PlaceConditional(ANN, HERE, Side.BUY, QuantityLots(1), (leg,))


def trade(line: Line, price: int) -> None:
    line.submit(limit(BOB, Side.SELL, 1, price))
    line.submit(limit(CAT, Side.BUY, 1, price))


def test_a_follow_up_survives_a_rebuild_between_trigger_and_placing() -> None:
    line = Line()
    stop_id = line.submit(stop(60)).sequence
    trade(line, 60)
    line.release()
    assert [c.order_id for c in line.state.released.outstanding.values()] == [stop_id]
    line.rebuild_desk()
    line.check()
    line.check_at_rest()
    entries = [record for record in line.records if isinstance(record.command, EnterTriggered)]
    assert len(entries) == 1
    assert line.order(stop_id).status is OrderStatus.OPEN


def test_a_deferred_follow_up_changes_nothing_and_can_be_done_later() -> None:
    line = Line()
    stop_id = line.submit(stop(60)).sequence
    trade(line, 60)
    line.release()
    (key, command), *_ = line.state.released.outstanding.items()
    line.close_undecided(command, key, Deferred())
    line.rebuild_desk()
    line.check()
    assert line.order(stop_id).status is OrderStatus.TRIGGERED
    line.check_at_rest()
    assert line.order(stop_id).status is OrderStatus.OPEN


def test_a_follow_up_that_arrives_twice_is_done_once() -> None:
    line = Line()
    stop_id = line.submit(stop(60)).sequence
    trade(line, 60)
    line.release()
    (key, command), *_ = line.state.released.outstanding.items()
    assert line.submit(command, key).refusal is None
    again = line.submit(command, key).refusal
    assert again is not None
    assert again.reason is Reason.UNKNOWN_ORDER
    assert line.order(stop_id).status is OrderStatus.OPEN
    line.check()


@pytest.mark.slow
def test_many_triggers_are_swept_in_chunks_and_younger_orders_are_spared() -> None:
    many = ORDERS_PER_RECORD_MAX * 2 + 50
    line = Line(funds=(1_000, 1_000_000))
    for number in range(many):
        line.submit(stop(60 + number % 7))
    line.submit(limit(BOB, Side.SELL, 1, 66))
    line.submit(limit(BOB, Side.SELL, 1, 50))
    crossed = line.submit(limit(CAT, Side.BUY, 2, 66))
    assert sum(isinstance(e, OrderTriggered) for e in crossed.events) == ORDERS_PER_RECORD_MAX
    assert isinstance(crossed.follow_ups[-1], SweepTriggers)
    trade(line, 55)
    younger = line.submit(stop(66)).sequence
    line.check()
    done = line.settle()
    assert sum(isinstance(record.command, SweepTriggers) for record in done) == 2
    triggered = [
        e.order_id for r in line.records for e in r.events if isinstance(e, OrderTriggered)
    ]
    assert len(triggered) == len(set(triggered)) == many
    assert line.order(younger).status is OrderStatus.WAITING
    line.check_at_rest()


@pytest.mark.slow
def test_a_cancel_all_of_many_orders_goes_in_chunks_waiting_and_triggered_ones_too() -> None:
    line = Line(funds=(1_000, 1_000_000))
    for number in range(150):
        line.submit(stop(60 if number % 2 else 70))
        line.submit(limit(ANN, Side.BUY, 1, 5))
    trade(line, 60)
    line.release()
    header = line.submit(CancelAll(ANN)).sequence
    line.settle()
    assert line.mirror.released.orders.open_of(ANN) == {}
    # The 75 that were triggered have been placed before, and are cancelled where they rest.
    assert line.mirror.released.cancel_alls[header] == (0, 300, 0)
    line.check_at_rest()


@pytest.mark.slow
def test_many_expiries_go_in_chunks() -> None:
    line = Line(funds=(1_000, 1_000_000))
    leg = Leg(TriggerWhen.AT_OR_ABOVE, PriceTicks(60), OrderKind.LIMIT, PriceTicks(1))
    for _ in range(ORDERS_PER_RECORD_MAX + 20):
        line.submit(PlaceConditional(ANN, HERE, Side.BUY, QuantityLots(1), (leg,), TimeNs(2_000)))
    line.now_ns = TimeNs(2_000)
    line.submit(Wake(HERE))
    assert len(line.open_orders()) == 20
    assert line.desk.next_deadline_ns == 2_000
    line.submit(Wake(HERE))
    assert line.open_orders() == []
    line.check_at_rest()


def test_the_nearest_triggers_go_first_and_one_order_acts_once() -> None:
    waiting = Conditionals()
    for number, (when, trigger) in enumerate(
        [(1, 62), (1, 61), (2, 40), (2, 45), (1, 61), (1, 99)], start=1
    ):
        order_id = OrderId(number)
        waiting.add(Conditional(order_id, stop(trigger, TriggerWhen(when)), QuantityLots(1)))

    def crossed(low: int, high: int, through: int = 99, orders_max: int = 99) -> list[int]:
        found = waiting.crossed(low, high, Sequence(through), orders_max)
        return [order_id for order_id, _ in found]

    assert crossed(50, 62) == [2, 5, 1]
    assert crossed(40, 60) == [4, 3]
    assert crossed(41, 61, orders_max=2) == [2, 5]
    assert crossed(40, 62, through=3) == [2, 1, 3]
    assert crossed(46, 60) == []

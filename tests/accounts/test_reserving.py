"""What accounts sets aside before anything is decided: never too little, never twice."""

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.accounts.messages import Deposit, SetFees, SetLimits, SetTier, Transfer
from engine.messages import Refused
from engine.orderbook.messages import OrderKind, PlaceOrder, ReplaceOrder
from engine.products.exchange.messages import Leg, PlaceConditional, Reserved, TriggerWhen
from engine.refusals import Reason
from engine.risk.limits import AccountLimits, InstrumentLimits
from engine.units import (
    INT64_MAX,
    AccountId,
    AmountMinor,
    AssetId,
    InstrumentId,
    PriceTicks,
    QuantityLots,
    Sequence,
    Side,
)
from tests.products.line import ANN, BASE, BOB, CAT, HERE, LOT_MINOR, QUOTE, TICK_LOT_MINOR, Line


def order(side: Side, lots: int, price: int, who: AccountId = ANN) -> PlaceOrder:
    return PlaceOrder(who, HERE, side, OrderKind.LIMIT, PriceTicks(price), QuantityLots(lots))


def reason(line: Line, command: Any) -> Reason | None:
    refusal = line.submit(command).refusal
    return refusal.reason if refusal else None


def test_identical_orders_in_flight_cannot_overspend_together() -> None:
    line = Line(funds=(0, 10 * 10 * TICK_LOT_MINOR))
    outcomes = [reason(line, order(Side.BUY, 1, 10)) for _ in range(13)]
    assert outcomes == [None] * 10 + [Reason.INSUFFICIENT_FUNDS] * 3
    assert line.balance(ANN, QUOTE) == (2_100, 2_100)
    line.check_at_rest()


@pytest.mark.slow
@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(
        st.tuples(st.sampled_from((ANN, BOB)), st.integers(1, 700), st.integers(0, 4)),
        min_size=1,
        max_size=40,
    )
)
def test_transfers_and_orders_in_flight_never_take_an_account_below_zero(
    steps: list[tuple[AccountId, int, int]],
) -> None:
    line = Line(funds=(0, 1_000))
    for who, amount, kind in steps:
        if kind == 0:
            line.release(2)
        elif kind == 1:
            line.submit(order(Side.BUY, 1 + amount // 100, 10, who))
        else:
            other = BOB if who == ANN else ANN
            line.submit(Transfer(who, other, QUOTE, AmountMinor(amount)))
        line.check()
    line.check_at_rest()


def test_a_credit_counts_from_its_release_and_a_debit_from_its_sequence() -> None:
    line = Line(funds=(0, 210))
    assert reason(line, Transfer(ANN, BOB, QUOTE, AmountMinor(210))) is None
    assert reason(line, order(Side.BUY, 1, 10)) is Reason.INSUFFICIENT_FUNDS
    assert reason(line, order(Side.BUY, 2, 10, BOB)) is Reason.INSUFFICIENT_FUNDS
    line.release()
    assert reason(line, order(Side.BUY, 2, 10, BOB)) is None


def test_what_a_refused_order_set_aside_is_free_after_its_release() -> None:
    line = Line(funds=(0, 210))
    market = PlaceOrder(ANN, HERE, Side.BUY, OrderKind.MARKET, PriceTicks(10), QuantityLots(1))
    assert reason(line, market) is Reason.NO_LIQUIDITY
    assert reason(line, order(Side.BUY, 1, 10)) is Reason.INSUFFICIENT_FUNDS
    line.release()
    assert reason(line, order(Side.BUY, 1, 10)) is None


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (order(Side.BUY, 1, 1, AccountId(9)), "UNKNOWN_ACCOUNT"),
        (order(Side.BUY, 1, 1, AccountId(1)), "UNKNOWN_ACCOUNT"),  # the house's own
        (order(Side.BUY, 2**32, 2**32), "AMOUNT_OVERFLOW"),
        (order(Side.SELL, 2**62, 1), "AMOUNT_OVERFLOW"),
        (order(Side.SELL, -5, 1), "QUANTITY_TOO_SMALL"),
        (order(Side.BUY, 5, -1), "PRICE_NOT_POSITIVE"),
        (order(Side.BUY, -5, -1), "PRICE_NOT_POSITIVE"),
        (ReplaceOrder(ANN, HERE, Sequence(5), PriceTicks(1), QuantityLots(1)), "UNKNOWN_ORDER"),
        (PlaceConditional(ANN, HERE, Side.BUY, QuantityLots(1), ()), "INVALID_COMBINATION"),
        (Deposit(AccountId(9), BASE, AmountMinor(1), ""), "UNKNOWN_ACCOUNT"),
        (Deposit(ANN, AssetId(9), AmountMinor(1), ""), "UNKNOWN_ASSET"),
        (Deposit(ANN, BASE, AmountMinor(0), ""), "INVALID_VALUE"),
        (Deposit(ANN, BASE, AmountMinor(-1), ""), "INVALID_VALUE"),
        (Deposit(ANN, BASE, AmountMinor(INT64_MAX), ""), "AMOUNT_OVERFLOW"),
        (Transfer(ANN, ANN, BASE, AmountMinor(1)), "INVALID_VALUE"),
        (Transfer(ANN, AccountId(9), BASE, AmountMinor(1)), "UNKNOWN_ACCOUNT"),
        (Transfer(AccountId(1), ANN, BASE, AmountMinor(1)), "UNKNOWN_ACCOUNT"),
        (Transfer(ANN, BOB, BASE, AmountMinor(-1)), "INVALID_VALUE"),
        (Transfer(ANN, BOB, BASE, AmountMinor(100_001)), "INSUFFICIENT_FUNDS"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_refused_command_leaves_every_balance_as_it_was(command: Any, expected: str) -> None:
    line = Line()
    before = line.mirror.released.ledger.snapshot()
    assert reason(line, command) == expected
    assert line.mirror.released.ledger.snapshot() == before
    line.check_at_rest()


def test_deposits_in_flight_cannot_overflow_together() -> None:
    line = Line(funds=(0, 0))
    half = AmountMinor(INT64_MAX // 2)
    outcomes = [reason(line, Deposit(who, BASE, half, "")) for who in (ANN, BOB, CAT)]
    assert outcomes == [None, None, Reason.AMOUNT_OVERFLOW]
    line.release()
    assert reason(line, Deposit(CAT, BASE, half, "")) is Reason.AMOUNT_OVERFLOW
    line.check_at_rest()


def test_a_foreign_order_cannot_be_replaced() -> None:
    line = Line()
    placed = line.submit(order(Side.BUY, 1, 10)).sequence
    for _ in range(2):
        command = ReplaceOrder(BOB, HERE, placed, PriceTicks(11), QuantityLots(1))
        assert reason(line, command) is Reason.UNKNOWN_ORDER
        line.release()


def test_an_order_in_flight_can_be_replaced_and_stays_covered() -> None:
    line = Line(funds=(0, 1_000))
    placed = line.submit(order(Side.BUY, 2, 10)).sequence
    line.submit(ReplaceOrder(ANN, HERE, placed, PriceTicks(12), QuantityLots(3)))
    assert line.held(placed) == 12 * 3 * TICK_LOT_MINOR
    line.check_at_rest()


replaces = st.tuples(st.integers(5, 15), st.integers(1, 14))
sells = st.tuples(st.integers(5, 15), st.integers(1, 6))


@pytest.mark.slow
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.sampled_from(tuple(Side)),
    st.integers(5, 15),
    st.integers(1, 12),
    st.lists(
        st.one_of(
            st.tuples(st.just("replace"), replaces),
            st.tuples(st.just("fill"), sells),
            st.tuples(st.just("release"), st.tuples(st.integers(1, 3), st.just(0))),
        ),
        max_size=14,
    ),
)
def test_no_interleaving_of_fills_leaves_a_replaced_order_uncovered(
    side: Side, price: int, lots: int, steps: list[tuple[str, tuple[int, int]]]
) -> None:
    line = Line(funds=(10_000, 50_000))
    placed = line.submit(order(side, lots, price)).sequence
    for what, (first, second) in steps:
        if what == "replace":
            quantity = QuantityLots(second)
            line.submit(ReplaceOrder(ANN, HERE, placed, PriceTicks(first), quantity))
            _check_bound(line)
        elif what == "fill":
            line.submit(order(side.opposite, second, first, BOB))
        else:
            line.release(first)
        line.check()
    line.check_at_rest()


def _check_bound(line: Line) -> None:
    """A replace never asks for more than its whole new worth."""
    record = line.records[-1]
    command = record.command
    reserved = next((e for e in record.events if isinstance(e, Reserved)), None)
    if reserved is None or not isinstance(command, ReplaceOrder):
        return
    whole = command.quantity_lots * LOT_MINOR
    if reserved.asset_id == QUOTE:
        whole = command.quantity_lots * command.price_ticks * TICK_LOT_MINOR
    assert 0 < reserved.held_minor <= whole


@pytest.mark.parametrize("price", [5, 10, 14])
def test_one_replace_of_a_filling_order_is_never_uncovered(price: int) -> None:
    """Without other replaces in flight the reservation covers whatever fills meanwhile."""
    for filled in range(11):
        line = Line(funds=(10_000, 50_000))
        placed = line.submit(order(Side.BUY, 10, 10)).sequence
        line.release()
        if filled:
            line.submit(order(Side.SELL, filled, 10, BOB))
        answer = line.submit(ReplaceOrder(ANN, HERE, placed, PriceTicks(price), QuantityLots(12)))
        expected = Reason.UNKNOWN_ORDER if filled == 10 else None
        assert (answer.refusal.reason if answer.refusal else None) == expected
        line.check()


def test_rates_are_pinned_when_an_order_is_accepted() -> None:
    line = Line(maker_ppm=100_000, taker_ppm=200_000)
    line.submit(SetFees("free", HERE, 0, 0))
    before = line.submit(order(Side.BUY, 5, 10)).sequence
    line.submit(SetTier(ANN, "free"))
    after = line.submit(order(Side.BUY, 5, 10)).sequence
    line.submit(order(Side.SELL, 10, 10, BOB))
    assert (line.order(before).charged_minor, line.order(after).charged_minor) == (2, 0)
    line.check_at_rest()


def test_limits_count_orders_in_flight() -> None:
    line = Line()
    line.submit(SetLimits(ANN, AccountLimits(open_orders_max=2)))
    outcomes = [reason(line, order(Side.BUY, 1, 10)) for _ in range(3)]
    assert outcomes == [None, None, Reason.LIMIT_EXCEEDED]


def test_a_replace_cannot_pass_the_limits_that_a_new_order_must_keep() -> None:
    line = Line()
    here = InstrumentLimits(QuantityLots(5), AmountMinor(50 * TICK_LOT_MINOR))
    line.submit(SetLimits(ANN, AccountLimits(instruments={HERE: here})))
    placed = line.submit(order(Side.BUY, 4, 10)).sequence
    line.release()

    def replaced(price: int, lots: int) -> Reason | None:
        terms = PriceTicks(price), QuantityLots(lots)
        outcome = reason(line, ReplaceOrder(ANN, HERE, placed, *terms))
        line.release()
        return outcome

    assert replaced(10, 6) is Reason.LIMIT_EXCEEDED
    assert replaced(13, 4) is Reason.LIMIT_EXCEEDED
    assert replaced(5, 4) is None
    assert replaced(12, 4) is None
    line.submit(SetLimits(ANN, AccountLimits(open_orders_max=1)))
    line.release()
    lower = InstrumentLimits(QuantityLots(1), AmountMinor(TICK_LOT_MINOR))
    line.submit(SetLimits(ANN, AccountLimits(instruments={HERE: lower})))
    assert replaced(5, 4) is None  # coming down is always allowed
    assert replaced(9, 4) is Reason.LIMIT_EXCEEDED  # but not up again, if only to where it began


def test_a_conditional_order_must_keep_the_limits_of_its_dearest_leg() -> None:
    line = Line()
    here = InstrumentLimits(QuantityLots(5), AmountMinor(50 * TICK_LOT_MINOR))
    line.submit(SetLimits(ANN, AccountLimits(instruments={HERE: here})))

    def pair(dear: int) -> PlaceConditional:
        above = Leg(TriggerWhen.AT_OR_ABOVE, PriceTicks(90), OrderKind.LIMIT, PriceTicks(dear))
        at_once = Leg(TriggerWhen.AT_ONCE, PriceTicks(0), OrderKind.LIMIT, PriceTicks(5))
        return PlaceConditional(ANN, HERE, Side.BUY, QuantityLots(4), (at_once, above))

    assert reason(line, pair(13)) is Reason.LIMIT_EXCEEDED
    assert reason(line, pair(12)) is None
    assert reason(line, PlaceConditional(ANN, HERE, Side.BUY, QuantityLots(1), ())) is (
        Reason.INVALID_COMBINATION
    )


def test_a_reservation_states_what_it_is_for() -> None:
    line = Line(maker_ppm=-10, taker_ppm=20)
    reserved = line.state.accounts.reserve(Sequence(99), order(Side.SELL, 2, 10))
    assert reserved == Reserved(ANN, BASE, AmountMinor(2 * LOT_MINOR), -10, 20)
    nowhere = PlaceOrder(
        ANN, InstrumentId(9), Side.BUY, OrderKind.LIMIT, PriceTicks(1), QuantityLots(1)
    )
    refused = line.state.accounts.reserve(Sequence(99), nowhere)
    assert refused == Refused(Reason.UNKNOWN_INSTRUMENT, "instrument")

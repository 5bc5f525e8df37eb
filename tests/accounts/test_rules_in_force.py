"""What restricts counts from its sequence, what loosens from its release, and nothing gets lost."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.accounts.messages import HaltScope, SetFees, SetHalt, SetLimits
from engine.journal.state import EngineState
from engine.orderbook.messages import CancelOrder, OrderKind, PlaceOrder, ReplaceOrder
from engine.products.exchange.messages import Reserved
from engine.refusals import Reason
from engine.risk.limits import AccountLimits
from engine.units import AccountId, InstrumentId, PriceTicks, QuantityLots, Side
from tests.products.line import ANN, BOB, HERE, Line

SCOPES = [
    (HaltScope.EVERYTHING, 0, Reason.TRADING_HALTED),
    (HaltScope.INSTRUMENT, HERE, Reason.INSTRUMENT_HALTED),
    (HaltScope.ACCOUNT, ANN, Reason.ACCOUNT_HALTED),
]


def buy(who: AccountId = ANN, lots: int = 1) -> PlaceOrder:
    return PlaceOrder(who, HERE, Side.BUY, OrderKind.LIMIT, PriceTicks(10), QuantityLots(lots))


def halt(scope: HaltScope, target: int, *, halted: bool) -> SetHalt:
    return SetHalt(scope, target, halted=halted, reason="test")


def reason(line: Line, command: Any) -> Reason | None:
    refusal = line.submit(command).refusal
    return refusal.reason if refusal else None


@pytest.mark.parametrize(("scope", "target", "expected"), SCOPES)
def test_a_halt_counts_at_once_and_a_resume_from_its_release(
    scope: HaltScope, target: int, expected: Reason
) -> None:
    line = Line()
    placed = line.submit(buy()).sequence
    line.submit(halt(scope, target, halted=True))
    assert reason(line, buy()) is expected
    assert reason(line, ReplaceOrder(ANN, HERE, placed, PriceTicks(9), QuantityLots(1))) is expected
    line.submit(halt(scope, target, halted=False))
    assert reason(line, buy()) is expected
    line.release()
    assert reason(line, buy()) is None
    line.check_at_rest()


@pytest.mark.parametrize(("scope", "target", "expected"), SCOPES)
def test_a_halt_behind_a_resume_in_flight_stays_thrown(
    scope: HaltScope, target: int, expected: Reason
) -> None:
    line = Line()
    line.submit(halt(scope, target, halted=True))
    line.release()
    line.submit(halt(scope, target, halted=False))
    line.submit(halt(scope, target, halted=True))
    line.release()
    assert reason(line, buy()) is expected
    line.check_at_rest()


def test_a_halt_of_one_account_leaves_others_trading_and_cancels_allowed() -> None:
    line = Line()
    placed = line.submit(buy()).sequence
    line.submit(halt(HaltScope.ACCOUNT, ANN, halted=True))
    assert reason(line, buy(BOB)) is None
    assert reason(line, CancelOrder(ANN, HERE, placed)) is None


@pytest.mark.slow
@settings(deadline=None)
@given(
    st.lists(
        st.one_of(
            st.tuples(st.sampled_from(SCOPES), st.booleans()),
            st.integers(1, 3),
        ),
        max_size=20,
    )
)
def test_whatever_is_thrown_and_released_the_live_switches_end_as_the_journal_says(
    steps: list[Any],
) -> None:
    line = Line()
    for step in steps:
        if isinstance(step, int):
            line.release(step)
        else:
            (scope, target, _), halted = step
            line.submit(halt(scope, target, halted=halted))
            folded = line.mirror.accounts.rules.halts.refusal(ANN, HERE)
            assert folded is None or reason(line, buy()) is not None
    line.release()
    line.submit(buy())
    line.check_at_rest()
    live = line.state.accounts.rules.snapshot()
    assert live == line.mirror.accounts.rules.snapshot() == line.state.released.rules.snapshot()


def test_a_lower_limit_counts_at_once_and_a_higher_one_from_its_release() -> None:
    line = Line()
    line.submit(buy())
    line.submit(SetLimits(ANN, AccountLimits(open_orders_max=3)))
    line.release()
    line.submit(SetLimits(ANN, AccountLimits(open_orders_max=1)))
    assert reason(line, buy()) is Reason.LIMIT_EXCEEDED
    line.submit(SetLimits(ANN, AccountLimits(open_orders_max=9)))
    assert reason(line, buy()) is Reason.LIMIT_EXCEEDED
    line.release()
    assert reason(line, buy()) is None
    assert len(line.state.accounts.rules.limits[ANN]) == 1


def test_fees_count_for_orders_accepted_after_them() -> None:
    line = Line()
    line.submit(SetFees("", InstrumentId(0), 100, 200))
    record = line.submit(buy())
    reserved = record.events[0]
    assert isinstance(reserved, Reserved)
    assert (reserved.maker_ppm, reserved.taker_ppm) == (100, 200)


def test_the_rules_of_a_restarted_engine_are_those_of_the_journal() -> None:
    line = Line()
    line.submit(halt(HaltScope.ACCOUNT, ANN, halted=True))
    line.submit(SetLimits(BOB, AccountLimits(open_orders_max=3)))
    again = EngineState()
    again.apply_all(line.records)
    line.release()
    line.submit(buy(BOB))
    assert again.accounts.rules.snapshot() == line.state.accounts.rules.snapshot()

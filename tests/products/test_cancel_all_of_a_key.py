"""A cancel-all of one key ends that key's orders and nobody else's, in chunks of bounded work."""

from random import Random

import msgspec
import pytest

from engine.accounts.messages import CancelAll
from engine.orderbook.messages import CancelOrder, CancelReason, OrderKind, PlaceOrder
from engine.products.exchange import cancelling
from engine.products.exchange.messages import CancelChunk, Leg, PlaceConditional, TriggerWhen
from engine.products.exchange.orders import OrderStatus
from engine.products.exchange.settling import ORDERS_PER_RECORD_MAX
from engine.units import AccountId, InstrumentId, OrderId, PriceTicks, QuantityLots, Side
from tests.products.line import ANN, BOB, CAT, HERE, Line
from tests.products.traffic import Traffic, take

MINE, OTHERS = 7, 8
FUNDS = (10**9, 10**9)


def buy(key_id: int, price: int = 5, *, by: AccountId = ANN) -> PlaceOrder:
    """An order for one lot that rests."""
    lots, kind = QuantityLots(1), OrderKind.LIMIT
    return PlaceOrder(by, HERE, Side.BUY, kind, PriceTicks(price), lots, key_id=key_id)


def stop(key_id: int, trigger: int, *, by: AccountId = ANN) -> PlaceConditional:
    """A stop that buys one lot at 5 once the price is at its trigger."""
    at = PriceTicks(trigger)
    leg = Leg(TriggerWhen.AT_OR_ABOVE, at, OrderKind.LIMIT, PriceTicks(5))
    return PlaceConditional(by, HERE, Side.BUY, QuantityLots(1), (leg,), key_id=key_id)


def keys_left(line: Line) -> list[int]:
    """The keys of the orders that are open, oldest first."""
    return [order.terms.key_id for order in line.open_orders()]


def cancel_all_of(line: Line, key_id: int) -> list[CancelChunk]:
    """Cancel a key's orders to the end; returns the chunks that it took."""
    line.release()
    line.submit(CancelAll(ANN, InstrumentId(0), key_id))
    return [r.command for r in line.settle() if isinstance(r.command, CancelChunk)]


def test_orders_of_other_keys_and_accounts_stay() -> None:
    line = Line(funds=FUNDS)
    for key_id in (MINE, OTHERS, 0, MINE):
        line.submit(buy(key_id))
    line.submit(buy(MINE, by=BOB))
    line.submit(stop(MINE, 20))
    line.submit(stop(OTHERS, 20))
    cancel_all_of(line, MINE)
    assert [(o.account_id, o.terms.key_id) for o in line.open_orders()] == [
        (ANN, OTHERS),
        (ANN, 0),
        (BOB, MINE),
        (ANN, OTHERS),
    ]
    line.check_at_rest()


def test_an_order_still_remembers_its_key_after_its_trigger_a_replace_and_a_rebuild() -> None:
    line = Line(funds=FUNDS)
    mine = line.submit(stop(MINE, 5)).sequence
    others = line.submit(stop(OTHERS, 5)).sequence
    trade = buy(0, by=BOB)
    line.submit(msgspec.structs.replace(trade, side=Side.SELL, account_id=CAT))
    line.submit(trade)
    line.settle()
    assert {line.order(one).status for one in (mine, others)} == {OrderStatus.OPEN}
    line.rebuild_desk()
    cancel_all_of(line, MINE)
    assert [line.order(one).status for one in (mine, others)] == ["CANCELLED", "OPEN"]
    line.check_at_rest()


def test_with_nothing_of_the_key_there_is_no_chunk() -> None:
    line = Line(funds=FUNDS)
    line.submit(buy(OTHERS))
    assert cancel_all_of(line, MINE) == []


def test_orders_in_flight_behind_the_release_are_cancelled_too() -> None:
    line = Line(funds=FUNDS)
    line.submit(buy(MINE))
    line.submit(CancelAll(ANN, InstrumentId(0), MINE))
    line.submit(buy(MINE))  # after it: stays
    line.settle()
    assert len(line.open_orders()) == 1


def test_a_chunk_cancels_no_more_than_it_may_and_the_next_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cancelling, "LOOKED_AT_PER_RECORD_MAX", 300)
    line = Line(funds=FUNDS)
    wanted = [MINE] * (ORDERS_PER_RECORD_MAX + 5) + [OTHERS] * 700 + [MINE] * 3
    for key_id in wanted:
        line.submit(buy(key_id))
    chunks = cancel_all_of(line, MINE)
    assert keys_left(line) == [OTHERS] * 700
    # 200 cancelled; 5 cancelled and 295 passed over; 300; 105 and the last 3
    assert [chunk.cancelled_orders for chunk in chunks] == [0, 200, 205, 205]
    line.check_at_rest()


def test_a_chunk_goes_on_although_the_order_it_came_to_is_gone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cancelling, "LOOKED_AT_PER_RECORD_MAX", 2)
    line = Line(funds=FUNDS)
    for key_id in (OTHERS, OTHERS, MINE, OTHERS, MINE):
        line.submit(buy(key_id))
    line.release()
    header = line.submit(CancelAll(ANN, InstrumentId(0), MINE))
    line.release()
    line.draw()
    passed = line.records[-1].follow_ups[0]
    assert isinstance(passed, CancelChunk)
    line.submit(CancelOrder(ANN, HERE, passed.after_order_id))
    line.settle()
    assert keys_left(line) == [OTHERS, OTHERS]
    assert header.sequence == passed.before_order_id
    line.check_at_rest()


@pytest.mark.parametrize("seed", range(8))
def test_after_any_traffic_a_key_has_no_order_left_and_the_others_theirs(seed: int) -> None:
    line, random = Line(funds=FUNDS), Random(seed)
    traffic = Traffic(random)
    for _ in range(300):
        take(line, traffic.step())
    line.undraw()
    line.settle()
    before = {o.order_id: (o.account_id, o.terms.key_id) for o in line.open_orders()}
    cancel_all_of(line, 1)
    after = {o.order_id for o in line.open_orders()}
    assert after == {one for one, whose in before.items() if whose != (ANN, 1)}
    ended = [line.order(one).ended_because for one in before.keys() - after]
    assert set(ended) <= {CancelReason.CANCEL_ALL}
    assert OrderId(0) not in after
    line.check_at_rest()

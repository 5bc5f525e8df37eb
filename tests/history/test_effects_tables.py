"""What each kind of record does to each account, one story at a time."""

from typing import Any

import pytest

from engine.accounts.messages import CancelAll, Transfer
from engine.errors import InvariantViolated
from engine.history.changes import touched_accounts
from engine.history.effects import BalanceChanged, Effect, Filled, OrderChanged, effects_of
from engine.journal.records import Record
from engine.journal.released import Released
from engine.messages import Deferred, Refused, Wake
from engine.orderbook.messages import (
    CancelOrder,
    CancelReason,
    OrderKind,
    PlaceOrder,
    ReplaceOrder,
    SelfTradePrevention,
    TimeInForce,
)
from engine.products.exchange.messages import CancelChunk, Leg, PlaceConditional, TriggerWhen
from engine.products.withdrawals.messages import CancelWithdrawal, RequestWithdrawal
from engine.refusals import Reason
from engine.units import (
    WITHDRAWALS_DESK,
    AccountId,
    AmountMinor,
    GroupId,
    OrderId,
    PriceTicks,
    QuantityLots,
    Sequence,
    Side,
    TimeNs,
)
from tests.products.line import ANN, BASE, BOB, CAT, HERE, QUOTE, Line

CASH = 100_000


def limit(who: AccountId, side: Side, lots: int, price: int, **terms: Any) -> PlaceOrder:
    kind, ticks = terms.pop("kind", OrderKind.LIMIT), PriceTicks(price)
    return PlaceOrder(who, HERE, side, kind, ticks, QuantityLots(lots), **terms)


def stop(who: AccountId, side: Side, lots: int, trigger: int, price: int) -> PlaceConditional:
    when = TriggerWhen.AT_OR_ABOVE if side is Side.BUY else TriggerWhen.AT_OR_BELOW
    leg = Leg(when, PriceTicks(trigger), OrderKind.LIMIT, PriceTicks(price))
    return PlaceConditional(who, HERE, side, QuantityLots(lots), (leg,))


class Market:
    """A line of which everything is released at once, and what the newest record did."""

    def __init__(self, **terms: Any) -> None:
        self.line = Line(**terms)
        self._folded = 0
        self._released = Released()
        self._fold()

    def does(self, command: Any, answers: tuple[int, int] = (0, 0)) -> dict[AccountId, list[str]]:
        """Submit, and read what happened, account by account."""
        self.line.submit(command, answers)
        return self._fold()

    def follows(self) -> dict[AccountId, list[str]]:
        """Decide what the newest records left to do."""
        self.line.release()
        self.line.draw()
        return self._fold()

    def closes(self, event: Deferred | Refused) -> dict[AccountId, list[str]]:
        """Let what is left to do end undecided."""
        self.line.release()
        [(key, command)] = self.line.state.released.outstanding.items()
        self.line.close_undecided(command, key, event)
        return self._fold()

    def _fold(self) -> dict[AccountId, list[str]]:
        self.line.release()
        effects: dict[AccountId, list[Effect]] = {}
        for record in self.line.records[self._folded :]:
            self._released.apply(record)
            effects = effects_of(record, self._released)
            assert effects.keys() <= touched_accounts(record)
        self._folded = len(self.line.records)
        return {who: [told(effect) for effect in heard] for who, heard in effects.items()}

    @property
    def newest(self) -> OrderId:
        return OrderId(len(self.line.records))


def told(effect: Effect) -> str:
    """One effect in a few words."""
    match effect:
        case OrderChanged(order):
            because = f" {order.ended_because}" if order.ended_because else ""
            filled = f"{order.filled_lots}/{order.total_lots}"
            return f"order {order.status}{because} {filled} @{order.price_ticks}"
        case Filled():
            side, role = effect.side.name, "maker" if effect.is_maker else "taker"
            lots, price = effect.quantity_lots, effect.price_ticks
            return f"fill {effect.trade_index} {side} {lots} @{price} {role} fee {effect.fee_minor}"
        case BalanceChanged(asset_id, balance_minor, held_minor):
            return f"{'base' if asset_id == BASE else 'quote'} {balance_minor} held {held_minor}"


def test_a_resting_order_is_told_with_what_it_holds() -> None:
    assert Market().does(limit(ANN, Side.SELL, 2, 10)) == {
        ANN: ["order OPEN 0/2 @10", f"base {CASH} held 6"]
    }


def test_a_refused_order_is_told_to_nobody() -> None:
    assert Market().does(limit(ANN, Side.SELL, 10**6, 10)) == {}
    assert Market().does(limit(ANN, Side.SELL, 2, 0)) == {}


def test_a_trade_is_told_to_both_sides_with_their_fees() -> None:
    market = Market(maker_ppm=-100_000, taker_ppm=500_000)
    market.does(limit(ANN, Side.SELL, 2, 10, client_order_id="mine"))
    assert market.does(limit(BOB, Side.BUY, 3, 11)) == {
        BOB: [
            "order OPEN 2/3 @11",
            "fill 0 BUY 2 @10 taker fee 3",
            f"base {CASH + 6 - 3} held 0",
            f"quote {CASH - 420} held 231",
        ],
        ANN: [
            "order FILLED 2/2 @10",
            "fill 0 SELL 2 @10 maker fee 0",
            f"base {CASH - 6} held 0",
            f"quote {CASH + 420} held 0",
        ],
    }


def test_the_taker_of_many_trades_is_told_of_its_order_once() -> None:
    market = Market()
    market.does(limit(ANN, Side.SELL, 1, 10))
    market.does(limit(CAT, Side.SELL, 1, 11))
    effects = market.does(limit(BOB, Side.BUY, 2, 11))
    assert list(effects) == [BOB, ANN, CAT]
    assert effects[BOB][:3] == [
        "order FILLED 2/2 @11",
        "fill 0 BUY 1 @10 taker fee 0",
        "fill 1 BUY 1 @11 taker fee 0",
    ]


def test_what_an_ioc_order_cannot_trade_is_told_as_cancelled() -> None:
    market = Market()
    market.does(limit(ANN, Side.SELL, 1, 10))
    effects = market.does(limit(BOB, Side.BUY, 3, 10, time_in_force=TimeInForce.IOC))
    assert effects[BOB][0] == "order CANCELLED IOC_REMAINDER 1/3 @10"
    alone = market.does(limit(BOB, Side.BUY, 3, 10, time_in_force=TimeInForce.IOC))
    assert alone == {BOB: ["order CANCELLED IOC_REMAINDER 0/3 @10"]}


def test_a_budget_that_is_spent_is_told_as_filled() -> None:
    market = Market()
    market.does(limit(ANN, Side.SELL, 5, 10))
    exact = limit(BOB, Side.BUY, 0, 10, kind=OrderKind.MARKET, budget_minor=AmountMinor(420))
    assert market.does(exact)[BOB][0] == "order FILLED BUDGET_SPENT 2/0 @10"
    more = limit(BOB, Side.BUY, 0, 10, kind=OrderKind.MARKET, budget_minor=AmountMinor(430))
    assert market.does(more)[BOB][0] == "order FILLED BUDGET_SPENT 2/0 @10"


def test_a_cancel_is_told_with_the_hold_it_frees() -> None:
    market = Market()
    market.does(limit(ANN, Side.SELL, 2, 10))
    assert market.does(CancelOrder(ANN, HERE, market.newest)) == {
        ANN: ["order CANCELLED REQUESTED 0/2 @10", f"base {CASH} held 0"]
    }
    assert market.does(CancelOrder(ANN, HERE, OrderId(7))) == {}


def test_a_replace_is_told_as_the_order_now_is() -> None:
    market = Market()
    market.does(limit(ANN, Side.SELL, 5, 10))
    order_id = market.newest
    less = ReplaceOrder(ANN, HERE, order_id, PriceTicks(10), QuantityLots(3))
    assert market.does(less) == {ANN: ["order OPEN 0/3 @10", f"base {CASH} held 9"]}
    elsewhere = ReplaceOrder(ANN, HERE, order_id, PriceTicks(12), QuantityLots(3))
    assert market.does(elsewhere) == {ANN: ["order OPEN 0/3 @12", f"base {CASH} held 9"]}
    market.does(limit(BOB, Side.BUY, 1, 9))
    across = ReplaceOrder(ANN, HERE, order_id, PriceTicks(9), QuantityLots(3))
    assert market.does(across)[ANN][:2] == [
        "order OPEN 1/3 @9",
        "fill 0 SELL 1 @9 taker fee 0",
    ]


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        (SelfTradePrevention.CANCEL_TAKER, ["order CANCELLED SELF_TRADE 0/3 @10"]),
        (
            SelfTradePrevention.CANCEL_MAKER,
            ["order OPEN 0/3 @10", "order CANCELLED SELF_TRADE 0/2 @10"],
        ),
        (
            SelfTradePrevention.CANCEL_BOTH,
            ["order CANCELLED SELF_TRADE 0/3 @10", "order CANCELLED SELF_TRADE 0/2 @10"],
        ),
        (
            SelfTradePrevention.DECREMENT,
            ["order OPEN 0/1 @10", "order CANCELLED SELF_TRADE 0/0 @10"],
        ),
    ],
)
def test_a_prevented_trade_is_told_as_what_became_of_both_orders(
    mode: SelfTradePrevention, expected: list[str]
) -> None:
    market = Market()
    market.does(limit(ANN, Side.SELL, 2, 10))
    [heard] = market.does(limit(ANN, Side.BUY, 3, 10, self_trade=mode)).values()
    assert [one for one in heard if one.startswith("order")] == expected


def test_who_trades_with_itself_hears_both_fills_the_makers_first() -> None:
    market = Market()
    market.does(limit(ANN, Side.SELL, 2, 10))
    effects = market.does(limit(ANN, Side.BUY, 2, 10, self_trade=SelfTradePrevention.NONE))
    assert effects == {
        ANN: [
            "order FILLED 2/2 @10",
            "order FILLED 2/2 @10",
            "fill 0 SELL 2 @10 maker fee 0",
            "fill 0 BUY 2 @10 taker fee 0",
            f"base {CASH} held 0",
        ]
    }


def test_a_conditional_order_is_told_as_it_waits_is_triggered_and_enters() -> None:
    market = Market()
    assert market.does(stop(CAT, Side.BUY, 1, 10, 12)) == {
        CAT: ["order WAITING 0/1 @0", f"quote {CASH} held 252"]
    }
    market.does(limit(ANN, Side.SELL, 1, 10))
    assert market.does(limit(BOB, Side.BUY, 1, 10))[CAT] == [
        "order TRIGGERED 0/1 @0",
        f"quote {CASH} held 252",
    ]
    assert market.follows() == {CAT: ["order OPEN 0/1 @12", f"quote {CASH} held 252"]}


def test_a_triggered_order_that_the_book_refuses_is_told_as_rejected_once() -> None:
    market = Market()
    post_only = Leg(
        TriggerWhen.AT_OR_BELOW,
        PriceTicks(10),
        OrderKind.LIMIT,
        PriceTicks(9),
        post_only=True,
    )
    market.does(PlaceConditional(CAT, HERE, Side.SELL, QuantityLots(1), (post_only,)))
    market.does(limit(BOB, Side.BUY, 2, 10))
    market.does(limit(ANN, Side.SELL, 1, 10))
    assert market.closes(Deferred()) == {}
    assert market.follows() == {
        CAT: ["order REJECTED POST_ONLY_WOULD_TRADE 0/1 @0", f"base {CASH} held 0"]
    }
    market.line.now_ns = TimeNs(market.line.now_ns + 1)
    assert market.does(market.line.records[-1].command) == {}


def test_an_order_that_has_ended_is_not_told_of_again_when_its_desk_lets_it_go() -> None:
    market = Market()
    market.does(stop(CAT, Side.BUY, 1, 10, 12))
    market.does(limit(ANN, Side.SELL, 1, 10))
    market.does(limit(BOB, Side.BUY, 1, 10))
    halted = Refused(Reason.DESK_HALTED)
    assert market.closes(halted) == {CAT: ["order REJECTED DESK_HALTED 0/1 @0"]}
    market.line.now_ns = TimeNs(market.line.now_ns + 1)
    chunk = CancelChunk(HERE, CAT, market.newest, CancelReason.CANCEL_ALL, Sequence(1))
    assert market.does(chunk) == {CAT: [f"quote {CASH} held 0"]}


def test_the_partner_leg_that_leaves_the_book_is_no_end_of_the_order() -> None:
    market = Market()
    legs = (
        Leg(TriggerWhen.AT_ONCE, PriceTicks(0), OrderKind.LIMIT, PriceTicks(12)),
        Leg(TriggerWhen.AT_OR_BELOW, PriceTicks(9), OrderKind.LIMIT, PriceTicks(8)),
    )
    pair = PlaceConditional(CAT, HERE, Side.SELL, QuantityLots(1), legs)
    assert market.does(pair)[CAT][0] == "order WAITING 0/1 @0"
    market.does(limit(ANN, Side.SELL, 1, 9))
    assert market.does(limit(BOB, Side.BUY, 1, 9))[CAT][0] == "order TRIGGERED 0/1 @0"


def test_an_order_that_expires_is_told_by_the_wake() -> None:
    market = Market()
    deadline = TimeNs(market.line.now_ns + 5)
    order = limit(ANN, Side.SELL, 2, 10, time_in_force=TimeInForce.GTD, expires_at_ns=deadline)
    market.does(order)
    market.line.now_ns = deadline
    assert market.does(Wake(HERE)) == {
        ANN: ["order CANCELLED EXPIRED 0/2 @10", f"base {CASH} held 0"]
    }


def test_cancel_all_is_told_by_its_chunk() -> None:
    market = Market()
    market.does(limit(ANN, Side.SELL, 2, 10))
    market.does(limit(ANN, Side.BUY, 1, 8))
    assert market.does(CancelAll(ANN)) == {}
    [heard] = market.follows().values()
    assert sorted(heard) == [
        f"base {CASH} held 0",
        "order CANCELLED CANCEL_ALL 0/1 @8",
        "order CANCELLED CANCEL_ALL 0/2 @10",
        f"quote {CASH} held 0",
    ]


def test_money_that_moves_is_told_to_the_customers_it_moves_between() -> None:
    market = Market()
    assert market.does(Transfer(ANN, BOB, QUOTE, AmountMinor(5))) == {
        ANN: [f"quote {CASH - 5} held 0"],
        BOB: [f"quote {CASH + 5} held 0"],
    }


def test_a_withdrawal_is_told_as_what_it_holds() -> None:
    market = Market()
    out = RequestWithdrawal(ANN, QUOTE, AmountMinor(7), "there", TimeNs(10))
    assert market.does(out) == {ANN: [f"quote {CASH} held 7"]}
    assert market.does(Wake(WITHDRAWALS_DESK)) == {}
    back = CancelWithdrawal(ANN, GroupId(market.newest - 1))
    assert market.does(back) == {ANN: [f"quote {CASH} held 0"]}


def test_what_was_told_of_an_order_does_not_change_with_it() -> None:
    line, released = Line(), Released()
    placed = line.submit(limit(ANN, Side.SELL, 2, 10))
    for record in line.records:
        released.apply(record)
    [first, _] = effects_of(placed, released)[ANN]
    released.apply(line.submit(limit(BOB, Side.BUY, 1, 10)))
    assert isinstance(first, OrderChanged)
    assert first.order.filled_lots == 0


def test_orders_that_a_record_ended_are_told_even_if_no_closed_one_is_kept() -> None:
    line, released = Line(), Released(closed_orders_max=0)
    line.submit(limit(ANN, Side.SELL, 2, 10))
    trade: Record = line.submit(limit(BOB, Side.BUY, 2, 10))
    for record in line.records:
        released.apply(record)
    effects = effects_of(trade, released)
    assert next(told(effect) for effect in effects[ANN]) == "order FILLED 2/2 @10"
    after: Record = line.submit(limit(BOB, Side.BUY, 1, 9))
    released.apply(after)
    assert released.orders.get(OrderId(trade.sequence)) is None
    with pytest.raises(InvariantViolated, match="forgotten"):
        effects_of(trade, released)

"""Random command streams through the line: books close, holds fit, folds equal, views agree."""

from typing import Any

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from engine.accounts.messages import CancelAll, Transfer
from engine.messages import Wake
from engine.orderbook.messages import (
    CancelOrder,
    ChangeInstrumentState,
    InstrumentState,
    OrderKind,
    PlaceOrder,
    ReplaceOrder,
    SelfTradePrevention,
    TimeInForce,
)
from engine.products.exchange import desk as desk_module
from engine.products.exchange.messages import Leg, PlaceConditional, TriggerWhen
from engine.units import (
    AccountId,
    AmountMinor,
    DeskId,
    InstrumentId,
    PriceTicks,
    QuantityLots,
    Side,
    TimeNs,
)
from tests.products.line import ANN, BASE, BOB, CAT, HERE, QUOTE, Line

who = st.sampled_from((ANN, BOB, CAT))
prices = st.integers(5, 15).map(PriceTicks)
lots = st.integers(1, 12).map(QuantityLots)
sides = st.sampled_from(Side)
modes = st.sampled_from(SelfTradePrevention)
soon = st.integers(1, 40)


@st.composite
def limit_orders(draw: st.DrawFn) -> Any:
    in_force = draw(st.sampled_from((TimeInForce.GTC,) * 4 + tuple(TimeInForce)))
    ahead = draw(soon)
    post_only = in_force in (TimeInForce.GTC, TimeInForce.GTD) and draw(st.integers(0, 4)) == 0
    quantity = draw(lots)
    minimum = 0 if post_only else draw(st.sampled_from((0, 0, 0, 1, 3)))
    account, side, price, mode = draw(who), draw(sides), draw(prices), draw(modes)

    def command(line: Line) -> PlaceOrder:
        return PlaceOrder(
            account,
            HERE,
            side,
            OrderKind.LIMIT,
            price,
            quantity,
            time_in_force=in_force,
            expires_at_ns=TimeNs(line.now_ns + ahead if in_force is TimeInForce.GTD else 0),
            post_only=post_only,
            minimum_lots=QuantityLots(minimum),
            self_trade=mode,
        )

    return command


@st.composite
def market_orders(draw: st.DrawFn) -> Any:
    side = draw(sides)
    budget = side is Side.BUY and draw(st.booleans())
    order = PlaceOrder(
        draw(who),
        HERE,
        side,
        OrderKind.MARKET,
        draw(prices),
        QuantityLots(0 if budget else draw(lots)),
        AmountMinor(draw(st.integers(1, 120)) * draw(st.sampled_from((7, 21))) if budget else 0),
        time_in_force=draw(st.sampled_from((TimeInForce.GTC, TimeInForce.IOC))),
        self_trade=draw(modes),
    )
    return lambda _line: order


@st.composite
def legs(draw: st.DrawFn, when: TriggerWhen) -> Leg:
    if when is TriggerWhen.AT_ONCE:
        return Leg(when, PriceTicks(0), OrderKind.LIMIT, draw(prices))
    kind = draw(st.sampled_from(OrderKind))
    in_force = draw(st.sampled_from((TimeInForce.GTC, TimeInForce.GTC, TimeInForce.IOC)))
    return Leg(when, draw(prices), kind, draw(prices), in_force)


@st.composite
def conditional_orders(draw: st.DrawFn) -> Any:
    pairs = ((0, 1), (0, 2), (1, 2), (2, 1), (1,), (2,))
    whens = draw(st.sampled_from(pairs))
    terms = tuple(draw(legs(TriggerWhen(when))) for when in whens)
    account, side, quantity, mode = draw(who), draw(sides), draw(lots), draw(modes)
    ahead = draw(st.sampled_from((0, 0, 20)))

    def command(line: Line) -> PlaceConditional:
        expires_at_ns = TimeNs(line.now_ns + ahead if ahead else 0)
        return PlaceConditional(account, HERE, side, quantity, terms, expires_at_ns, mode)

    return command


def _nth(line: Line, number: int) -> Any:
    open_orders = line.open_orders()
    return open_orders[number % len(open_orders)] if open_orders else None


@st.composite
def changes(draw: st.DrawFn) -> Any:
    """Cancels and replaces of an order that is open, by its owner."""
    number, price, quantity = draw(st.integers(0, 30)), draw(prices), draw(st.integers(1, 14))
    replaces = draw(st.booleans())

    def command(line: Line) -> Any:
        order = _nth(line, number)
        if order is None:
            return None
        if not replaces:
            return CancelOrder(order.account_id, HERE, order.order_id)
        return ReplaceOrder(
            order.account_id, HERE, order.order_id, price, QuantityLots(quantity)
        )

    return command


@st.composite
def wide_work(draw: st.DrawFn) -> Any:
    states = (InstrumentState.OPEN,) * 3 + (InstrumentState.HALTED,)
    command = draw(
        st.one_of(
            who.map(CancelAll),
            st.sampled_from(states).map(lambda state: ChangeInstrumentState(HERE, state)),
            st.builds(
                Transfer,
                who,
                who,
                st.sampled_from((BASE, QUOTE)),
                st.integers(1, 300).map(AmountMinor),
            ),
        )
    )
    return lambda _line: command


commands = st.one_of(
    limit_orders(), limit_orders(), limit_orders(), market_orders(), conditional_orders(),
    conditional_orders(), changes(), changes(), wide_work(),
)
steps = st.one_of(
    commands,
    commands,
    commands,
    st.integers(1, 5).map(lambda records: lambda line: line.release(records)),
    st.integers(1, 4).map(lambda follow_ups: lambda line: line.draw(follow_ups)),
    soon.map(lambda ahead: lambda line: _pass(line, ahead)),
    st.just(lambda line: line.rebuild_desk()),
)


def _pass(line: Line, ahead_ns: int) -> Wake | None:
    line.now_ns += ahead_ns
    deadline = line.desk.next_deadline_ns
    return Wake(DeskId(HERE)) if deadline is not None and deadline <= line.now_ns else None


def _walk(line: Line, walk: list[Any]) -> None:
    for step in walk:
        outcome = step(line)
        if outcome is not None and not isinstance(outcome, list):
            record = line.submit(outcome)
            event(f"{type(outcome).__name__} {record.refusal.reason if record.refusal else ''}")
        line.check()
    line.check_at_rest()


@pytest.mark.slow
@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
@given(
    st.lists(steps, max_size=60),
    st.sampled_from(((0, 0), (1_300, 2_700), (-200_000, 333_333))),
    st.sampled_from((1_000, 3)),
)
def test_whatever_traders_do_books_close_and_holds_fit(
    walk: list[Any], rates: tuple[int, int], makers_touched_max: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(desk_module, "ORDERS_PER_RECORD_MAX", 3)
        line = Line(
            funds=(120, 4_000),
            maker_ppm=rates[0],
            taker_ppm=rates[1],
            makers_touched_max=makers_touched_max,
        )
        _walk(line, walk)

"""Which orders break an account's limits, and what the refusal says."""

from typing import cast

import msgspec
import pytest

from engine.messages import Refused
from engine.orderbook.instrument import Instrument
from engine.orderbook.messages import OrderKind, PlaceOrder
from engine.refusals import Reason
from engine.risk.checks import CHECKS, Exposure, OrderSize, refusal, replace_refusal
from engine.risk.limits import AccountLimits, InstrumentLimits
from engine.units import AccountId, AmountMinor, AssetId, InstrumentId, PriceTicks, Side
from engine.units import QuantityLots as Lots

BASE, QUOTE = AssetId(1), AssetId(2)
HERE, ELSEWHERE = InstrumentId(1), InstrumentId(2)
INSTRUMENT = Instrument(
    HERE,
    "GOLD-CNY",
    BASE,
    QUOTE,
    lot_minor=AmountMinor(10),
    tick_lot_minor=AmountMinor(5),
    tick_size="0.5",
    lot_size="0.1",
    reference_price_ticks=PriceTicks(100),
)


class Standing(msgspec.Struct, frozen=True):
    """An account that has and asks for what the test says."""

    open_orders: int = 0
    holdings: int = 0
    open_buys: int = 0

    def holdings_minor(self, asset_id: AssetId) -> AmountMinor:
        return AmountMinor(self.holdings if asset_id == BASE else 0)

    def open_buys_minor(self, asset_id: AssetId) -> AmountMinor:
        return AmountMinor(self.open_buys if asset_id == BASE else 0)


def order(
    side: Side = Side.BUY,
    *,
    lots: int = 0,
    price: int = 1,
    budget: int = 0,
    kind: OrderKind = OrderKind.LIMIT,
) -> PlaceOrder:
    return PlaceOrder(
        AccountId(100), HERE, side, kind, PriceTicks(price), Lots(lots), AmountMinor(budget)
    )


def size(lots: int, price: int, side: Side = Side.BUY) -> OrderSize:
    return OrderSize(side, PriceTicks(price), Lots(lots))


def on_instrument(
    *, quantity: int = 0, notional: int = 0, instrument_id: InstrumentId = HERE
) -> AccountLimits:
    limits = InstrumentLimits(Lots(quantity), AmountMinor(notional))
    return AccountLimits(instruments={instrument_id: limits})


def on_holdings(maximum: int, asset_id: AssetId = BASE) -> AccountLimits:
    return AccountLimits(holdings_minor_max={asset_id: AmountMinor(maximum)})


def exceeded(rule: str, field: str) -> Refused:
    return Refused(Reason.LIMIT_EXCEEDED, field, rule)


NOBODY = Standing()


@pytest.mark.parametrize(
    "limits",
    [
        None,
        AccountLimits(),
        on_instrument(),
        on_instrument(quantity=1, notional=1, instrument_id=ELSEWHERE),
        on_holdings(0),
        on_holdings(1, QUOTE),
    ],
)
def test_what_is_not_limited_is_allowed(limits: AccountLimits | None) -> None:
    huge = Standing(open_orders=10**6, holdings=10**15, open_buys=10**15)
    for side in Side:
        assert refusal(order(side, lots=10**12, price=10**6), INSTRUMENT, limits, huge) is None


def test_without_limits_the_exposure_is_not_even_looked_at() -> None:
    assert refusal(order(lots=1), INSTRUMENT, None, cast("Exposure", None)) is None


@pytest.mark.parametrize("side", Side)
def test_quantity_up_to_the_limit_is_allowed_and_one_lot_more_is_not(side: Side) -> None:
    limits = on_instrument(quantity=7)
    assert refusal(order(side, lots=7), INSTRUMENT, limits, NOBODY) is None
    refused = refusal(order(side, lots=8), INSTRUMENT, limits, NOBODY)
    assert refused == exceeded("max-quantity", "quantity_lots")


@pytest.mark.parametrize("side", Side)
def test_notional_up_to_the_limit_is_allowed_and_one_tick_more_is_not(side: Side) -> None:
    limits = on_instrument(notional=2 * 30 * 5)
    assert refusal(order(side, lots=2, price=30), INSTRUMENT, limits, NOBODY) is None
    refused = refusal(order(side, lots=2, price=31), INSTRUMENT, limits, NOBODY)
    assert refused == exceeded("max-notional", "quantity_lots")


def test_a_budget_is_a_notional() -> None:
    limits = on_instrument(notional=300)
    assert refusal(order(budget=300), INSTRUMENT, limits, NOBODY) is None
    refused = refusal(order(budget=301), INSTRUMENT, limits, NOBODY)
    assert refused == exceeded("max-notional", "budget_minor")


def test_a_market_sell_is_worth_the_reference_price_at_least() -> None:
    limits = on_instrument(notional=100 * 5)
    sell = order(Side.SELL, lots=2, price=1, kind=OrderKind.MARKET)
    assert refusal(sell, INSTRUMENT, limits, NOBODY) == exceeded("max-notional", "quantity_lots")
    at_limit = order(Side.SELL, lots=2, price=50)
    assert refusal(at_limit, INSTRUMENT, limits, NOBODY) is None
    buy = order(Side.BUY, lots=2, price=50, kind=OrderKind.MARKET)
    assert refusal(buy, INSTRUMENT, limits, NOBODY) is None


@pytest.mark.parametrize(
    ("limits", "rule"),
    [(on_instrument(quantity=10**9), "max-quantity"), (on_holdings(10**9), "max-holdings")],
)
def test_a_budget_is_refused_where_the_quantity_is_limited(
    limits: AccountLimits, rule: str
) -> None:
    refused = refusal(order(budget=1), INSTRUMENT, limits, NOBODY)
    assert refused == exceeded(rule, "budget_minor")


def test_one_order_more_than_allowed_is_refused() -> None:
    limits = AccountLimits(open_orders_max=3)
    assert refusal(order(lots=1), INSTRUMENT, limits, Standing(open_orders=2)) is None
    refused = refusal(order(lots=1), INSTRUMENT, limits, Standing(open_orders=3))
    assert refused == exceeded("max-open-orders", "")


def test_holdings_open_buys_and_the_order_count_together() -> None:
    standing = Standing(holdings=50, open_buys=30)
    assert refusal(order(lots=2), INSTRUMENT, on_holdings(100), standing) is None
    refused = refusal(order(lots=3), INSTRUMENT, on_holdings(100), standing)
    assert refused == exceeded("max-holdings", "quantity_lots")


def test_selling_is_allowed_however_much_is_held() -> None:
    standing = Standing(holdings=500)
    assert refusal(order(Side.SELL, lots=9), INSTRUMENT, on_holdings(100), standing) is None


def test_every_check_has_a_name_of_its_own() -> None:
    assert len({check.name for check in CHECKS}) == len(CHECKS)


def test_a_replace_is_measured_by_its_new_total() -> None:
    limits = on_instrument(quantity=7, notional=7 * 10 * 5)
    for wanted, rule in (
        (size(8, 1), "max-quantity"),
        (size(7, 11), "max-notional"),
        (size(5, 15), "max-notional"),
    ):
        refused = replace_refusal(wanted, size(5, 10), INSTRUMENT, limits, NOBODY)
        assert refused == exceeded(rule, "quantity_lots")
    assert replace_refusal(size(7, 10), size(5, 10), INSTRUMENT, limits, NOBODY) is None
    assert replace_refusal(size(99, 99), size(5, 10), INSTRUMENT, None, NOBODY) is None


def test_a_replace_adds_only_its_growth_to_the_holdings() -> None:
    standing = Standing(holdings=50, open_buys=50)
    assert replace_refusal(size(5, 11), size(5, 10), INSTRUMENT, on_holdings(100), standing) is None
    assert replace_refusal(size(6, 10), size(5, 10), INSTRUMENT, on_holdings(110), standing) is None
    refused = replace_refusal(size(6, 9), size(5, 10), INSTRUMENT, on_holdings(100), standing)
    assert refused == exceeded("max-holdings", "quantity_lots")


def test_a_replace_may_always_come_down() -> None:
    limits = on_instrument(quantity=1, notional=1).tightest(on_holdings(1))
    standing = Standing(open_orders=9, holdings=10**9, open_buys=50)
    assert replace_refusal(size(4, 10), size(5, 10), INSTRUMENT, limits, standing) is None
    assert replace_refusal(size(5, 9), size(5, 10), INSTRUMENT, limits, standing) is None

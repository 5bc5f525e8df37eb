"""From what a caller filled in to the command that the engine journals."""

from typing import Final, TypeAlias

from api.decimals import InstrumentText
from api.orders.forms import (
    AnyOrderForm,
    ConditionalForm,
    LimitForm,
    LimitLeg,
    MarketForm,
    OcoForm,
    ReplaceForm,
    StopForm,
    StopLeg,
    StopLimitForm,
    StopLimitLeg,
    TakeProfitForm,
    TakeProfitLeg,
    TakeProfitLimitForm,
    TakeProfitLimitLeg,
)
from api.problems import Problem
from api.rejected import Rejected
from engine.orderbook.messages import (
    OrderKind,
    PlaceOrder,
    ReplaceOrder,
    SelfTradePrevention,
    TimeInForce,
)
from engine.products.exchange.messages import Leg, PlaceConditional, TriggerWhen
from engine.units import (
    INT64_MAX,
    RATE_ONE_PPM,
    AccountId,
    AmountMinor,
    OrderId,
    PriceTicks,
    QuantityLots,
    Side,
    TimeNs,
)

_NO_REFERENCE: Final = Problem(
    422,
    "NO_REFERENCE_PRICE",
    "There is no price yet to protect a market order by: state a `protection_price`.",
    "protection_price",
)
#: Legs that become market orders, legs that become limit orders, and among both those that stop.
_MarketLeg: TypeAlias = StopForm | StopLeg | TakeProfitForm | TakeProfitLeg
_LimitedLeg: TypeAlias = StopLimitForm | StopLimitLeg | TakeProfitLimitForm | TakeProfitLimitLeg
_StoppingLeg: TypeAlias = StopForm | StopLeg | StopLimitForm | StopLimitLeg


def protection_ticks(reference_ticks: int, side: Side, slippage_ppm: int) -> PriceTicks:
    """The worst price a market order may trade at; never worse than the slippage allows.

    >>> protection_ticks(1_001, Side.BUY, 50_000), protection_ticks(1_001, Side.SELL, 50_000)
    (1051, 951)
    """
    if side == Side.BUY:
        highest = reference_ticks * (RATE_ONE_PPM + slippage_ppm) // RATE_ONE_PPM
        return PriceTicks(min(INT64_MAX, highest))
    lowest = -(reference_ticks * (slippage_ppm - RATE_ONE_PPM) // RATE_ONE_PPM)
    return PriceTicks(max(1, lowest))


class CommandsOf:
    """Builds the commands of one account on one instrument.

    `reference_ticks` is the price that protects market orders without a limit of their own, 0 when
    there is none. What it leads to is written into the command, so replay never asks again.
    `key_id` is the API key that places.
    """

    def __init__(
        self,
        account_id: AccountId,
        text: InstrumentText,
        reference_ticks: int,
        slippage_ppm: int,
        key_id: int = 0,
    ) -> None:
        self._account_id = account_id
        self._key_id = key_id
        self._text = text
        self._reference_ticks = reference_ticks
        self._slippage_ppm = slippage_ppm

    def place(self, form: AnyOrderForm) -> PlaceOrder | PlaceConditional:
        """The command to enter an order. Raises: Rejected."""
        if isinstance(form, LimitForm):
            return self._limit(form)
        if isinstance(form, MarketForm):
            return self._market(form)
        return self._conditional(form)

    def replace(self, order_id: OrderId, client_order_id: str, form: ReplaceForm) -> ReplaceOrder:
        """The command to change a resting order. Raises: Rejected."""
        return ReplaceOrder(
            self._account_id,
            self._text.instrument.instrument_id,
            order_id,
            self._text.price_ticks(form.price),
            self._text.quantity_lots(form.quantity),
            client_order_id,
        )

    def _limit(self, form: LimitForm) -> PlaceOrder:
        text = self._text
        minimum = form.minimum_quantity
        return PlaceOrder(
            self._account_id,
            text.instrument.instrument_id,
            Side[form.side.upper()],
            OrderKind.LIMIT,
            text.price_ticks(form.price),
            text.quantity_lots(form.quantity),
            time_in_force=TimeInForce[form.time_in_force],
            expires_at_ns=TimeNs(form.expires_at_ns),
            post_only=form.post_only,
            minimum_lots=_lots(text, minimum, "minimum_quantity"),
            self_trade=SelfTradePrevention[form.self_trade],
            client_order_id=form.client_order_id,
            key_id=self._key_id,
        )

    def _market(self, form: MarketForm) -> PlaceOrder:
        text, side = self._text, Side[form.side.upper()]
        budget = AmountMinor(0)
        if form.budget is not None:
            budget = text.quote_minor(form.budget, "budget")
        return PlaceOrder(
            self._account_id,
            text.instrument.instrument_id,
            side,
            OrderKind.MARKET,
            self._market_protection(form.protection_price, side),
            _lots(text, form.quantity, "quantity"),
            budget_minor=budget,
            time_in_force=TimeInForce[form.time_in_force],
            self_trade=SelfTradePrevention[form.self_trade],
            client_order_id=form.client_order_id,
            key_id=self._key_id,
        )

    def _conditional(self, form: ConditionalForm) -> PlaceConditional:
        side = Side[form.side.upper()]
        if isinstance(form, OcoForm):
            legs = tuple(
                self._leg(leg, side, f"legs[{index}].") for index, leg in enumerate(form.legs)
            )
        else:
            legs = (self._leg(form, side, ""),)
        return PlaceConditional(
            self._account_id,
            self._text.instrument.instrument_id,
            side,
            self._text.quantity_lots(form.quantity),
            legs,
            TimeNs(form.expires_at_ns),
            SelfTradePrevention[form.self_trade],
            form.client_order_id,
            self._key_id,
        )

    def _leg(
        self,
        leg: LimitLeg | _MarketLeg | _LimitedLeg,
        side: Side,
        path: str,
    ) -> Leg:
        text = self._text
        if isinstance(leg, LimitLeg):
            price = text.price_ticks(leg.price, f"{path}price")
            return Leg(
                TriggerWhen.AT_ONCE, PriceTicks(0), OrderKind.LIMIT, price, post_only=leg.post_only
            )
        when = trigger_when(side, stops=isinstance(leg, _StoppingLeg))
        trigger = text.price_ticks(leg.trigger_price, f"{path}trigger_price")
        if isinstance(leg, _MarketLeg):
            stated = leg.protection_price
            if stated is None:
                protection = protection_ticks(trigger, side, self._slippage_ppm)
            else:
                protection = text.price_ticks(stated, f"{path}protection_price")
            return Leg(when, trigger, OrderKind.MARKET, protection)
        price = text.price_ticks(leg.price, f"{path}price")
        in_force = TimeInForce[leg.time_in_force]
        return Leg(when, trigger, OrderKind.LIMIT, price, in_force, leg.post_only)

    def _market_protection(self, stated: str | None, side: Side) -> PriceTicks:
        if stated is not None:
            return self._text.price_ticks(stated, "protection_price")
        if not self._reference_ticks:
            raise Rejected(_NO_REFERENCE)
        return protection_ticks(self._reference_ticks, side, self._slippage_ppm)


def trigger_when(side: Side, *, stops: bool) -> TriggerWhen:
    """Which prices set a leg off: a stop follows the market's move, a take-profit awaits its own.

    >>> trigger_when(Side.SELL, stops=True).name
    'AT_OR_BELOW'
    """
    above = (side == Side.BUY) is stops
    return TriggerWhen.AT_OR_ABOVE if above else TriggerWhen.AT_OR_BELOW


def _lots(text: InstrumentText, stated: str | None, field: str) -> QuantityLots:
    return QuantityLots(0) if stated is None else text.quantity_lots(stated, field)

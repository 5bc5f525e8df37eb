"""What a caller fills in to place, replace and cancel orders.

Prices, quantities and amounts are decimal text. Fields that a type of order does not have are
refused, so that nothing a caller wrote is silently left out.
"""

from typing import Annotated, Final, Literal, TypeAlias

import msgspec

from api.edge import KEY_PATTERN
from api.queries import AccountNumber, AccountQuery, DecimalText, Form, Number, RowsWanted

ClientOrderId: TypeAlias = Annotated[str, msgspec.Meta(pattern=KEY_PATTERN)]


class _OrderForm(Form, frozen=True, kw_only=True, tag_field="type"):
    """What every order states."""

    client_order_id: ClientOrderId
    instrument: str
    side: Literal["buy", "sell"]
    account: AccountNumber | None = None
    self_trade: Literal["NONE", "CANCEL_TAKER", "CANCEL_MAKER", "CANCEL_BOTH", "DECREMENT"] = (
        "CANCEL_TAKER"
    )


class LimitForm(_OrderForm, frozen=True, kw_only=True, tag="limit"):
    """Trades at its price or better and rests."""

    price: DecimalText
    quantity: DecimalText
    time_in_force: Literal["GTC", "IOC", "FOK", "GTD"] = "GTC"
    expires_at_ns: Number = 0
    post_only: bool = False
    minimum_quantity: DecimalText | None = None


class MarketForm(_OrderForm, frozen=True, kw_only=True, tag="market"):
    """Trades at once. States a quantity, or as a buy a budget in the quote asset."""

    quantity: DecimalText | None = None
    budget: DecimalText | None = None
    protection_price: DecimalText | None = None
    time_in_force: Literal["IOC", "FOK"] = "IOC"


class _WaitingForm(_OrderForm, frozen=True, kw_only=True):
    """What every conditional order states."""

    quantity: DecimalText
    expires_at_ns: Number = 0


class _MarketTriggerForm(_WaitingForm, frozen=True, kw_only=True):
    """What becomes a market order."""

    trigger_price: DecimalText
    protection_price: DecimalText | None = None


class StopForm(_MarketTriggerForm, frozen=True, kw_only=True, tag="stop"):
    """Becomes a market order when the price has moved against it as far as the trigger."""


class TakeProfitForm(_MarketTriggerForm, frozen=True, kw_only=True, tag="take_profit"):
    """Becomes a market order when the price has moved in its favour as far as the trigger."""


class _LimitTriggerForm(_WaitingForm, frozen=True, kw_only=True):
    """What becomes a limit order."""

    trigger_price: DecimalText
    price: DecimalText
    time_in_force: Literal["GTC", "IOC", "FOK"] = "GTC"
    post_only: bool = False


class StopLimitForm(_LimitTriggerForm, frozen=True, kw_only=True, tag="stop_limit"):
    """A stop that becomes a limit order."""


class TakeProfitLimitForm(_LimitTriggerForm, frozen=True, kw_only=True, tag="take_profit_limit"):
    """A take-profit that becomes a limit order."""


class _Leg(Form, frozen=True, kw_only=True, tag_field="type"):
    """One of the two ways in which a pair may act."""


class LimitLeg(_Leg, frozen=True, kw_only=True, tag="limit"):
    """Rests in the book from the start."""

    price: DecimalText
    post_only: bool = False


class _MarketTriggerLeg(_Leg, frozen=True, kw_only=True):
    """What becomes a market order."""

    trigger_price: DecimalText
    protection_price: DecimalText | None = None


class StopLeg(_MarketTriggerLeg, frozen=True, kw_only=True, tag="stop"):
    """See `StopForm`."""


class TakeProfitLeg(_MarketTriggerLeg, frozen=True, kw_only=True, tag="take_profit"):
    """See `TakeProfitForm`."""


class _LimitTriggerLeg(_Leg, frozen=True, kw_only=True):
    """What becomes a limit order."""

    trigger_price: DecimalText
    price: DecimalText
    time_in_force: Literal["GTC", "IOC", "FOK"] = "GTC"
    post_only: bool = False


class StopLimitLeg(_LimitTriggerLeg, frozen=True, kw_only=True, tag="stop_limit"):
    """See `StopLimitForm`."""


class TakeProfitLimitLeg(_LimitTriggerLeg, frozen=True, kw_only=True, tag="take_profit_limit"):
    """See `TakeProfitLimitForm`."""


AnyLeg: TypeAlias = LimitLeg | StopLeg | TakeProfitLeg | StopLimitLeg | TakeProfitLimitLeg


class OcoForm(_WaitingForm, frozen=True, kw_only=True, tag="oco"):
    """Two legs of one order: whichever acts first takes the whole remaining quantity."""

    legs: Annotated[list[AnyLeg], msgspec.Meta(min_length=2, max_length=2)]


ConditionalForm: TypeAlias = (
    StopForm | TakeProfitForm | StopLimitForm | TakeProfitLimitForm | OcoForm
)
AnyOrderForm: TypeAlias = LimitForm | MarketForm | ConditionalForm

PLACE: Final[msgspec.json.Decoder[AnyOrderForm]] = msgspec.json.Decoder(AnyOrderForm)


class ReplaceForm(Form, frozen=True, kw_only=True):
    """New terms of a resting order; `quantity` is the new total, what has filled included."""

    price: DecimalText
    quantity: DecimalText
    account: AccountNumber | None = None


REPLACE: Final = msgspec.json.Decoder(ReplaceForm)


class CancelForm(Form, frozen=True, kw_only=True):
    """One order to cancel, by either of its ids."""

    order_id: str | None = None
    client_order_id: ClientOrderId | None = None


class OrdersQuery(AccountQuery, frozen=True, kw_only=True):
    """Which open orders; `after` is the last id of the page before."""

    instrument: str | None = None
    after: Number = 0
    limit: RowsWanted = 100


class CancelAllQuery(AccountQuery, frozen=True, kw_only=True):
    """Which orders to cancel: all, or those on one instrument; the account's, or this key's."""

    instrument: str | None = None
    scope: Literal["account", "key"] = "account"

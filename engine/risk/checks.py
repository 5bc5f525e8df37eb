"""Whether an order keeps its account's limits, asked before anything is held for it.

Each check is a small class whose name appears in its refusal. What an order costs is not asked
here (that is the hold), nor whether the instrument takes it (that is the book).
"""

from typing import ClassVar, Final, Protocol

import msgspec

from engine.messages import Refused
from engine.orderbook.instrument import Instrument
from engine.orderbook.messages import OrderKind
from engine.refusals import Reason
from engine.risk.limits import AccountLimits
from engine.units import AmountMinor, AssetId, PriceTicks, QuantityLots, Side


class Exposure(Protocol):
    """What an account already has and has asked for, orders in flight included."""

    @property
    def open_orders(self) -> int:
        """How many orders are open."""
        ...

    def holdings_minor(self, asset_id: AssetId) -> AmountMinor:
        """What the account has of an asset, held or not."""
        ...

    def open_buys_minor(self, asset_id: AssetId) -> AmountMinor:
        """What the account would receive of an asset if all its open buys filled."""
        ...


class Sized(Protocol):
    """What the checks read of an order; `PlaceOrder` and `OrderSize` have it."""

    @property
    def side(self) -> Side:
        """Which way it trades."""
        ...

    @property
    def kind(self) -> OrderKind:
        """How its price binds it."""
        ...

    @property
    def price_ticks(self) -> PriceTicks:
        """Its limit or protection price."""
        ...

    @property
    def quantity_lots(self) -> QuantityLots:
        """Its quantity; 0 when it states a budget instead."""
        ...

    @property
    def budget_minor(self) -> AmountMinor:
        """What a market buy may spend; 0 when it states a quantity."""
        ...


class OrderSize(msgspec.Struct, frozen=True, gc=False):
    """The size of an order that is not a `PlaceOrder`: one to be replaced, or what it becomes."""

    side: Side
    price_ticks: PriceTicks
    quantity_lots: QuantityLots
    budget_minor: AmountMinor = AmountMinor(0)
    kind: OrderKind = OrderKind.LIMIT


class Check(Protocol):
    """One rule about orders."""

    name: ClassVar[str]

    def refusal(
        self, order: Sized, instrument: Instrument, limits: AccountLimits, exposure: Exposure
    ) -> Refused | None:
        """Why the order breaks this rule, or None."""
        ...


class MaxQuantity:
    """One order's quantity on an instrument is limited.

    A budget buys more the lower the price, so an account with this limit must state a quantity.
    """

    name: ClassVar[str] = "max-quantity"

    def refusal(
        self, order: Sized, instrument: Instrument, limits: AccountLimits, _exposure: Exposure
    ) -> Refused | None:
        """Why the order is larger than allowed, or None."""
        limit = limits.instruments.get(instrument.instrument_id)
        if limit is None or not limit.quantity_lots_max:
            return None
        if order.budget_minor:
            return _exceeded("budget_minor", self.name)
        if order.quantity_lots > limit.quantity_lots_max:
            return _exceeded("quantity_lots", self.name)
        return None


class MaxNotional:
    """One order's worth on an instrument is limited.

    The protection price of a market sell bounds its worth from below and may be next to nothing,
    so the instrument's reference price counts where it is higher.
    """

    name: ClassVar[str] = "max-notional"

    def refusal(
        self, order: Sized, instrument: Instrument, limits: AccountLimits, _exposure: Exposure
    ) -> Refused | None:
        """Why the order is worth more than allowed, or None."""
        limit = limits.instruments.get(instrument.instrument_id)
        if limit is None or not limit.notional_minor_max:
            return None
        if order.budget_minor:
            exceeds = order.budget_minor > limit.notional_minor_max
            return _exceeded("budget_minor", self.name) if exceeds else None
        if notional_minor(order, instrument) > limit.notional_minor_max:
            return _exceeded("quantity_lots", self.name)
        return None


class MaxOpenOrders:
    """The number of an account's open orders is limited."""

    name: ClassVar[str] = "max-open-orders"

    def refusal(
        self, _order: Sized, _instrument: Instrument, limits: AccountLimits, exposure: Exposure
    ) -> Refused | None:
        """Why one more order would be too many, or None."""
        if limits.open_orders_max and exposure.open_orders >= limits.open_orders_max:
            return _exceeded("", self.name)
        return None


class MaxHoldings:
    """What an account may come to have of an asset by buying is limited.

    Holdings, open buys and this order together; as for `MaxQuantity`, a budget cannot be judged.
    """

    name: ClassVar[str] = "max-holdings"

    def refusal(
        self, order: Sized, instrument: Instrument, limits: AccountLimits, exposure: Exposure
    ) -> Refused | None:
        """Why the order could buy more than allowed, or None."""
        asset_id = instrument.base_asset_id
        limit_minor = limits.holdings_minor_max.get(asset_id)
        if not limit_minor or order.side is not Side.BUY:
            return None
        if order.budget_minor:
            return _exceeded("budget_minor", self.name)
        after_minor = (
            exposure.holdings_minor(asset_id)
            + exposure.open_buys_minor(asset_id)
            + order.quantity_lots * instrument.lot_minor
        )
        return _exceeded("quantity_lots", self.name) if after_minor > limit_minor else None


MAX_HOLDINGS: Final = MaxHoldings()
#: The rules about an order by itself, and those about it beside everything else; cheapest first.
SIZE_CHECKS: Final[tuple[Check, ...]] = (MaxQuantity(), MaxNotional())
CHECKS: Final[tuple[Check, ...]] = (*SIZE_CHECKS, MaxOpenOrders(), MAX_HOLDINGS)


def refusal(
    order: Sized, instrument: Instrument, limits: AccountLimits | None, exposure: Exposure
) -> Refused | None:
    """Why a new order breaks its account's limits, or None. Costs nothing without limits."""
    if limits is None:
        return None
    for check in CHECKS:
        refused = check.refusal(order, instrument, limits, exposure)
        if refused is not None:
            return refused
    return None


def replace_refusal(
    wanted: Sized,
    resting: Sized,
    instrument: Instrument,
    limits: AccountLimits | None,
    exposure: Exposure,
) -> Refused | None:
    """Why replacing `resting` by `wanted` (both total quantities) breaks the limits, or None.

    A replace that asks for neither more quantity nor a higher worth is always allowed, so that an
    account can come down to limits that were lowered under it.
    """
    if limits is None:
        return None
    added_lots = QuantityLots(wanted.quantity_lots - resting.quantity_lots)
    if added_lots > 0 or notional_minor(wanted, instrument) > notional_minor(resting, instrument):
        for check in SIZE_CHECKS:
            refused = check.refusal(wanted, instrument, limits, exposure)
            if refused is not None:
                return refused
    if added_lots > 0:
        added = OrderSize(wanted.side, wanted.price_ticks, added_lots)
        return MAX_HOLDINGS.refusal(added, instrument, limits, exposure)
    return None


def notional_minor(order: Sized, instrument: Instrument) -> AmountMinor:
    """What an order that states a quantity counts as worth."""
    price_ticks = order.price_ticks
    if order.kind is OrderKind.MARKET and order.side is Side.SELL:
        price_ticks = max(price_ticks, instrument.reference_price_ticks)
    return AmountMinor(price_ticks * order.quantity_lots * instrument.tick_lot_minor)


def _exceeded(field: str, name: str) -> Refused:
    return Refused(Reason.LIMIT_EXCEEDED, field, name)

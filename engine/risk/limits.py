"""How much an account may do: the pre-trade limits that operators set."""

from collections.abc import Mapping
from typing import Self, TypeVar

import msgspec

from engine.messages import Message
from engine.units import AmountMinor, AssetId, InstrumentId, QuantityLots

_Key = TypeVar("_Key", bound=int)
_Limit = TypeVar("_Limit", bound=int)


class InstrumentLimits(Message, frozen=True):
    """The largest single order an account may enter on one instrument; 0 means no limit.

    Raises: ValueError for a negative limit.
    """

    quantity_lots_max: QuantityLots = QuantityLots(0)
    notional_minor_max: AmountMinor = AmountMinor(0)

    def __post_init__(self) -> None:
        if self.quantity_lots_max < 0 or self.notional_minor_max < 0:
            raise ValueError("a limit cannot be negative; 0 means none")

    def tightest(self, other: Self) -> "InstrumentLimits":
        """The limits that keep both."""
        return InstrumentLimits(
            _tighter(self.quantity_lots_max, other.quantity_lots_max),
            _tighter(self.notional_minor_max, other.notional_minor_max),
        )


class AccountLimits(Message, frozen=True):
    """Everything one account is limited to; 0 or absent means no limit of that kind.

    `holdings_minor_max` bounds what the account has of an asset together with what its open orders
    are still buying; it stops further buying, not deposits.
    Raises: ValueError for a negative limit.
    """

    open_orders_max: int = 0
    instruments: dict[InstrumentId, InstrumentLimits] = msgspec.field(default_factory=dict)
    holdings_minor_max: dict[AssetId, AmountMinor] = msgspec.field(default_factory=dict)

    def __post_init__(self) -> None:
        if min(self.open_orders_max, *self.holdings_minor_max.values(), 0) < 0:
            raise ValueError("a limit cannot be negative; 0 means none")

    def tightest(self, other: Self) -> "AccountLimits":
        """The limits that keep both: what counts while a change to them is not yet released."""
        instruments = {**self.instruments, **other.instruments}
        for instrument_id in self.instruments.keys() & other.instruments.keys():
            instruments[instrument_id] = self.instruments[instrument_id].tightest(
                other.instruments[instrument_id]
            )
        holdings = _tightest(self.holdings_minor_max, other.holdings_minor_max)
        return AccountLimits(
            _tighter(self.open_orders_max, other.open_orders_max), instruments, holdings
        )


def _tightest(one: Mapping[_Key, _Limit], other: Mapping[_Key, _Limit]) -> dict[_Key, _Limit]:
    merged = {**one, **other}
    for key in one.keys() & other.keys():
        merged[key] = _tighter(one[key], other[key])
    return merged


def _tighter(one: _Limit, other: _Limit) -> _Limit:
    """The lower of two limits, of which 0 is none at all."""
    return min(one, other) if one and other else one or other

"""Units of the engine: integers whose type says what they count.

Nothing of ours is imported here. Prices are counted in ticks of their instrument, quantities in
lots, money in minor units of its asset, time in nanoseconds since the Unix epoch (UTC).
"""

from enum import IntEnum
from typing import Final, NewType, TypeAlias

OwnerId = NewType("OwnerId", int)
AccountId = NewType("AccountId", int)
AssetId = NewType("AssetId", int)
InstrumentId = NewType("InstrumentId", int)
#: A desk is named by its instrument's id, or by one of the ids at or below zero further down.
DeskId: TypeAlias = InstrumentId
Sequence = NewType("Sequence", int)
#: A reservation group is named by the sequence of the command that opened it.
GroupId: TypeAlias = Sequence
#: An order is named by the sequence of the command that placed it, and is its own group.
OrderId: TypeAlias = Sequence

PriceTicks = NewType("PriceTicks", int)
QuantityLots = NewType("QuantityLots", int)
AmountMinor = NewType("AmountMinor", int)
TimeNs = NewType("TimeNs", int)

#: Amounts, prices and quantities fit a signed 64-bit integer everywhere, the database included.
INT64_MAX: Final = 2**63 - 1

#: Fee rates are whole parts per million of the amount received; one basis point is 100.
RATE_ONE_PPM: Final = 1_000_000

ACCOUNTS_DESK: Final = DeskId(0)
WITHDRAWALS_DESK: Final = DeskId(-1)
SESSIONS_DESK: Final = DeskId(-2)


class Side(IntEnum):
    """Which way an order trades."""

    BUY = 0  # receives the base asset, pays the quote asset
    SELL = 1  # pays the base asset, receives the quote asset

    @property
    def opposite(self) -> "Side":
        """The side this one trades against."""
        return Side.SELL if self is Side.BUY else Side.BUY

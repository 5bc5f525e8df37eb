"""What a resting order and a whole book look like from outside, complete enough to rebuild them."""

from collections.abc import Iterable
from hashlib import sha256
from struct import Struct
from typing import Final

from engine.messages import Message
from engine.orderbook.messages import InstrumentState, SelfTradePrevention
from engine.units import AccountId, InstrumentId, OrderId, PriceTicks, QuantityLots, Side, TimeNs

_NARROW: Final = Struct("<BBHIiI")
_WIDE: Final = Struct("<BBHQqQ")


class RestingOrder(Message, frozen=True):
    """One order that stands in the book.

    `total_lots` is what was ordered; the difference to `remaining_lots` has traded or was taken by
    self-trade prevention. `expires_at_ns` 0 means no deadline.
    """

    order_id: OrderId
    account_id: AccountId
    side: Side
    price_ticks: PriceTicks
    remaining_lots: QuantityLots
    total_lots: QuantityLots
    expires_at_ns: TimeNs = TimeNs(0)
    self_trade: SelfTradePrevention = SelfTradePrevention.CANCEL_TAKER
    post_only: bool = False


class BookSnapshot(Message, frozen=True):
    """A whole book. Equal books give equal snapshots, and equal snapshots equal bytes.

    `orders` are the bids, then the asks, each in priority order.
    """

    instrument_id: InstrumentId
    state: InstrumentState
    reference_price_ticks: PriceTicks
    orders: list[RestingOrder]


def digest(orders: Iterable[RestingOrder]) -> str:
    """SHA-256 over resting orders in the order given, in hexadecimal.

    Each is packed as the place that would enter it, `<BBHIiI`: 0, side, 0, id, price, remaining.
    Numbers beyond 32 bits are packed `<BBHQqQ` with 64 in the third place.
    """
    hasher = sha256()
    for order in orders:
        numbers = order.order_id, order.price_ticks, order.remaining_lots
        if max(numbers) < 2**31:
            hasher.update(_NARROW.pack(0, order.side, 0, *numbers))
        else:
            hasher.update(_WIDE.pack(0, order.side, 64, *numbers))
    return hasher.hexdigest()

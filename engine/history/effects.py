"""What a record did to each account: the events of the private stream.

A function of the record and of the released state right after it, so the live stream and one that
is read back from the store say the same.
"""

from engine.messages import Message
from engine.products.exchange.orders import Order
from engine.units import AmountMinor, AssetId, InstrumentId, OrderId, PriceTicks, QuantityLots, Side


class OrderChanged(Message, frozen=True, tag="order"):
    """One of the account's orders, as the record left it."""

    order: Order


class Filled(Message, frozen=True, tag="fill"):
    """One of the account's orders traded; `trade_index` counts the trades of the record.

    `fee_minor` is in what the order received; negative is a rebate, in what the taker received.
    """

    instrument_id: InstrumentId
    order_id: OrderId
    client_order_id: str
    side: Side
    price_ticks: PriceTicks
    quantity_lots: QuantityLots
    is_maker: bool
    fee_minor: AmountMinor
    trade_index: int


class BalanceChanged(Message, frozen=True, tag="balance"):
    """What the account has of an asset, as the record left it."""

    asset_id: AssetId
    balance_minor: AmountMinor
    held_minor: AmountMinor


Effect = OrderChanged | Filled | BalanceChanged

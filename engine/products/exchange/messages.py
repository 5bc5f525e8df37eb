"""The contract of an instrument's desk beyond its book: commands above, events below.

A conditional order is *one* order with one id and one or two legs: whichever leg acts first takes
the whole remaining quantity, so a one-cancels-other pair cannot fill twice.
"""

from enum import IntEnum

from engine.messages import Message
from engine.orderbook.messages import (
    CancelReason,
    OrderKind,
    PlaceOrder,
    SelfTradePrevention,
    TimeInForce,
)
from engine.units import (
    AccountId,
    AmountMinor,
    AssetId,
    InstrumentId,
    OrderId,
    PriceTicks,
    QuantityLots,
    Sequence,
    Side,
    TimeNs,
)


class TriggerWhen(IntEnum):
    """Which last traded prices set a leg off."""

    AT_ONCE = 0  # no trigger: the leg rests in the book from the start
    AT_OR_ABOVE = 1
    AT_OR_BELOW = 2


class Leg(Message, frozen=True):
    """One way in which a conditional order may act: a trigger, and the order it then becomes."""

    when: TriggerWhen
    trigger_price_ticks: PriceTicks
    kind: OrderKind
    price_ticks: PriceTicks  # limit, or protection price of a market order
    time_in_force: TimeInForce = TimeInForce.GTC
    post_only: bool = False


class PlaceConditional(Message, frozen=True, tag="place-conditional"):
    """Enter a stop, stop-limit, take-profit, take-profit-limit, or a pair of two legs (OCO)."""

    account_id: AccountId
    instrument_id: InstrumentId
    side: Side
    quantity_lots: QuantityLots
    legs: tuple[Leg, ...]
    expires_at_ns: TimeNs = TimeNs(0)  # 0: until filled or cancelled
    self_trade: SelfTradePrevention = SelfTradePrevention.CANCEL_TAKER
    client_order_id: str = ""
    key_id: int = 0


class EnterTriggered(Message, frozen=True, tag="enter-triggered"):
    """Follow-up of a trigger: place what the leg became, under the id and hold it always had."""

    order_id: OrderId
    order: PlaceOrder

    @property
    def instrument_id(self) -> InstrumentId:
        """Whose desk places it."""
        return self.order.instrument_id


class CancelAll(Message, frozen=True, tag="cancel-all"):
    """Cancel every order an account has (on one instrument, or 0: on all) before this command.

    With `key_id` only those that this key placed.
    """

    account_id: AccountId
    instrument_id: InstrumentId = InstrumentId(0)
    key_id: int = 0


class CancelChunk(Message, frozen=True, tag="cancel-chunk"):
    """Follow-up: cancel the next few orders of a scope that its header froze.

    The scope is every order of `account_id` (0: of every account) older than `before_order_id`,
    and with `key_id` only those that this key placed; then `after_order_id` is the newest of the
    resting orders that earlier chunks have passed over.
    """

    instrument_id: InstrumentId
    account_id: AccountId
    before_order_id: OrderId
    reason: CancelReason
    header_sequence: Sequence
    cancelled_orders: int = 0  # by the chunks before this one
    key_id: int = 0
    after_order_id: OrderId = OrderId(0)


class SweepTriggers(Message, frozen=True, tag="sweep-triggers"):
    """Follow-up: set off the next few conditional orders that a range of traded prices crossed.

    `traded_in` is the record of those trades; orders placed after it were never crossed.
    """

    instrument_id: InstrumentId
    low_price_ticks: PriceTicks
    high_price_ticks: PriceTicks
    traded_in: Sequence = Sequence(0)


class ReportChunks(Message, frozen=True, tag="report-chunks"):
    """Follow-up to accounts: one desk has finished its part of a cancel-all."""

    header_sequence: Sequence
    instrument_id: InstrumentId
    cancelled_orders: int
    refused: bool = False


class Reserved(Message, frozen=True, tag="reserved"):
    """What accounts set aside for the command, and the fee rates pinned to its order."""

    account_id: AccountId
    asset_id: AssetId
    held_minor: AmountMinor  # what the order's group holds from here until the desk decides
    maker_ppm: int = 0
    taker_ppm: int = 0


class TradeSettled(Message, frozen=True, tag="settled"):
    """The fees of the trade just before it in the record, each in what its payer received.

    A negative `maker_fee_minor` is a rebate, in the asset the *taker* received.
    """

    maker_fee_minor: AmountMinor
    taker_fee_minor: AmountMinor


class ConditionalPlaced(Message, frozen=True, tag="conditional-placed"):
    """The conditional order waits for its trigger; `order_id` is the record's sequence."""

    order_id: OrderId


class OrderTriggered(Message, frozen=True, tag="triggered"):
    """A traded price set off one leg; the record's follow-ups hold the order it became."""

    order_id: OrderId
    leg: int
    price_ticks: PriceTicks  # the traded price that crossed
    quantity_lots: QuantityLots  # what the leg takes over


class CancelChunkDone(Message, frozen=True, tag="cancel-chunk-done"):
    """This chunk is done; `finished` says that nothing of the scope is left at this desk."""

    cancelled_orders: int  # all chunks so far
    finished: bool


# `CancelAll` and `ReportChunks` are not among them: they are decided by accounts.
ExchangeCommand = PlaceConditional | EnterTriggered | CancelChunk | SweepTriggers
ExchangeEvent = Reserved | TradeSettled | ConditionalPlaced | OrderTriggered | CancelChunkDone

"""The contract of an instrument's order book: commands above, events below, nothing else.

Every event is complete enough to fold: depth from events alone, the book from each record's
command and events together.
"""

from enum import IntEnum, StrEnum

from engine.messages import Message, Refused
from engine.units import (
    AccountId,
    AmountMinor,
    InstrumentId,
    OrderId,
    PriceTicks,
    QuantityLots,
    Side,
    TimeNs,
)


class OrderKind(IntEnum):
    """How an order's price binds it."""

    LIMIT = 0  # trades at its price or better, may rest
    MARKET = 1  # trades at its protection price or better, never rests


class TimeInForce(IntEnum):
    """How long an order lives."""

    GTC = 0  # until filled or cancelled
    IOC = 1  # trades what it can now, the remainder is cancelled
    FOK = 2  # trades whole now or is refused
    GTD = 3  # until filled, cancelled or its deadline; never trades at or past the deadline


class SelfTradePrevention(IntEnum):
    """What happens instead of a trade between two orders of one account; the taker's mode rules."""

    NONE = 0  # they trade
    CANCEL_TAKER = 1  # the taker's remainder is cancelled, the maker stays
    CANCEL_MAKER = 2  # the maker is cancelled, the taker goes on
    CANCEL_BOTH = 3  # both are cancelled
    DECREMENT = 4  # both lose the smaller remaining quantity, without a trade


class InstrumentState(IntEnum):
    """What an instrument accepts."""

    OPEN = 0  # everything
    CANCEL_ONLY = 1  # cancels only
    HALTED = 2  # cancels only, by order of an operator or after a fault
    CLOSED = 3  # nothing; whatever rests is cancelled


class CancelReason(StrEnum):
    """Why an order ended with quantity still open."""

    REQUESTED = "REQUESTED"
    CANCEL_ALL = "CANCEL_ALL"
    IOC_REMAINDER = "IOC_REMAINDER"
    MARKET_REMAINDER = "MARKET_REMAINDER"  # liquidity within the protection price ran out
    BUDGET_SPENT = "BUDGET_SPENT"  # what is left of the quote budget is below one lot
    EXPIRED = "EXPIRED"
    SELF_TRADE = "SELF_TRADE"
    MAKERS_TOUCHED_MAX = "MAKERS_TOUCHED_MAX"
    INSTRUMENT_CLOSED = "INSTRUMENT_CLOSED"
    OTHER_LEG = "OTHER_LEG"  # the partner of a one-cancels-other pair took over


class PlaceOrder(Message, frozen=True, tag="place"):
    """Enter an order.

    `price_ticks` is the limit of a LIMIT order and the protection price of a MARKET order. A market
    buy may state `budget_minor` (quote minor units) in place of `quantity_lots`; exactly one of the
    two is non-zero. `minimum_lots` must trade at once or the order is refused. `key_id` is the API
    key that placed it, so that its orders can be cancelled without anybody else's.
    """

    account_id: AccountId
    instrument_id: InstrumentId
    side: Side
    kind: OrderKind
    price_ticks: PriceTicks
    quantity_lots: QuantityLots
    budget_minor: AmountMinor = AmountMinor(0)
    time_in_force: TimeInForce = TimeInForce.GTC
    expires_at_ns: TimeNs = TimeNs(0)
    post_only: bool = False
    minimum_lots: QuantityLots = QuantityLots(0)
    self_trade: SelfTradePrevention = SelfTradePrevention.CANCEL_TAKER
    client_order_id: str = ""
    key_id: int = 0


class CancelOrder(Message, frozen=True, tag="cancel"):
    """Withdraw one resting order. `order_id` is resolved before the desk sees the command."""

    account_id: AccountId
    instrument_id: InstrumentId
    order_id: OrderId
    client_order_id: str = ""


class ReplaceOrder(Message, frozen=True, tag="replace"):
    """Change price or total quantity of one resting order, atomically.

    `quantity_lots` is the new *total* (FIX OrderQty): what has filled counts against it. A pure
    reduction keeps priority; anything else loses it and may trade.
    """

    account_id: AccountId
    instrument_id: InstrumentId
    order_id: OrderId
    price_ticks: PriceTicks
    quantity_lots: QuantityLots
    client_order_id: str = ""


class ChangeInstrumentState(Message, frozen=True, tag="state"):
    """Move an instrument to another state; closing cancels what rests, in chunks."""

    instrument_id: InstrumentId
    state: InstrumentState


BookCommand = PlaceOrder | CancelOrder | ReplaceOrder | ChangeInstrumentState


class OrderRested(Message, frozen=True, tag="rested"):
    """The order (or what is left of it) now stands in the book, last at its price."""

    order_id: OrderId
    side: Side
    price_ticks: PriceTicks
    quantity_lots: QuantityLots  # remaining


class Trade(Message, frozen=True, tag="trade"):
    """A maker and a taker met, at the maker's price."""

    maker_order_id: OrderId
    taker_order_id: OrderId
    price_ticks: PriceTicks
    quantity_lots: QuantityLots
    taker_side: Side


class SelfTradePrevented(Message, frozen=True, tag="self-trade"):
    """Two orders of one account met and did not trade.

    `quantity_lots` is what *both* lost (DECREMENT), else 0 and `OrderCancelled` events say who
    ended. An order whose remaining quantity reaches 0 this way has ended; no other event says so.
    """

    maker_order_id: OrderId
    taker_order_id: OrderId
    price_ticks: PriceTicks
    quantity_lots: QuantityLots
    taker_side: Side


class OrderCancelled(Message, frozen=True, tag="cancelled"):
    """An order ended with `quantity_lots` still open (0 for a spent budget).

    `rested` says whether that quantity stood in the book; `price_ticks` is where.
    """

    order_id: OrderId
    side: Side
    price_ticks: PriceTicks
    quantity_lots: QuantityLots
    reason: CancelReason
    rested: bool


class OrderReplaced(Message, frozen=True, tag="replaced"):
    """A resting order has new terms.

    With `kept_priority` it stays in place with `quantity_lots` remaining. Without, it has left the
    book and entered again as a taker for that remaining quantity: `Trade`, `OrderRested` and
    `OrderCancelled` events of the same record tell the rest.
    """

    order_id: OrderId
    side: Side
    old_price_ticks: PriceTicks
    old_quantity_lots: QuantityLots  # remaining before
    price_ticks: PriceTicks
    quantity_lots: QuantityLots  # remaining after, before any trade
    total_lots: QuantityLots
    kept_priority: bool


class InstrumentStateChanged(Message, frozen=True, tag="state-changed"):
    """The instrument accepts what its new state allows from here on."""

    instrument_id: InstrumentId
    state: InstrumentState


BookEvent = (
    OrderRested
    | Trade
    | SelfTradePrevented
    | OrderCancelled
    | OrderReplaced
    | InstrumentStateChanged
    | Refused
)

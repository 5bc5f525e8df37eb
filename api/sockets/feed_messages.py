"""What is said on the feed: a client's operations, and the messages of its channels.

Every number of a market is decimal text, as over HTTP.
"""

from typing import Annotated, TypeAlias

import msgspec

from api.routes.tickers import TickerAnswer
from api.sockets.stream_messages import Op, PingOp

#: Of one request; a socket may have more subscriptions than one request can name.
CHANNELS_PER_REQUEST_MAX = 20
INSTRUMENTS_PER_REQUEST_MAX = 100

_Name: TypeAlias = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
_Channels: TypeAlias = Annotated[
    list[_Name], msgspec.Meta(min_length=1, max_length=CHANNELS_PER_REQUEST_MAX)
]
_Instruments: TypeAlias = Annotated[
    list[_Name], msgspec.Meta(min_length=1, max_length=INSTRUMENTS_PER_REQUEST_MAX)
]
#: A price and a quantity.
LevelText: TypeAlias = tuple[str, str]


class FeedSubscribeOp(Op, frozen=True, kw_only=True, tag="subscribe"):
    """Asks for every one of these channels of every one of these instruments."""

    channels: _Channels
    instruments: _Instruments


class FeedUnsubscribeOp(Op, frozen=True, kw_only=True, tag="unsubscribe"):
    """Asks for no more of them."""

    channels: _Channels
    instruments: _Instruments


class FeedListOp(Op, frozen=True, kw_only=True, tag="list"):
    """Asks what is subscribed to."""


FeedOp: TypeAlias = FeedSubscribeOp | FeedUnsubscribeOp | FeedListOp | PingOp


class _Message(msgspec.Struct, frozen=True, kw_only=True, tag_field="type"):
    """News of one instrument, as of a record of the journal."""

    instrument: str
    sequence: int


class DepthSnapshot(_Message, frozen=True, kw_only=True, tag="depth_snapshot"):
    """Every level, best first. Whatever a client had before no longer counts."""

    update_id: int
    bids: list[LevelText]
    asks: list[LevelText]
    checksum: int


class DepthUpdate(_Message, frozen=True, kw_only=True, tag="depth"):
    """The levels that changed in these updates, in no order; quantity "0": gone."""

    first_update_id: int
    update_id: int
    bids: list[LevelText]
    asks: list[LevelText]
    checksum: int


class TradeText(msgspec.Struct, frozen=True, gc=False):
    """One trade; `trade` names it for ever."""

    trade: str
    time_ns: int
    price: str
    quantity: str
    taker_side: str


class TradesSnapshot(_Message, frozen=True, kw_only=True, tag="trades_snapshot"):
    """The newest trades, oldest first."""

    trades: list[TradeText]


class TradesUpdate(_Message, frozen=True, kw_only=True, tag="trades"):
    """Trades since the message before, oldest first; before them so many were left out."""

    trades: list[TradeText]
    left_out: int


class TickerMessage(TickerAnswer, frozen=True, kw_only=True, tag_field="type", tag="ticker"):
    """The last 24 hours."""


class CandleText(msgspec.Struct, frozen=True, gc=False):
    """One candle as it is now; its interval begins at `start_ns`."""

    start_ns: int
    open: str
    high: str
    low: str
    close: str
    volume: str
    quote_volume: str
    trades: int


class CandlesMessage(_Message, frozen=True, kw_only=True, tag="candles"):
    """Candles that changed since the message before, oldest first, whole."""

    interval: str
    candles: list[CandleText]


class Pong(msgspec.Struct, frozen=True):
    """What a ping is answered with."""

    server_time_ns: int


class Subscribed(msgspec.Struct, frozen=True):
    """What a socket is subscribed to after a request: channels, and of which instruments."""

    subscriptions: dict[str, list[str]]

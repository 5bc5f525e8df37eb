"""Who subscribed to what on the feed: each message made and encoded once, for all who hear it."""

from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

from api.decimals import InstrumentText
from api.sockets.codec import Frame
from api.sockets.depth_topic import DepthTopic
from api.sockets.market_topics import CandlesTopic, TickerTopic, TradesTopic
from api.sockets.outbox import NOTHING, Outbox
from engine.marketdata.candles import INTERVALS
from engine.marketdata.publications import Channel, ChannelKind, Publication

_INTERVAL_NAMES: Final = {seconds: name for name, seconds in INTERVALS.items()}
#: Every channel that can be asked for, by the name it is asked for.
CHANNELS: Final[dict[str, tuple[ChannelKind, int]]] = {
    "depth": (ChannelKind.DEPTH, 0),
    "trades": (ChannelKind.TRADES, 0),
    "ticker": (ChannelKind.TICKER, 0),
    **{f"candles:{name}": (ChannelKind.CANDLES, seconds) for name, seconds in INTERVALS.items()},
}


class FeedTopic(Protocol):
    """One channel of one instrument, as its subscribers hear it."""

    update_id: int

    def apply(self, publication: Any) -> list[tuple[Frame, int]]:
        """The messages of a publication, each with its update id."""
        ...

    def since(self, last_id: int) -> Frame | None:
        """One message that covers what came after `last_id`."""
        ...


class PublicFeed(Protocol):
    """What tells of the markets: the engine's feed."""

    def listen(self, listener: Callable[[Sequence[Publication]], None]) -> None:
        """Hand over the publications of followed channels."""
        ...

    def follow(self, channel: Channel) -> None:
        """Tell of this channel, from a fresh publication on."""
        ...

    def unfollow(self, channel: Channel) -> None:
        """Tell no more of it."""
        ...


class Topics:
    """Subscriptions of all sockets. A topic lives while somebody subscribes to it.

    Complexity: a publication costs one rendering, one encoding per codec in use, and O(1) for each
    subscriber.
    """

    def __init__(self, feed: PublicFeed) -> None:
        self._feed = feed
        self._topics: dict[Channel, FeedTopic] = {}
        self._subscribers: dict[Channel, dict[Outbox, None]] = {}
        feed.listen(self.publish)

    def __len__(self) -> int:
        return len(self._topics)

    def subscribe(self, channel: Channel, text: InstrumentText, outbox: Outbox) -> None:
        """Send what there is now, then everything that is new. Once more: begin anew."""
        topic = self._topics.get(channel)
        if topic is None:
            topic = self._topics[channel] = _topic(channel, text)
            self._subscribers[channel] = {}
            self._feed.follow(channel)
        self._subscribers[channel][outbox] = None
        outbox.forget(topic)
        frame = topic.since(NOTHING)
        if frame is not None:
            outbox.publish(topic, frame, topic.update_id)

    def unsubscribe(self, channel: Channel, outbox: Outbox) -> None:
        """Send no more of it; what is queued still goes out."""
        topic = self._topics.get(channel)
        if topic is None:
            return
        subscribers = self._subscribers[channel]
        subscribers.pop(outbox, None)
        outbox.forget(topic)
        if not subscribers:
            del self._topics[channel], self._subscribers[channel]
            self._feed.unfollow(channel)

    def publish(self, publications: Sequence[Publication]) -> None:
        """Tell subscribers what is new. Never waits."""
        for publication in publications:
            channel = publication.channel
            topic = self._topics.get(channel)
            if topic is not None:
                subscribers = self._subscribers[channel]
                for frame, update_id in topic.apply(publication):
                    for outbox in subscribers:
                        outbox.publish(topic, frame, update_id)


def _topic(channel: Channel, text: InstrumentText) -> FeedTopic:
    match channel.kind:
        case ChannelKind.DEPTH:
            return DepthTopic(text)
        case ChannelKind.TRADES:
            return TradesTopic(text)
        case ChannelKind.TICKER:
            return TickerTopic(text)
        case ChannelKind.CANDLES:
            return CandlesTopic(text, _INTERVAL_NAMES[channel.interval_s])

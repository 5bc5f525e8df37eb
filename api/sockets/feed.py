"""`/v1/feed`: what one client of the public feed asks for, and what it is answered."""

from collections import Counter
from collections.abc import Callable
from typing import Final, NamedTuple

import msgspec

from api import problems
from api.clock import EdgeClock
from api.decimals import InstrumentText
from api.keys.addresses import client_address
from api.rates import network_of
from api.rejected import Rejected, invalid, unknown
from api.settings import ApiSettings
from api.sockets.feed_messages import (
    FeedListOp,
    FeedOp,
    FeedSubscribeOp,
    FeedUnsubscribeOp,
    Pong,
    Subscribed,
)
from api.sockets.stream_messages import Answer, MessageId, PingOp
from api.sockets.topics import CHANNELS, Topics
from api.sockets.wire import Session, Socket
from engine.errors import EngineError
from engine.marketdata.publications import Channel
from engine.refusals import Reason
from engine.service import Service


class _WithId(msgspec.Struct):
    """What is looked at of a message that is wrong in itself."""

    id: MessageId | None = None


class Subscription(NamedTuple):
    """A channel of an instrument, as the client calls them."""

    channel: str
    instrument: str


def feed_session(
    service: Service, settings: ApiSettings, counted: Callable[[str], None] | None = None
) -> Session:
    """The sessions of every socket at `/v1/feed`; `counted` is told the code of each refusal."""
    return FeedFloor(service, settings, counted).serve


class FeedFloor:
    """What all clients of the feed share: topics, and how many subscriptions an address has."""

    def __init__(
        self,
        service: Service,
        settings: ApiSettings,
        counted: Callable[[str], None] | None = None,
    ) -> None:
        self.service: Final = service
        self.counted: Final = counted
        self.settings: Final = settings
        self.clock: Final = EdgeClock(service)
        self.topics: Final = Topics(service.feed)
        self.by_address: Final = Counter[str]()

    async def serve(self, socket: Socket) -> None:
        """Serve one client until it leaves. Waits for its messages.

        Raises: SocketClosed.
        """
        client = FeedClient(self, socket)
        try:
            while True:
                for message in await socket.receive():
                    client.hear(message)
        finally:
            client.leave()

    def address_of(self, socket: Socket) -> str:
        """Whom a socket counts for: its client's address, of IPv6 the network."""
        forwarded_for = socket.headers.get("X-Forwarded-For", "")
        return network_of(client_address(socket.peer, forwarded_for, self.settings.proxies))


class FeedClient:
    """One client of the feed: its subscriptions. Hear: `hear`. Never waits."""

    def __init__(self, floor: FeedFloor, socket: Socket) -> None:
        self._floor = floor
        self._service = floor.service
        self._socket = socket
        self._address = floor.address_of(socket)
        self._channels: dict[Subscription, Channel] = {}

    def hear(self, message: bytes) -> None:
        """Do what a message asks for, and answer it; a subscription's snapshot follows."""
        try:
            op: FeedOp = self._socket.codec.decode(message, FeedOp)
        except msgspec.DecodeError as error:
            self._refuse(self._id_of(message), problems.of_undecodable(error))
            return
        try:
            self._do(op)
        except Rejected as rejected:
            self._refuse(op.id, rejected.problem)
        except EngineError as fault:
            self._refuse(op.id, problems.of_fault(fault))
        self._socket.may_be_silent = bool(self._channels)

    def leave(self) -> None:
        """Give up every subscription."""
        for subscription in list(self._channels):
            self._drop(subscription)

    def _id_of(self, message: bytes) -> int | str | None:
        try:
            return self._socket.codec.decode(message, _WithId).id
        except msgspec.DecodeError:
            return None

    def _do(self, op: FeedOp) -> None:
        match op:
            case FeedSubscribeOp():
                self._subscribe(op)
            case FeedUnsubscribeOp():
                self._unsubscribe(op)
            case FeedListOp():
                self._answer(op.id, self._subscribed())
            case PingOp():
                self._answer(op.id, Pong(self._floor.clock.now_ns()))

    def _subscribe(self, op: FeedSubscribeOp) -> None:
        """All of it or, when any of it cannot be had, nothing."""
        wanted = self._named(op)
        self._check_room(len(wanted.keys() - self._channels.keys()))
        directory = self._service.released.rules.directory
        texts = {
            symbol: InstrumentText.of(directory.instruments_by_symbol[symbol], directory)
            for symbol in op.instruments
        }
        self._floor.by_address[self._address] += len(wanted.keys() - self._channels.keys())
        self._channels.update(wanted)
        self._answer(op.id, self._subscribed())
        for subscription, channel in wanted.items():
            text = texts[subscription.instrument]
            self._floor.topics.subscribe(channel, text, self._socket.outbox)

    def _unsubscribe(self, op: FeedUnsubscribeOp) -> None:
        """What was not subscribed to is no mistake."""
        for subscription in self._named(op):
            self._drop(subscription)
        self._answer(op.id, self._subscribed())

    def _named(self, op: FeedSubscribeOp | FeedUnsubscribeOp) -> dict[Subscription, Channel]:
        """Every channel of every instrument named. Raises: Rejected, Halted."""
        known = self._service.released.rules.directory.instruments_by_symbol
        named = {}
        for symbol in op.instruments:
            instrument = known.get(symbol)
            if instrument is None:
                raise unknown(Reason.UNKNOWN_INSTRUMENT, "instruments")
            for name in op.channels:
                if name not in CHANNELS:
                    raise invalid("channels", f"The channels are {', '.join(CHANNELS)}.")
                kind, interval_s = CHANNELS[name]
                channel = Channel(kind, instrument.instrument_id, interval_s)
                named[Subscription(name, symbol)] = channel
        return named

    def _check_room(self, more: int) -> None:
        settings = self._floor.settings
        if len(self._channels) + more > settings.feed_subscriptions_max:
            message = f"A websocket has at most {settings.feed_subscriptions_max} subscriptions."
            raise invalid("instruments", message)
        of_address, most = self._floor.by_address, settings.feed_subscriptions_per_address_max
        if most and of_address[self._address] + more > most:
            raise Rejected(problems.of_status(429, f"An address has at most {most} subscriptions."))

    def _drop(self, subscription: Subscription) -> None:
        channel = self._channels.pop(subscription, None)
        if channel is not None:
            self._floor.topics.unsubscribe(channel, self._socket.outbox)
            self._floor.by_address[self._address] -= 1
            if not self._floor.by_address[self._address]:
                del self._floor.by_address[self._address]

    def _subscribed(self) -> Subscribed:
        found: dict[str, list[str]] = {}
        for channel, instrument in self._channels:
            found.setdefault(channel, []).append(instrument)
        return Subscribed(found)

    def _answer(self, id_: int | str | None, result: object) -> None:
        self._socket.outbox.send(Answer(id_, 200, result))

    def _refuse(self, id_: int | str | None, problem: problems.Problem) -> None:
        request_id = problems.accepted_request_id(None)
        if self._floor.counted is not None:
            self._floor.counted(problem.code)
        error = problems.error_object(problem, self._floor.clock.now_ns(), request_id)
        self._socket.outbox.send(Answer(id_, problem.status, error=error))

"""Makers and takers for a market that moves: real clients of the public API, seeded.

What each of them does next is in `api.demo.minds`; here it is sent, as often as `speed` says. A
server that goes away is waited for; a trader whose key has ended stops, and so do all when none is
left.
"""

from collections.abc import Iterator
from enum import Enum
from itertools import islice
from random import Random
from typing import Final

import msgspec
import structlog
import trio

from api.client import (
    Bearer,
    Patience,
    Refused,
    SocketClosed,
    TrioClient,
    TrioSocket,
    Unanswered,
    calls,
    open_socket,
)
from api.client.following import HOPELESS
from api.client.resending import is_definite
from api.demo.minds import Maker, Market, Mind, Request, Taker, Walk

_log = structlog.get_logger("traders")
#: Between two attempts to reach the server.
_STUBBORN: Final = Patience(attempts_max=1_000_000, pause_s_min=0.25, pause_s_max=5.0)
#: A connection that lasted so long is no failure any more.
_SETTLED_S: Final = 5.0
#: Between two beats of a mind to which a market is closed.
_RESTING: Final = Patience(pause_s_min=1.0, pause_s_max=30.0)
#: A socket may have 1,000 commands under way.
_UNDER_WAY_MAX: Final = 200
#: Refusals that are part of the trade; after all others there is no hurry.
_ORDINARY: Final = frozenset(
    (
        "INSUFFICIENT_FUNDS",
        "NOTHING_TO_REPLACE",
        "POST_ONLY_WOULD_TRADE",
        "QUANTITY_ALREADY_FILLED",
        "REPLACE_NOT_COVERED",
        "UNKNOWN_ORDER",
    )
)


class Does(Enum):
    """What a trader does."""

    MAKES = "maker"
    TAKES = "taker"


class Trader(msgspec.Struct, frozen=True):
    """Whose key, and what its holder does. Names of one server's traders are unique."""

    name: str
    secret: str
    does: Does


async def run_traders(url: str, traders: list[Trader], *, seed: int, speed: float) -> None:
    """Trade every instrument that has a price, `speed` beats a second each.

    Waits for the server. Returns when no key is let in any more, not before.
    Raises: Refused when the first key is not let in at all.
    """
    async with TrioClient(url, Bearer(traders[0].secret), patience=_STUBBORN) as client:
        listed = await client.send(calls.instruments())
        clock = await client.send(calls.server_time())
    markets = [market for terms in listed.instruments if (market := Market.of(terms)) is not None]
    # ids are permanent: a later start must not use those of an earlier one
    start = f"{clock.server_time_ns // 1_000_000:x}"
    minds = minds_of(traders, markets, seed=seed, start=start)
    pulse = Pulse(speed)
    async with trio.open_nursery() as nursery:
        for trader in traders:
            nursery.start_soon(_Desk(url, trader, minds[trader.name], pulse).trade)


def minds_of(
    traders: list[Trader], markets: list[Market], *, seed: int, start: str
) -> dict[str, list[Mind]]:
    """The minds of each trader, by its name; one for each market. All see the same fair prices."""
    walks = [Walk(Random(f"{seed}-{one.symbol}"), one.start_ticks) for one in markets]
    minds: dict[str, list[Mind]] = {}
    for trader in traders:
        minds[trader.name] = []
        for place, (market, walk) in enumerate(zip(markets, walks, strict=True)):
            rng = Random(f"{seed}-{market.symbol}-{trader.name}")
            tag = f"{trader.name}-{start}-{place}"
            makes = trader.does is Does.MAKES
            mind = Maker(market, walk, rng, tag) if makes else Taker(market, rng, tag)
            minds[trader.name].append(mind)
    return minds


class Pulse:
    """When beats are: so many a second since it was made, the same for all."""

    def __init__(self, per_s: float) -> None:
        self._per_s = per_s
        self._began_s = trio.current_time()

    async def after(self, number: int) -> int:
        """The number of the next beat to come. Waits for it; beats that were missed are over."""
        now = int((trio.current_time() - self._began_s) * self._per_s)
        due = max(number, now) + 1
        await trio.sleep_until(self._began_s + due / self._per_s)
        return due


class _Rest:
    """How long a mind leaves a market alone that took nothing from it; longer each time."""

    def __init__(self) -> None:
        self.until_s = 0.0
        self._failures = 0

    def begin(self) -> None:
        """The market is closed to us."""
        if trio.current_time() >= self.until_s:
            self._failures += 1
            self.until_s = trio.current_time() + _RESTING.pause_s(self._failures)

    def end(self) -> None:
        """It is open."""
        self._failures = 0
        self.until_s = 0.0


class _Desk:
    """One trader on one connection after the other, as long as the server lets it in."""

    def __init__(self, url: str, trader: Trader, minds: list[Mind], pulse: Pulse) -> None:
        self._url = url
        self._trader = trader
        self._rests = [(mind, _Rest()) for mind in minds]
        self._pulse = pulse
        self._failures = 0

    async def trade(self) -> None:
        """Trade until the key is of no use any more."""
        name, failure = self._trader.name, None
        while True:
            try:
                await self._connected()
            except* (Refused, Unanswered, SocketClosed, OSError) as group:
                failure = _first(group)
            if _is_final(failure):
                _log.warning("not let in any more", trader=name, because=str(failure))
                return
            self._failures += 1
            if self._failures == 1:
                _log.info("no connection", trader=name, because=str(failure))
            await trio.sleep(_STUBBORN.pause_s(self._failures))

    async def _connected(self) -> None:
        async with open_socket(self._url, "/v1/stream", Bearer(self._trader.secret)) as socket:
            await socket.request("cancel_all", scope="key")
            for mind, _ in self._rests:
                mind.begin()
            number, settled_s = 0, trio.current_time() + _SETTLED_S
            while True:
                number = await self._pulse.after(number)
                await trio.sleep(await self._beat(socket, number))
                if self._failures and trio.current_time() > settled_s:
                    _log.info("connected again", trader=self._trader.name)
                    self._failures = 0

    async def _beat(self, socket: TrioSocket, number: int) -> float:
        """One round of every mind that does not rest; returns how long the server wants peace."""
        asked, peace_s = self._requests(number), 0.0
        while batch := list(islice(asked, _UNDER_WAY_MAX)):
            replies = [await socket.tell(request.op, **request.fields) for _, _, request in batch]
            for (mind, rest, request), reply in zip(batch, replies, strict=True):
                try:
                    result = await reply.result()
                except Refused as refusal:
                    mind.refused(request, refusal.code)
                    peace_s = max(peace_s, self._take(refusal, rest))
                else:
                    mind.took(request, result)
                    rest.end()
        return peace_s

    def _requests(self, number: int) -> Iterator[tuple[Mind, _Rest, Request]]:
        now_s = trio.current_time()
        for mind, rest in self._rests:
            if now_s >= rest.until_s:
                for request in mind.beat(number):
                    yield mind, rest, request

    def _take(self, refusal: Refused, rest: _Rest) -> float:
        """Act on a refusal; returns how long the server wants peace.

        Raises: Unanswered if it leaves doubt.
        """
        if refusal.status == 504:
            raise Unanswered(refusal.code)  # it may rest: a new connection begins with a clean book
        if refusal.status in (429, 503):
            return max(0.1, refusal.error.retry_after_s)
        if refusal.code not in _ORDINARY:
            rest.begin()
        return 0.0


def _is_final(failure: BaseException | None) -> bool:
    """Whether to come back would not help."""
    if isinstance(failure, Refused):
        return is_definite(failure.status, failure.code)
    return isinstance(failure, SocketClosed) and failure.code in HOPELESS


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    first = group.exceptions[0]
    return _first(first) if isinstance(first, BaseExceptionGroup) else first

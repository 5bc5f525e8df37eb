"""All stream clients of a campaign, over every death of the server, and what they must agree on.

Between two storms, and at the end, what an account's stream adds up to is what REST answers, and
every book kept from the feed is the server's. At the end every fill of the journal was told to its
account once and in order, every acknowledged one among them, and every trade that the feed told is
the journal's.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from decimal import Decimal
from typing import Any, Final

import msgspec
import trio

from api.client import Bearer, Patience, TrioClient, calls
from tests.crash.history import History, Outcome
from tests.crash.stream_feeds import BookKeeper, FeedClient, FeedListener, TradeRun
from tests.crash.stream_followers import Follower, StrictFollower
from tests.crash.stream_journal import JournalTruth, journal_truth
from tests.crash.stream_log import StreamLog, about, amounts
from tests.crash.stream_sentinels import Disconnecting, Sentinel, Timed
from tests.crash.venue import INSTRUMENTS, Member, Venue

#: Returns what was told and what is answered.
Look = Callable[[], Awaitable[tuple[Any, Any]]]
#: For streams to tell of what has been answered.
_QUIET_S_MAX: Final = 15.0
#: The same, once that has not come true somewhere.
_NO_LONGER_S_MAX: Final = 1.0
_POLL_S: Final = 0.05
_PATIENCE: Final = Patience(attempts_max=3)
#: Members whose orders end with them; the others are bots.
SENTINELS: Final = 4


class Streams:
    """Followers of every member, keepers of every book, and sentinels."""

    def __init__(
        self, venue: Venue, history: History, seed: int, sentinels: Iterable[Member]
    ) -> None:
        url = f"http://127.0.0.1:{venue.port}"
        self._url = url
        self._venue = venue
        self._history = history
        self.quiet_checks = 0
        self.contradictions: list[str] = []
        kinds = (Follower, StrictFollower)
        self.followers = [
            kinds[place % 2](member, url, seed, msgpack=place % 4 > 1)
            for place, member in enumerate(venue.members)
        ]
        self.listener = FeedListener(url, INSTRUMENTS, seed)
        self.keepers = [
            BookKeeper(url, INSTRUMENTS, seed, msgpack=msgpack) for msgpack in (False, True)
        ]
        self.sentinels: list[Sentinel] = [
            (Timed, Disconnecting)[place % 2](member, venue, history, seed)
            for place, member in enumerate(sentinels)
        ]

    async def run(self) -> None:
        """Follow everything for ever."""
        async with trio.open_nursery() as nursery:
            for group in (self.followers, self._feeds(), self.sentinels):
                for one in group:
                    nursery.start_soon(one.run)

    async def begun(self) -> None:
        """Wait until every account is followed: from there on nothing may be missed."""
        with trio.fail_after(_QUIET_S_MAX):
            while any(follower.log.last is None for follower in self.followers):  # noqa: ASYNC110
                await trio.sleep(_POLL_S)

    @asynccontextmanager
    async def at_rest(self) -> AsyncIterator[None]:
        """No sentinel acts, and none has left anything open."""
        async with AsyncExitStack() as stack:
            for sentinel in self.sentinels:
                await stack.enter_async_context(sentinel.turn)
            for sentinel in self.sentinels:
                await sentinel.look()
            yield

    async def check_quiet(self) -> None:
        """Compare with REST what streams and books have come to. The server runs, nobody trades."""
        async with self.at_rest():
            await self._compare_all()
        self.quiet_checks += 1

    async def check_end(self, dsn: str) -> None:
        """Compare everything ever told with the history and the journal. Sentinels rest.

        Waits for streams to have come to the end.
        """
        await self._compare_all()
        truth = await journal_truth(dsn)
        for follower in self.followers:
            self._compare_fills(follower, truth)
            await self._compare_history(follower.member, follower.log)
        self._compare_acknowledged()
        for run in self.listener.runs:
            self._compare_run(run, truth)
        for name in INSTRUMENTS:
            for feed in self._feeds():
                what = f"the journal's book of {name} by {type(feed).__name__}"
                await self._agree(what, _journal_depth(truth, feed, name))
        for follower in self.followers:
            self.contradictions += follower.log.contradictions
        for feed in self._feeds():
            self.contradictions += feed.contradictions
        for sentinel in self.sentinels:
            self.contradictions += sentinel.contradictions

    def figures(self) -> dict[str, object]:
        """What was told and kept, in figures."""
        logs = [follower.log for follower in self.followers]
        strict = [one for one in self.followers if isinstance(one, StrictFollower)]
        return {
            "stream_events": sum(log.events for log in logs),
            "stream_fills": sum(len(log.fills) for log in logs),
            "stream_begun": sum(one.begun for one in self.followers),
            "resume_not_yet": sum(one.not_yet for one in strict),
            "resume_too_old": sum(one.too_old for one in strict),
            "snapshots_later": sum(len(log.skipped) for log in logs),
            "feed_connections": self.listener.connections,
            "feed_messages": self.listener.messages,
            "feed_trades": sum(len(run.trades) for run in self.listener.runs),
            "feed_conflated": self.listener.conflated,
            "book_changes": sum(keeper.changes for keeper in self.keepers),
            "quiet_checks": self.quiet_checks,
            "sentinel_rounds": sum(one.rounds for one in self.sentinels),
            "sentinel_orders": sum(one.placed for one in self.sentinels),
            "sentinel_latest_s": round(max(one.latest_s for one in self.sentinels), 2),
        }

    def _feeds(self) -> list[FeedClient]:
        return [self.listener, *self.keepers]

    # -- with REST

    async def _compare_all(self) -> None:
        for follower in self.followers:
            member, log = follower.member, follower.log
            async with self._asking(member) as client:
                await self._agree(f"open orders of {member.name}", _orders(client, log))
                await self._agree(f"balances of {member.name}", _balances(client, log))
        async with self._asking(self._venue.members[0]) as client:
            for name in INSTRUMENTS:
                for feed in self._feeds():
                    what = f"the book of {name} by {type(feed).__name__}"
                    await self._agree(what, _depth(client, feed, name))

    def _asking(self, member: Member) -> TrioClient:
        return TrioClient(self._url, Bearer(member.secret), patience=_PATIENCE)

    async def _agree(self, what: str, look: Look) -> None:
        """Wait until what was told is what is answered; note if that never comes."""
        wait_s = _QUIET_S_MAX if not self.contradictions else _NO_LONGER_S_MAX
        with trio.move_on_after(wait_s) as deadline:
            while True:
                told, answered = await look()
                if told == answered:
                    return
                await trio.sleep(_POLL_S)
        if deadline.cancelled_caught:
            self.contradictions.append(f"{what}: {difference(told, answered)}")

    async def _compare_history(self, member: Member, log: StreamLog) -> None:
        """Every order that there ever was, as the history has it."""
        async with self._asking(member) as client:
            answered = {
                row.order_id: about(msgspec.to_builtins(row))
                async for row in client.each(calls.order_history(after=0))
            }
        if log.skipped:
            told = {number: order for number, order in answered.items() if number in log.orders}
            answered = {number: answered[number] for number in told}
        if answered != log.orders:
            self._note(f"orders of {member.name}: {difference(log.orders, answered)}")

    # -- with the journal

    def _compare_fills(self, follower: Follower, truth: JournalTruth) -> None:
        log = follower.log
        journal = [
            fill
            for fill in truth.fills[follower.member.account]
            if not log.has_skipped(int(fill.trade.partition("-")[0]))
        ]
        if log.fills != journal:
            self._note(f"fills of {log.name}: {difference(log.fills, journal)}")

    def _compare_acknowledged(self) -> None:
        """Fills that were in an answer are on the stream, in the answer's order."""
        logs = {follower.member.account: follower.log for follower in self.followers}
        told = {account: _taken(log) for account, log in logs.items()}
        for call in self._history.calls:
            if call.outcome is not Outcome.OK or call.account not in told:
                continue
            answer = call.answer
            trades = [_told_in_answer(trade) for trade in answer.get("trades") or ()]
            if not trades or logs[call.account].has_skipped(int(answer["sequence"])):
                continue
            found = told[call.account].get((str(answer["sequence"]), answer["order_id"]))
            if found != trades:
                self._note(f"acknowledged {trades}, on the stream {found}: {call}")

    def _compare_run(self, run: TradeRun, truth: JournalTruth) -> None:
        """One connection was told a piece of the journal's trades, without holes."""
        if not run.trades:
            return
        trades = truth.trades[run.instrument]
        names = {trade.trade: place for place, trade in enumerate(trades)}
        start = names.get(run.trades[0].trade, 0)
        if run.trades != trades[start : start + len(run.trades)]:
            self._note(f"trades of {run.instrument} by the feed are not the journal's: {run}")

    def _note(self, text: str) -> None:
        self.contradictions.append(text)


def _orders(client: TrioClient, log: StreamLog) -> Look:
    async def look() -> Any:
        rows = [row async for row in client.each(calls.open_orders())]
        return log.open_orders(), {row.order_id: about(msgspec.to_builtins(row)) for row in rows}

    return look


def _balances(client: TrioClient, log: StreamLog) -> Look:
    async def look() -> Any:
        rows = (await client.send(calls.balances())).balances
        return log.balances, {row.asset: amounts(msgspec.to_builtins(row)) for row in rows}

    return look


def _depth(client: TrioClient, feed: FeedClient, name: str) -> Look:
    async def look() -> Any:
        depth = await client.send(calls.depth(name, limit=1_000))
        book = feed.books[name]
        told = (book.is_ready, _listed(book.bids), _listed(book.asks))
        return told, (True, _listed(depth.bids), _listed(depth.asks))

    return look


def _journal_depth(truth: JournalTruth, feed: FeedClient, name: str) -> Look:
    async def look() -> Any:
        book = feed.books[name]
        return (_exact(book.bids), _exact(book.asks)), truth.levels(name)

    return look


def _listed(levels: Iterable[Iterable[str]]) -> list[tuple[str, ...]]:
    return [tuple(level) for level in levels]


def _exact(levels: Iterable[tuple[str, str]]) -> list[tuple[Decimal, Decimal]]:
    return [(Decimal(price), Decimal(quantity)) for price, quantity in levels]


def _taken(log: StreamLog) -> dict[tuple[str, str], list[tuple[str, ...]]]:
    """Fills as a taker, by record and order."""
    taken: dict[tuple[str, str], list[tuple[str, ...]]] = {}
    for fill, fee in zip(log.fills, log.fees, strict=True):
        if fill.liquidity == "taker":
            place = (fill.trade.partition("-")[0], fill.order_id)
            taken.setdefault(place, []).append((fill.price, fill.quantity, *fee))
    return taken


def _told_in_answer(trade: dict[str, str]) -> tuple[str, ...]:
    return trade["price"], trade["quantity"], trade["fee"], trade["fee_asset"]


def difference(told: Any, answered: Any) -> str:
    """Where two collections differ, in few words."""
    if isinstance(told, dict) and isinstance(answered, dict):
        names = [n for n in {**told, **answered} if told.get(n) != answered.get(n)]
        first = names[0]
        return f"{len(names)} differ, {first}: told {told.get(first)}, is {answered.get(first)}"
    if isinstance(told, list) and isinstance(answered, list):
        places = range(min(len(told), len(answered)))
        first = next((n for n in places if told[n] != answered[n]), len(places))
        return (
            f"told {len(told)}, there are {len(answered)}; at {first}: "
            f"{told[first : first + 2]}, not {answered[first : first + 2]}"
        )
    return f"told {str(told)[:400]}, is {str(answered)[:400]}"

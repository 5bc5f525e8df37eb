"""The feed actor: tells whoever listens how released markets move, and never holds the line up.

The release step leaves what matters of every block in the inbox and goes on. The feed looks there
at once when it was quiet and else once in an interval, folds what was traded, and hands
publications to its listeners. What the inbox lacks (a block that was committed by a life that fell
before it released) is read from the journal, so every trade is told once. When the feed falls it
begins anew: followed channels get fresh publications, and what was before is read from the history
again.
"""

from collections.abc import Callable, Sequence
from contextlib import aclosing
from math import inf
from typing import Final, NamedTuple

import trio

from engine.actors.actor import Vitals
from engine.actors.envelope import Envelope
from engine.actors.feed_seed import seed_from
from engine.actors.reread import patiently, records_between
from engine.actors.waiting import Progress
from engine.errors import Halted
from engine.journal.records import Record, desk_of
from engine.journal.released import Released
from engine.marketdata.board import Board
from engine.marketdata.publications import Channel, ChannelKind, Publication
from engine.marketdata.ticker import MINUTE_S, Ticker
from engine.orderbook.messages import Trade
from engine.ports import Clock, History, JournalStore
from engine.settings import EngineSettings
from engine.units import InstrumentId
from engine.units import Sequence as SequenceNumber

_SECOND_NS: Final = 1_000_000_000
_MINUTE_NS: Final = MINUTE_S * _SECOND_NS
#: A seed is brought so near to the present before the feed stands still for the rest.
SEED_BEHIND_MAX: Final = 2_000

Listener = Callable[[Sequence[Publication]], None]


class Outrun(Exception):
    """More records were released than the inbox holds; the feed must begin anew."""


class Feed:
    """Tell it: `begin`, `observe`. Hear: `listen`, `follow`, `unfollow`. Ask: `ticker`."""

    def __init__(
        self, store: JournalStore, history: History | None, settings: EngineSettings
    ) -> None:
        """Without a `history` what was before is folded from the journal's first record on."""
        self.vitals = Vitals("feed")
        self._store = store
        self._history = history
        self._interval_s = settings.feed_interval_s
        self._summary_interval_s = settings.feed_summary_interval_s
        self._inbox_records_max = settings.feed_inbox_records_max
        self._listeners: list[Listener] = []
        self._board = Board(is_warming=True)
        self._seed: Board | None = None
        self._released: Released | None = None
        self._clock: Clock | None = None
        self._inbox: list[_Left] = []
        self._inbox_records = 0
        self._moved = trio.Event()
        self._progress = Progress(0)
        self._next_summary_s = -inf
        self._minute = 0

    # -- told by the line

    def begin(self, released: Released, clock: Clock) -> None:
        """A new life of the line shows this from now on."""
        self._released, self._clock = released, clock
        self._board.refresh(ChannelKind.DEPTH)  # a book recovered, perhaps further than was told
        self._moved.set()

    def observe(self, envelopes: list[Envelope]) -> None:
        """A block is released. Never waits, never fails."""
        self._inbox_records += len(envelopes)
        if self._inbox_records <= self._inbox_records_max:
            self._inbox.append(_left(envelopes, whole=self._board.is_followed))
        else:
            self._inbox.clear()  # whoever takes from it will see by the count
        self._moved.set()

    # -- asked by listeners

    def listen(self, listener: Listener) -> None:
        """Hand the publications of followed channels to `listener`, which must not wait."""
        self._listeners.append(listener)

    def follow(self, channel: Channel) -> None:
        """Tell of this channel; its first publication is a fresh one."""
        self._board.follow(channel)
        self._moved.set()

    def unfollow(self, channel: Channel) -> None:
        """Tell no more of this channel."""
        self._board.unfollow(channel)
        if channel.kind is ChannelKind.DEPTH and self._released is not None:
            self._released.depth(channel.instrument_id).stop_deltas()

    @property
    def followed(self) -> list[Channel]:
        """Every channel that somebody follows."""
        return self._board.followed

    @property
    def sequence(self) -> int:
        """Through which record trades are counted."""
        return self._board.sequence

    async def caught_up(self) -> None:
        """Wait until what is released now is counted."""
        if self._released is not None:
            await self._progress.reached(self._released.sequence)

    def ticker(self, instrument_id: InstrumentId) -> Ticker:
        """An instrument's last 24 hours, as of `sequence`. The line must have begun."""
        released, clock = self._begun()
        return self._board.ticker(instrument_id, released, clock.now_ns())

    # -- living

    async def run(self, *, task_status: "trio.TaskStatus[None]" = trio.TASK_STATUS_IGNORED) -> None:
        """One life. Waits for news for ever.

        Raises: Outrun, and whatever a listener raises.
        """
        self.vitals.lives += 1
        self._seed = None
        self._replace_board(Board(is_warming=True))
        task_status.started()
        while self._released is None:
            await self._woken(inf)
        self._inbox, self._inbox_records = [], 0
        self._board.sequence = self._released.sequence
        self._progress.advance(self._board.sequence)
        self.vitals.running = True
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._warm)
                await self._tell_for_ever()
        finally:
            self.vitals.running = False

    async def _warm(self) -> None:
        """Learn what was before, beside the telling; the feed then goes on with it."""
        _, clock = self._begun()
        seed = Board()
        if self._history is not None:
            through = (await patiently(self._history.watermark)).sequence
            await self._progress.reached(through)  # it may be committed and not yet released
            instruments = list(self._begun()[0].rules.directory.instruments)
            seed = await seed_from(self._history, through, instruments, clock.now_ns())
        while seed.sequence < self._board.sequence - SEED_BEHIND_MAX:
            await self._replay(seed, self._board.sequence)
        self._seed = seed
        self._moved.set()

    def _replace_board(self, board: Board) -> None:
        for channel in self._board.followed:
            board.follow(channel)
        self._board = board

    async def _tell_for_ever(self) -> None:
        while True:
            await self._woken(self._patience_s())
            began_s = trio.current_time()
            await self._catch_up()
            self._publish()
            self.vitals.batches += 1
            self.vitals.busy_s += trio.current_time() - began_s
            await trio.sleep_until(began_s + self._interval_s)

    async def _woken(self, patience_s: float) -> None:
        with trio.move_on_after(patience_s):
            await self._moved.wait()
        self._moved = trio.Event()

    def _patience_s(self) -> float:
        """How long to wait for news; at the end of a minute the oldest one leaves every ticker."""
        if self._board.has_summaries:
            return max(0.0, self._next_summary_s - trio.current_time())
        _, clock = self._begun()
        return (_MINUTE_NS - clock.now_ns() % _MINUTE_NS) / _SECOND_NS

    async def _catch_up(self) -> None:
        """Count what is released, all of it: from the last look at it on, nothing waits.

        Raises: Outrun.
        """
        seed, self._seed = self._seed, None
        if seed is not None:
            await self._replay(seed, self._board.sequence)
            self._replace_board(seed)
        board, (released, _) = self._board, self._begun()
        while self._inbox_records or board.sequence < released.sequence:
            if self._inbox_records > self._inbox_records_max:
                raise Outrun(f"{self._inbox_records} records came while the feed was busy")
            blocks, self._inbox, self._inbox_records = self._inbox, [], 0
            for block in blocks:
                await self._replay(board, block.first_sequence - 1)
                for record in block.records:
                    _fold(board, record)
                board.sequence = block.last_sequence
            released, _ = self._begun()
            if not self._inbox:
                await self._replay(board, released.sequence)

    async def _replay(self, board: Board, through: int) -> None:
        """Fold what a board lacks from the journal. Does not wait when it lacks nothing."""
        if board.sequence < through:
            records = records_between(self._store, board.sequence, through)
            async with aclosing(records):
                async for record in records:
                    _fold(board, record)

    def _publish(self) -> None:
        released, clock = self._begun()
        now_s, now_ns = trio.current_time(), clock.now_ns()
        has_summaries = now_s >= self._next_summary_s
        if has_summaries:
            self._next_summary_s = now_s + self._summary_interval_s
            if now_ns // _MINUTE_NS != self._minute:
                self._minute = now_ns // _MINUTE_NS
                self._board.look_again()
        publications = self._board.news(released, now_ns, summaries=has_summaries)
        if publications:
            self.vitals.messages += len(publications)
            for listener in self._listeners:
                listener(publications)
        self._progress.advance(self._board.sequence)

    def _begun(self) -> tuple[Released, Clock]:
        if self._released is None or self._clock is None:
            raise Halted("the engine has not begun")
        return self._released, self._clock


class _Left(NamedTuple):
    """What a block leaves in the inbox: `records` are those that are worth folding."""

    first_sequence: SequenceNumber
    last_sequence: SequenceNumber
    records: list[Record]


def _left(envelopes: list[Envelope], *, whole: bool) -> _Left:
    """Look a block through while it is at hand: a moment later that takes ten times as long.

    Without `whole` only records that may have trades are left, since nobody follows the rest. A
    trade has its settlement behind it: what does not begin with one needs a third event.
    """
    records: list[Record] = [envelope.record for envelope in envelopes]  # type: ignore[misc]
    if not whole:
        records = [
            record
            for record in records
            if len(record.events) > 2 or (record.events and type(record.events[0]) is Trade)
        ]
    return _Left(envelopes[0].sequence, envelopes[-1].sequence, records)


def _fold(board: Board, record: Record) -> None:
    desk_id = desk_of(record.command)
    if desk_id > 0:
        board.fold(InstrumentId(desk_id), record.sequence, record.now_ns, record.events)
    board.sequence = record.sequence

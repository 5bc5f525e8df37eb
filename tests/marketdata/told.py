"""Random traffic, folded record by record, and the board that tells listeners of it."""

from collections.abc import Callable, Sequence
from random import Random

from engine.journal.records import Record, desk_of
from engine.journal.released import Released
from engine.marketdata.board import Board
from engine.marketdata.publications import Channel, ChannelKind, Publication
from engine.units import InstrumentId, TimeNs
from tests.products.line import Line
from tests.products.traffic import Traffic, take

PLENTY = (30_000, 600_000)


class Told:
    """A board over a released state, told when asked; also a public feed for whoever listens."""

    def __init__(self, seed: int) -> None:
        self.board = Board()
        self.released = Released()
        self.records: list[Record] = []
        self._line = Line(funds=PLENTY)
        self._traffic = Traffic(Random(seed))
        self._listeners: list[Callable[[Sequence[Publication]], None]] = []
        self._fold()

    # -- the feed

    def listen(self, listener: Callable[[Sequence[Publication]], None]) -> None:
        """Hand publications over."""
        self._listeners.append(listener)

    def follow(self, channel: Channel) -> None:
        """Tell of this channel."""
        self.board.follow(channel)

    def unfollow(self, channel: Channel) -> None:
        """Tell no more of it."""
        self.board.unfollow(channel)
        if channel.kind is ChannelKind.DEPTH:
            self.released.depth(channel.instrument_id).stop_deltas()

    # -- what happens

    def trade_on(self, steps: int, after_s: int = 0) -> None:
        """Let so many things happen after a pause and be released; nobody is told yet."""
        self._line.now_ns = TimeNs(self._line.now_ns + after_s * 1_000_000_000)
        self._line.submit(self._traffic.opening())  # it halts the market now and then
        for _ in range(steps):
            take(self._line, self._traffic.step())
        self._line.settle()
        self._fold()

    def tell(self, *, summaries: bool = True) -> list[Publication]:
        """Tell everybody what is new."""
        publications = self.board.news(self.released, self.released.now_ns, summaries=summaries)
        for listener in self._listeners:
            listener(publications)
        return publications

    def rebuild(self) -> None:
        """Put a released state folded anew in the place of the present one."""
        self.released = Released()
        for record in self.records:
            self.released.apply(record)
        self.board.refresh(ChannelKind.DEPTH)

    def _fold(self) -> None:
        for record in self._line.records[len(self.records) :]:
            self.records.append(record)
            self.released.apply(record)
            desk_id = desk_of(record.command)
            if desk_id > 0:
                instrument_id = InstrumentId(desk_id)
                self.board.fold(instrument_id, record.sequence, record.now_ns, record.events)
            self.board.sequence = record.sequence

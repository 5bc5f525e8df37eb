"""The depth of one instrument on the feed: a snapshot, then updates without a gap."""

from collections import deque
from typing import Final

from api.decimals import InstrumentText
from api.sockets.codec import Frame
from api.sockets.feed_messages import DepthSnapshot, DepthUpdate
from api.sockets.outbox import NOTHING
from api.sockets.published_book import LevelText, Place, PublishedBook
from engine.marketdata.publications import DepthPublished

#: Whoever has missed more updates, or more changes in them, gets a snapshot.
UPDATES_KEPT_MAX: Final = 1_000
CHANGES_KEPT_MAX: Final = 20_000


class DepthTopic:
    """Turns publications into messages, numbers them, and can merge those that were missed.

    `update_id` rises by one with every publication, fresh ones included.
    """

    def __init__(self, text: InstrumentText) -> None:
        self.update_id = 0
        self._text = text
        self._sequence = 0
        self._book: PublishedBook | None = None
        #: What changed in the newest updates, the newest last.
        self._kept: deque[list[Place]] = deque()
        self._changes_kept = 0
        # Of the present update id: messages by what they follow.
        self._frames: dict[int, Frame] = {}

    def apply(self, publication: DepthPublished) -> list[tuple[Frame, int]]:
        """The messages of a publication, each with its update id."""
        self.update_id += 1
        self._sequence = publication.sequence
        self._frames.clear()
        if publication.is_fresh or self._book is None:
            self._book = PublishedBook(self._text, publication.levels)
            self._kept.clear()
            self._changes_kept = 0
            return [(self._snapshot(self._book), self.update_id)]
        self._keep([self._book.change(*level) for level in publication.levels])
        return [(self._update(self._book, self.update_id - 1), self.update_id)]

    def since(self, last_id: int) -> Frame | None:
        """One message that brings whoever has `last_id` to now; None before there is anything."""
        if self._book is None:
            return None
        if last_id == NOTHING or self.update_id - last_id > len(self._kept):
            return self._snapshot(self._book)
        return self._update(self._book, last_id)

    def _keep(self, places: list[Place]) -> None:
        self._kept.append(places)
        self._changes_kept += len(places)
        while len(self._kept) > UPDATES_KEPT_MAX or self._changes_kept > CHANGES_KEPT_MAX:
            self._changes_kept -= len(self._kept.popleft())

    def _snapshot(self, book: PublishedBook) -> Frame:
        frame = self._frames.get(NOTHING)
        if frame is None:
            bids, asks = book.levels()
            message = DepthSnapshot(
                instrument=self._text.instrument.symbol,
                sequence=self._sequence,
                update_id=self.update_id,
                bids=bids,
                asks=asks,
                checksum=book.checksum(),
            )
            frame = self._frames[NOTHING] = Frame(message)
        return frame

    def _update(self, book: PublishedBook, last_id: int) -> Frame:
        """Each level that changed after `last_id`, once, as it is now."""
        frame = self._frames.get(last_id)
        if frame is None:
            missed = self.update_id - last_id
            changed = dict.fromkeys(
                place for number in range(-missed, 0) for place in self._kept[number]
            )
            levels: tuple[list[LevelText], list[LevelText]] = ([], [])
            for place in changed:
                levels[place[0]].append(book.level(place))
            message = DepthUpdate(
                instrument=self._text.instrument.symbol,
                sequence=self._sequence,
                first_update_id=last_id + 1,
                update_id=self.update_id,
                bids=levels[0],
                asks=levels[1],
                checksum=book.checksum(),
            )
            frame = self._frames[last_id] = Frame(message)
        return frame

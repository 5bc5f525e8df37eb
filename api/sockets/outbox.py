"""What one socket still has to send, bounded, and how market data is conflated for slow readers.

Pure: no task, no socket, no clock of its own. The wire asks `buffers` what to write and says by
`wrote` how much of it the kernel took; everything not yet taken is pending.

Private messages (`send`) are never dropped: too many or too old, and `is_too_slow` tells the wire
to close with SLOW_CONSUMER. Market data (`publish`) beyond `conflate_bytes` is not queued: its
topic is marked behind, and once everything pending is written the topic states in one message what
was missed (`Topic.since`). While any topic is behind, every publish marks its topic behind too: so
what is pending runs dry, and topics catch up in the order in which they fell behind.

One message of market data may be larger than all that: the snapshot of a deep book. It does not
count for `bytes_max`, or the answer behind it would close a socket whose client reads as it should.

Memory: pending bytes never exceed `bytes_max` plus one message of each kind, whatever is published.
"""

from collections.abc import Callable
from typing import Final, Protocol

import msgspec

from api.sockets.codec import Codec, Frame

#: The last id of a topic of which nothing was sent yet.
NOTHING: Final = -1
#: Buffers in one system call (IOV_MAX).
_BUFFERS_MAX: Final = 1_024
#: Private messages queued within this time of each other share one entry in the book of ages.
_AGE_STEP_S: Final = 0.25


class OutboxLimits(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds of one outbox."""

    #: Pending beyond this, the next private message makes the consumer too slow.
    bytes_max: int = 1_048_576
    #: Of the oldest private message still pending.
    age_s_max: float = 5.0
    #: Pending beyond this, market data is conflated.
    conflate_bytes: int = 65_536


class Topic(Protocol):
    """One numbered stream of market data that can say in one message what was missed."""

    @property
    def update_id(self) -> int:
        """The id of the newest update."""
        ...

    def since(self, last_id: int) -> Frame | None:
        """One message that covers everything after `last_id` up to `update_id`.

        A snapshot, or an update from `last_id + 1` on. `last_id` is `NOTHING` (-1) for whoever has
        got nothing yet. None when nothing is to be said.
        """
        ...


class Outbox:
    """Pending frames of one socket. Every operation is O(1) but `buffers`, O(frames it returns)."""

    def __init__(
        self,
        codec: Codec,
        limits: OutboxLimits,
        now_s: Callable[[], float],
        on_pending: Callable[[], None],
    ) -> None:
        """`on_pending` is called when there is news for the writer; it may be called often."""
        self._codec = codec
        self._limits = limits
        self._now_s = now_s
        self._on_pending = on_pending
        self._queue: list[bytes | memoryview] = []
        self._written_end = 0
        self._queued_end = 0
        #: Ends of private data in the stream of bytes, and when the first of it was queued.
        self._ages: list[tuple[int, float]] = []
        #: The newest message of market data: its end in the stream of bytes, and its length.
        self._market_end = 0
        self._market_bytes = 0
        self._last_ids: dict[Topic, int] = {}
        self._behind: dict[Topic, int] = {}
        self._is_too_slow = False
        self._is_sealed = False
        self._conflated = 0

    @property
    def pending_bytes(self) -> int:
        """What is queued and not yet taken by the kernel."""
        return self._queued_end - self._written_end

    @property
    def written_bytes(self) -> int:
        """What the kernel has taken since the beginning."""
        return self._written_end

    @property
    def is_behind(self) -> bool:
        """Whether any topic still has to catch up."""
        return bool(self._behind)

    def send(self, message: object) -> None:
        """Queue a private message: never dropped or conflated, or the socket is closed."""
        if self._append_private(self._codec.framed(message)):
            self._note_age()

    def send_control(self, frame: bytes) -> None:
        """Queue a whole frame that is no message, a pong say: bounded, but of no age."""
        self._append_private(frame)

    def publish(self, topic: Topic, frame: Frame, update_id: int) -> None:
        """Queue an update of market data, or mark its topic behind.

        `frame` is the topic's update `update_id`. The first frame of a subscription (its snapshot)
        is published in the same way.
        """
        last_id = self._last_ids.get(topic, NOTHING)
        if self._is_sealed or update_id <= last_id:
            return
        if topic in self._behind:
            self._conflated += 1
            return
        if self._behind or self.pending_bytes > self._limits.conflate_bytes:
            self._behind[topic] = last_id
            self._conflated += 1
        else:
            self._last_ids[topic] = update_id
            self._append_market(frame.bytes_for(self._codec))
        self._on_pending()

    def forget(self, topic: Topic) -> None:
        """Nothing more of this topic; what is queued still goes out."""
        self._last_ids.pop(topic, None)
        self._behind.pop(topic, None)

    def seal(self) -> None:
        """Take nothing more; what is pending still goes out, topics no longer catch up."""
        self._is_sealed = True
        self._last_ids.clear()
        self._behind.clear()

    def is_too_slow(self, now_s: float) -> bool:
        """Whether private data could not be sent in time or space."""
        if self._ages and now_s - self._ages[0][1] > self._limits.age_s_max:
            self._is_too_slow = True
        return self._is_too_slow

    def buffers(self) -> list[bytes | memoryview]:
        """What to write next, in order; empty when nothing is pending."""
        if self._behind and not self._queue:
            self._catch_up()
        return self._queue if len(self._queue) <= _BUFFERS_MAX else self._queue[:_BUFFERS_MAX]

    def wrote(self, count: int) -> None:
        """The kernel took `count` bytes of what `buffers` returned."""
        self._written_end += count
        while self._ages and self._ages[0][0] <= self._written_end:
            del self._ages[0]
        if self._written_end == self._queued_end:
            self._queue = []
            return
        whole = 0
        for buffer in self._queue:
            if count < len(buffer):
                break
            count -= len(buffer)
            whole += 1
        del self._queue[:whole]
        if count:
            self._queue[0] = memoryview(self._queue[0])[count:]

    def take_conflated(self) -> int:
        """How many updates were left out, for a later message to cover, since last asked."""
        conflated, self._conflated = self._conflated, 0
        return conflated

    def take(self) -> bytes:
        """Everything to be written now, as one piece, as if the kernel took it at once."""
        taken = b"".join(self.buffers())
        self.wrote(len(taken))
        return taken

    def rest_of_frame(self) -> bytes:
        """What is missing of a frame that is half written; all else pending is dropped."""
        first = self._queue[0] if self._queue else b""
        rest = bytes(first) if isinstance(first, memoryview) else b""
        self._queue = []
        self._queued_end = self._written_end
        self._ages = []
        self.seal()
        return rest

    def _append_private(self, frame: bytes) -> bool:
        if self._is_too_slow or self._is_sealed:
            return False
        spared_bytes = self._market_bytes if self._written_end < self._market_end else 0
        self._is_too_slow = self.pending_bytes - spared_bytes > self._limits.bytes_max
        if not self._is_too_slow:
            self._append(frame)
        self._on_pending()
        return not self._is_too_slow

    def _append_market(self, frame: bytes) -> None:
        self._append(frame)
        self._market_end, self._market_bytes = self._queued_end, len(frame)

    def _append(self, frame: bytes) -> None:
        self._queue.append(frame)
        self._queued_end += len(frame)

    def _note_age(self) -> None:
        now_s = self._now_s()
        if self._ages and now_s - self._ages[-1][1] < _AGE_STEP_S:
            now_s = self._ages.pop()[1]
        self._ages.append((self._queued_end, now_s))

    def _catch_up(self) -> None:
        """Queue what topics that fell behind missed, oldest first; at least one of them."""
        while self._behind and self.pending_bytes <= self._limits.conflate_bytes:
            topic = next(iter(self._behind))
            last_id = self._behind.pop(topic)
            frame = topic.since(last_id)
            self._last_ids[topic] = topic.update_id
            if frame is not None:
                self._append_market(frame.bytes_for(self._codec))

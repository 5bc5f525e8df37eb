"""One client's view of one account: first what it missed or how things stand, then what happens.

Each event is sent once and in order. A watch begins at a released sequence and misses nothing after
it; what lies between the client's last event and that sequence is read from history, which is
waited for until it has come so far. When the engine begins another life the watch is broken, and
the same is done again from the last event that was sent, without the client's noticing.
"""

from collections import deque
from collections.abc import Iterator
from math import inf
from typing import Final

import trio

from api.problems import Problem
from api.rejected import Rejected, invalid
from api.sockets.codes import CloseCode
from api.sockets.stream_events import EventTexts, Number
from api.sockets.stream_messages import LAST_INDEX, Snapshot
from api.sockets.wire import Socket, SocketClosed
from engine.actors.watching import Watch
from engine.errors import EngineError
from engine.history.rows import EffectsRow
from engine.service import Service
from engine.units import AccountId

#: Of history, at a time.
ROWS_PER_READ_MAX: Final = 200
#: Waiting to be written before more is sent: what happens at once may be more than a client that
#: reads as it should is allowed to leave lying.
PENDING_BYTES_MAX: Final = 65_536
#: Between two attempts to go on in the engine's next life.
_PAUSE_S: Final = 0.05
_TOO_OLD: Final = Problem(
    410,
    "RESUME_TOO_OLD",
    "Events after this one are not kept any more: a snapshot follows, then what happens from it.",
    "after",
)


class TooOld(Exception):
    """History has forgotten what the client would have to be told first."""


class Subscription:
    """Begin with `subscribe` or `resume`, then `follow`; `flush` sends what has come so far."""

    def __init__(self, service: Service, socket: Socket, account_id: AccountId) -> None:
        self.account_id = account_id
        self._service = service
        self._socket = socket
        self._last: Number = (0, 0)
        self._watch: Watch | None = None
        #: What has come and is not sent yet, the first row of it perhaps in part.
        self._rows: deque[EffectsRow] = deque()
        self._texts: EventTexts
        #: Whether everything before the watch has been sent.
        self._is_live = False

    def subscribe(self) -> Iterator[Snapshot]:
        """Begin here and now; the snapshot's parts must be sent by `send_snapshot`."""
        self._begin()
        parts = self._texts.snapshot()
        self._last = (self._service.released.sequence, LAST_INDEX)
        return parts

    async def send_snapshot(self, parts: Iterator[Snapshot]) -> None:
        """Send a snapshot; what happens meanwhile waits. Waits for the client to take it."""
        for part in parts:
            self._socket.outbox.send(part)
            await self._socket.drained()
        self._is_live = True
        await self.flush()

    async def resume(self, after: Number) -> None:
        """See whether to go on behind an event of before; `follow` does. Waits for history.

        Raises: Rejected for an event that has not happened, TooOld, HistoryBehind, StorageError.
        """
        self._begin()
        if after[0] > self._since:
            raise invalid("after", "There is no such event yet: subscribe.")
        self._last = after = after if after[0] else (0, LAST_INDEX)
        await self._service.history_through(self._since)
        kept_after = await self._service.history.effects_kept_after()
        if kept_after >= after[0] + (after[1] == LAST_INDEX):
            raise TooOld

    async def _catch_up(self) -> None:
        """Send what was missed before the watch began. Waits for history and the client."""
        sequence, index = self._last
        after = sequence if index == LAST_INDEX else sequence - 1
        while True:
            rows = await self._service.history.effects(
                self.account_id, after, self._since, ROWS_PER_READ_MAX
            )
            self._rows.extend(rows)
            while not self._send_some(PENDING_BYTES_MAX):
                await self._socket.drained()
            if len(rows) < ROWS_PER_READ_MAX:
                break
            after = rows[-1].sequence
        self._is_live = True
        await self.flush()

    async def follow(self) -> None:
        """Send what is missing and what happens, across lives of the engine.

        Waits for ever, or until the client is too slow.
        """
        while self._watch is not None:
            if not self._is_live:
                await self._go_on()
            watch = self._watch  # ended below us, it is broken
            while not watch.is_broken:
                await watch.news()
                await self.flush()
            await self.flush()
            if watch.is_too_slow:
                self._socket.close(CloseCode.SLOW_CONSUMER, "read too slowly")
                return
            self._is_live = False

    async def flush(self) -> None:
        """Send what has happened so far. Waits for the client if that is a lot.

        Several tasks may do so at once; each event is still sent once and in order.
        """
        pending_bytes_max: float = PENDING_BYTES_MAX
        while self._is_live and self._watch is not None:
            if not self._rows:
                self._rows.extend(self._watch.take())
            if not self._rows:
                return
            if not self._send_some(pending_bytes_max):
                try:
                    await self._socket.drained()
                except SocketClosed:
                    pending_bytes_max = inf  # nobody waits any more: what there is goes with it

    def end(self) -> None:
        """Watch no more."""
        self._is_live = False
        self._rows.clear()
        if self._watch is not None:
            self._service.watching.unwatch(self._watch)
            self._watch = None

    @property
    def _since(self) -> int:
        return 0 if self._watch is None else self._watch.since

    def _begin(self) -> None:
        """Watch from here on, in the words of this life. Raises: Halted."""
        self.end()
        self._texts = EventTexts(self._service, self.account_id)
        self._watch = self._service.watching.watch(self.account_id)

    async def _go_on(self) -> None:
        """Go on behind the last event that was sent, once history and the engine let us."""
        while True:
            await self._service.watching.living()
            try:
                await self.resume(self._last)
                await self._catch_up()
            except TooOld:
                await self.send_snapshot(self.subscribe())
            except EngineError:
                await trio.sleep(_PAUSE_S)
                continue
            return

    def _send_some(self, pending_bytes_max: float) -> bool:
        """Send rows, or parts of them, while not too much is pending; whether all are sent."""
        outbox, rows = self._socket.outbox, self._rows
        while rows:
            for event in self._texts.events((rows[0],), self._last):
                if outbox.pending_bytes > pending_bytes_max:
                    return False
                outbox.send(event)
                self._last = event.number
            rows.popleft()
        return True


def too_old() -> Rejected:
    """What a client is told of `TooOld`."""
    return Rejected(_TOO_OLD)

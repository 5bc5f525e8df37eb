"""The journal actor: closes sequences without gaps, commits blocks, and only then releases.

It is the one station that waits. What arrives meanwhile forms the next block.
"""

from collections.abc import Callable
from typing import Any

import structlog
import trio

from engine.actors.actor import Actor, Vitals
from engine.actors.crash_points import CrashPoint, passing
from engine.actors.envelope import Envelope
from engine.actors.mailbox import Mailbox
from engine.errors import Fenced, StorageError
from engine.journal.blocks import Block, Fate, Head, fate, seal
from engine.journal.records import encode
from engine.ports import JournalStore

_log = structlog.get_logger("journal")
#: A block with more than one record is halved until it is below this; stores take far more.
BLOCK_BYTES_MAX = 16 * 1024 * 1024
RECONNECT_PAUSE_S_MIN = 0.05
RECONNECT_PAUSE_S_MAX = 0.5


class JournalActor(Actor[list[Envelope]]):
    """Turns decided envelopes into committed blocks, in sequence."""

    def __init__(
        self,
        mailbox: Mailbox[list[Envelope]],
        vitals: Vitals,
        *,
        store: JournalStore,
        head: Head,
        release: Callable[[list[Envelope]], Any],
        block_records_max: int,
    ) -> None:
        super().__init__(mailbox, vitals)
        self._store = store
        self._head = head
        self._release = release
        self._block_records_max = block_records_max
        self._decided: dict[int, Envelope] = {}
        #: Since when the store has not answered, in trio's time; None while all is well.
        self.outage_since_s: float | None = None

    @property
    def head(self) -> Head:
        """The newest block known to be committed."""
        return self._head

    async def receive(self, batch: list[list[Envelope]]) -> None:
        """Commit and release everything that is complete. Waits for the store."""
        decided = self._decided
        for message in batch:
            for envelope in message:
                decided[envelope.sequence] = envelope
        while self._head.sequence + 1 in decided:
            envelopes, payload = self._next_block()
            block = seal(self._head, envelopes[-1].sequence, payload)
            passing(CrashPoint.BLOCK_SEALED)
            await self._commit(block)
            passing(CrashPoint.SEEN_NOT_APPLIED)
            self._head = block.head
            self._release(envelopes)

    def _next_block(self) -> tuple[list[Envelope], bytes]:
        """The envelopes that follow the head without a gap, within the block's limits."""
        envelopes = self._contiguous()
        payload = _encoded(envelopes)
        while len(payload) > BLOCK_BYTES_MAX and len(envelopes) > 1:
            half = len(envelopes) // 2
            self._decided.update((e.sequence, e) for e in envelopes[half:])
            envelopes = envelopes[:half]
            payload = _encoded(envelopes)
        return envelopes, payload

    def _contiguous(self) -> list[Envelope]:
        decided, sequence = self._decided, self._head.sequence + 1
        envelopes: list[Envelope] = []
        while len(envelopes) < self._block_records_max:
            envelope = decided.pop(sequence, None)
            if envelope is None:
                break
            envelopes.append(envelope)
            sequence += 1
        return envelopes

    async def _commit(self, block: Block) -> None:
        """Append the sealed bytes until they are known to be committed. Waits out an outage.

        Raises: Fenced when another engine has taken the journal.
        """
        pause_s = 0.0
        while True:
            try:
                passing(CrashPoint.SENT_TO_JOURNAL)
                await self._store.append(block)
                passing(CrashPoint.COMMITTED_UNSEEN)
            except StorageError as error:
                _log.error("commit in doubt", block=block.number, error=str(error))
                if self.outage_since_s is None:
                    self.outage_since_s = trio.current_time()
                if await self._resolve(block):
                    break
                # A store may answer and yet take nothing: its disk is full, say.
                await trio.sleep(pause_s)
                pause_s = _longer(pause_s)
            else:
                break
        self.outage_since_s = None

    async def _resolve(self, block: Block) -> bool:
        """Ask the store what became of a block in doubt; whether it is committed."""
        head = await self._reopen()
        became = fate(block, head)
        _log.warning("commit resolved", block=block.number, fate=became.name)
        if became is Fate.FENCED:
            raise Fenced(f"the journal's head is block {head.number}, not ours")
        return became is Fate.COMMITTED

    async def _reopen(self) -> Head:
        """Reconnect until the store answers. Callers meanwhile run into their own deadlines."""
        pause_s = RECONNECT_PAUSE_S_MIN
        while True:
            try:
                return await self._store.open()
            except StorageError as error:
                _log.error("store unreachable", error=str(error), retry_in_s=pause_s)
                await trio.sleep(pause_s)
                pause_s = _longer(pause_s)


def _longer(pause_s: float) -> float:
    return min(RECONNECT_PAUSE_S_MAX, max(RECONNECT_PAUSE_S_MIN, pause_s * 2))


def _encoded(envelopes: list[Envelope]) -> bytes:
    return encode([e.record for e in envelopes])  # type: ignore[misc]

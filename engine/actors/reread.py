"""Released records once more, from the journal, for whoever was not there."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Final, TypeVar

import structlog
import trio

from engine.errors import InvariantViolated, StorageError
from engine.journal.records import Record, decode
from engine.ports import JournalStore

T = TypeVar("T")
_log = structlog.get_logger("reread")
BLOCKS_PER_READ_MAX: Final = 16
PAUSE_S_MIN: Final = 0.05
PAUSE_S_MAX: Final = 5.0


async def patiently(read: Callable[[], Awaitable[T]]) -> T:
    """Repeat what reads a store until the store answers. Waits out an outage."""
    pause_s = PAUSE_S_MIN
    while True:
        try:
            return await read()
        except StorageError as error:
            _log.warning("store unreachable", error=str(error), retry_in_s=pause_s)
        await trio.sleep(pause_s)
        pause_s = min(PAUSE_S_MAX, pause_s * 2)


async def records_between(
    store: JournalStore, after: int, through: int
) -> AsyncGenerator[Record, None]:
    """Committed records `after` < sequence <= `through`, in order. Waits for the store.

    Raises: InvariantViolated when the journal ends before.
    """
    if after >= through:
        return
    block = await patiently(lambda: store.read_block_of(after + 1))
    blocks = [] if block is None else [block]
    while blocks:
        for block in blocks:
            for record in decode(block.payload):
                if after < record.sequence <= through:
                    yield record
            await trio.lowlevel.checkpoint()
            if block.last_sequence >= through:
                return
        number = blocks[-1].number + 1
        blocks = await patiently(lambda n=number: store.read_blocks(n, BLOCKS_PER_READ_MAX))  # type: ignore[misc]
    raise InvariantViolated(f"the journal ends before record {through}, which was released")

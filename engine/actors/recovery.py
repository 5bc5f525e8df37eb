"""Rebuilding state from the journal: newest readable snapshot, then the tail of blocks."""

from collections.abc import AsyncIterator, Callable
from typing import Any, Final

import structlog
import trio

from engine.errors import JournalCorrupt
from engine.journal.blocks import GENESIS_DIGEST, Block, Head, check_follows
from engine.journal.records import decode, desk_of
from engine.journal.state import EngineState
from engine.ports import JournalStore
from engine.units import ACCOUNTS_DESK, DeskId

_log = structlog.get_logger("recovery")
BLOCKS_PER_READ_MAX: Final = 64


async def blocks_after(store: JournalStore, head: Head) -> AsyncIterator[Block]:
    """Committed blocks that follow `head`, each proven to continue the chain.

    Raises: JournalCorrupt at the first that does not.
    """
    while True:
        blocks = await store.read_blocks(head.number + 1, BLOCKS_PER_READ_MAX)
        if not blocks:
            return
        for block in blocks:
            check_follows(head, block)
            head = block.head
            yield block


async def recover(
    store: JournalStore, make_state: Callable[[], EngineState], through: Head
) -> EngineState:
    """The state at the journal's head. Waits for the store.

    Raises: JournalCorrupt if the chain is broken or does not lead to `through`.
    """
    state, head = await _from_snapshot(store, make_state)
    async for block in blocks_after(store, head):
        state.apply_all(decode(block.payload))
        head = block.head
        await trio.lowlevel.checkpoint()
    if (head.number, head.digest) != (through.number, through.digest):
        raise JournalCorrupt(f"blocks end at {head.number}, the head is {through.number}")
    return state


async def _from_snapshot(
    store: JournalStore, make_state: Callable[[], EngineState]
) -> tuple[EngineState, Head]:
    return make_state(), Head(0, 0, 0, GENESIS_DIGEST)


async def rebuild_machine(
    store: JournalStore, make_state: Callable[[], EngineState], desk_id: DeskId, through: int
) -> Any:
    """One desk's machine as the records through `through` leave it, the others untouched."""
    state, head = await _from_snapshot(store, make_state)
    async for block in blocks_after(store, head):
        for record in decode(block.payload):
            if record.sequence > through:
                break
            if desk_of(record.command) == desk_id:
                state.machine(desk_id).apply(record)
            elif desk_of(record.command) == ACCOUNTS_DESK:
                state.accounts.fold(record)
        await trio.lowlevel.checkpoint()
    return state.machine(desk_id)

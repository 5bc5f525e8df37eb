"""Rebuilding state from the journal: newest readable snapshot, then the tail of blocks."""

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from functools import partial
from typing import Any, Final

import structlog
import trio

from engine.errors import InvariantViolated, JournalCorrupt
from engine.journal.blocks import GENESIS_DIGEST, Block, Head, check_follows
from engine.journal.records import Record, decode, desk_of
from engine.journal.snapshots import flaw
from engine.journal.state import EngineState
from engine.ports import JournalStore
from engine.units import ACCOUNTS_DESK, DeskId

_log = structlog.get_logger("recovery")
BLOCKS_PER_READ_MAX: Final = 64
#: After so many folded records other tasks get a turn: some milliseconds.
RECORDS_PER_TURN_MAX: Final = 512

#: Told now and then through which sequence state has been folded.
Reached = Callable[[int], None]


async def blocks_after(store: JournalStore, head: Head) -> AsyncGenerator[Block, None]:
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
    store: JournalStore,
    make_state: Callable[[], EngineState],
    through: Head,
    reached: Reached | None = None,
) -> EngineState:
    """The state at the journal's head. Waits for the store; others get their turns meanwhile.

    Raises: JournalCorrupt if the chain is broken or does not lead to `through`.
    """
    state, head = await newest_state(store, make_state)
    async for block in blocks_after(store, head):
        await fold(state, block, reached)
        head = block.head
    if (head.number, head.digest) != (through.number, through.digest):
        raise JournalCorrupt(f"blocks end at {head.number}, the head is {through.number}")
    return state


async def fold(state: EngineState, block: Block, reached: Reached | None = None) -> None:
    """Fold one block that follows the state. Yields after a bounded number of records."""
    records = decode(block.payload)
    for start in range(0, len(records), RECORDS_PER_TURN_MAX):
        state.apply_all(records[start : start + RECORDS_PER_TURN_MAX])
        if reached is not None:
            reached(state.released.sequence)
        await trio.lowlevel.checkpoint()


async def newest_state(
    store: JournalStore, make_state: Callable[[], EngineState], through: int | None = None
) -> tuple[EngineState, Head]:
    """The state of the newest usable snapshot and its block's head, or a new state before all.

    With `through`, snapshots of later sequences are not considered.
    """
    return await _from_snapshot(store, make_state, through, EngineState.restore)


async def rebuild_machine(
    store: JournalStore, make_state: Callable[[], EngineState], desk_id: DeskId, through: int
) -> Any:
    """One desk's machine as the records through `through` leave it, the others untouched.

    Raises: InvariantViolated for a desk that does not exist, JournalCorrupt on a broken chain.
    """
    restore = partial(EngineState.restore_machine, desk_id=desk_id)
    state, head = await _from_snapshot(store, make_state, through, restore)
    async with aclosing(blocks_after(store, head)) as blocks:
        async for block in blocks:
            if block.first_sequence > through:
                break
            for record in decode(block.payload):
                if record.sequence <= through:
                    _fold_for(state, desk_id, record)
            await trio.lowlevel.checkpoint()
    machine = state.machine(desk_id)
    if machine is None:
        raise InvariantViolated(f"desk {desk_id} does not exist")
    return machine


def _fold_for(state: EngineState, desk_id: DeskId, record: Record) -> None:
    """Fold what one desk needs: its own records, and those that create instruments."""
    concerned = desk_of(record.command)
    if concerned == desk_id:
        state.machine(desk_id).apply(record)
    elif concerned == ACCOUNTS_DESK:
        state.accounts.fold(record)


async def _from_snapshot(
    store: JournalStore,
    make_state: Callable[[], EngineState],
    through: int | None,
    restore: Callable[[EngineState, bytes], None],
) -> tuple[EngineState, Head]:
    """What `restore` makes of the newest snapshot that can be used and is not beyond `through`."""
    for snapshot in await store.read_snapshots():
        if through is not None and snapshot.sequence > through:
            continue
        block = next(iter(await store.read_blocks(snapshot.block_number, 1)), None)
        reason = flaw(snapshot, block)
        if block is not None and not reason:
            state = make_state()
            try:
                restore(state, snapshot.payload)
            except JournalCorrupt as error:
                reason = str(error)
            else:
                return state, block.head
        _log.warning("snapshot skipped", block=snapshot.block_number, reason=reason)
    return make_state(), Head(0, 0, 0, GENESIS_DIGEST)

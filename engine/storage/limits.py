"""What a journal store takes and keeps at most, the same for every adapter."""

from typing import Final

import msgspec

from engine.errors import InvariantViolated
from engine.journal.blocks import Block


class StoreLimits(msgspec.Struct, frozen=True):
    """Bounds of one store; seconds are of real time."""

    lock_wait_s: float = 10.0  # for another engine to give up the journal
    connect_s: float = 10.0
    command_s: float = 30.0  # any one statement, the append included
    acquire_s: float = 10.0  # for a free reading connection
    read_connections_max: int = 2
    snapshots_kept_max: int = 3
    snapshot_bytes_max: int = 512 * 1024 * 1024
    block_bytes_max: int = 64 * 1024 * 1024


DEFAULT_LIMITS: Final = StoreLimits()


def refuse_unfit(block: Block, block_bytes_max: int) -> None:
    """Refuse a block that no store may keep; whoever seals blocks has a smaller limit of its own.

    Raises: InvariantViolated, and nothing was written.
    """
    if len(block.payload) > block_bytes_max:
        raise InvariantViolated(
            f"block {block.number} has {len(block.payload)} bytes, at most {block_bytes_max} fit"
        )
    if block.last_sequence < block.first_sequence:
        raise InvariantViolated(f"block {block.number} holds no sequence")

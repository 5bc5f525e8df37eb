"""Blocks: what one group commit writes, chained by digest so that no byte can change unseen.

Not here: what is inside a payload (`engine.journal.records`), where blocks are kept (the store).
"""

from enum import Enum, auto
from hashlib import blake2b
from typing import Final

import msgspec

from engine.errors import JournalCorrupt

DIGEST_BYTES: Final = 32
GENESIS_DIGEST: Final = bytes(DIGEST_BYTES)


class Head(msgspec.Struct, frozen=True):
    """The newest committed block, as far as fencing and chaining need to know it.

    The empty journal has number 0, sequence 0 and the genesis digest.
    """

    epoch: int
    number: int
    sequence: int
    digest: bytes


class Block(msgspec.Struct, frozen=True):
    """One group commit: the encoded records `first_sequence` to `last_sequence`, without gaps."""

    epoch: int
    number: int
    first_sequence: int
    last_sequence: int
    previous_digest: bytes
    digest: bytes
    payload: bytes

    @property
    def head(self) -> Head:
        """What the journal's head is once this block is committed."""
        return Head(self.epoch, self.number, self.last_sequence, self.digest)


def seal(head: Head, last_sequence: int, payload: bytes) -> Block:
    """The block that follows `head` with `payload`, in the head's epoch."""
    number, first = head.number + 1, head.sequence + 1
    digest = _digest(head.digest, head.epoch, number, first, last_sequence, payload)
    return Block(head.epoch, number, first, last_sequence, head.digest, digest, payload)


def check_follows(head: Head, block: Block) -> None:
    """Refuse a block that does not continue `head` exactly.

    Raises: JournalCorrupt naming the block and what is wrong with it.
    """
    if block.number != head.number + 1:
        raise JournalCorrupt(f"block {block.number} follows block {head.number}")
    if block.first_sequence != head.sequence + 1 or block.last_sequence < block.first_sequence:
        raise JournalCorrupt(f"block {block.number}: sequence gap after {head.sequence}")
    if block.epoch < head.epoch:
        raise JournalCorrupt(f"block {block.number}: epoch went back to {block.epoch}")
    if block.previous_digest != head.digest or block.digest != _digest(
        block.previous_digest,
        block.epoch,
        block.number,
        block.first_sequence,
        block.last_sequence,
        block.payload,
    ):
        raise JournalCorrupt(f"block {block.number}: digest does not match its bytes")


def _digest(
    previous: bytes, epoch: int, number: int, first: int, last: int, payload: bytes
) -> bytes:
    hasher = blake2b(previous, digest_size=DIGEST_BYTES)
    hasher.update(b"%d %d %d %d\n" % (epoch, number, first, last))
    hasher.update(payload)
    return hasher.digest()


class Fate(Enum):
    """What became of a block whose commit failed or was not answered."""

    COMMITTED = auto()  # the head is the block: release it
    ABSENT = auto()  # the head is its predecessor: append the same bytes again
    FENCED = auto()  # anything else: another engine has gone on without us


def fate(block: Block, head: Head) -> Fate:
    """Decide from the store's head what became of a block in doubt."""
    if head == block.head:
        return Fate.COMMITTED
    if (head.number, head.digest, head.epoch) == (
        block.number - 1,
        block.previous_digest,
        block.epoch,
    ):
        return Fate.ABSENT
    return Fate.FENCED

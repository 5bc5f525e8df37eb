"""Snapshots: a whole state in one payload, so that recovery folds only what came after it.

Here is how a payload is stored and trusted; what is inside it is `engine.journal.state`.
"""

from collections.abc import Collection
from hashlib import blake2b
from typing import Final

import msgspec

from engine.journal.blocks import DIGEST_BYTES, Block, Head
from engine.journal.records import RULES_VERSION

#: The first element of every payload. Raised when old payloads could not be read any more; fields
#: added at the end with a default do not need that.
FORMAT_VERSION: Final = 2  # 2: keys may be forgotten, which a reader of 1 would take for unused
#: A release reads its predecessor's snapshots.
READABLE_FORMATS: Final = frozenset((1, FORMAT_VERSION))


class Snapshot(msgspec.Struct, frozen=True):
    """State folded through one block.

    `digest` is the block's, so that a snapshot of another journal is never taken for ours.
    `rules_version` is that of the release that wrote it and restricts nobody: a fold decides
    nothing. Whether the payload can be read is told by its own format version.
    """

    block_number: int
    sequence: int
    digest: bytes
    rules_version: int
    payload: bytes
    payload_digest: bytes


class _Versioned(msgspec.Struct, frozen=True, array_like=True):
    """What every payload of every format begins with."""

    format_version: int


_format_decoder: Final = msgspec.msgpack.Decoder(_Versioned)


def take(head: Head, payload: bytes) -> Snapshot:
    """The snapshot of a state that was folded through `head`."""
    return Snapshot(
        head.number, head.sequence, head.digest, RULES_VERSION, payload, _digest(payload)
    )


def flaw(
    snapshot: Snapshot, block: Block | None, readable: Collection[int] = READABLE_FORMATS
) -> str:
    """Why a snapshot may not be used, or an empty string.

    `block` is the journal's block of that number, or None if it has none.
    """
    if block is None:
        return f"the journal has no block {snapshot.block_number}"
    if (block.number, block.last_sequence, block.digest) != (
        snapshot.block_number,
        snapshot.sequence,
        snapshot.digest,
    ):
        return f"it belongs to another journal: its block {snapshot.block_number} is not ours"
    if _digest(snapshot.payload) != snapshot.payload_digest:
        return "its bytes do not match their digest"
    try:
        version = _format_decoder.decode(snapshot.payload).format_version
    except msgspec.MsgspecError as error:
        return f"it cannot be read: {error}"
    return "" if version in readable else f"its format {version} is not known"


def _digest(payload: bytes) -> bytes:
    return blake2b(payload, digest_size=DIGEST_BYTES).digest()

"""A Bloom filter of idempotency keys: two bytes a key, and one wrong hit in some hundred misses.

Each key sets a few bits of one 64-bit word of a block (Putze, Sanders, Singler: "Cache-, Hash- and
Space-Efficient Bloom Filters", 2007). A full block is followed by one twice as large (Almeida et
al.: "Scalable Bloom Filters", 2007), so there are never many to look into.
"""

import sys
from hashlib import blake2b
from typing import Final

import msgspec

from engine.errors import InvariantViolated

_WORD_BITS: Final = 64
_WORD_BYTES: Final = 8
_KEYS_PER_WORD: Final = 4  # on average, in a full block
_BITS_PER_KEY: Final = 5
_MASK_BITS: Final = 12
#: A million keys, two megabytes.
FIRST_WORDS: Final = 1 << 18


def _mask(number: int) -> int:
    """The bits that a key sets: five different ones, by its hash."""
    bits: set[int] = set()
    digest = blake2b(b"mask %d" % number, digest_size=64).digest()
    for byte in digest:
        if len(bits) < _BITS_PER_KEY:
            bits.add(byte % _WORD_BITS)
    return sum(1 << bit for bit in bits)


_MASKS: Final = [_mask(number) for number in range(1 << _MASK_BITS)]
_NUMBER: Final = (1 << _MASK_BITS) - 1


class FilterBlock(msgspec.Struct, frozen=True, array_like=True):
    """One block as it is kept: how many keys are in it, and its words, least byte first."""

    count: int
    words: bytes


class KeyFilter:
    """Which keys were added, with wrong hits but never a wrong miss. Nothing is ever taken out.

    The same keys in the same order make the same filter, in any process.
    Complexity: `add` O(1); `has` O(blocks), and blocks are O(log keys).
    """

    def __init__(self, first_words: int = FIRST_WORDS) -> None:
        """`first_words`, of the first block, is a power of two."""
        self._next_words = first_words
        #: Each block's words, and the number of the last one, which is all ones in binary.
        self._blocks: list[tuple[memoryview, int]] = []
        self._counts: list[int] = []

    def __len__(self) -> int:
        """How many keys were added."""
        return sum(self._counts)

    def has(self, scope: int, key: str) -> bool:
        """Whether a key was perhaps added; if not, it certainly never was."""
        digest = blake2b(b"%d:%b" % (scope, key.encode()), digest_size=8).digest()
        number = int.from_bytes(digest, "little")
        mask = _MASKS[number & _NUMBER]
        number >>= _MASK_BITS
        for words, last in self._blocks:  # noqa: SIM110 - a generator costs half as much again
            if words[number & last] & mask == mask:
                return True
        return False

    def add(self, scope: int, key: str) -> None:
        """Remember a key."""
        if not self._blocks or self._counts[-1] >= (self._blocks[-1][1] + 1) * _KEYS_PER_WORD:
            # Fresh memory of this size is handed out untouched, so even a large block costs little.
            self._open(memoryview(bytearray(self._next_words * _WORD_BYTES)).cast("Q"), 0)
        digest = blake2b(b"%d:%b" % (scope, key.encode()), digest_size=8).digest()
        number = int.from_bytes(digest, "little")
        words, last = self._blocks[-1]
        words[number >> _MASK_BITS & last] |= _MASKS[number & _NUMBER]
        self._counts[-1] += 1

    def snapshot(self) -> list[FilterBlock]:
        """Every block, the oldest first."""
        return [
            FilterBlock(count, _least_first(words.tobytes()))
            for (words, _), count in zip(self._blocks, self._counts, strict=True)
        ]

    @classmethod
    def restore(cls, blocks: list[FilterBlock], first_words: int = FIRST_WORDS) -> "KeyFilter":
        """The filter that gave this snapshot. Raises: InvariantViolated."""
        restored = cls(first_words)
        for block in blocks:
            words = len(block.words) // _WORD_BYTES
            if not words or words & (words - 1) or len(block.words) % _WORD_BYTES:
                raise InvariantViolated(f"a block of {len(block.words)} bytes filters no keys")
            restored._open(memoryview(bytearray(_least_first(block.words))).cast("Q"), block.count)
        return restored

    def _open(self, words: memoryview, count: int) -> None:
        self._blocks.append((words, len(words) - 1))
        self._counts.append(count)
        self._next_words = 2 * len(words)


def _least_first(words: bytes) -> bytes:
    """Words of this machine with their least byte first, or such words as this machine's."""
    if sys.byteorder == "little":
        return words
    return b"".join(words[at : at + _WORD_BYTES][::-1] for at in range(0, len(words), _WORD_BYTES))

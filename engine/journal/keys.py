"""Permanent idempotency keys: which sequence answered a key, and with which body it came."""

from typing import Final, NamedTuple

KEY_CHARACTERS_MAX: Final = 64
_DIGEST_BITS: Final = 64
_DIGEST_MASK: Final = 2**_DIGEST_BITS - 1


class Answered(NamedTuple):
    """What is known of a used key."""

    sequence: int
    body_digest: int


class KeyIndex:
    """Every key ever answered, exact, per scope (an account, or an admin's key).

    Sequence and digest share one integer, which keeps a key below 200 bytes.
    """

    def __init__(self) -> None:
        self._scopes: dict[int, dict[str, int]] = {}

    def __len__(self) -> int:
        return sum(len(keys) for keys in self._scopes.values())

    def add(self, scope: int, key: str, sequence: int, body_digest: int) -> None:
        """Remember that `sequence` answers `key`."""
        keys = self._scopes.get(scope)
        if keys is None:
            keys = self._scopes[scope] = {}
        keys[key] = sequence << _DIGEST_BITS | body_digest

    def get(self, scope: int, key: str) -> Answered | None:
        """Who answered a key, or None if it was never used."""
        packed = self._scopes.get(scope, _NO_KEYS).get(key)
        if packed is None:
            return None
        return Answered(packed >> _DIGEST_BITS, packed & _DIGEST_MASK)

    def snapshot(self) -> dict[int, dict[str, bytes]]:
        """Every key with its packed answer, sixteen bytes each."""
        return {
            scope: {key: packed.to_bytes(16, "big") for key, packed in keys.items()}
            for scope, keys in self._scopes.items()
        }

    @classmethod
    def restore(cls, snapshot: dict[int, dict[str, bytes]]) -> "KeyIndex":
        """The index that gave this snapshot."""
        index = cls()
        index._scopes = {
            scope: {key: int.from_bytes(packed, "big") for key, packed in keys.items()}
            for scope, keys in snapshot.items()
        }
        return index


_NO_KEYS: dict[str, int] = {}

"""Permanent idempotency keys: which sequence answered a key, and with which body it came."""

from collections import deque
from collections.abc import Callable
from operator import itemgetter
from typing import Final, NamedTuple

import msgspec

from engine.journal.key_filter import FilterBlock, KeyFilter

KEY_CHARACTERS_MAX: Final = 64
_DIGEST_BITS: Final = 64
_DIGEST_MASK: Final = 2**_DIGEST_BITS - 1


class Answered(NamedTuple):
    """What is known of a used key."""

    sequence: int
    body_digest: int


class KeyForgotten(Exception):
    """Whether a key was used is not known here: what was asked of the history does not say it."""


class Recalled(NamedTuple):
    """What the history, having come `through`, says of some keys of one scope; None: never used."""

    through: int
    answered: dict[str, Answered | None]


NOTHING_RECALLED: Final = Recalled(0, {})


class ForgottenKeys(msgspec.Struct, frozen=True, array_like=True):
    """What a snapshot keeps of keys that are not exact any more; all answered by `through`."""

    through: int = 0
    blocks: list[FilterBlock] = []


class _ScopeKeys(dict[str, int]):
    """The exact keys of one scope, oldest first."""

    __slots__ = ("scope",)

    def __init__(self, scope: int) -> None:
        super().__init__()
        self.scope = scope


class KeyIndex:
    """Keys ever answered, per scope (an account, or an admin's key): the newest of them exact.

    `add`, `get`. What `forget` took out of memory only a filter still knows: `answer` then wants to
    be told what the history says. Nothing is forgotten unless somebody calls that.
    Sequence and digest share one integer, which keeps an exact key below 250 bytes.
    """

    def __init__(self) -> None:
        self._scopes: dict[int, _ScopeKeys] = {}
        # Every exact key by age, in two queues that move together: half the memory of pairs.
        self._ages_scopes: deque[_ScopeKeys] = deque()
        self._ages_keys: deque[str] = deque()
        self._filter = KeyFilter()
        #: Keys answered by later records are all exact; 0: nothing was forgotten.
        self.forgotten_through = 0

    def __len__(self) -> int:
        """How many keys are exact."""
        return len(self._ages_keys)

    def __repr__(self) -> str:
        return f"<KeyIndex: {len(self)} keys exact, {len(self._filter)} forgotten>"

    @property
    def forgotten_count(self) -> int:
        """How many keys only the filter knows."""
        return len(self._filter)

    def add(self, scope: int, key: str, sequence: int, body_digest: int) -> None:
        """Remember that `sequence` answers `key`, which was never used."""
        keys = self._scopes.get(scope)
        if keys is None:
            keys = self._scopes[scope] = _ScopeKeys(scope)
        keys[key] = sequence << _DIGEST_BITS | body_digest
        self._ages_scopes.append(keys)
        self._ages_keys.append(key)

    def get(self, scope: int, key: str) -> Answered | None:
        """Who answered a key, or None if it was never used, or was forgotten."""
        packed = self._scopes.get(scope, _NO_KEYS).get(key)
        if packed is None:
            return None
        return Answered(packed >> _DIGEST_BITS, packed & _DIGEST_MASK)

    def is_perhaps_forgotten(self, scope: int, key: str) -> bool:
        """Whether a key that is not exact was perhaps used; if not, it certainly never was."""
        return self.forgotten_through > 0 and self._filter.has(scope, key)

    def answer(
        self, scope: int, key: str, recalled: Recalled = NOTHING_RECALLED
    ) -> Answered | None:
        """Who answered a key, or None if it was never used: certain either way.

        Raises: KeyForgotten when only the history can tell, and `recalled` does not: it lacks the
        key, or it is of a time when the history had not come as far as we have forgotten since.
        """
        packed = self._scopes.get(scope, _NO_KEYS).get(key)
        if packed is not None:
            return Answered(packed >> _DIGEST_BITS, packed & _DIGEST_MASK)
        if not self.forgotten_through or not self._filter.has(scope, key):
            return None
        if key not in recalled.answered or recalled.through < self.forgotten_through:
            raise KeyForgotten(key)
        return recalled.answered[key]

    def forget(
        self, through: int, exact_max: int, keys_max: int, is_needed: Callable[[int], bool]
    ) -> int:
        """Leave the oldest keys beyond `exact_max` to the filter; how many were looked at.

        None that was answered after `through`, and none whose sequence `is_needed`: it stays exact
        as if it were new. Complexity: O(`keys_max`), about 3 µs a key.
        """
        keys_max = min(keys_max, len(self._ages_keys))
        for looked_at in range(keys_max):
            keys, key = self._ages_scopes[0], self._ages_keys[0]
            sequence = keys[key] >> _DIGEST_BITS
            if len(self._ages_keys) <= exact_max or sequence > through:
                return looked_at
            self._ages_scopes.popleft()
            self._ages_keys.popleft()
            if is_needed(sequence):
                self._ages_scopes.append(keys)
                self._ages_keys.append(key)
                continue
            self._filter.add(keys.scope, key)
            self.forgotten_through = max(self.forgotten_through, sequence)
            del keys[key]
            if not keys:
                del self._scopes[keys.scope]
        return keys_max

    def contradiction(self, whole: "KeyIndex") -> str:
        """How this contradicts an index of the same records that forgot nothing; "" if it does not.

        Complexity: O(keys).
        """
        found, expected = len(self) + self.forgotten_count, len(whole)
        if found != expected:
            return f"{found} keys, exact and forgotten, where {expected} were used"
        for scope, keys in whole._scopes.items():
            mine = self._scopes.get(scope, _NO_KEYS)
            for key, packed in keys.items():
                exact = mine.get(key)
                if exact == packed:
                    continue
                known = packed >> _DIGEST_BITS <= self.forgotten_through
                if exact is not None or not known or not self._filter.has(scope, key):
                    return f"the key {key} of {scope} is not that of {packed >> _DIGEST_BITS}"
        return ""

    def snapshot(self) -> dict[int, dict[str, bytes]]:
        """Every exact key with its packed answer, sixteen bytes each."""
        return {
            scope: {key: packed.to_bytes(16, "big") for key, packed in keys.items()}
            for scope, keys in self._scopes.items()
        }

    def snapshot_of_forgotten(self) -> ForgottenKeys:
        """What is known of the others, two bytes each."""
        return ForgottenKeys(self.forgotten_through, self._filter.snapshot())

    @classmethod
    def restore(
        cls, exact: dict[int, dict[str, bytes]], forgotten: ForgottenKeys | None = None
    ) -> "KeyIndex":
        """The index that gave these snapshots. Raises: InvariantViolated."""
        index = cls()
        ages: list[tuple[int, _ScopeKeys, str]] = []
        for scope, packed_keys in exact.items():
            keys = index._scopes[scope] = _ScopeKeys(scope)
            for key, packed in packed_keys.items():
                keys[key] = number = int.from_bytes(packed, "big")
                ages.append((number, keys, key))
        ages.sort(key=itemgetter(0))
        index._ages_scopes.extend(keys for _, keys, _ in ages)
        index._ages_keys.extend(key for *_, key in ages)
        if forgotten is not None:
            index.forgotten_through = forgotten.through
            index._filter = KeyFilter.restore(forgotten.blocks)
        return index


_NO_KEYS: dict[str, int] = {}

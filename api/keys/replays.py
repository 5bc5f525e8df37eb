"""Which signed requests were seen already, for as long as they could count again. Pure.

A request is known by its key and its signature. It is forgotten right after the last moment at
which it is fresh: later, its age alone refuses it.
"""

from enum import Enum
from heapq import heappop, heappush

#: Enough of a signature to know it again; nobody finds another one that begins alike.
_MARK_BYTES = 16


class Sighting(Enum):
    """What the guard says of a request."""

    NEW = 0  # remembered from here on
    REPLAYED = 1  # seen before
    FULL = 2  # too much to remember already; nothing was remembered


class ReplayGuard:
    """Remembers at most `per_key_max` requests of one key and `requests_max` of all.

    Complexity: O(log requests) to see one; each is forgotten once.
    """

    def __init__(self, per_key_max: int, requests_max: int) -> None:
        self._per_key_max = per_key_max
        self._requests_max = requests_max
        self._seen: dict[int, set[bytes]] = {}
        self._endings: list[tuple[int, int, bytes]] = []

    def __len__(self) -> int:
        return len(self._endings)

    def __repr__(self) -> str:
        return f"<ReplayGuard: {len(self)} requests of {len(self._seen)} keys>"

    def see(self, key_id: int, signature: bytes, not_after_ns: int, now_ns: int) -> Sighting:
        """Look at a verified, fresh request, and remember it until `not_after_ns` has passed."""
        self._forget_before(now_ns)
        mark = signature[:_MARK_BYTES]
        marks = self._seen.get(key_id)
        if marks is None:
            marks = set()
        elif mark in marks:
            return Sighting.REPLAYED
        if len(marks) >= self._per_key_max or len(self._endings) >= self._requests_max:
            return Sighting.FULL
        marks.add(mark)
        self._seen[key_id] = marks
        heappush(self._endings, (not_after_ns, key_id, mark))
        return Sighting.NEW

    def _forget_before(self, now_ns: int) -> None:
        endings, seen = self._endings, self._seen
        while endings and endings[0][0] < now_ns:
            _, key_id, mark = heappop(endings)
            marks = seen[key_id]
            marks.discard(mark)
            if not marks:
                del seen[key_id]

"""One instrument's book, kept from the feed by the documented rule. Pure.

The rule: a `depth_snapshot` replaces the book; a `depth` counts only if it begins where the last
one ended; whatever else comes means that something was missed, and the book is asked for anew.
"""

from collections.abc import Iterable, Mapping
from decimal import Decimal
from itertools import islice
from typing import Any
from zlib import crc32

from sortedcontainers import SortedDict

from api.client.errors import OutOfStep as OutOfStep

#: So many of the best levels of each side go into the checksum.
CHECKSUM_LEVELS = 10

#: Price and quantity, the decimal text that was sent.
Level = tuple[str, str]


class Book:
    """Price levels as the server tells them. Feed: `apply`. Read: `bids`, `asks`, `best`.

    It is empty and not ready until the first snapshot, and again whenever it is out of step.
    """

    def __init__(self, instrument: str) -> None:
        self.instrument = instrument
        self.update_id = 0
        self.sequence = 0
        self.is_ready = False
        self._bids, self._asks = _Side(is_bids=True), _Side(is_bids=False)

    @property
    def bids(self) -> list[Level]:
        """Price and quantity of each bid, best first."""
        return self._bids.best()

    @property
    def asks(self) -> list[Level]:
        """Price and quantity of each offer, best first."""
        return self._asks.best()

    @property
    def best(self) -> tuple[Level | None, Level | None]:
        """The best bid and the best offer."""
        bids, asks = self._bids.best(1), self._asks.best(1)
        return bids[0] if bids else None, asks[0] if asks else None

    def apply(self, message: Mapping[str, Any]) -> None:
        """Take in a `depth_snapshot` or `depth` message of this instrument.

        Raises: OutOfStep; the book is then empty and not ready until the next snapshot.
        """
        if message["type"] == "depth_snapshot":
            self.clear()
            self.is_ready = True
        elif not self.is_ready:
            return  # from before the snapshot that is on its way
        elif message["first_update_id"] != self.update_id + 1:
            raise self._lost(f"update {message['first_update_id']} came after {self.update_id}")
        self._bids.set(message["bids"])
        self._asks.set(message["asks"])
        self.update_id = message["update_id"]
        self.sequence = message["sequence"]
        if self.checksum != message["checksum"]:
            raise self._lost(f"the checksum of update {self.update_id} differs")

    def clear(self) -> None:
        """Forget all levels: nothing is known until the next snapshot."""
        self.is_ready = False
        self._bids.clear()
        self._asks.clear()

    @property
    def checksum(self) -> int:
        """CRC-32 over the best levels of both sides, as the server computes it."""
        best = self._bids.best(CHECKSUM_LEVELS) + self._asks.best(CHECKSUM_LEVELS)
        return crc32("|".join([f"{price}:{quantity}" for price, quantity in best]).encode())

    def _lost(self, why: str) -> OutOfStep:
        self.clear()
        return OutOfStep(f"{self.instrument}: {why}")


class _Side:
    """Levels of one side, best first. To set one costs the logarithm of how many there are."""

    def __init__(self, *, is_bids: bool) -> None:
        self._is_bids = is_bids
        self._levels: SortedDict[Decimal, Level] = SortedDict()

    def best(self, levels_max: int | None = None) -> list[Level]:
        """The best so many."""
        return list(islice(self._levels.values(), levels_max))

    def set(self, levels: Iterable[Level]) -> None:
        """Give levels their new quantities; with "0" they are gone."""
        for price, quantity in levels:
            key = Decimal(price)
            if self._is_bids:
                key = -key
            if Decimal(quantity):
                self._levels[key] = (price, quantity)
            else:
                self._levels.pop(key, None)

    def clear(self) -> None:
        """Without levels."""
        self._levels.clear()

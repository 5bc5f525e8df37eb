"""A book as the feed's subscribers have it: levels as text, best first, and their checksum."""

from collections.abc import Iterable
from itertools import islice
from typing import Final
from zlib import crc32

from sortedcontainers import SortedDict

from api.decimals import InstrumentText
from engine.units import PriceTicks, QuantityLots, Side

#: So many levels of each side count for the checksum.
CHECKSUM_LEVELS: Final = 10

#: A side, and a place in it that sorts the best price first.
Place = tuple[int, int]
LevelText = tuple[str, str]


class PublishedBook:
    """Levels of one instrument. Complexity: O(log levels) per change, O(1) to check.

    >>> from engine.orderbook.instrument import Instrument
    >>> from engine.ledger.amounts import Asset, AssetKind
    >>> asset = Asset(1, "A", AssetKind.COIN, 0)
    >>> text = InstrumentText(Instrument(1, "A-A", 1, 1, 1, 1, "0.5", "1"), asset, asset)
    >>> book = PublishedBook(text, [(Side.BUY, 20, 3), (Side.BUY, 21, 4), (Side.SELL, 22, 1)])
    >>> book.levels()
    ([('10.5', '4'), ('10.0', '3')], [('11.0', '1')])
    >>> book.checksum() == crc32(b"10.5:4|10.0:3|11.0:1")
    True
    """

    __slots__ = ("_sides", "_text")

    def __init__(
        self, text: InstrumentText, levels: Iterable[tuple[Side, PriceTicks, QuantityLots]] = ()
    ) -> None:
        self._text = text
        self._sides: tuple[SortedDict[int, LevelText], SortedDict[int, LevelText]] = (
            SortedDict(),
            SortedDict(),
        )
        for level in levels:
            self.change(*level)

    def __len__(self) -> int:
        return len(self._sides[0]) + len(self._sides[1])

    def change(self, side: Side, price_ticks: PriceTicks, lots: QuantityLots) -> Place:
        """Give a level another quantity, or take it away at zero; returns where it is."""
        place = -price_ticks if side == Side.BUY else price_ticks
        if lots:
            text = self._text
            self._sides[side][place] = (text.price(price_ticks), text.quantity(lots))
        else:
            self._sides[side].pop(place, None)
        return side, place

    def level(self, place: Place) -> LevelText:
        """The level at a place as it is now, with quantity "0" if there is none."""
        side, at = place
        level: LevelText | None = self._sides[side].get(at)
        if level is None:
            return self._text.price(abs(at)), "0"
        return level

    def levels(self) -> tuple[list[LevelText], list[LevelText]]:
        """Every bid and every ask, best first."""
        bids, asks = self._sides
        return list(bids.values()), list(asks.values())

    def checksum(self) -> int:
        """CRC-32 of the best levels, each `price:quantity`, bids first, joined by `|`."""
        best = (
            f"{level[0]}:{level[1]}"
            for side in self._sides
            for level in map(side.__getitem__, islice(side, CHECKSUM_LEVELS))
        )
        return crc32("|".join(best).encode())

"""What read models add up to, counted once in their tables and once in the journal.

Neither count uses the code that makes the rows, so that a fault there is found.
"""

from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from engine.journal.blocks import Block
from engine.journal.records import Record
from engine.journal.verify import Check, Contradiction
from engine.ledger.ledger import Ledger
from engine.messages import Refused
from engine.orderbook.messages import PlaceOrder, Trade
from engine.products.exchange.messages import PlaceConditional

_PLACES: Final = frozenset((PlaceOrder, PlaceConditional))
_DIFFERENCES_MAX: Final = 10


class Figures(msgspec.Struct):
    """Totals as of the end of one block; amounts per asset, balances per account and asset.

    A balance is what is owned, and how much of it is held; nothing of both is as good as none.
    """

    block_number: int = 0
    sequence: int = 0
    trades: int = 0
    traded_lots: int = 0
    entries: int = 0
    amounts_minor: dict[int, int] = {}
    orders: int = 0
    keys: int = 0
    balances: dict[tuple[int, int], tuple[int, int]] = {}

    def add(self, records: Sequence[Record]) -> None:
        """Count what records state; balances are the ledger's to tell."""
        for record in records:
            self.sequence = record.sequence
            self.keys += bool(record.key)
            self.orders += type(record.command) in _PLACES and not _is_refused(record)
            self.entries += len(record.entries)
            for entry in record.entries:
                known = self.amounts_minor.get(entry.asset_id, 0)
                self.amounts_minor[entry.asset_id] = known + entry.amount_minor
            for event in record.events:
                if type(event) is Trade:
                    self.trades += 1
                    self.traded_lots += event.quantity_lots


def _is_refused(record: Record) -> bool:
    return type(record.events[-1]) is Refused


class HistoryProof:
    """Compares the figures of read models with the journal: give it every block in order."""

    def __init__(self, found: Figures) -> None:
        self.contradictions: list[Contradiction] = []
        self._found = found
        self._counted = Figures()
        self.is_done = found.block_number == 0

    def take(self, block: Block, records: Sequence[Record], ledger: Ledger) -> None:
        """Count one block; at the one where the read models stand, compare.

        `ledger` is the state right after it.
        """
        if self.is_done:
            return
        self._counted.block_number = block.number
        self._counted.add(records)
        if block.number == self._found.block_number:
            self._counted.balances = balances_of(ledger)
            self.is_done = True
            self._compare()

    def finish(self) -> None:
        """Note if the read models go further than the journal."""
        if not self.is_done:
            self._note("a block", f"read models through block {self._found.block_number}")

    def _compare(self) -> None:
        for name in self._found.__struct_fields__:
            expected, found = getattr(self._counted, name), getattr(self._found, name)
            if isinstance(expected, dict):
                for key, one, other in _differences(expected, found):
                    self._note(f"{name} of {key}: {one}", str(other))
            elif expected != found:
                self._note(f"{name}: {expected}", str(found))

    def _note(self, expected: str, found: str) -> None:
        number, sequence = self._found.block_number, self._found.sequence
        self.contradictions.append(Contradiction(Check.HISTORY, number, sequence, expected, found))


def balances_of(ledger: Ledger) -> dict[tuple[int, int], tuple[int, int]]:
    """Every balance that is not nothing. O(balances)."""
    rows = ledger.snapshot().balances
    found = (ledger.balance(row.account_id, row.asset_id) for row in rows)
    return {
        (one.account_id, one.asset_id): (one.posted_minor, one.held_minor)
        for one in found
        if one is not None and (one.posted_minor or one.held_minor)
    }


def _differences(
    expected: "dict[object, object]", found: "dict[object, object]"
) -> Iterator[tuple[object, object, object]]:
    """The first few keys whose values differ; a missing one counts as nothing."""
    noted = 0
    for key in [*expected, *(key for key in found if key not in expected)]:
        one, other = expected.get(key), found.get(key)
        if one != other and noted < _DIFFERENCES_MAX:
            noted += 1
            yield key, one, other

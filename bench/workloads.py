"""Order flow to measure with: seeded, and kept in a file format of 16 bytes per operation.

One record is `<BBHIiI`: kind (0 place, 1 cancel, 2 replace), side (0 buy, 1 sell), padding, order
id, price in ticks, quantity in lots. A place is a limit order whose remainder rests; a replace is
a cancel and a place under the same id. Trades on a tape are `<IIiI`: maker, taker, price, lots.
"""

from collections.abc import Iterable, Sequence
from hashlib import sha256
from pathlib import Path
from random import Random
from struct import Struct
from typing import Final

from bench.textbook import TextbookBook
from engine.orderbook.book import CANCEL, PLACE, REPLACE, Operation

RECORD: Final = Struct("<BBxxIiI")
TRADE: Final = Struct("<IIiI")
MIDDLE_TICKS: Final = 10_000
LEVELS: Final = 100


def read(path: Path) -> list[Operation]:
    """The operations of a workload file."""
    return list(RECORD.iter_unpack(path.read_bytes()))


def write(path: Path, operations: Iterable[Operation]) -> None:
    """Keep operations as a workload file."""
    path.write_bytes(b"".join(RECORD.pack(*operation) for operation in operations))


def tape_sha256(trades: Sequence[int]) -> str:
    """Digest of a flat tape: maker, taker, price, quantity, and so on."""
    hasher = sha256()
    for at in range(0, len(trades), 4):
        hasher.update(TRADE.pack(*trades[at : at + 4]))
    return hasher.hexdigest()


def book_sha256(orders: Iterable[tuple[int, int, int, int]]) -> str:
    """Digest of what rests: (side, id, price, quantity), bids then asks, in priority order."""
    hasher = sha256()
    for side, order_id, price, quantity in orders:
        hasher.update(RECORD.pack(PLACE, side, order_id, price, quantity))
    return hasher.hexdigest()


def resting(count: int, seed: int) -> list[Operation]:
    """`count` orders that rest without trading, spread evenly over the levels of both sides."""
    random = Random(seed)
    return [_passive(order_id, random) for order_id in range(1, count + 1)]


def mixed(count: int, seed: int, resting_count: int) -> list[Operation]:
    """`count` operations to follow `resting(resting_count, seed)`, which keep its size.

    One in seven trades at the touch, the others rest, cancel or replace wherever in the book and
    however old the order, so that no place in it stays cold.
    """
    random, book, live = Random(seed + 1), TextbookBook(), _Live()
    for operation in resting(resting_count, seed):
        _follow(operation, book, live)
    operations = []
    for order_id in range(resting_count + 1, resting_count + count + 1):
        chance = random.random()
        if chance < 1 / 7:
            operation = _taking(order_id, random)
        elif len(live) < resting_count:
            operation = _passive(order_id, random)
        else:
            operation = _changing(live.draw(random), random, book)
        operations.append(operation)
        _follow(operation, book, live)
    return operations


class _Live:
    """Ids that rest: added, dropped and drawn at random in constant time."""

    def __init__(self) -> None:
        self._ids: list[int] = []
        self._place_of: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self._ids)

    def add(self, order_id: int) -> None:
        self._place_of[order_id] = len(self._ids)
        self._ids.append(order_id)

    def drop(self, order_id: int) -> None:
        place, last = self._place_of.pop(order_id), self._ids.pop()
        if last != order_id:
            self._ids[place] = last
            self._place_of[last] = place

    def draw(self, random: Random) -> int:
        return self._ids[int(random.random() * len(self._ids))]


def _passive(order_id: int, random: Random) -> Operation:
    side = int(random.random() * 2)
    return PLACE, side, order_id, _passive_price(side, random), 1 + int(random.random() * 100)


def _passive_price(side: int, random: Random) -> int:
    distance = 1 + int(random.random() * LEVELS)
    return MIDDLE_TICKS + distance if side else MIDDLE_TICKS - distance


def _taking(order_id: int, random: Random) -> Operation:
    side = int(random.random() * 2)
    price = MIDDLE_TICKS - LEVELS if side else MIDDLE_TICKS + LEVELS
    return PLACE, side, order_id, price, 1 + int(random.random() * 100)


def _changing(order_id: int, random: Random, book: TextbookBook) -> Operation:
    side, price, quantity = book.standing(order_id)
    if random.random() < 0.95:
        return CANCEL, side, order_id, price, quantity
    return REPLACE, side, order_id, _passive_price(side, random), quantity


def _follow(operation: Operation, book: TextbookBook, live: _Live) -> None:
    """Let the generator's own book and list of live orders see an operation."""
    kind, side, order_id, price, quantity = operation
    if kind == CANCEL:
        book.cancel(order_id)
        live.drop(order_id)
        return
    act = book.replace if kind == REPLACE else book.place
    for trade in act(side, order_id, price, quantity):
        if trade.maker_id not in book:
            live.drop(trade.maker_id)
    if kind == PLACE and order_id in book:
        live.add(order_id)

"""Digests of a book: the public definition, and numbers too wide for it."""

from hashlib import sha256
from struct import pack

from engine.orderbook.matching import OrderBook
from engine.orderbook.snapshot import RestingOrder, digest
from engine.units import AccountId, PriceTicks, QuantityLots, Side
from tests.orderbook.tables import INSTRUMENT, check, order_id


def test_a_digest_covers_side_id_price_and_open_quantity_in_priority_order() -> None:
    book = check("""
        place b1 buy 5 @ 99    -> rested b1 5 @ 99
        place b2 buy 6 @ 100   -> rested b2 6 @ 100
        place s1 sell 7 @ 101  -> rested s1 7 @ 101
        place b3 buy 2 @ 101   -> trade s1/b3 2 @ 101
    """)
    rows = [(0, 2, 100, 6), (0, 1, 99, 5), (1, 3, 101, 5)]
    packed = b"".join(pack("<BBHIiI", 0, side, 0, *numbers) for side, *numbers in rows)
    assert book.digest() == sha256(packed).hexdigest()


def test_an_empty_book_has_the_digest_of_nothing() -> None:
    assert OrderBook(INSTRUMENT).digest() == sha256().hexdigest()


def test_numbers_beyond_32_bits_change_the_digest() -> None:
    digests = {
        digest([RestingOrder(order_id(number), AccountId(1), Side.SELL, price, lots, lots)])
        for number, price, lots in (
            (1, PriceTicks(1), QuantityLots(1)),
            (1 + 2**32, PriceTicks(1), QuantityLots(1)),
            (1, PriceTicks(1 + 2**32), QuantityLots(1)),
            (1, PriceTicks(1), QuantityLots(1 + 2**32)),
        )
    }
    assert len(digests) == 4

"""The batch entry of the inner book: the textbook's answers, full checking, sound handles."""

from random import Random

import pytest

from bench.match import tape_of
from bench.textbook import TextbookBook
from bench.workloads import mixed, resting
from engine.orderbook.book import CANCEL, PLACE, REPLACE, Book, Operation
from engine.units import INT64_MAX


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_a_batch_trades_and_ends_like_the_textbook(seed: int) -> None:
    operations = [*resting(300, seed), *mixed(4_000, seed, 300)]
    book, trades, textbook = Book(), list[int](), TextbookBook()
    assert book.run(operations, trades) == []
    assert trades == tape_of(textbook.run(operations))
    assert [
        (side, book.order_id_of[handle], abs(book.key_of[handle]), book.remaining_of[handle])
        for side in (0, 1)
        for handle in book.handles(side)
    ] == list(textbook.resting())
    book.check_invariants()


@pytest.mark.parametrize(
    "operation",
    [
        (PLACE, 0, 1, 90, 5),  # duplicate id
        (PLACE, 2, 2, 90, 5),
        (PLACE, -1, 2, 90, 5),
        (PLACE, 0, 2, 0, 5),
        (PLACE, 0, 2, -90, 5),
        (PLACE, 0, 2, INT64_MAX + 1, 5),
        (PLACE, 0, 2, 90, 0),
        (PLACE, 0, 2, 90, INT64_MAX + 1),
        (CANCEL, 0, 2, 90, 5),  # unknown id
        (REPLACE, 0, 2, 90, 5),  # unknown id
        (REPLACE, 1, 1, 90, 5),  # the other side
        (REPLACE, 0, 1, 0, 5),
        (REPLACE, 0, 1, 90, 0),
        (3, 0, 1, 90, 5),
        (-1, 0, 2, 90, 5),
    ],
    ids=str,
)
def test_an_invalid_operation_is_refused_and_changes_nothing(operation: Operation) -> None:
    book, trades = Book(), list[int]()
    book.run([(PLACE, 0, 1, 100, 5)], trades)
    assert book.run([operation], trades) == [operation]
    assert trades == []
    assert book.handle_of.keys() == {1}
    assert book.depth(0, 9) == [(100, 5)]
    book.check_invariants()


def test_a_reused_handle_never_brings_its_former_order_back() -> None:
    random, book, former = Random(3), Book(), list[int]()
    for order_id in range(1, 3_000):
        book.run([(PLACE, 0, order_id, random.randint(1, 5), 1)], [])
        former.append(order_id)
        if len(former) > 10:
            gone = former.pop(random.randrange(len(former)))
            assert book.run([(CANCEL, 0, gone, 1, 1)], []) == []
            assert book.run([(CANCEL, 0, gone, 1, 1)], []) != []
            assert {book.order_id_of[handle] for handle in book.handles(0)} == set(former)
    assert len(book.prev_of) < 100  # 11 orders, 5 levels: freed handles are used again


def test_checking_finds_a_damaged_book() -> None:
    damages = ["prev_of", "next_of", "key_of", "remaining_of", "order_id_of"]
    for column in damages:
        book = Book()
        book.run([(PLACE, 0, 1, 100, 5), (PLACE, 0, 2, 100, 5), (PLACE, 1, 3, 101, 5)], [])
        book.check_invariants()
        getattr(book, column)[book.handle_of[2]] = 0
        with pytest.raises((AssertionError, KeyError)):
            book.check_invariants()

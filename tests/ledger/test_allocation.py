"""Splitting without losing or inventing a minor unit."""

from fractions import Fraction
from itertools import accumulate, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import InvariantViolated
from engine.ledger.allocation import allocate, cumulative_part

totals = st.integers(0, 10**12)
weights = st.lists(st.integers(0, 10**9), min_size=1, max_size=8).filter(any)


@pytest.mark.parametrize(
    ("total", "shares", "parts"),
    [
        (100, [1, 1, 1], [34, 33, 33]),  # ties go to the lower index
        (5, [7, 3], [4, 1]),  # 3.5 and 1.5: a tie again
        (10, [1, 2, 4], [1, 3, 6]),  # 1.43, 2.86, 5.71
        (1, [1, 1, 1], [1, 0, 0]),
        (0, [0, 0], [0, 0]),
        (7, [0, 5, 0], [0, 7, 0]),
        (0, [], []),
    ],
)
def test_the_largest_remainders_get_what_rounding_down_left(
    total: int, shares: list[int], parts: list[int]
) -> None:
    assert allocate(total, shares) == parts


@given(total=totals, shares=weights)
def test_parts_are_exact_together_and_within_one_unit_alone(total: int, shares: list[int]) -> None:
    parts = allocate(total, shares)
    assert sum(parts) == total
    for part, share in zip(parts, shares, strict=True):
        assert abs(part - Fraction(total * share, sum(shares))) < 1
        assert part == 0 or share > 0


@given(total=totals, shares=weights.filter(lambda shares: len(set(shares)) == len(shares)))
def test_the_order_of_unequal_weights_does_not_matter_beyond_ties(
    total: int, shares: list[int]
) -> None:
    forward, backward = allocate(total, shares), allocate(total, shares[::-1])[::-1]
    for one, other, share in zip(forward, backward, shares, strict=True):
        whole = sum(shares)
        tied = [s for s in shares if total * s % whole == total * share % whole]
        assert one == other or len(tied) > 1


@pytest.mark.parametrize(("total", "shares"), [(-1, [1]), (1, [2, -1]), (1, [0, 0]), (1, [])])
def test_what_cannot_be_split_is_a_contradiction(total: int, shares: list[int]) -> None:
    with pytest.raises(InvariantViolated, match="cannot split"):
        allocate(total, shares)


@given(total=totals, shares=weights)
def test_steps_through_the_whole_add_up_to_the_total(total: int, shares: list[int]) -> None:
    done = list(accumulate(shares, initial=0))
    parts = [cumulative_part(total, done[-1], before, after) for before, after in pairwise(done)]
    assert sum(parts) == total
    for part, share in zip(parts, shares, strict=True):
        assert abs(part - Fraction(total * share, done[-1])) < 1
        assert part == 0 or share > 0


def test_steps_of_a_cancelled_order_give_back_no_more_than_the_fee() -> None:
    # fee 7 for 100 lots, 30 filled, then 70 cancelled in two steps
    assert [cumulative_part(7, 100, *step) for step in ((0, 30), (30, 31), (31, 100))] == [2, 0, 5]


@pytest.mark.parametrize(
    ("total", "whole", "before", "after"),
    [(-1, 3, 0, 1), (1, 0, 0, 0), (1, 3, -1, 1), (1, 3, 2, 1), (1, 3, 0, 4)],
)
def test_a_step_outside_the_whole_is_a_contradiction(
    total: int, whole: int, before: int, after: int
) -> None:
    with pytest.raises(InvariantViolated, match="no step"):
        cumulative_part(total, whole, before, after)

"""How a whole is split into parts that add up to it again.

`allocate` splits at once, `cumulative_part` one step after another without knowing what follows.
Both give every share rounded to within one unit of what is exact, and lose nothing.
"""

from collections.abc import Sequence

from engine.errors import InvariantViolated


def allocate(total_minor: int, weights: Sequence[int]) -> list[int]:
    """Split `total_minor` by `weights`: round down, then the largest remainders get one more.

    Invariants: the parts add up to the total, each is within one unit of its exact share, ties go
    to the lower index, a weight of zero gets zero.
    Complexity: O(n log n) in the number of weights.
    Raises: InvariantViolated on a negative total or weight, or a total that nobody shares.
    Source: the largest remainder method (Hamilton).

    >>> allocate(100, [1, 1, 1])
    [34, 33, 33]
    """
    whole = sum(weights)
    if total_minor < 0 or min(weights, default=0) < 0 or (total_minor and not whole):
        raise InvariantViolated(f"cannot split {total_minor} by {list(weights)}")
    if not whole:
        return [0] * len(weights)
    parts = [total_minor * weight // whole for weight in weights]
    by_remainder = sorted(
        range(len(weights)), key=lambda index: -(total_minor * weights[index] % whole)
    )
    for index in by_remainder[: total_minor - sum(parts)]:
        parts[index] += 1
    return parts


def cumulative_part(total_minor: int, whole: int, before: int, after: int) -> int:
    """What the step from `before` to `after` of `whole` gets of `total_minor`.

    Steps that follow each other from 0 to `whole` get the total exactly, however many they are and
    whatever their sizes; no residue is kept anywhere.
    Raises: InvariantViolated unless 0 <= before <= after <= whole, whole > 0 and the total is not
    negative.

    >>> [cumulative_part(10, 3, done, done + 1) for done in range(3)]
    [3, 3, 4]
    """
    if total_minor < 0 or whole <= 0 or not 0 <= before <= after <= whole:
        raise InvariantViolated(f"no step from {before} to {after} of {whole} in {total_minor}")
    return total_minor * after // whole - total_minor * before // whole

"""Records to fold: whole markets, made once and never changed."""

from random import Random
from typing import Any

import pytest

from engine.journal.records import Record
from tests.journal.flow import journal_of, records_of
from tests.products.line import Line
from tests.products.traffic import Traffic, take

_STEPS = 600


@pytest.fixture(scope="session", params=["engine", "engine-again", "desk", "desk-with-rebates"])
def records(request: pytest.FixtureRequest) -> list[Record]:
    """Everything that a market did: a whole engine that fell and rose, or one busy desk."""
    match request.param:
        case "engine":
            return records_of(journal_of(seed=4))
        case "engine-again":
            return records_of(journal_of(seed=11))
        case "desk":
            return desk_records(seed=1)
        case _:
            return desk_records(seed=2, maker_ppm=-3_000, taker_ppm=10_000)


def desk_records(seed: int, **terms: Any) -> list[Record]:
    """Dense traffic on one instrument, every kind of order in it."""
    line, traffic = Line(**terms), Traffic(Random(seed))
    for _ in range(_STEPS):
        take(line, traffic.step())
    line.settle()
    return line.records

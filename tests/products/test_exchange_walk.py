"""Random traffic through the line: books close, holds fit, folds equal, views agree."""

from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.accounts.messages import SetFees, SetTier
from engine.products.exchange import desk, settling
from tests.products.line import CAT, HERE, Line
from tests.products.traffic import Step, Traffic, take

PLENTY = (3_000, 60_000)
SCARCE = (120, 5_000)
RATES = ((0, 0), (1_300, 2_700), (-200_000, 333_333))


@st.composite
def walks(draw: st.DrawFn) -> list[Step]:
    """Steps from Hypothesis' own random source, so that failures shrink."""
    traffic = Traffic(draw(st.randoms(use_true_random=False)))
    return [traffic.step() for _ in range(draw(st.integers(1, 30)))]


def walk(line: Line, steps: list[Step]) -> None:
    """Take every step and prove after each that nothing is out of place."""
    for step in steps:
        take(line, step)
        line.check()
    line.check_at_rest()


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let wide work need several records for a handful of orders."""
    for module in (desk, settling):
        monkeypatch.setattr(module, "ORDERS_PER_RECORD_MAX", 3)


@pytest.mark.slow
@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("seed", range(12))
def test_books_close_and_holds_fit_in_dense_traffic(seed: int) -> None:
    random = Random(seed)
    maker_ppm, taker_ppm = RATES[seed % 3]
    line = Line(
        funds=SCARCE if seed % 4 == 3 else PLENTY,
        maker_ppm=maker_ppm,
        taker_ppm=taker_ppm,
        makers_touched_max=random.choice((3, 1_000)),
    )
    line.submit(SetFees("vip", HERE, 0, 0))
    line.submit(SetTier(CAT, "vip"))
    traffic = Traffic(random)
    walk(line, [traffic.step() for _ in range(250)])


@pytest.mark.slow
@pytest.mark.usefixtures("small_chunks")
@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(walks(), st.sampled_from(RATES), st.sampled_from((PLENTY, SCARCE)))
def test_books_close_and_holds_fit_whatever_traders_do(
    steps: list[Step], rates: tuple[int, int], funds: tuple[int, int]
) -> None:
    walk(Line(funds=funds, maker_ppm=rates[0], taker_ppm=rates[1]), steps)

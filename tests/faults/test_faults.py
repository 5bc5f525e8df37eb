"""Slow, many, rude and greedy clients at a small size: the others hardly notice.

`python -m tests.faults.run` does the same at full size and prints its figures. Bounds of time are
wide here, for machines that have other things to do.
"""

import itertools
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.faults.rows import ROWS
from tests.faults.site import site

pytestmark = [pytest.mark.slow, pytest.mark.database]

_MIB_MORE_MAX = 32


@pytest.fixture
def folder() -> Iterator[Path]:
    """A new folder that PostgreSQL's user can enter."""
    with tempfile.TemporaryDirectory(prefix="outcry-faults-", ignore_cleanup_errors=True) as name:
        Path(name).chmod(0o711)
        yield Path(name)


async def figures_of(name: str, folder: Path) -> dict[str, Any]:
    """What a row came to at its small size."""
    row = ROWS[name]
    async with site(folder, **row.small_limits) as place:
        figures = await row.act(place, **row.small)
        assert not place.failures(), place.failures()[:3]
    return figures


def is_hardly_slower(before_ms: float, after_ms: float) -> bool:
    """Whether that is no more than a busy machine does by itself."""
    return after_ms <= max(3 * before_ms, before_ms + 250)


async def test_slow_readers_are_cut_off_nobody_else_notices_and_resuming_tells_all(
    folder: Path,
) -> None:
    seen = await figures_of("F20", folder)
    assert seen["closed_with"] == {4008: seen["bad"]}
    assert seen["good_closed"] == 0
    assert seen["private_closed_with"] == 4008
    assert seen["private_events_resumed"] > 0
    assert seen["private_exact"]
    assert is_hardly_slower(*seen["delivery_p99_ms"]), seen
    assert max(seen["resident_mib"]) - seen["resident_mib"][0] < _MIB_MORE_MAX
    assert seen["failures"] == 0


async def test_a_crowd_is_served_and_whoever_is_too_many_is_told_so(folder: Path) -> None:
    seen = await figures_of("F21", folder)
    assert seen["refused_with"] == {429: 1, 503: 1}
    assert seen["still_open"] == seen["idle"] + seen["busy"]
    assert seen["kib_per_idle_socket"] <= 50
    assert seen["let_in_per_second"] >= 300
    first_kib, second_kib = seen["resident_mib"][2:]
    assert second_kib - first_kib < _MIB_MORE_MAX / 2
    assert seen["failures"] == 0


async def test_trading_goes_on_in_a_storm_of_connections(folder: Path) -> None:
    seen = await figures_of("F22", folder)
    alone_ms, stormy_ms, _ = seen["order_p99_ms"]
    assert is_hardly_slower(alone_ms, stormy_ms), seen
    assert seen["storm"]["answered 429"] > 0
    assert seen["storm"]["closed by the server"] > 0
    assert seen["failures"] == 0


async def test_nonsense_is_refused_and_changes_nothing(folder: Path) -> None:
    seen = await figures_of("F23", folder)
    assert seen["failures"] == []
    assert seen["inputs"] >= ROWS["F23"].small["inputs"]
    assert seen["state_is_the_same"]
    assert seen["resident_mib"][-1] - seen["resident_mib"][0] < _MIB_MORE_MAX
    assert len(set(itertools.chain(*(name.split()[1:] for name in seen["became"])))) >= 8


async def test_overload_is_shed_while_cancels_and_the_kill_switch_pass(folder: Path) -> None:
    seen = await figures_of("F25", folder)
    assert seen["goodput_share_of_processor_time"] >= 0.6, seen
    assert seen["cancels"].keys() == {200}
    assert seen["halt_answered_ms"] > 0
    assert seen["accepted_behind_the_halt"] == 0
    assert seen["codes_while_halted"]["TRADING_HALTED"] > 0
    assert seen["recovered_s"] < 2.5, seen
    assert seen["failures"] == 0

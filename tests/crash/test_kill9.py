"""The server is killed at the worst moments, and everything that it ever said still holds."""

from pathlib import Path

import pytest

from engine.actors.crash_points import CrashPoint
from tests.crash.campaign import ENGINE_POINTS, HISTORY_POINTS, PROJECTOR_POINTS, Campaign
from tests.crash.oracles import verify

pytestmark = [pytest.mark.slow, pytest.mark.database]

SEED = 20_261


async def run_through(folder: Path, seed: int, ways: list[str]) -> None:
    """Kill a server in each of these ways, then look at everything."""
    campaign = Campaign(folder, seed)
    try:
        await campaign.open()
        await campaign.kill_at_random(0.5)
        for way in ways:
            await campaign.die(way)
        await campaign.restart()
        await campaign.audit()
        verified = verify(campaign.server.environ())
        exit_code = await campaign.server.stop()
    finally:
        await campaign.server.kill(database_too=True)
    assert not campaign.checker.contradictions, (seed, campaign.checker.contradictions)
    assert not campaign.unreached, seed
    assert verified.returncode == 0, (seed, verified.stdout)
    assert exit_code == 0, campaign.server.last_words()


def test_every_named_crash_point_is_tried() -> None:
    tried = {*ENGINE_POINTS, *PROJECTOR_POINTS, *HISTORY_POINTS}
    assert {point.value for point in CrashPoint} == tried


async def test_nothing_acknowledged_is_lost_or_doubled_at_any_crash_point(folder: Path) -> None:
    await run_through(folder, SEED, [*ENGINE_POINTS, *PROJECTOR_POINTS])


async def test_nothing_acknowledged_is_lost_or_doubled_at_random_moments_or_in_recovery(
    folder: Path,
) -> None:
    ways = ["random", "power", "recovery", "random", "power", "random"]
    await run_through(folder, SEED + 1, ways)

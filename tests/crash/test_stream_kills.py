"""Stream clients over kills of the server: nothing is told twice, out of order, or not at all."""

from pathlib import Path
from typing import Any

import pytest

from tests.crash.campaign import Campaign

pytestmark = [pytest.mark.slow, pytest.mark.database]

SEED = 20_263
WAYS = ("P6", "power", "recovery")


async def test_streams_and_books_agree_with_the_journal_over_kills(folder: Path) -> None:
    campaign = Campaign(folder, SEED, bots=6, streams=True)
    try:
        await campaign.open()
        async with campaign.watching():
            await campaign.kill_at_random(1.0)
            for way in WAYS:
                await campaign.die(way)
            await campaign.restart()
            await campaign.audit(200)
        exit_code = await campaign.server.stop()
    finally:
        await campaign.server.kill(database_too=True)
    assert not campaign.checker.contradictions, (SEED, campaign.checker.contradictions)
    assert not campaign.unreached, SEED
    assert exit_code == 0, campaign.server.last_words()
    told: dict[str, Any] = campaign.report()
    assert min(told[name] for name in ("stream_fills", "feed_trades", "sentinel_orders")) > 0
    assert told["resume_too_old"] == told["snapshots_later"] == 0

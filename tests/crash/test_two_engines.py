"""Two engines on one journal: the second waits or is refused, and a zombie commits nothing."""

import signal
from pathlib import Path

import pytest
import trio

from engine.storage.bridge import AsyncioThread
from engine.storage.embedded import EmbeddedPostgres
from tests.crash.campaign import Campaign
from tests.crash.process import EndedAtOnce, ServerProcess
from tests.crash.sql import ask

pytestmark = [pytest.mark.slow, pytest.mark.database]

SEED = 27_182
#: What an operator, or a dead host's keepalive, does to the sessions of an engine.
END_SESSIONS = (
    "SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity"
    " WHERE application_name LIKE 'outcry-journal-%'"
)
LAST_EPOCH = "SELECT epoch FROM journal_block ORDER BY number DESC LIMIT 1"


async def test_a_second_engine_on_the_same_folder_is_refused(folder: Path) -> None:
    first, second = ServerProcess(folder), ServerProcess(folder)
    try:
        await first.start()
        with pytest.raises(EndedAtOnce, match="is in use by another engine") as ended:
            await second.start()
        assert ended.value.code == 1
        assert await first.health() == 200
        assert await first.stop() == 0
    finally:
        await second.kill()
        await first.kill(database_too=True)


async def test_a_second_engine_on_the_same_database_waits_and_is_refused_or_takes_over(
    folder: Path, database: EmbeddedPostgres
) -> None:
    wait = {"OUTCRY__DATABASE__LOCK_WAIT_S": "2"}
    first = ServerProcess(folder, url=database.dsn())
    second = ServerProcess(folder, url=database.dsn(), environ=wait)
    try:
        await first.start()
        with pytest.raises(EndedAtOnce, match="another engine holds the journal") as ended:
            await second.start()
        assert ended.value.code == 1
        assert await first.health() == 200
        second.spawn()
        await trio.sleep(1)
        assert await first.stop() == 0
        await second.ready()
        assert await second.stop() == 0
    finally:
        await first.kill()
        await second.kill()


async def test_a_frozen_engine_that_wakes_after_a_takeover_commits_nothing_and_ends(
    folder: Path, database: EmbeddedPostgres, bridge: AsyncioThread
) -> None:
    quick = {"OUTCRY__DATABASE__LOCK_WAIT_S": "1"}
    campaign = Campaign(folder, SEED, url=database.dsn(), environ=quick)
    zombie = campaign.server
    heir = ServerProcess(folder, url=database.dsn())
    try:
        await campaign.open()
        async with campaign.loaded():
            await trio.sleep(0.5)
            zombie.signal(signal.SIGSTOP)
            await ask(bridge, database.dsn(), END_SESSIONS)
            await heir.start()
            campaign.move_to(heir)
            await campaign.check_recent()  # the heir now commits
            epoch = await ask(bridge, database.dsn(), LAST_EPOCH)
            woken_s = trio.current_time()
            zombie.signal(signal.SIGCONT)
            assert await zombie.ended() == 1
            print(f"the zombie ended {trio.current_time() - woken_s:.2f} s after it woke")
        assert "Fenced" in zombie.last_words()
        assert await ask(bridge, database.dsn(), LAST_EPOCH) == epoch
        await campaign.check_recent()
        await campaign.audit()  # a block of the old epoch behind the new one would break the chain
        assert not campaign.checker.contradictions, campaign.checker.contradictions
        assert await heir.stop() == 0
    finally:
        await zombie.kill()
        await heir.kill()

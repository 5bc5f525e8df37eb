"""The database is stopped, killed, frozen, cut off: the engine waits it out and never guesses."""

import os
import signal
from pathlib import Path
from random import Random

import pytest
import trio

from engine.storage.embedded import EmbeddedPostgres
from tests.crash.campaign import Campaign
from tests.crash.process import ServerProcess
from tests.storage.test_postgres_store import Wire

pytestmark = [pytest.mark.slow, pytest.mark.database]

SEED = 31_415
#: Few slots and little patience, so that an outage shows in a second.
IMPATIENT = {"OUTCRY__ENGINE__EDGE_DEADLINE_S": "0.5", "OUTCRY__ENGINE__ORDER_SLOTS_MAX": "24"}
PATIENT_S = 30.0


async def until_health(server: ServerProcess, status: int) -> float:
    """Wait until a probe sees `status`; when that was."""
    with trio.fail_after(PATIENT_S):
        while await server.health() != status:
            assert server.is_running, server.last_words()
            await trio.sleep(0.01)
    return trio.current_time()


def database_processes(server: ServerProcess) -> list[int]:
    """The postmaster and its children."""
    postmaster = server.postmaster()
    assert postmaster is not None
    children = Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text()
    return [postmaster, *map(int, children.split())]


async def finish(campaign: Campaign) -> None:
    """Ask about everything again, and look at books and journal."""
    await campaign.audit()
    assert not campaign.checker.contradictions, campaign.checker.contradictions
    assert await campaign.server.stop() == 0


@pytest.mark.parametrize("how", ["SIGINT", "SIGQUIT", "SIGKILL"])
async def test_a_database_that_ends_under_load_is_brought_back_and_nobody_is_told_wrong(
    folder: Path, how: str
) -> None:
    campaign = Campaign(folder, SEED, environ=IMPATIENT)
    server = campaign.server
    try:
        await campaign.open()
        async with campaign.loaded():
            await trio.sleep(0.5)
            for _ in range(2):
                postmaster = server.postmaster()
                assert postmaster is not None
                began_s = trio.current_time()
                os.kill(postmaster, signal.Signals[how])
                await until_health(server, 503)
                back_s = await until_health(server, 200)
                print(f"{how}: answering again {back_s - began_s:.2f} s after the signal")
                assert back_s - began_s < 10
                await trio.sleep(0.5)
        assert server.lives == 1
        await finish(campaign)
    finally:
        await server.kill(database_too=True)


async def test_a_frozen_database_makes_callers_unknown_then_overloaded_then_all_is_well(
    folder: Path,
) -> None:
    campaign = Campaign(folder, SEED + 1, environ=IMPATIENT)
    server, history = campaign.server, campaign.history
    try:
        await campaign.open()
        async with campaign.loaded():
            await trio.sleep(0.5)
            frozen = database_processes(server)
            for number in frozen:
                os.kill(number, signal.SIGSTOP)
            with trio.fail_after(PATIENT_S):
                while not (history.faults["OVERLOADED"] and history.faults["OUTCOME_UNKNOWN"]):  # noqa: ASYNC110
                    await trio.sleep(0.02)
            thawed_s = trio.current_time()
            for number in frozen:
                os.kill(number, signal.SIGCONT)
            with trio.fail_after(PATIENT_S):
                while history.definite_at_s < thawed_s:  # noqa: ASYNC110
                    await trio.sleep(0.005)
            print(f"answering {history.definite_at_s - thawed_s:.3f} s after the thaw")
            await trio.sleep(0.5)
        assert set(history.faults) <= {"OVERLOADED", "OUTCOME_UNKNOWN", "STORAGE_UNAVAILABLE"}
        assert history.counts()["UNKNOWN"]
        await finish(campaign)
    finally:
        await server.kill(database_too=True)


async def test_connections_cut_before_and_after_commit_are_resolved_by_looking(
    folder: Path, database: EmbeddedPostgres, nursery: trio.Nursery
) -> None:
    wire, random = Wire(folder / "wire", database.dsn()), Random(SEED)
    await nursery.start(wire.serve)
    campaign = Campaign(folder, SEED + 2, url=wire.through(database.dsn()))
    server = campaign.server
    try:
        await campaign.open()
        async with campaign.loaded():
            for _ in range(40):
                direction = random.choice(("request", "answer"))
                wire.cut(direction, random.choice((0, 1, 5, 20, 100, 400, 1_500)))
                await trio.sleep(random.uniform(0.05, 0.3))
        await until_health(server, 200)
        fates = [line["fate"] for line in server.log_lines() if "fate" in line]
        print(f"{len(fates)} commits in doubt, {fates.count('COMMITTED')} were committed")
        assert set(fates) == {"COMMITTED", "ABSENT"}
        assert server.lives == 1
        await finish(campaign)
    finally:
        await server.kill()

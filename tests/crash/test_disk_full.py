"""The disk below the journal fills up: clear answers, no damage, and recovery by itself."""

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from tests.crash.campaign import Campaign

pytestmark = [pytest.mark.slow, pytest.mark.database]

SEED = 14_142
#: A cluster with its first segments of log takes about a quarter of this.
DISK = "256m"
OUTAGE_S = 8.0
IMPATIENT = {"OUTCRY__ENGINE__EDGE_DEADLINE_S": "0.5", "OUTCRY__ENGINE__ORDER_SLOTS_MAX": "24"}


@pytest.fixture
def small_disk(folder: Path) -> Iterator[Path]:
    """A file system of its own, for which one must be allowed to mount."""
    disk = folder / "disk"
    disk.mkdir(mode=0o711)
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK},mode=0711", "tmpfs", str(disk)]
    try:
        mounted = subprocess.run(command, capture_output=True, check=False)
    except FileNotFoundError:
        pytest.skip("there is no mount here")
    if mounted.returncode:
        pytest.skip(f"mounting is not permitted: {mounted.stderr.decode().strip()}")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


def fill(path: Path) -> None:
    """Take every byte that is left."""
    with path.open("ab", buffering=0) as file:
        for size in (1 << 20, 1 << 12):
            try:
                while True:
                    os.posix_fallocate(file.fileno(), file.seek(0, os.SEEK_END), size)
            except OSError:
                continue


@pytest.mark.parametrize("database_dies", [False, True], ids=["alone", "and the database dies"])
async def test_a_full_disk_is_an_outage_that_ends_when_there_is_room_again(
    small_disk: Path, database_dies: bool
) -> None:
    campaign = Campaign(small_disk, SEED, environ=IMPATIENT)
    server, history = campaign.server, campaign.history
    filler = small_disk / "filler"
    try:
        await campaign.open()
        async with campaign.loaded():
            await trio.sleep(0.5)
            fill(filler)
            with trio.fail_after(60):
                while await server.health() == 200:
                    fill(filler)
                    await trio.sleep(0.1)
            full_s = trio.current_time()
            if database_dies:
                os.kill(server.postmaster() or 0, signal.SIGKILL)
            with trio.move_on_after(OUTAGE_S):
                while True:
                    fill(filler)
                    assert await server.health() == 503, server.last_words()
                    await trio.sleep(0.2)
            unanswered_s = trio.current_time() - history.definite_at_s
            filler.unlink()
            freed_s = trio.current_time()
            await server.ready()
            back_s = trio.current_time()
            await trio.sleep(0.5)
        print(f"full for {freed_s - full_s:.1f} s, answering {back_s - freed_s:.1f} s after room")
        assert unanswered_s > OUTAGE_S / 2
        assert history.definite_at_s > back_s
        assert server.lives == 1
        assert set(history.faults) <= {"OVERLOADED", "OUTCOME_UNKNOWN", "STORAGE_UNAVAILABLE"}
        await campaign.audit()
        assert not campaign.checker.contradictions, campaign.checker.contradictions
        assert await server.stop() == 0
    finally:
        await server.kill(database_too=True)

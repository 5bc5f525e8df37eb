"""Stored bytes that changed: verification and start both refuse, and name the block."""

from pathlib import Path
from random import Random

import pytest
import trio

from engine.storage.bridge import AsyncioThread
from engine.storage.embedded import EmbeddedPostgres
from tests.crash.oracles import verify
from tests.crash.process import EndedAtOnce, ServerProcess
from tests.crash.sql import ask
from tests.crash.venue import found

pytestmark = [pytest.mark.slow, pytest.mark.database]

SEED = 16_180
FLIPS = 3
FLIP = """
    UPDATE journal_block SET payload = set_byte(payload, $2, get_byte(payload, $2) # (1 << $3))
    WHERE number = $1
"""
FLIP_SNAPSHOTS = "UPDATE snapshot SET payload = set_byte(payload, 99, get_byte(payload, 99) # 1)"
NEWEST_IS_KEPT = """
    SELECT (SELECT max(block_number) FROM snapshot) = (SELECT max(number) FROM journal_block)
"""


@pytest.fixture
def server(folder: Path, database: EmbeddedPostgres) -> ServerProcess:
    """A server that leaves snapshots when it is told to stop, and hardly before."""
    return ServerProcess(folder, url=database.dsn())


async def fill_and_stop(server: ServerProcess) -> None:
    """A first life with a few dozen blocks."""
    await server.start()
    await found(server, bots=3)
    assert await server.stop() == 0


async def refused(server: ServerProcess, words: str) -> None:
    """See that a start ends at once, and says why."""
    with pytest.raises(EndedAtOnce, match=words) as ended:
        await server.start()
    assert ended.value.code == 1


async def test_a_flipped_bit_is_found_by_verify_and_by_a_start_that_reads_it(
    server: ServerProcess, bridge: AsyncioThread
) -> None:
    random, dsn = Random(SEED), server.dsn
    try:
        await fill_and_stop(server)
        await ask(bridge, dsn, "DELETE FROM snapshot")
        blocks = await ask(bridge, dsn, "SELECT max(number) FROM journal_block")
        for _ in range(FLIPS):
            number = random.randint(1, blocks)
            size = "SELECT octet_length(payload) FROM journal_block WHERE number = $1"
            at, bit = random.randrange(await ask(bridge, dsn, size, number)), random.randrange(8)
            await ask(bridge, dsn, FLIP, number, at, bit)
            verified = verify(server.environ())
            assert verified.returncode == 1, verified
            assert f'"block":{number}'.encode() in verified.stdout, (number, verified.stdout)
            await refused(server, f"block {number}")
            await ask(bridge, dsn, FLIP, number, at, bit)
        assert verify(server.environ()).returncode == 0
        await server.start()
        assert await server.stop() == 0
    finally:
        await server.kill()


async def test_a_start_from_a_snapshot_does_not_read_what_is_older_but_verify_does(
    folder: Path, database: EmbeddedPostgres, bridge: AsyncioThread
) -> None:
    often = {"OUTCRY__PROJECTOR__SNAPSHOT_EVERY_S": "0.1"}
    server = ServerProcess(folder, url=database.dsn(), environ=often)
    try:
        await server.start()
        await found(server, bots=3)
        with trio.fail_after(30):
            while not await ask(bridge, server.dsn, NEWEST_IS_KEPT):  # noqa: ASYNC110
                await trio.sleep(0.1)
        assert await server.stop() == 0
        await ask(bridge, server.dsn, FLIP, 1, 0, 0)
        assert verify(server.environ()).returncode == 1
        await server.start()
        await server.kill()
        await ask(bridge, server.dsn, FLIP, 1, 0, 0)
        await ask(bridge, server.dsn, FLIP_SNAPSHOTS)
        await server.start()  # from the first block on
        assert any(line["event"] == "snapshot skipped" for line in server.log_lines())
        assert await server.stop() == 0
    finally:
        await server.kill()


@pytest.mark.parametrize("which", ["1", "2", "(SELECT max(number) FROM journal_block)"])
async def test_a_missing_block_is_found_by_verify_and_by_a_start_that_reads_it(
    server: ServerProcess, bridge: AsyncioThread, which: str
) -> None:
    try:
        await fill_and_stop(server)
        await ask(bridge, server.dsn, "DELETE FROM snapshot")
        await ask(bridge, server.dsn, f"DELETE FROM journal_block WHERE number = {which}")
        assert verify(server.environ()).returncode == 1
        await refused(server, "block")
    finally:
        await server.kill()


async def test_a_page_damaged_on_disk_is_found_by_its_checksum_and_the_start_is_refused(
    folder: Path, bridge: AsyncioThread
) -> None:
    async with EmbeddedPostgres(folder / "database") as database:
        server = ServerProcess(folder, url=database.dsn())
        await fill_and_stop(server)
        await ask(bridge, server.dsn, "DELETE FROM snapshot")
        where = "SELECT pg_relation_filepath('journal_block')"
        page = folder / "database" / "cluster" / await ask(bridge, server.dsn, where)
    flip_byte(page, at=8_000)
    async with EmbeddedPostgres(folder / "database"):
        try:
            assert verify(server.environ()).returncode == 2
            await refused(server, "invalid page")
        finally:
            await server.kill()


def flip_byte(path: Path, at: int) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        [byte] = file.read(1)
        file.seek(at)
        file.write(bytes([byte ^ 1]))

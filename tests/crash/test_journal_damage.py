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
FLIPS = 4
FLIP = """
    UPDATE journal_block SET payload = set_byte(payload, $2, get_byte(payload, $2) # (1 << $3))
    WHERE number = $1
"""


async def test_a_flipped_bit_is_found_by_verify_and_by_the_next_start(
    folder: Path, database: EmbeddedPostgres, bridge: AsyncioThread
) -> None:
    random = Random(SEED)
    server = ServerProcess(folder, url=database.dsn())
    try:
        await server.start()
        await found(server, bots=3)
        assert await server.stop() == 0
        blocks = await ask(bridge, database.dsn(), "SELECT max(number) FROM journal_block")
        for _ in range(FLIPS):
            number = random.randint(1, blocks)
            size = "SELECT octet_length(payload) FROM journal_block WHERE number = $1"
            at = random.randrange(await ask(bridge, database.dsn(), size, number))
            bit = random.randrange(8)
            await ask(bridge, database.dsn(), FLIP, number, at, bit)
            verified = await trio.to_thread.run_sync(verify, server.environ())
            assert verified.returncode == 1, verified
            assert f'"block":{number}'.encode() in verified.stdout, (number, verified.stdout)
            with pytest.raises(EndedAtOnce, match=f"block {number}") as ended:
                await server.start()
            assert ended.value.code == 1
            await ask(bridge, database.dsn(), FLIP, number, at, bit)
        assert verify(server.environ()).returncode == 0
        await server.start()
        assert await server.stop() == 0
    finally:
        await server.kill()


@pytest.mark.parametrize("which", ["1", "2", "(SELECT max(number) FROM journal_block)"])
async def test_a_missing_block_is_found_by_verify_and_by_the_next_start(
    folder: Path, database: EmbeddedPostgres, bridge: AsyncioThread, which: str
) -> None:
    server = ServerProcess(folder, url=database.dsn())
    try:
        await server.start()
        await found(server, bots=3)
        assert await server.stop() == 0
        await ask(bridge, database.dsn(), f"DELETE FROM journal_block WHERE number = {which}")
        assert verify(server.environ()).returncode == 1
        with pytest.raises(EndedAtOnce, match="block") as ended:
            await server.start()
        assert ended.value.code == 1
    finally:
        await server.kill()


async def test_a_page_damaged_on_disk_is_found_by_its_checksum_and_the_start_is_refused(
    folder: Path, bridge: AsyncioThread
) -> None:
    async with EmbeddedPostgres(folder / "database") as database:
        server = ServerProcess(folder, url=database.dsn())
        try:
            await server.start()
            await found(server, bots=1)
            assert await server.stop() == 0
            where = "SELECT pg_relation_filepath('journal_block')"
            page = folder / "database" / "cluster" / await ask(bridge, database.dsn(), where)
        finally:
            await server.kill()
    flip_byte(page, at=8_000)
    async with EmbeddedPostgres(folder / "database") as database:
        assert verify({**server.environ()}).returncode == 2
        try:
            with pytest.raises(EndedAtOnce, match="invalid page") as ended:
                await server.start()
            assert ended.value.code == 1
        finally:
            await server.kill()


def flip_byte(path: Path, at: int) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        [byte] = file.read(1)
        file.seek(at)
        file.write(bytes([byte ^ 1]))

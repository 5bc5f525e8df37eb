"""The demo's market: made once, with traders of its own, and lines that a newcomer can paste."""

import shlex
import stat
import sys
from functools import partial
from pathlib import Path

import pytest
import trio

from api.commands.demo import TRADERS as TRADERS_PROCESS
from api.commands.demo import traders_command, traders_env
from api.commands.traders import traders_of
from api.demo.lines import Lines
from api.demo.seeding import TRADERS_FILE, Demo, TraderSecrets, seed, seed_traders
from api.demo.traders import Does
from engine.accounts.messages import Permission
from engine.actors.process import keep_running
from engine.gateways.custody import SimulatedCustody
from engine.service import Service
from engine.settings import EngineSettings
from engine.storage.memory import MemoryJournal, MemoryJournalStore
from engine.storage.memory_history import FollowingHistory
from engine.wiring import Engine
from tests.api.moving_venue import PEOPLE, TRADERS, moving_venue, until

URL = "http://127.0.0.1:1"
LINES = Lines(URL, admin="ock_a", alice="ock_b", bob="ock_c", tag="7", price="60000.00", speed=4.0)


@pytest.fixture
async def service(nursery: trio.Nursery) -> Service:
    """An engine on an empty journal."""
    store = MemoryJournalStore()
    history = FollowingHistory(store)
    engine = Engine(store, SimulatedCustody(), EngineSettings(), history)
    await nursery.start(engine.run)
    return Service(engine, history)


async def test_alice_and_bob_come_first_whether_there_are_traders_or_not(service: Service) -> None:
    await seed(service, PEOPLE)
    directory = service.released.rules.directory
    assert [one.name for one in directory.accounts.values()] == ["Alice", "Bob"]
    assert sorted(directory.accounts) == [100, 101]
    await seed_traders(service, TRADERS)
    names = [one.name for one in service.released.rules.directory.accounts.values()]
    assert names == ["Alice", "Bob", "Maker 1", "Taker 1"]


async def test_a_second_start_with_the_same_secrets_makes_nothing(service: Service) -> None:
    sequences = set()
    for _ in range(2):
        await seed(service, PEOPLE)
        await seed_traders(service, TRADERS)
        sequences.add(service.released.sequence)
    assert len(sequences) == 1


async def test_traders_may_read_and_trade_and_nothing_else(service: Service) -> None:
    await seed(service, PEOPLE)
    await seed_traders(service, TRADERS)
    keys = list(service.released.rules.directory.keys.values())[3:]
    assert [key.rights for key in keys] == [{Permission.READ, Permission.TRADE}] * 2


async def test_every_instrument_has_a_price_to_begin_at(service: Service) -> None:
    await seed(service, PEOPLE)
    await seed_traders(service, TRADERS)
    instruments = service.released.rules.directory.instruments
    assert len(instruments) == 4
    assert len({(one.tick_size, one.lot_size) for one in instruments.values()}) == 4
    assert all(service.released.reference_price_ticks(number) for number in instruments)


async def test_without_a_speed_there_are_no_traders(service: Service, tmp_path: Path) -> None:
    demo = Demo(tmp_path, 0.0)
    text = await demo.greet(service, URL)
    assert demo.trader_secrets == TraderSecrets((), ())
    assert not (tmp_path / TRADERS_FILE).exists()
    assert "Nobody trades but you." in text


async def test_the_traders_secrets_are_kept_for_this_user_alone(
    service: Service, tmp_path: Path
) -> None:
    first, second = Demo(tmp_path, 4.0), Demo(tmp_path, 4.0)
    await first.greet(service, URL)
    before = service.released.sequence
    await second.greet(service, URL)
    assert first.trader_secrets == second.trader_secrets
    assert service.released.sequence == before
    assert stat.S_IMODE((tmp_path / TRADERS_FILE).stat().st_mode) == 0o600


def test_the_lines_are_whole_shell_commands() -> None:
    commands = [line for line in str(LINES).splitlines() if line.startswith("    ")]
    words = shlex.split("\n".join(commands))
    assert words.count("curl") == 9
    assert "-m" in words
    program = words[words.index("-c") + 1]
    compile(program, "line", "exec")


@pytest.mark.parametrize("speed", [0.0, 4.0])
def test_the_lines_name_the_page_the_keys_and_top(speed: float) -> None:
    text = str(Lines(URL, "ock_a", "ock_b", "ock_c", "7", "60000.00", speed))
    assert f"{URL}/v1/docs" in text
    assert f"OUTCRY_URL={URL} OUTCRY_KEY=ock_a" in text
    assert " top\n" in text


def test_the_lines_run_examples_that_there_are_with_the_key_of_an_account() -> None:
    lines = [line for line in str(LINES).splitlines() if "docs/examples/" in line]
    paths = [line.partition("docs/examples/")[2].split()[0] for line in lines]
    assert paths
    assert all((Path("docs/examples") / path).is_file() for path in paths)
    assert all(f"OUTCRY_KEY={LINES.bob} " in line for line in lines)


def test_no_secret_is_an_argument_of_the_traders_process() -> None:
    argv = traders_command(Path("my.toml"), 7, 2.5)
    environ = traders_env(URL, TRADERS)
    assert argv[:4] == [sys.executable, "-m", "api", "traders"]
    assert not any("ock_" in argument for argument in argv)
    cast = traders_of(environ)
    assert [(one.name, one.secret, one.does) for one in cast] == [
        ("maker1", "ock_maker1", Does.MAKES),
        ("taker1", "ock_taker1", Does.TAKES),
    ]


@pytest.mark.slow
async def test_the_traders_process_trades_and_ends_with_its_keeper() -> None:
    async with moving_venue(MemoryJournal()) as venue:
        argv = traders_command(None, seed=1, speed=50.0)
        environ = traders_env(venue.url, TRADERS)
        async with trio.open_nursery() as nursery:
            await nursery.start(partial(keep_running, TRADERS_PROCESS, argv, env=environ))
            await until(lambda: venue.trades == 4)
            nursery.cancel_scope.cancel()
        sequence = venue.service.released.sequence
        await trio.sleep(0.3)
        assert venue.service.released.sequence <= sequence + 50


@pytest.mark.slow
async def test_traders_without_a_good_key_are_not_started_again() -> None:
    async with moving_venue(MemoryJournal()) as venue:
        argv = traders_command(None, seed=1, speed=50.0)
        environ = traders_env(venue.url, TraderSecrets(("ock_wrong",), ()))
        ended = await trio.run_process(
            [one for one in argv if one != "--until-input-ends"],
            env=environ,
            check=False,
            capture_stderr=True,
        )
    assert ended.returncode in TRADERS_PROCESS.final_codes
    assert ended.stderr.decode().count("UNAUTHORIZED") == 1

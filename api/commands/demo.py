"""`outcry demo`: a market that moves, in one command."""

import os
import sys
from functools import partial
from pathlib import Path
from typing import Annotated, Final

import msgspec
import trio
from cyclopts import Parameter, validators

from api.commands.serve import InMemory, PortNumber, serve_with, with_port
from api.commands.settings import ConfigPath, settings_of
from api.commands.traders import SHUT_OUT, Seed
from api.demo.seeding import Demo, TraderSecrets
from config import Settings
from config.settings import DatabaseSettings
from engine.actors.process import Companion, keep_running
from engine.service import Service
from engine.storage.embedded import default_data_folder

TRADERS: Final = Companion("traders", "no traders: the market stands still", frozenset((SHUT_OUT,)))


async def demo(
    path: ConfigPath = None,
    *,
    port: PortNumber = None,
    data: Annotated[Path | None, Parameter(help="Where the demo keeps its files.")] = None,
    in_memory: InMemory = False,
    seed: Seed = 1,
    speed: Annotated[
        float,
        Parameter(
            help="Beats a second of each trader; 0: nobody trades. A beat is some 10 orders.",
            validator=validators.Number(gte=0, lte=10_000),
        ),
    ] = 4.0,
) -> int:
    """Serve a market with makers and takers, and print lines to watch it and to trade.

    The demo has a data folder of its own, beside that of `outcry serve`; a second start goes on
    where the first one ended.
    """
    folder = data or default_data_folder().with_name("outcry-demo")
    settings = with_port(in_folder(settings_of(path), folder), port)
    market = Demo(None if in_memory else folder, speed)
    async with trio.open_nursery() as nursery:

        async def greet(service: Service, url: str) -> str:
            lines = await market.greet(service, url)
            if speed:
                argv = traders_command(path, seed, speed)
                environ = traders_env(url, market.trader_secrets)
                await nursery.start(partial(keep_running, TRADERS, argv, env=environ))
            return lines

        code = await serve_with(settings, greet, in_memory=in_memory, config_path=path)
        nursery.cancel_scope.cancel()
    return code


def in_folder(settings: Settings, folder: Path) -> Settings:
    """The settings with an embedded database below `folder`, whatever they said of one."""
    database = DatabaseSettings(data_folder=str(folder), lock_wait_s=settings.database.lock_wait_s)
    return msgspec.structs.replace(settings, database=database)


def traders_command(config_path: Path | None, seed: int, speed: float) -> list[str]:
    """How to start traders of the same release."""
    command = [sys.executable, "-m", "api", "traders", "--until-input-ends"]
    command += [f"--seed={seed}", f"--speed={speed}"]
    return command if config_path is None else [*command, "--config", str(config_path)]


def traders_env(url: str, secrets: TraderSecrets) -> dict[str, str]:
    """Our environment, and in it the traders' keys: not arguments, for all to see."""
    return {
        **os.environ,
        "OUTCRY_URL": url,
        "OUTCRY_MAKER_KEYS": " ".join(secrets.makers),
        "OUTCRY_TAKER_KEYS": " ".join(secrets.takers),
    }

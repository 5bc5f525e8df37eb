"""`outcry demo`: a market that is ready to trade, in one command."""

from pathlib import Path
from typing import Annotated

import msgspec
from cyclopts import Parameter

from api.commands.serve import InMemory, PortNumber, serve_with, with_port
from api.commands.settings import ConfigPath, settings_of
from api.demo import Demo
from config import Settings
from config.settings import DatabaseSettings
from engine.storage.embedded import default_data_folder


async def demo(
    path: ConfigPath = None,
    *,
    port: PortNumber = None,
    data: Annotated[Path | None, Parameter(help="Where the demo keeps its files.")] = None,
    in_memory: InMemory = False,
) -> int:
    """Serve two instruments and two funded accounts, and print the lines that make them trade.

    The demo has a data folder of its own, beside that of `outcry serve`; a second start goes on
    where the first one ended.
    """
    folder = data or default_data_folder().with_name("outcry-demo")
    settings = with_port(in_folder(settings_of(path), folder), port)
    greeting = Demo(None if in_memory else folder)
    return await serve_with(settings, greeting.greet, in_memory=in_memory, config_path=path)


def in_folder(settings: Settings, folder: Path) -> Settings:
    """The settings with an embedded database below `folder`, whatever they said of one."""
    database = DatabaseSettings(data_folder=str(folder), lock_wait_s=settings.database.lock_wait_s)
    return msgspec.structs.replace(settings, database=database)

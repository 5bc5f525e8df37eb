"""`outcry serve`: the engine, its database and its HTTP door in one process."""

import os
import sys
from errno import EADDRINUSE, EADDRNOTAVAIL
from functools import partial
from pathlib import Path
from typing import Annotated

import msgspec
from cyclopts import Parameter, validators

from api import logs
from api.commands.settings import ConfigPath, settings_of
from api.keys.first_key import greet_operator
from api.serving import Greet, run_server
from config import Settings
from engine.actors.supervisor import GaveUp
from engine.errors import EngineError

PortNumber = Annotated[
    int | None,
    Parameter(
        help="Listen here; overrides the settings.", validator=validators.Number(gte=0, lte=65_535)
    ),
]
InMemory = Annotated[
    bool, Parameter(name="--memory", help="Keep nothing: a quick try without a database.")
]


async def serve(
    path: ConfigPath = None,
    *,
    port: PortNumber = None,
    in_memory: InMemory = False,
    new_admin_key: Annotated[bool, Parameter(help="Make another admin key and show it.")] = False,
) -> int:
    """Serve until Ctrl-C or SIGTERM; a second one does not wait for what is in flight."""
    settings = with_port(settings_of(path), port)
    greet = partial(greet_operator, wants_key=new_admin_key)
    return await serve_with(settings, greet, in_memory=in_memory, config_path=path)


async def serve_with(
    settings: Settings, greet: Greet, *, in_memory: bool, config_path: Path | None = None
) -> int:
    """Serve, with one plain line for each reason why that is impossible; the exit code."""
    logs.configure(settings.log)
    code = 0
    try:
        await run_server(settings, greet, in_memory=in_memory, config_path=config_path)
    except* (EngineError, OSError, GaveUp) as reasons:
        for reason in leaves(reasons):
            print(f"outcry: {explained(reason, settings)}", file=sys.stderr)
        code = 1
    return code


def explained(reason: BaseException, settings: Settings) -> str:
    """What an operator is told; the system itself names no address that was taken."""
    if isinstance(reason, OSError) and reason.errno in (EADDRINUSE, EADDRNOTAVAIL):
        return f"cannot listen on {settings.server.bind.url}: {os.strerror(reason.errno)}"
    return f"{reason.__class__.__name__}: {reason}"


def with_port(settings: Settings, port: int | None) -> Settings:
    """The settings, with another port if one is given."""
    if port is None:
        return settings
    server = msgspec.structs.replace(settings.server, port=port)
    return msgspec.structs.replace(settings, server=server)


def leaves(group: BaseException) -> list[BaseException]:
    """The exceptions inside nested groups."""
    if isinstance(group, BaseExceptionGroup):
        return [leaf for inner in group.exceptions for leaf in leaves(inner)]
    return [group]

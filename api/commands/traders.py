"""`outcry traders`: makers and takers for any server, each under a key of its own."""

import logging
import os
import sys
from collections.abc import Mapping
from typing import Annotated, Final

import trio
from cyclopts import Parameter, validators

from api import logs
from api.client import Refused
from api.client.environment import URL
from api.commands.settings import ConfigPath, settings_of
from api.demo.traders import Does, Trader, run_traders
from engine.actors.process import stop_on_end_of_input, stop_on_signals

#: Where the keys are, and what their holders do.
KEYS_IN: Final = {"OUTCRY_MAKER_KEYS": Does.MAKES, "OUTCRY_TAKER_KEYS": Does.TAKES}
SHUT_OUT: Final = 3

Seed = Annotated[int, Parameter(help="The same seed trades alike.")]
Url = Annotated[
    str | None, Parameter(help="The server; else OUTCRY_URL, else the one at home.", negative="")
]
Speed = Annotated[
    float,
    Parameter(help="Beats a second of each trader.", validator=validators.Number(gt=0, lte=10_000)),
]
WithInput = Annotated[
    bool, Parameter(name="--until-input-ends", help="Stop when standard input ends.", negative="")
]


async def traders(
    path: ConfigPath = None,
    *,
    url: Url = None,
    seed: Seed = 1,
    speed: Speed = 4.0,
    until_input_ends: WithInput = False,
) -> int:
    """Make a market move by orders of its own: until Ctrl-C, and over restarts of the server.

    OUTCRY_MAKER_KEYS and OUTCRY_TAKER_KEYS hold the secrets of bearer keys with READ and TRADE,
    parted by spaces, each of an account with money. Makers keep ladders of bids and offers around
    prices that wander, takers trade with them. The exit code is 3 when no key is let in any more.
    """
    logs.configure(settings_of(path).log)
    logging.getLogger("httpx2").setLevel(logging.WARNING)  # it tells of every request
    found = traders_of(os.environ)
    if not found:
        print(f"outcry: set {' and '.join(KEYS_IN)} to secrets of keys", file=sys.stderr)
        return 2
    url = url or os.environ.get("OUTCRY_URL", URL)
    async with trio.open_nursery() as nursery:
        stopping = trio.Event()
        nursery.start_soon(stop_on_signals, stopping)
        if until_input_ends:
            nursery.start_soon(stop_on_end_of_input, stopping)
        nursery.start_soon(_cancel_when, stopping, nursery.cancel_scope)
        try:
            await run_traders(url.rstrip("/"), found, seed=seed, speed=speed)
        except Refused as refusal:
            print(f"outcry: {refusal}", file=sys.stderr)
        nursery.cancel_scope.cancel()
    return 0 if stopping.is_set() else SHUT_OUT


def traders_of(environ: Mapping[str, str]) -> list[Trader]:
    """Whoever the environment has a key for; a key's place among its like is its holder's name."""
    return [
        Trader(f"{does.value}{place}", secret, does)
        for name, does in KEYS_IN.items()
        for place, secret in enumerate(environ.get(name, "").split(), 1)
    ]


async def _cancel_when(stopping: trio.Event, scope: trio.CancelScope) -> None:
    await stopping.wait()
    scope.cancel()

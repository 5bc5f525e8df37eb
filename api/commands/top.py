"""`outcry top`: a terminal view of a running server."""

import os
import sys
import termios
import tty
from collections.abc import Iterator
from contextlib import contextmanager
from signal import SIGINT, SIGTERM
from typing import Annotated, Final

import trio
from cyclopts import Parameter, validators
from rich.console import Console
from rich.live import Live

from api.client.environment import NoKey, server_of
from api.top.frame import frame
from api.top.sampling import Sample, Sampler

_ENDINGS: Final = frozenset((b"q", b"Q", b"\x04"))
#: Of a picture that goes nowhere in particular.
_WIDTH: Final = 120

Rate = Annotated[
    float, Parameter(help="Pictures a second.", validator=validators.Number(gte=0.1, lte=4))
]
Once = Annotated[
    bool, Parameter(name="--once", negative="", help="Print one picture and end; no terminal.")
]


async def top(*, rate: Rate = 2.0, once: Once = False) -> int:
    """Watch a server's books, rates, queues and lag, until q or Ctrl-C.

    OUTCRY_URL says which server, else it is the one at home, and OUTCRY_KEY by which key: an
    admin's shows all, one with READ the markets. With --once the exit code is 1 if the server did
    not tell everything.
    """
    try:
        server = server_of(os.environ)
    except NoKey as missing:
        print(f"outcry: {missing}", file=sys.stderr)
        return 2
    async with Sampler(server.url, server.credentials) as sampler:
        if once or not sys.stdout.isatty():
            return await _print_once(sampler, server.url, 1 / rate)
        await _watch(sampler, server.url, 1 / rate)
    return 0


async def _print_once(sampler: Sampler, url: str, apart_s: float) -> int:
    before = await sampler.sample()
    await trio.sleep(apart_s)
    now = await sampler.sample()
    console = Console(width=None if sys.stdout.isatty() else _WIDTH)
    console.print(frame(before, now, url, console.width))
    return 1 if now.trouble else 0


async def _watch(sampler: Sampler, url: str, apart_s: float) -> None:
    """Show pictures until a key ends it."""
    before: Sample | None = None
    with Live(screen=True, auto_refresh=False) as live:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_quit_on_key, nursery.cancel_scope)
            nursery.start_soon(_quit_on_signal, nursery.cancel_scope)
            while True:
                now = await sampler.sample()
                live.update(frame(before, now, url, live.console.width), refresh=True)
                before = now
                await trio.sleep(apart_s)


async def _quit_on_signal(scope: trio.CancelScope) -> None:
    with trio.open_signal_receiver(SIGINT, SIGTERM) as signals:
        async for _ in signals:
            scope.cancel()


async def _quit_on_key(scope: trio.CancelScope) -> None:
    """Cancel when q is pressed. Waits for it, for ever if nobody can press it."""
    if not sys.stdin.isatty():
        return
    with _single_keys(sys.stdin.fileno()) as descriptor:
        while True:
            await trio.lowlevel.wait_readable(descriptor)
            if os.read(descriptor, 1) in _ENDINGS:
                scope.cancel()
                return


@contextmanager
def _single_keys(descriptor: int) -> Iterator[int]:
    """Keys come at once and unseen; Ctrl-C is still a signal."""
    before = termios.tcgetattr(descriptor)
    tty.setcbreak(descriptor)
    try:
        yield descriptor
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)

"""The servers under measurement: `outcry serve` as an operator runs it, and empty handlers.

Each is a process of its own. Where the system allows, a server is kept on one core and whoever
drives it on another; a server's database and its projector run wherever the system puts them.
"""

import multiprocessing
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final, NamedTuple

import trio
from hypercorn.typing import ASGIReceiveCallable, ASGISendCallable, Scope
from quart import Response, request
from quart_trio import QuartTrio

from api.web.limits import Bind, ServerLimits
from api.web.quart_app import OutcryApp
from api.web.server import serve
from engine.errors import InvariantViolated
from engine.runtime import freeze, tune

ROOT: Final = Path(__file__).parents[1]
EMPTY_PATH: Final = "/v1/empty"
_EMPTY_ANSWER: Final = b'{"ok":true}\n'
READY_S_MAX: Final = 120.0
STOP_S_MAX: Final = 30.0
_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")
_LISTENS: Final = re.compile(rb"listens on http://[^:]+:(\d+)")
_FIRST_KEY: Final = re.compile(rb"OUTCRY_KEY=(ock_\S+)")


class Cores(NamedTuple):
    """Where the server and its driver run; the same for both where there is only one."""

    server: int
    driver: int


def cores() -> Cores | None:
    """The first two cores that we may use, None where processes cannot be kept on one."""
    if not hasattr(os, "sched_setaffinity"):
        return None
    usable = sorted(os.sched_getaffinity(0))
    return Cores(usable[0], usable[-1])


@contextmanager
def driving_on(placed: Cores | None) -> Iterator[None]:
    """Keep this process on the driver's core meanwhile."""
    if placed is None:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {placed.driver})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def keep_on(pid: int, placed: Cores | None) -> None:
    """Keep every thread of a server on the server's core; processes that it started are not."""
    if placed is not None:
        for thread in Path(f"/proc/{pid}/task").iterdir():
            with suppress(ProcessLookupError):
                os.sched_setaffinity(int(thread.name), {placed.server})


class ProcessorTimes(NamedTuple):
    """Seconds of processor time so far, of a server and of what it has started."""

    server_s: float
    projector_s: float
    database_s: float

    @classmethod
    def of(cls, pid: int) -> "ProcessorTimes":
        """As the system counts them, in steps of 10 ms; 0 where it does not tell."""
        projector_s = database_s = 0.0
        for child in _descendants(pid):
            spent_s, command = _spent_s(child), _command(child)
            if b"projector" in command:
                projector_s += spent_s
            else:
                database_s += spent_s
        return cls(_spent_s(pid), projector_s, database_s)

    def since(self, before: "ProcessorTimes") -> "ProcessorTimes":
        """What was spent since then."""
        return ProcessorTimes(*(now - then for now, then in zip(self, before, strict=True)))


def _descendants(pid: int) -> Iterator[int]:
    with suppress(OSError):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            for child in map(int, (thread / "children").read_text().split()):
                yield child
                yield from _descendants(child)


def _spent_s(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


class OutcryServer:
    """`outcry serve` on a data folder of its own, without rate limits. A context manager."""

    def __init__(self, folder: Path, store: str) -> None:
        self.folder = folder
        self.port = 0
        self.admin_secret = ""
        self._log = folder / "server.log"
        self._argv = [sys.executable, "-m", "api", "serve", "--port", "0"]
        if store == "memory":
            self._argv.append("--memory")
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The process's number."""
        if self._process is None:
            raise InvariantViolated("the server was not started")
        return self._process.pid

    @property
    def data_folder(self) -> Path:
        """Where its database is."""
        return self.folder / "data"

    def __enter__(self) -> "OutcryServer":
        """Start it, and wait until it serves."""
        ours = {name: text for name, text in os.environ.items() if not name.startswith("OUTCRY_")}
        environ = {
            **ours,
            "PYTHONPATH": str(ROOT),
            "OUTCRY__DATABASE__DATA_FOLDER": str(self.data_folder),
            "OUTCRY__LOG__LEVEL": "warning",
            **{f"OUTCRY__API__RATES__{who}_PER_SECOND": "0" for who in ("IP", "KEY", "ACCOUNT")},
        }
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                self._argv, env=environ, stdout=log, stderr=log, cwd=self.folder
            )
        self._await_welcome()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop it as an operator would."""
        process = self._process
        if process is not None and process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(STOP_S_MAX)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _await_welcome(self) -> None:
        until = time.monotonic() + READY_S_MAX
        while True:
            said = self._log.read_bytes()
            listens, key = _LISTENS.search(said), _FIRST_KEY.search(said)
            if listens and key:
                self.port, self.admin_secret = int(listens[1]), key[1].decode()
                return
            ended = self._process is None or self._process.poll() is not None
            if ended or time.monotonic() > until:
                raise InvariantViolated(f"no server: {said[-2_000:].decode('utf-8', 'replace')}")
            time.sleep(0.05)


class EmptyServer:
    """Handlers that read a body and answer, behind `api.web.server.serve`. A context manager.

    `port` is that of an app like ours, `stock_port` of the framework's own kind of app, `bare_port`
    of an ASGI app without any framework.
    """

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._ours, theirs = context.Pipe()
        self._process = context.Process(target=_serve_nothing, args=(theirs,), daemon=True)
        self.port = self.stock_port = self.bare_port = 0

    @property
    def pid(self) -> int:
        """The process's number."""
        if self._process.pid is None:
            raise InvariantViolated("the server was not started")
        return self._process.pid

    def __enter__(self) -> "EmptyServer":
        """Start it, and wait until it serves."""
        self._process.start()
        self.port, self.stock_port, self.bare_port = self._ours.recv()
        return self

    def __exit__(self, *_: object) -> None:
        """End it."""
        self._process.terminate()
        self._process.join()


def _serve_nothing(parent: "Connection[Any, Any]") -> None:
    tune()
    trio.run(_serve_all, parent)


async def _serve_all(parent: "Connection[Any, Any]") -> None:
    async with trio.open_nursery() as nursery:
        ports = []
        for app in (_empty(OutcryApp), _empty(QuartTrio), _bare_app):
            serving = partial(serve, app, Bind(port=0), ServerLimits())
            [bind] = await nursery.start(serving)
            ports.append(bind.port)
        freeze()
        parent.send(ports)


def _empty(kind: type[QuartTrio]) -> QuartTrio:
    app = kind("empty", static_folder=None)

    async def nothing() -> Response:
        await request.get_data()
        return Response(_EMPTY_ANSWER, content_type="application/json")

    app.post(EMPTY_PATH)(nothing)
    return app


async def _bare_app(scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
    if scope["type"] == "lifespan":
        while True:
            event = await receive()
            if event["type"] == "lifespan.startup":
                await send({"type": "lifespan.startup.complete"})
            else:
                await send({"type": "lifespan.shutdown.complete"})
                return
    while (await receive()).get("more_body", False):
        pass
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(_EMPTY_ANSWER)),
    ]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": _EMPTY_ANSWER, "more_body": False})

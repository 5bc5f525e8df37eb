"""The server as the operating system sees it: started, killed, frozen, started again."""

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import msgspec
import trio

from tests.crash.http_client import AnswerLost, Client, NotSent

ROOT: Final = Path(__file__).parents[2]
READY_S: Final = 90.0
_POLL_S: Final = 0.02
_FIRST_KEY: Final = re.compile(rb"OUTCRY_KEY=(ock_\S+)")


def free_port() -> int:
    """A port that nobody uses now; every life of a server takes the same."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class EndedAtOnce(Exception):
    """The server ended before it answered; with its exit code and last words."""

    def __init__(self, code: int, words: str) -> None:
        super().__init__(f"exit code {code}: {words}")
        self.code = code
        self.words = words


class ServerProcess:
    """`outcry serve` on a data folder, one life after another."""

    def __init__(
        self, folder: Path, *, url: str = "", environ: Mapping[str, str] | None = None
    ) -> None:
        """Touches nothing yet; `environ` adds settings to those every test wants.

        With `url` the journal is in that database, else in the server's own.
        """
        self.folder = folder
        self.port = free_port()
        self.url = url
        self.log = folder / f"engine-{self.port}.log"
        self.lives = 0
        self._environ = dict(environ or {})
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def dsn(self) -> str:
        """Where this server's database answers."""
        socket_folder = self.folder / "data" / "socket"
        return self.url or f"postgresql://outcry@/outcry?host={socket_folder}&port=5432"

    @property
    def custody_folder(self) -> Path:
        """Where withdrawals are asked for and answered."""
        return self.folder / "data" / "custody"

    @property
    def pid(self) -> int:
        """The process number of the present life."""
        if self._process is None:
            raise RuntimeError("the server was not started")
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether the present life has not ended."""
        return self._process is not None and self._process.poll() is None

    def environ(self) -> dict[str, str]:
        """The environment of every `outcry` command on this data folder."""
        ours = {name: text for name, text in os.environ.items() if not name.startswith("OUTCRY_")}
        return {
            **ours,
            "PYTHONPATH": str(ROOT),
            "OUTCRY__SERVER__PORT": str(self.port),
            "OUTCRY__DATABASE__DATA_FOLDER": str(self.folder / "data"),
            "OUTCRY__DATABASE__URL": self.url,
            "OUTCRY__ENGINE__WITHDRAWAL_COOLING_OFF_S": "0.05",
            "OUTCRY__LOG__FORMAT": "json",
            **{f"OUTCRY__API__RATES__{who}_PER_SECOND": "0" for who in ("IP", "KEY", "ACCOUNT")},
            **self._environ,
        }

    def spawn(self, crash_at: str = "") -> None:
        """Begin a life that dies at `crash_at`, if stated. Waits for nothing."""
        environ = self.environ()
        if crash_at:
            environ["OUTCRY_CRASH_AT"] = crash_at
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                outcry("serve"), env=environ, stdout=log, stderr=log, cwd=self.folder
            )
        self.lives += 1

    async def start(self, crash_at: str = "") -> float:
        """Begin a life and wait until it answers; the seconds it took.

        Raises: EndedAtOnce.
        """
        self.spawn(crash_at)
        return await self.ready()

    async def ready(self, wait_s: float = READY_S) -> float:
        """Wait until the server takes commands; the seconds it took.

        Raises: EndedAtOnce, trio.TooSlowError.
        """
        began_s = trio.current_time()
        with trio.fail_after(wait_s):
            while await self.health() != 200:
                if self._process is not None and self._process.poll() is not None:
                    raise EndedAtOnce(self._process.returncode, self.last_words())
                await trio.sleep(_POLL_S)
        return trio.current_time() - began_s

    async def health(self) -> int:
        """The status that a probe sees; 0 when nobody answers."""
        client = Client(self.port, "", wait_s=5.0)
        try:
            return (await client.call("GET", "/v1/health")).status
        except (NotSent, AnswerLost):
            return 0
        finally:
            client.close()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the server, if it lives."""
        if self.is_running:
            os.kill(self.pid, number)

    async def ended(self, wait_s: float = 60.0) -> int:
        """Wait until this life has ended; its exit code, negative for a signal."""
        with trio.fail_after(wait_s):
            while self.is_running:  # noqa: ASYNC110 - a process that is no trio process
                await trio.sleep(_POLL_S)
        return self._process.returncode if self._process is not None else 0

    async def kill(self, *, database_too: bool = False) -> None:
        """SIGKILL, and so the database's postmaster, if stated."""
        postmaster = self.postmaster() if database_too else None
        self.signal(signal.SIGKILL)
        if postmaster is not None:
            with suppress(ProcessLookupError):
                os.kill(postmaster, signal.SIGKILL)
        with trio.CancelScope(shield=True):
            await self.ended()

    async def stop(self) -> int:
        """SIGTERM: an orderly end; the exit code."""
        self.signal(signal.SIGTERM)
        return await self.ended()

    def postmaster(self) -> int | None:
        """The process number of the embedded database's first process, None when unknown."""
        with suppress(OSError, ValueError, IndexError):
            lines = (self.folder / "data" / "cluster" / "postmaster.pid").read_text().splitlines()
            return int(lines[0])
        return None

    async def first_key(self) -> str:
        """The admin key that a server prints at its first start. Waits for it."""
        with trio.fail_after(READY_S):
            while (printed := _FIRST_KEY.search(self.log.read_bytes())) is None:  # noqa: ASYNC110
                await trio.sleep(_POLL_S)
        return printed[1].decode()

    def last_words(self) -> str:
        """The end of the log."""
        with suppress(FileNotFoundError):
            return self.log.read_bytes()[-3000:].decode("utf-8", "replace")
        return ""

    def log_lines(self) -> list[dict[str, Any]]:
        """What the server has logged, decoded."""
        lines = []
        for line in self.log.read_bytes().splitlines():
            with suppress(msgspec.DecodeError):
                lines.append(msgspec.json.decode(line, type=dict[str, Any]))
        return lines


def outcry(*arguments: str) -> list[str]:
    """The command line of one `outcry` command."""
    return [sys.executable, "-m", "api", *arguments]

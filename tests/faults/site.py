"""A real server with a market in it, for clients that mean it no good."""

import os
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import msgspec

from tests.crash.http_client import Client
from tests.crash.process import ServerProcess
from tests.crash.venue import Member, Venue, found

#: What every trader has.
STAKES: Final = {"USD": "1000000000", "BTC": "1000000", "ETH": "1000000"}
_RSS: Final = re.compile(r"VmRSS:\s+(\d+) kB")
#: Lines that say that our code failed.
_FAILED: Final = re.compile(rb"Traceback|\"level\": \"(?:error|critical)\"|INTERNAL_ERROR")


class Site:
    """The server's process and who may trade there."""

    def __init__(self, server: ServerProcess, venue: Venue) -> None:
        self.server = server
        self.venue = venue

    @property
    def port(self) -> int:
        """Where it listens."""
        return self.server.port

    @property
    def admin_secret(self) -> str:
        """The operator's key."""
        return self.venue.admin_secret

    def trader(self, number: int) -> Member:
        """A customer with money."""
        return self.venue.members[number]

    def resident_kib(self) -> int:
        """Memory of the server's process alone."""
        status = Path(f"/proc/{self.server.pid}/status").read_text()
        found_kib = _RSS.search(status)
        return int(found_kib[1]) if found_kib else 0

    def processor_s(self) -> float:
        """Processor time of the server's process alone, so far."""
        fields = Path(f"/proc/{self.server.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def failures(self) -> list[bytes]:
        """Lines of the server's log that it should never have written."""
        lines = self.server.log.read_bytes().splitlines()
        return [line for line in lines if _FAILED.search(line)]

    async def ask(self, method: str, path: str, form: Any = None, account: int = 0) -> Any:
        """One request with the operator's key, or with that of an account."""
        client = self.venue.client(account)
        try:
            body = b"" if form is None else msgspec.json.encode(form)
            return (await client.call(method, path, body)).content
        finally:
            client.close()


@asynccontextmanager
async def site(folder: Path, *, traders: int = 4, **limits: object) -> AsyncIterator[Site]:
    """A server with these `server.limits`, without rates, and with traders who have money."""
    environ = {
        f"OUTCRY__SERVER__LIMITS__{name.upper()}": str(setting) for name, setting in limits.items()
    }
    server = ServerProcess(folder, environ=environ)
    try:
        await server.start()
        venue = await found(server, traders)
        teller = venue.client(0)
        for member in venue.members:
            for asset, amount in STAKES.items():
                await _deposit(teller, member.account, asset, amount)
        teller.close()
        yield Site(server, venue)
    finally:
        await server.kill(database_too=True)


async def _deposit(teller: Client, account: int, asset: str, amount: str) -> None:
    form = {"account": account, "asset": asset, "amount": amount, "reference": "stake"}
    reply = await teller.call("POST", "/v1/admin/deposits", msgspec.json.encode(form))
    if reply.status >= 300:
        raise RuntimeError(f"no deposit: {reply}")

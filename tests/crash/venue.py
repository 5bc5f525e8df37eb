"""What exists on the server under test: two instruments, bots with money, a teller, custody."""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import msgspec
import trio

from tests.crash.http_client import Client
from tests.crash.process import ServerProcess

INSTRUMENTS: Final = ("BTC-USD", "ETH-USD")
SCALES: Final = {"USD": 6, "BTC": 8, "ETH": 8}
#: What every bot begins with.
STAKES: Final = {"USD": "1000000", "BTC": "1000", "ETH": "1000"}
_HOUSE: Final = (1, 2, 3)  # clearing, fees, suspense
CLEARING: Final = 1


class Member(msgspec.Struct, frozen=True):
    """A customer with a trading key."""

    name: str
    account: int
    secret: str


class Venue(msgspec.Struct, frozen=True):
    """Who may call the server."""

    port: int
    admin_secret: str
    members: list[Member]

    def accounts(self) -> list[int]:
        """Every account there is, the house's included."""
        return [*_HOUSE, *(member.account for member in self.members)]

    def client(self, account: int, wait_s: float = 30.0) -> Client:
        """A connection for an account; 0 is the operator."""
        secrets = {member.account: member.secret for member in self.members}
        return Client(self.port, secrets.get(account, self.admin_secret), wait_s)


async def found(server: ServerProcess, bots: int) -> Venue:
    """Create everything on an empty, running server."""
    secret = await server.first_key()
    client = Client(server.port, secret)
    for code, scale in SCALES.items():
        kind = "currency" if code == "USD" else "coin"
        await _post(client, "assets", {"code": code, "kind": kind, "scale": scale})
    for symbol in INSTRUMENTS:
        base, quote = symbol.split("-")
        terms = {"symbol": symbol, "base": base, "quote": quote}
        terms |= {"tick_size": "0.01", "lot_size": "0.0001", "reference_price": "100"}
        await _post(client, "instruments", terms)
    await _post(client, "fees", {"tier": "", "maker_ppm": 100, "taker_ppm": 250})
    owner = (await _post(client, "owners", {"name": "crash tests"}))["owner"]
    members = [await _member(client, owner, f"bot{number}") for number in range(bots)]
    client.close()
    return Venue(server.port, secret, members)


async def _member(client: Client, owner: int, name: str) -> Member:
    account = (await _post(client, "accounts", {"owner": owner, "name": name}))["account"]
    may = {"permissions": ["READ", "TRADE", "TRANSFER"], "networks": ["127.0.0.0/8"]}
    key = await _post(client, "keys", {**may, "account": account, "label": name})
    return Member(name, account, key["secret"])


async def _post(client: Client, path: str, form: dict[str, Any]) -> Any:
    reply = await client.call("POST", f"/v1/admin/{path}", msgspec.json.encode(form))
    if reply.status >= 300:
        raise RuntimeError(f"{path}: {reply}")
    return reply.content


class CustodyClerk:
    """Answers withdrawal requests as people would, by files, and remembers every one."""

    def __init__(self, folder: Path, answers: Sequence[bool] = (True, True, True, False)) -> None:
        """Settles and refuses in the order of `answers`, over and over."""
        self._folder = folder
        self._answers = answers
        self.settled: set[str] = set()
        self.refused: set[str] = set()

    async def run(self) -> None:
        """Look for requests for ever."""
        while True:
            with suppress(OSError):  # no folder yet, or the disk is full: later
                self.look()
            await trio.sleep(0.03)

    def look(self) -> None:
        """Answer every request that has none yet. Raises: ValueError for half a request."""
        for request in sorted((self._folder / "outbox").glob("*.json")):
            key = request.stem
            if key in self.settled or key in self.refused:
                continue
            if msgspec.json.decode(request.read_bytes())["key"] != key:
                raise ValueError(f"{request} is about another withdrawal")
            count = len(self.settled) + len(self.refused)
            settles = self._answers[count % len(self._answers)]
            answer = msgspec.json.encode({"settled": settles, "evidence": f"slip {count}"})
            unfinished = self._folder / "answers" / f"{key}.new"
            unfinished.write_bytes(answer)
            unfinished.rename(unfinished.with_suffix(".json"))
            (self.settled if settles else self.refused).add(key)

"""The system's clock jumps about: stamps never go back, deadlines neither run ahead nor get lost.

Needs libfaketime (Debian: `apt-get install libfaketime`), which shows the server another wall clock
and leaves the monotonic one alone. The same without it, in virtual time: tests/flows.
"""

from pathlib import Path
from typing import Any, Final

import msgspec
import pytest
import trio

from engine.storage.embedded import EmbeddedPostgres
from tests.crash.campaign import Campaign
from tests.crash.history import Call, Outcome
from tests.crash.http_client import Client

pytestmark = [pytest.mark.slow, pytest.mark.database]

SEED = 17_320
LIBRARY: Final = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)
SOON_S, LATER_S = 6.0, 5_400.0


class Wall:
    """The wall clock that one process sees, in seconds beside the true one."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.step(0)

    def step(self, offset_s: int) -> None:
        """Set it, as a person or a time server would."""
        self._path.write_text(f"{offset_s:+d}\n")

    def environ(self) -> dict[str, str]:
        """What makes a process see it."""
        return {
            "LD_PRELOAD": str(LIBRARY),
            "FAKETIME_TIMESTAMP_FILE": str(self._path),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }


async def server_time_ns(client: Client) -> int:
    return int((await client.call("GET", "/v1/time")).content["server_time_ns"])


class Stopwatch:
    """Time as the server tells it beside time as it is."""

    def __init__(self, began_ns: int, began_s: tuple[float, float]) -> None:
        self.began_ns = began_ns
        self._began_s = began_s

    @classmethod
    async def start(cls, client: Client) -> "Stopwatch":
        asked_s = trio.current_time()
        return cls(await server_time_ns(client), (asked_s, trio.current_time()))

    async def runs_true(self, client: Client) -> bool:
        """Whether as much time has passed there as here, the question's own time apart."""
        asked_s = trio.current_time()
        passed_s = (await server_time_ns(client) - self.began_ns) / 1e9
        least_s, most_s = asked_s - self._began_s[1], trio.current_time() - self._began_s[0]
        return least_s - 0.1 < passed_s < most_s + 0.1


async def place_until(
    campaign: Campaign, client: Client, account: int, name: str, expires_at_ns: int
) -> None:
    """Place an order far from the market, good till a time."""
    form = {"client_order_id": name, "instrument": "BTC-USD", "side": "buy", "type": "limit"}
    form |= {"price": "1.00", "quantity": "1.0000", "time_in_force": "GTD"}
    body = msgspec.json.encode({**form, "expires_at_ns": expires_at_ns})
    call = Call("patient", account, "POST", "/v1/orders", body, name, is_place=True)
    campaign.history.begin(call)
    campaign.history.learn(call, await client.call(call.method, call.path, body))
    assert call.outcome is Outcome.OK, call


async def order(client: Client, name: str) -> Any:
    return (await client.call("GET", f"/v1/orders/by-client-id/{name}")).content


async def expired(client: Client, name: str) -> Any:
    """Wait until an order has ended because its time had come."""
    with trio.fail_after(30):
        while (found := await order(client, name))["status"] == "OPEN":  # noqa: ASYNC110
            await trio.sleep(0.1)
    assert (found["status"], found["reason"]) == ("CANCELLED", "EXPIRED")
    return found


@pytest.mark.skipif(LIBRARY is None, reason="needs libfaketime")
async def test_stamps_never_go_back_and_deadlines_keep_their_time_when_the_clock_is_stepped(
    folder: Path, database: EmbeddedPostgres
) -> None:
    wall = Wall(folder / "offset")
    campaign = Campaign(folder, SEED, url=database.dsn(), environ=wall.environ(), bots=2)
    server = campaign.server
    try:
        await campaign.open()
        account = campaign.venue.members[0].account
        client = campaign.venue.client(account)
        watch = await Stopwatch.start(client)
        soon_ns = watch.began_ns + int(SOON_S * 1e9)
        later_ns = watch.began_ns + int(LATER_S * 1e9)
        await place_until(campaign, client, account, "soon", soon_ns)
        await place_until(campaign, client, account, "later", later_ns)
        async with campaign.loaded():
            for offset_s in (-1_800, 3_600, 0, 7_200, -86_400):
                wall.step(offset_s)
                await trio.sleep(0.4)
                assert await watch.runs_true(client)
                found = await order(client, "soon")
                assert found["status"] == "OPEN" or found["updated_at_ns"] >= soon_ns
            found = await expired(client, "soon")
            assert 0 <= found["updated_at_ns"] - soon_ns < 3_000_000_000
            latest_ns = await server_time_ns(client)
            await server.kill()
        client.close()
        await campaign.restart()  # a day behind what the journal says
        assert latest_ns - 1_000_000_000 < await server_time_ns(client) < latest_ns + 10**11
        assert (await order(client, "later"))["status"] == "OPEN"
        async with campaign.loaded():
            await trio.sleep(0.5)
        await server.kill()
        client.close()
        wall.step(7_200)
        await campaign.restart()
        await expired(client, "later")
        client.close()
        await campaign.audit()  # every stamp of the journal included
        assert not campaign.checker.contradictions, campaign.checker.contradictions
        assert await server.stop() == 0
    finally:
        await server.kill()

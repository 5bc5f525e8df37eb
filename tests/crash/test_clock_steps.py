"""The system's clock jumps about: stamps never go back, deadlines neither run ahead nor get lost.

Needs libfaketime (Debian: `apt-get install libfaketime`), which shows the server another wall clock
and leaves the monotonic one alone. The same without it, in virtual time: tests/flows.
"""

from pathlib import Path
from typing import Any, Final

import msgspec
import pytest
import trio

from tests.crash.campaign import Campaign
from tests.crash.http_client import Client

pytestmark = [pytest.mark.slow, pytest.mark.database]

SEED = 17_320
LIBRARY: Final = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)
SOON_S, LATER_S = 4.0, 5_400.0


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


async def place_until(client: Client, name: str, expires_at_ns: int) -> None:
    """Place an order far from the market, good till a time."""
    form = {"client_order_id": name, "instrument": "BTC-USD", "side": "buy", "type": "limit"}
    form |= {"price": "1.00", "quantity": "1.0000", "time_in_force": "GTD"}
    body = msgspec.json.encode({**form, "expires_at_ns": expires_at_ns})
    assert (await client.call("POST", "/v1/orders", body)).status == 201


async def order(client: Client, name: str) -> Any:
    return (await client.call("GET", f"/v1/orders/by-client-id/{name}")).content


@pytest.mark.skipif(LIBRARY is None, reason="needs libfaketime")
async def test_stamps_never_go_back_and_deadlines_keep_their_time_when_the_clock_is_stepped(
    folder: Path,
) -> None:
    wall = Wall(folder / "offset")
    campaign = Campaign(folder, SEED, environ=wall.environ())
    server = campaign.server
    try:
        await campaign.open()
        client = campaign.venue.client(campaign.venue.members[0].account)
        began_ns, began_s = await server_time_ns(client), trio.current_time()
        await place_until(client, "soon", began_ns + int(SOON_S * 1e9))
        await place_until(client, "later", began_ns + int(LATER_S * 1e9))
        async with campaign.loaded():
            for offset_s in (-1_800, 3_600, 0, 7_200, -86_400):
                wall.step(offset_s)
                await trio.sleep(0.4)
                passed_s = trio.current_time() - began_s
                assert abs((await server_time_ns(client) - began_ns) / 1e9 - passed_s) < 0.5
                assert (await order(client, "soon"))["status"] == "OPEN"
            await trio.sleep(SOON_S + 0.5 - (trio.current_time() - began_s))
            ended = await order(client, "soon")
            assert (ended["status"], ended["reason"]) == ("CANCELLED", "EXPIRED")
            assert 0 <= ended["updated_at_ns"] - ended["expires_at_ns"] < 1_000_000_000
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
        await trio.sleep(0.5)
        ended = await order(client, "later")
        assert (ended["status"], ended["reason"]) == ("CANCELLED", "EXPIRED")
        client.close()
        campaign.history.foreign_keys |= {"soon", "later"}
        await campaign.audit()  # every stamp of the journal included
        assert not campaign.checker.contradictions, campaign.checker.contradictions
        assert await server.stop() == 0
    finally:
        await server.kill(database_too=True)

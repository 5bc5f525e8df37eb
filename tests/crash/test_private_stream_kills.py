"""The private stream over SIGKILL of the whole server, on the embedded database."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio

from api.web.limits import Bind
from tests.api.sockets.conftest import Hall
from tests.api.sockets.private_venue import Client, order
from tests.crash.process import ServerProcess
from tests.crash.venue import STAKES, Member, found

pytestmark = [pytest.mark.slow, pytest.mark.database]

KILLS = 3


@asynccontextmanager
async def client(server: ServerProcess, member: Member) -> AsyncIterator[Client]:
    """A member's socket."""
    hall = Hall()
    hall.bind = Bind(port=server.port)
    header = f"Authorization: Bearer {member.secret}"
    async with hall.socket("/v1/stream", header) as caller:
        yield Client(caller)


async def members_with_money(server: ServerProcess) -> list[Member]:
    """Two members of a new market, each with what these tests spend."""
    venue = await found(server, 2)
    teller = venue.client(0)
    for member in venue.members:
        for asset, amount in STAKES.items():
            form = {"account": member.account, "asset": asset, "amount": amount, "reference": "x"}
            reply = await teller.call("POST", "/v1/admin/deposits", msgspec.json.encode(form))
            assert reply.status < 300, reply
    teller.close()
    return venue.members


def bid(client_order_id: str) -> dict[str, Any]:
    """An order of one coin at 100."""
    return order(client_order_id, quantity="1.0000")


async def test_what_was_agreed_for_silence_and_disconnection_outlives_a_kill(
    folder: Path,
) -> None:
    server = ServerProcess(folder)
    await server.start()
    try:
        silent, gone = await members_with_money(server)
        last: dict[str, list[int]] = {}
        async with client(server, silent) as one, client(server, gone) as two:
            for each, member in ((one, silent), (two, gone)):
                last[member.name] = (await each.subscribe())["number"]
            await one.result("dead_man", timeout_ms=2_000)
            await two.result("cancel_on_disconnect", enabled=True)
            for each in (one, two):
                await each.result("place", order=bid("rests"))
            await server.kill()
        await trio.sleep(2.0)
        await server.start()
        for member in (silent, gone):
            async with client(server, member) as each:
                await each.result("resume", after=last[member.name])
                ended = await each.hear_event(
                    lambda event: event.get("order", {}).get("status") == "CANCELLED"
                )
                assert ended["order"]["reason"] == "CANCEL_ALL"
                told = [event["order"]["status"] for event in each.events if "order" in event]
                assert told == ["OPEN", "CANCELLED"]
    finally:
        await server.kill(database_too=True)


async def test_over_kills_every_event_is_told_once_and_in_order(folder: Path) -> None:
    server = ServerProcess(folder)
    await server.start()
    try:
        maker, taker = await members_with_money(server)
        last, heard, answered = [0, 65_535], list[dict[str, Any]](), list[str]()
        for life in range(KILLS + 1):
            async with client(server, maker) as one, client(server, taker) as two:
                await one.result("resume", after=last)
                for number in range(40):
                    name = f"{life}-{number}"
                    await one.result("place", order=bid(name))
                    sold = {**bid(name), "side": "sell", "quantity": "0.2500"}
                    answered.append((await two.result("place", order=sold))["order_id"])
                if life < KILLS:
                    await server.kill()
                else:
                    await one.hear_event(
                        lambda event: event.get("trade", "").split("-")[0] == answered[-1]
                    )
            heard += one.events
            last = heard[-1]["number"]
            if life < KILLS:
                await server.start()
        async with client(server, maker) as again:
            await again.result("resume", after=[0, 65_535])
            while len(again.events) < len(heard):
                await again.hear()
        assert [event["number"] for event in heard] == [e["number"] for e in again.events]
        assert heard == again.events
        assert all(after["previous"] == before["number"] for before, after in pairwise(heard))
        fills = [event["trade"].split("-")[0] for event in heard if event["type"] == "fill"]
        assert fills == answered
    finally:
        await server.kill(database_too=True)

"""Over HTTP a key is the same key, whether memory has forgotten it or not."""

from typing import Any

import httpx2
import pytest

from engine.actors.keys_forgetting import forget
from tests.api.routes.conftest import Open
from tests.api.routes.venue import Venue


@pytest.fixture
async def forgetful(open_venue: Open) -> Venue:
    """A venue where a-1 and a-2 have ended, and only the key b-1 of an open order is exact."""
    venue = await open_venue(keys_exact_max=1, closed_orders_max=1)
    await venue.alice.place("a-1")
    await venue.alice.place("a-2", quantity="1000000", status=422)
    await venue.alice.delete("/v1/orders/by-client-id/a-1", key="end-1")
    await venue.alice.place("b-1")
    for number in range(3):
        await venue.alice.place(f"c-{number}", time_in_force="IOC", status=201)
    line = venue.engine.line
    line.recall._history = venue.history
    await forget(line._state, through=line.released.sequence)
    assert line.released.keys.forgotten_count == 6
    return venue


def order(client_order_id: str, **terms: Any) -> dict[str, Any]:
    """A limit order of 1 at 100, as `Caller.place` sends it, unless `terms` say otherwise."""
    return {
        "client_order_id": client_order_id,
        "instrument": "BTC-USD",
        "side": "buy",
        "type": "limit",
        "price": "100.00",
        "quantity": "1.000",
        **terms,
    }


async def again(venue: Venue, **terms: Any) -> httpx2.Response:
    return await venue.alice.ask("POST", "/v1/orders", {**order("a-1"), **terms})


async def test_a_repeat_of_a_forgotten_key_says_so(forgetful: Venue) -> None:
    sequence = forgetful.service.released.sequence
    response = await again(forgetful)
    assert (response.status_code, response.headers["Idempotent-Replay"]) == (201, "true")
    other = await again(forgetful, price="99.00")
    assert forgetful.alice.read(other, 409)["code"] == "KEY_CONFLICT"
    refused = await again(forgetful, client_order_id="a-2", quantity="1000000")
    assert refused.headers["Idempotent-Replay"] == "true"
    assert forgetful.alice.read(refused, 422)["code"] == "INSUFFICIENT_FUNDS"
    assert forgetful.service.released.sequence == sequence


async def test_a_batch_asks_once_for_all_of_its_keys(forgetful: Venue) -> None:
    body = {"orders": [order("a-1"), order("new-1"), order("c-0"), order("a-1", price="99.00")]}
    answers = forgetful.alice.read(
        await forgetful.alice.ask("POST", "/v1/orders/batch", body), 200
    )["answers"]
    assert [one["status"] for one in answers] == [201, 201, 409, 409]
    assert [one.get("replayed", False) for one in answers] == [True, False, False, False]


async def test_a_forgotten_order_is_still_found_by_its_name(forgetful: Venue) -> None:
    path = "/v1/orders/by-client-id"
    found = await forgetful.alice.get(f"{path}/a-1")
    assert (found["client_order_id"], found["status"]) == ("a-1", "CANCELLED")
    refused = await forgetful.alice.ask("GET", f"{path}/a-2")
    assert forgetful.alice.read(refused, 422)["code"] == "INSUFFICIENT_FUNDS"
    assert (await forgetful.alice.ask("GET", f"{path}/never")).status_code == 404
    cancelled = await forgetful.alice.delete(f"{path}/b-1")
    assert cancelled["remaining"] == "1.000"


async def test_a_repeated_cancel_needs_no_order_that_is_still_known(forgetful: Venue) -> None:
    path, sequence = "/v1/orders/by-client-id/a-1", forgetful.service.released.sequence
    response = await forgetful.alice.ask("DELETE", path, key="end-1")
    assert (response.status_code, response.headers["Idempotent-Replay"]) == (200, "true")
    first = response.json()
    by_number = await forgetful.alice.ask("DELETE", f"/v1/orders/{first['order_id']}", key="end-1")
    assert forgetful.alice.read(by_number, 409)["code"] == "KEY_CONFLICT"
    for key in ("", "new"):
        assert (await forgetful.alice.ask("DELETE", path, key=key)).status_code == 404
    assert forgetful.service.released.sequence == sequence


async def test_without_the_history_a_forgotten_key_is_answered_503(forgetful: Venue) -> None:
    forgetful.engine.line.recall._history = None
    sequence = forgetful.service.released.sequence
    assert forgetful.alice.read(await again(forgetful), 503)["code"] == "HISTORY_BEHIND"
    found = await forgetful.alice.ask("GET", "/v1/orders/by-client-id/a-1")
    assert forgetful.alice.read(found, 503)["code"] == "HISTORY_BEHIND"
    assert forgetful.service.released.sequence == sequence

"""Withdrawals at the door."""

from typing import Any

from tests.api.routes.conftest import Open
from tests.api.routes.venue import Venue

TERMS: dict[str, Any] = {"asset": "BTC", "amount": "1.5", "destination": "bc1-somewhere"}


async def test_a_withdrawal_holds_cools_off_and_can_be_taken_back(open_venue: Open) -> None:
    venue = await open_venue(withdrawal_cooling_off_s=60.0)
    asked = await venue.alice.post("/v1/withdrawals", **TERMS)
    assert (asked["status"], asked["amount"]) == ("COOLING", "1.50000000")
    assert asked["submit_at_ns"] - venue.service.now_ns() > 50 * 10**9
    [coin, _] = (await venue.alice.get("/v1/balances"))["balances"]
    assert (coin["held"], coin["available"]) == ("1.50000000", "8.50000000")
    path = f"/v1/withdrawals/{asked['withdrawal_id']}"
    assert await venue.alice.get(path) == asked
    foreign = await venue.bob.ask("GET", path)
    assert venue.bob.read(foreign, 404)["code"] == "NOT_FOUND"
    assert (await venue.bob.delete(path, 404))["code"] == "UNKNOWN_WITHDRAWAL"
    assert (await venue.alice.delete(path))["status"] == "CANCELLED"
    again = await venue.alice.delete(path, 422)
    assert again["code"] == "WITHDRAWAL_NOT_CANCELLABLE"
    [coin, _] = (await venue.alice.get("/v1/balances"))["balances"]
    assert coin["held"] == "0.00000000"


async def test_a_repeated_request_withdraws_once(venue: Venue) -> None:
    first = await venue.alice.post("/v1/withdrawals", key="w-1", **TERMS)
    again = await venue.alice.post("/v1/withdrawals", key="w-1", **TERMS)
    assert again == first
    other = await venue.alice.post("/v1/withdrawals", 409, key="w-1", **{**TERMS, "amount": "2"})
    assert other["code"] == "KEY_CONFLICT"
    assert len((await venue.alice.get("/v1/withdrawals"))["withdrawals"]) == 1


async def test_lists_are_newest_first_by_account_and_by_status(open_venue: Open) -> None:
    venue = await open_venue(withdrawal_cooling_off_s=60.0)
    ids = [
        (await caller.post("/v1/withdrawals", **TERMS))["withdrawal_id"]
        for caller in (venue.alice, venue.alice, venue.bob)
    ]
    await venue.alice.delete(f"/v1/withdrawals/{ids[0]}")
    own = (await venue.alice.get("/v1/withdrawals"))["withdrawals"]
    assert [row["withdrawal_id"] for row in own] == [ids[1], ids[0]]
    cooling = (await venue.alice.get("/v1/withdrawals?status=COOLING"))["withdrawals"]
    assert [row["withdrawal_id"] for row in cooling] == [ids[1]]
    of_all = (await venue.admin.get("/v1/admin/withdrawals?limit=2"))["withdrawals"]
    assert [row["withdrawal_id"] for row in of_all] == [ids[2], ids[1]]


async def test_a_bad_withdrawal_names_its_field(venue: Venue) -> None:
    for changes, status, code, field in (
        ({"amount": "1.123456789"}, 400, "TOO_PRECISE", "amount"),
        ({"asset": "ETH"}, 404, "UNKNOWN_ASSET", "asset"),
        ({"amount": "0"}, 422, "INVALID_VALUE", "amount"),
        ({"destination": ""}, 422, "INVALID_VALUE", "destination"),
        ({"amount": "11"}, 422, "INSUFFICIENT_FUNDS", "amount"),
    ):
        refused = await venue.alice.post("/v1/withdrawals", status, **{**TERMS, **changes})
        assert (refused["code"], refused["field"]) == (code, field)

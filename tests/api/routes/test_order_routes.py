"""Placing, replacing, cancelling and looking up orders at the door."""

from typing import Any

import pytest
import trio

from tests.api.routes.conftest import Open
from tests.api.routes.venue import Venue, until


async def test_a_resting_order_is_answered_with_all_its_terms(venue: Venue) -> None:
    placed = await venue.alice.place("a-1", price="99.50", quantity="2")
    assert placed["order_id"] == str(placed["sequence"])
    wanted = {
        "client_order_id": "a-1",
        "account": 100,
        "instrument": "BTC-USD",
        "side": "buy",
        "type": "limit",
        "status": "OPEN",
        "reason": None,
        "price": "99.50",
        "quantity": "2.000",
        "filled": "0.000",
        "remaining": "2.000",
        "average_price": None,
        "notional": "0.00000",
        "fee": "0.00000000",
        "fee_asset": "BTC",
        "time_in_force": "GTC",
        "trades": [],
    }
    assert {name: placed[name] for name in wanted} == wanted
    assert isinstance(placed["placed_at_ns"], int)


async def test_a_taker_is_told_its_trades_with_their_fees(venue: Venue) -> None:
    await venue.alice.place("a-1", price="100.00", quantity="1")
    await venue.alice.place("a-2", price="99.00", quantity="2")
    sold = await venue.bob.place("b-1", side="sell", price="99.00", quantity="4")
    assert sold["status"] == "OPEN"
    assert (sold["filled"], sold["remaining"]) == ("3.000", "1.000")
    assert (sold["notional"], sold["fee"], sold["fee_asset"]) == ("298.00000", "0.59600", "USD")
    assert sold["average_price"] == "99.3333333333"
    assert sold["trades"] == [
        {"price": price, "quantity": lots, "fee": fee, "fee_asset": "USD", "liquidity": "taker"}
        for price, lots, fee in (("100.00", "1.000", "0.20000"), ("99.00", "2.000", "0.39600"))
    ]
    maker = await venue.alice.get("/v1/orders/by-client-id/a-2")
    assert (maker["status"], maker["fee"], maker["fee_asset"]) == ("FILLED", "0.00200000", "BTC")
    assert "trades" not in maker


@pytest.mark.parametrize(
    ("terms", "status", "reason"),
    [
        ({"quantity": "1"}, "FILLED", None),
        ({"quantity": "3", "time_in_force": "IOC"}, "CANCELLED", "IOC_REMAINDER"),
        ({"quantity": "3"}, "OPEN", None),
        ({"type": "market", "quantity": "3"}, "CANCELLED", "MARKET_REMAINDER"),
        ({"type": "market", "budget": "50.05"}, "FILLED", "BUDGET_SPENT"),
        ({"type": "market", "budget": "5000"}, "CANCELLED", "MARKET_REMAINDER"),
        ({"quantity": "3", "account": 101}, "OPEN", None),
    ],
)
async def test_what_the_placing_answers_is_what_a_look_up_finds(
    terms: dict[str, Any], status: str, reason: str | None, venue: Venue
) -> None:
    await venue.alice.place("seed-1", price="100.00", quantity="0.5")
    await venue.bob.place("seed-2", side="sell", price="100.00", quantity="0.5")
    await venue.alice.place("a-1", side="sell", price="100.10", quantity="1")
    if "type" not in terms:
        terms = {"price": "100.10", **terms}
    placed = await venue.bob.place("b-1", **terms)
    found = await venue.bob.get(f"/v1/orders/{placed['order_id']}")
    assert placed.pop("trades") is not None
    assert placed == found
    assert (placed["status"], placed["reason"]) == (status, reason)


@pytest.mark.parametrize("mode", ["CANCEL_TAKER", "CANCEL_MAKER", "CANCEL_BOTH", "DECREMENT"])
async def test_prevented_self_trades_are_answered_as_they_are_looked_up(
    mode: str, venue: Venue
) -> None:
    await venue.alice.place("a-1", quantity="1")
    placed = await venue.alice.place("a-2", side="sell", quantity="1", self_trade=mode)
    placed.pop("trades")
    assert placed == await venue.alice.get("/v1/orders/by-client-id/a-2")


async def test_a_market_order_is_protected_by_the_reference_price(venue: Venue) -> None:
    without = await venue.alice.place("a-1", 422, type="market", budget="10")
    assert (without["code"], without["field"]) == ("NO_REFERENCE_PRICE", "protection_price")
    await venue.alice.place("a-2", price="100.00")
    await venue.bob.place("b-1", side="sell", price="100.00", quantity="0.1")
    market = await venue.bob.place("b-2", side="sell", type="market", quantity="0.1")
    assert (market["price"], market["protection_price"]) == (None, "95.00")
    assert market["status"] == "FILLED"
    stated = await venue.bob.place(
        "b-3", side="sell", type="market", quantity="0.1", protection_price="99.99"
    )
    assert stated["protection_price"] == "99.99"


async def test_a_repeated_place_gets_the_same_bytes_and_says_so(venue: Venue) -> None:
    order = {
        "client_order_id": "a-1",
        "instrument": "BTC-USD",
        "side": "buy",
        "type": "limit",
        "price": "100.00",
        "quantity": "1",
    }
    first = await venue.alice.ask("POST", "/v1/orders", order)
    await venue.bob.place("b-1", side="sell", quantity="1")
    again = await venue.alice.ask("POST", "/v1/orders", order)
    assert (again.status_code, again.content) == (201, first.content)
    assert "idempotent-replay" not in first.headers
    assert again.headers["idempotent-replay"] == "true"


async def test_the_same_client_id_with_another_body_is_a_conflict(venue: Venue) -> None:
    await venue.alice.place("a-1")
    conflict = await venue.alice.place("a-1", 409, price="100.01")
    assert conflict["code"] == "KEY_CONFLICT"
    assert (await venue.bob.place("a-1"))["status"] == "OPEN"  # another account's own key


async def test_a_refusal_is_recorded_and_repeated(venue: Venue) -> None:
    first = await venue.alice.place("a-1", 422, quantity="100000")
    assert (first["code"], first["field"]) == ("INSUFFICIENT_FUNDS", "quantity")
    await venue.admin.post(
        "/v1/admin/deposits", account=100, asset="USD", amount="90000000", reference="r"
    )
    again = await venue.alice.ask(
        "POST",
        "/v1/orders",
        {
            "client_order_id": "a-1",
            "instrument": "BTC-USD",
            "side": "buy",
            "type": "limit",
            "price": "100.00",
            "quantity": "100000",
        },
    )
    assert venue.alice.read(again, 422)["code"] == "INSUFFICIENT_FUNDS"
    assert again.headers["idempotent-replay"] == "true"
    asked = await venue.alice.ask("GET", "/v1/orders/by-client-id/a-1")
    assert venue.alice.read(asked, 422)["code"] == "INSUFFICIENT_FUNDS"


async def test_refusals_of_the_book_speak_of_the_fields_that_were_sent(venue: Venue) -> None:
    refused = await venue.alice.place("a-1", 422, price="0")
    assert (refused["code"], refused["field"]) == ("PRICE_NOT_POSITIVE", "price")
    refused = await venue.alice.place("a-2", 422, quantity="0")
    assert (refused["code"], refused["field"]) == ("QUANTITY_TOO_SMALL", "quantity")


async def test_replacing_states_whether_priority_was_kept(venue: Venue) -> None:
    placed = await venue.alice.place("a-1", quantity="2")
    path = f"/v1/orders/{placed['order_id']}"
    less = await venue.alice.put(path, price="100.00", quantity="1")
    assert (less["kept_priority"], less["status"], less["remaining"]) == (True, "OPEN", "1.000")
    await venue.bob.place("b-1", side="sell", price="101.00", quantity="0.4")
    crossing = await venue.alice.put("/v1/orders/by-client-id/a-1", price="101.00", quantity="1.5")
    assert (crossing["kept_priority"], crossing["status"]) == (False, "OPEN")
    assert crossing["remaining"] == "1.100"
    assert [trade["quantity"] for trade in crossing["trades"]] == ["0.400"]
    found = await venue.alice.get(path)
    assert {name: found[name] for name in ("price", "quantity", "filled", "remaining")} == {
        "price": "101.00",
        "quantity": "1.500",
        "filled": "0.400",
        "remaining": "1.100",
    }
    same = await venue.alice.put(path, 422, price="101.00", quantity="1.5")
    assert same["code"] == "NOTHING_TO_REPLACE"


async def test_cancelling_frees_the_hold_and_works_once(venue: Venue) -> None:
    placed = await venue.alice.place("a-1")
    cancelled = await venue.alice.delete(f"/v1/orders/{placed['order_id']}")
    assert (cancelled["status"], cancelled["reason"]) == ("CANCELLED", "REQUESTED")
    balances = (await venue.alice.get("/v1/balances"))["balances"]
    assert {row["held"] for row in balances} == {"0.00000000", "0.00000"}
    again = await venue.alice.delete("/v1/orders/by-client-id/a-1", 404)
    assert again["code"] == "UNKNOWN_ORDER"


async def test_a_cancel_with_a_key_is_done_once_and_answered_twice(venue: Venue) -> None:
    placed = await venue.alice.place("a-1")
    path = f"/v1/orders/{placed['order_id']}"
    first = await venue.alice.delete(path, key="cancel-1")
    assert await venue.alice.delete(path, key="cancel-1") == first


async def test_a_cancel_behind_its_place_works_while_the_place_is_in_flight(venue: Venue) -> None:
    venue.store.stall()
    answers: dict[str, object] = {}

    async def place() -> None:
        answers["place"] = await venue.alice.place("a-1")

    async def cancel() -> None:
        answers["cancel"] = await venue.alice.delete("/v1/orders/by-client-id/a-1")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(place)
        await until(lambda: venue.engine.gate.under_way(100, "a-1") is not None)
        asked = await venue.alice.get("/v1/orders/by-client-id/a-1")
        assert asked == {"client_order_id": "a-1", "status": "IN_FLIGHT"}
        nursery.start_soon(cancel)
        await until(lambda: venue.engine.gate.under_way_count == 2)
        assert answers == {}
        venue.store.move_on()
    assert answers["place"]["status"] == "OPEN"  # type: ignore[index]
    assert answers["cancel"]["status"] == "CANCELLED"  # type: ignore[index]


async def test_no_answer_in_time_is_called_unknown_and_the_key_finds_it(open_venue: Open) -> None:
    venue = await open_venue(edge_deadline_s=0.05)
    venue.store.stall()
    unknown = await venue.alice.place("a-1", 504)
    assert unknown["code"] == "OUTCOME_UNKNOWN"
    venue.store.move_on()
    assert (await venue.alice.place("a-1"))["status"] == "OPEN"


async def test_cancel_all_answers_when_everything_is_cancelled(venue: Venue) -> None:
    for number in range(3):
        await venue.alice.place(f"a-{number}")
    other = await venue.alice.place("other", instrument="BTC/USD")
    await venue.bob.place("b-1", side="sell", price="200.00")
    one = await venue.alice.delete("/v1/orders?instrument=BTC-USD")
    assert (one["complete"], one["cancelled_orders"]) == (True, 3)
    [left] = (await venue.alice.get("/v1/orders"))["orders"]
    assert left["order_id"] == other["order_id"]
    rest = await venue.alice.delete("/v1/orders")
    assert (rest["complete"], rest["cancelled_orders"], rest["open_instruments"]) == (True, 1, 0)
    nothing = await venue.alice.delete("/v1/orders")
    assert (nothing["complete"], nothing["cancelled_orders"]) == (True, 0)
    assert len((await venue.bob.get("/v1/orders"))["orders"]) == 1


async def test_a_typo_in_a_query_cancels_nothing(venue: Venue) -> None:
    await venue.alice.place("a-1")
    typo = await venue.alice.delete("/v1/orders?instrment=BTC-USD", 400)
    assert (typo["code"], typo["field"]) == ("INVALID_FIELD", "instrment")
    empty = await venue.alice.delete("/v1/orders?instrument=", 404)
    assert empty["code"] == "UNKNOWN_INSTRUMENT"
    assert len((await venue.alice.get("/v1/orders"))["orders"]) == 1


async def test_open_orders_come_in_pages_and_by_instrument(venue: Venue) -> None:
    placed = [await venue.alice.place(f"a-{number}") for number in range(3)]
    await venue.alice.place("other", instrument="BTC/USD")
    first = await venue.alice.get("/v1/orders?instrument=BTC-USD&limit=2")
    assert [row["client_order_id"] for row in first["orders"]] == ["a-0", "a-1"]
    after = placed[1]["order_id"]
    rest = await venue.alice.get(f"/v1/orders?after={after}")
    assert [row["client_order_id"] for row in rest["orders"]] == ["a-2", "other"]
    assert rest["as_of_sequence"] >= placed[2]["sequence"]
    too_many = await venue.alice.ask("GET", "/v1/orders?limit=1001")
    assert venue.alice.read(too_many, 400)["field"] == "limit"


async def test_a_foreign_order_is_as_unknown_as_none(venue: Venue) -> None:
    placed = await venue.alice.place("a-1")
    path = f"/v1/orders/{placed['order_id']}"
    assert (await venue.bob.delete(path, 404))["code"] == "NOT_FOUND"
    assert (await venue.bob.put(path, 404, price="1", quantity="1"))["code"] == "NOT_FOUND"
    for foreign in (path, "/v1/orders/by-client-id/a-1", "/v1/orders/999", "/v1/orders/0x1"):
        response = await venue.bob.ask("GET", foreign)
        assert venue.bob.read(response, 404)["code"] == "NOT_FOUND"


async def test_an_admin_acts_for_an_account_only_when_it_says_which(venue: Venue) -> None:
    missing = await venue.admin.place("a-1", 400)
    assert (missing["code"], missing["field"]) == ("INVALID_FIELD", "account")
    placed = await venue.admin.place("a-1", account=100)
    assert (await venue.alice.get("/v1/orders/by-client-id/a-1"))["order_id"] == placed["order_id"]
    assert (await venue.admin.delete("/v1/orders?account=100"))["cancelled_orders"] == 1
    unknown = await venue.admin.place("a-2", 404, account=555)
    assert (unknown["code"], unknown["field"]) == ("UNKNOWN_ACCOUNT", "account")


async def test_nobody_acts_for_another_account(venue: Venue) -> None:
    assert (await venue.alice.place("a-1", 403, account=101))["code"] == "FORBIDDEN"
    assert (await venue.alice.delete("/v1/orders?account=101", 403))["code"] == "FORBIDDEN"
    response = await venue.alice.ask("GET", "/v1/balances?account=101")
    assert venue.alice.read(response, 403)["code"] == "FORBIDDEN"

"""Many orders in one request: each is answered by itself, and the same as if it had come alone."""

from typing import Any

import pytest
import trio

from api.orders.keys import digest_of_order
from engine.units import AccountId
from tests.api.routes.conftest import Open
from tests.api.routes.venue import Caller, Venue, until


def order(client_order_id: str, **terms: Any) -> dict[str, Any]:
    """A limit buy of one at 100, unless `terms` say otherwise."""
    return {
        "client_order_id": client_order_id,
        "instrument": "BTC-USD",
        "side": "buy",
        "type": "limit",
        "price": "100.00",
        "quantity": "1.000",
        **terms,
    }


async def place(caller: Caller, *orders: Any, **beside: Any) -> list[Any]:
    """How a batch is answered."""
    answered = await caller.post("/v1/orders/batch", 200, orders=list(orders), **beside)
    return list(answered["answers"])


async def cancel(caller: Caller, *orders: Any, **beside: Any) -> list[Any]:
    """How a batch of cancels is answered."""
    answered = await caller.post("/v1/orders/batch-cancel", 200, orders=list(orders), **beside)
    return list(answered["answers"])


async def test_orders_of_a_batch_are_decided_in_their_order(venue: Venue) -> None:
    sell, buy = order("a-1", side="sell"), order("a-2", self_trade="NONE")
    sold, bought = await place(venue.alice, sell, buy)
    assert (sold["status"], sold["order"]["status"]) == (201, "OPEN")
    assert (bought["status"], bought["order"]["status"]) == (201, "FILLED")
    assert bought["order"]["sequence"] == sold["order"]["sequence"] + 1


async def test_an_order_of_a_batch_is_answered_as_if_it_had_come_alone(venue: Venue) -> None:
    await venue.alice.place("alone")
    [answered] = await place(venue.alice, order("batched"))
    alone = await venue.alice.get("/v1/orders/by-client-id/alone")
    assert answered["order"].keys() == {*alone, "trades"}
    assert await venue.alice.get("/v1/orders/by-client-id/batched") == {
        name: value for name, value in answered["order"].items() if name != "trades"
    }


async def test_a_bad_order_spoils_no_other_of_its_batch(venue: Venue) -> None:
    answers = await place(
        venue.alice,
        order("a-1"),
        order("a-2", quantity="1000000"),
        order("a-3", colour="red"),
        order("a-4", price="1.234"),
        order("a-5", instrument="NO-SUCH"),
        order("no good"),
        7,
        order("a-6", account=101),
        order("a-7"),
    )
    told = [(one["status"], one.get("error", {}).get("code")) for one in answers]
    assert told == [
        (201, None),
        (422, "INSUFFICIENT_FUNDS"),
        (400, "INVALID_FIELD"),
        (400, "NOT_A_MULTIPLE"),
        (404, "UNKNOWN_INSTRUMENT"),
        (400, "INVALID_FIELD"),
        (400, "INVALID_FIELD"),
        (403, "FORBIDDEN"),
        (201, None),
    ]
    assert answers[2]["error"]["field"] == "colour"
    assert answers[3]["error"]["request_id"].startswith("req-")
    assert answers[3]["error"]["server_time_ns"] > 0
    assert venue.service.released.keys.get(100, "a-3") is None


@pytest.mark.parametrize(
    ("body", "code", "field"),
    [
        ({"orders": []}, "INVALID_FIELD", "orders"),
        ({"orders": [{}] * 101}, "INVALID_FIELD", "orders"),
        ({"orders": [order("a-1")], "colour": "red"}, "INVALID_FIELD", "colour"),
        ({"orders": {}}, "INVALID_FIELD", "orders"),
        (b'{"orders": [{"client_order_id": "a-1"}, {]}', "MALFORMED_JSON", None),
    ],
)
@pytest.mark.parametrize("path", ["/v1/orders/batch", "/v1/orders/batch-cancel"])
async def test_a_malformed_batch_is_refused_whole(
    path: str, body: Any, code: str, field: str | None, open_venue: Open
) -> None:
    venue = await open_venue()
    sequence = venue.service.released.sequence
    refused = venue.alice.read(await venue.alice.ask("POST", path, body), 400)
    assert (refused["code"], refused.get("field")) == (code, field)
    assert venue.service.released.sequence == sequence


async def test_a_repeated_batch_gets_the_same_answers_and_says_so(venue: Venue) -> None:
    orders = [order("a-1"), order("a-2", quantity="1000000"), order("a-3")]
    first = await place(venue.alice, *orders)
    again = await place(venue.alice, *orders, order("a-4"))
    assert [one.get("order") for one in again[:3]] == [one.get("order") for one in first]
    assert [one.get("replayed", False) for one in first] == [False, False, False]
    assert [one.get("replayed", False) for one in again] == [True, True, True, False]
    assert again[1]["error"]["code"] == "INSUFFICIENT_FUNDS"


async def test_a_repeated_batch_reads_each_block_of_the_journal_once(venue: Venue) -> None:
    orders = [order(f"a-{number}", quantity="0.010") for number in range(40)]
    first = await place(venue.alice, *orders)
    again = await place(venue.alice, *orders)
    assert [one["order"] for one in again] == [one["order"] for one in first]
    assert venue.store.rereads <= 2


async def test_the_same_order_twice_in_a_batch_is_one_order(venue: Venue) -> None:
    first, second, other = await place(
        venue.alice, order("a-1"), order("a-1"), order("a-1", price="99.00")
    )
    assert (second["order"], second["replayed"]) == (first["order"], True)
    assert (other["status"], other["error"]["code"]) == (409, "KEY_CONFLICT")


async def test_an_order_is_the_same_however_it_travelled(venue: Venue) -> None:
    alone = await venue.alice.place("a-1")
    [batched] = await place(venue.alice, order("a-1"))
    assert (batched["order"], batched["replayed"]) == (alone, True)
    turned = dict(reversed(order("a-1").items()))
    response = await venue.admin.ask("POST", "/v1/orders", {**turned, "account": 100})
    assert (response.status_code, response.json()) == (201, alone)
    [beside] = await place(venue.admin, turned, account=100)
    assert (beside["order"], beside["replayed"]) == (alone, True)


async def test_a_default_that_is_stated_makes_another_order(venue: Venue) -> None:
    await venue.alice.place("a-1")
    conflict = await venue.alice.place("a-1", 409, time_in_force="GTC")
    assert conflict["code"] == "KEY_CONFLICT"


def test_the_digest_of_an_order_does_not_change_between_releases() -> None:
    assert digest_of_order(order("a-1")) == 6_180_148_169_110_357_790


async def test_admins_state_an_account_for_the_batch_or_per_order(venue: Venue) -> None:
    first, second = await place(venue.admin, order("a-1"), order("b-1", account=101), account=100)
    assert (first["order"]["account"], second["order"]["account"]) == (100, 101)
    [nobodys] = await place(venue.admin, order("c-1"))
    assert (nobodys["status"], nobodys["error"]["field"]) == (400, "account")


async def test_cancels_of_a_batch_are_answered_each_by_itself(venue: Venue) -> None:
    placed = [(await venue.alice.place(f"a-{n}"))["order_id"] for n in range(2)]
    bobs = (await venue.bob.place("b-1"))["order_id"]
    answers = await cancel(
        venue.alice,
        {"order_id": placed[0]},
        {"client_order_id": "a-1"},
        {"order_id": placed[0]},
        {"order_id": bobs},
        {"client_order_id": "never"},
        {"order_id": placed[0], "client_order_id": "a-0"},
        {},
        {"order_id": placed[0], "colour": "red"},
    )
    assert [one["status"] for one in answers] == [200, 200, 404, 404, 404, 400, 400, 400]
    assert [one["order"]["order_id"] for one in answers[:2]] == placed
    assert answers[0]["order"] == {
        "order_id": placed[0],
        "instrument": "BTC-USD",
        "status": "CANCELLED",
        "reason": "REQUESTED",
        "remaining": "1.000",
        "sequence": answers[0]["order"]["sequence"],
    }
    assert answers[2]["error"]["code"] == "UNKNOWN_ORDER"
    assert (await venue.bob.get(f"/v1/orders/{bobs}"))["status"] == "OPEN"


async def test_a_batch_of_cancels_finds_room_when_the_gate_is_full_of_orders(
    open_venue: Open,
) -> None:
    venue = await open_venue(order_slots_max=17)
    await place(venue.alice, *(order(f"a-{n}") for n in range(17)))
    too_many = await place(venue.alice, *(order(f"b-{n}") for n in range(20)))
    assert [one["status"] for one in too_many] == [201] * 17 + [503] * 3
    assert too_many[17]["error"]["code"] == "OVERLOADED"
    cancelled = await cancel(venue.alice, *({"client_order_id": f"a-{n}"} for n in range(17)))
    assert {one["status"] for one in cancelled} == {200}
    again = await place(venue.alice, *(order(f"b-{n}") for n in range(3, 20)))
    assert {one["status"] for one in again} == {201}


async def test_a_batch_waits_for_all_its_orders_no_longer_than_for_one(open_venue: Open) -> None:
    venue = await open_venue(edge_deadline_s=0.2)
    orders = [order(f"a-{number}", quantity="0.010") for number in range(20)]
    await place(venue.alice, orders[0])
    venue.store.stall()
    with trio.fail_after(0.2 * 5):
        answers = await place(venue.alice, *orders, order("no good"))
    told = [one.get("error", {}).get("code") for one in answers]
    assert told == [None, *["OUTCOME_UNKNOWN"] * 19, "INVALID_FIELD"]
    assert {one["status"] for one in answers[1:20]} == {504}
    venue.store.move_on()
    await until(lambda: venue.engine.gate.under_way_count == 0)
    again = await place(venue.alice, *orders)
    assert [(one["status"], one["replayed"]) for one in again] == [(201, True)] * 20


async def test_what_validates_is_accepted_and_nothing_is_recorded(venue: Venue) -> None:
    sequence = venue.service.released.sequence
    for terms, asset, amount in (
        ({}, "USD", "100.00000"),
        ({"side": "sell"}, "BTC", "1.00000000"),
        ({"type": "market", "budget": "50", "protection_price": "100"}, "USD", "50.00000"),
        ({"type": "stop", "trigger_price": "120.00"}, "USD", "126.00000"),
    ):
        sent = {**order("a-1"), **terms}
        if sent["type"] != "limit":
            del sent["price"]
        if "budget" in sent:
            del sent["quantity"]
        valid = await venue.alice.post("/v1/orders/validate", 200, **sent)
        assert valid == {"valid": True, "holds": {"asset": asset, "amount": amount}}
    assert venue.service.released.sequence == sequence
    assert venue.service.released.keys.get(100, "a-1") is None
    assert (await venue.alice.place("a-1"))["status"] == "OPEN"


@pytest.mark.parametrize(
    "terms",
    [
        {"quantity": "1000000"},
        {"quantity": "0.000"},
        {"price": "0.00"},
        {"expires_at_ns": 5},
        {"time_in_force": "GTD", "expires_at_ns": 5},
        {"instrument": "NO-SUCH"},
        {"price": "1.234"},
        {"colour": "red"},
        {"account": 101},
        {"type": "stop", "trigger_price": "1.00", "price": None},
        {"type": "oco", "price": None, "legs": [{"type": "limit", "price": "1.00"}] * 2},
    ],
    ids=str,
)
async def test_what_does_not_validate_is_refused_in_the_words_of_placing(
    terms: dict[str, Any], venue: Venue
) -> None:
    await venue.alice.place("resting")
    await venue.bob.place("taking", side="sell")
    sent = {name: value for name, value in order("a-1", **terms).items() if value is not None}
    validated = await venue.alice.ask("POST", "/v1/orders/validate", sent)
    placed = await venue.alice.ask("POST", "/v1/orders", sent)
    assert validated.status_code == placed.status_code >= 400
    assert _told(validated.json()) == _told(placed.json())


async def test_halts_and_limits_and_states_are_validated_too(venue: Venue) -> None:
    halt: dict[str, Any] = {"scope": "account", "account": 100, "reason": "a look"}
    await venue.admin.post("/v1/admin/halts", 200, halted=True, **halt)
    assert await _code(venue) == "ACCOUNT_HALTED"
    await venue.admin.post("/v1/admin/halts", 200, halted=False, **halt)
    await venue.admin.post("/v1/admin/limits", 200, account=100, open_orders_max=1)
    await venue.alice.place("a-1")
    assert await _code(venue) == "LIMIT_EXCEEDED"
    await venue.admin.post("/v1/admin/limits", 200, account=100)
    state = {"instrument": "BTC-USD", "state": "CANCEL_ONLY"}
    await venue.admin.post("/v1/admin/instrument-states", 200, **state)
    assert await _code(venue) == "INSTRUMENT_NOT_OPEN"
    assert venue.service.released.keys.get(AccountId(100), "v-1") is None


async def _code(venue: Venue) -> Any:
    return (await venue.alice.post("/v1/orders/validate", 422, **order("v-1")))["code"]


def _told(answer: Any) -> Any:
    return {name: answer["error"].get(name) for name in ("code", "message", "field", "rule")}

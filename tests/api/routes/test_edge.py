"""Who may call, what a request must look like, and what every error looks like."""

from typing import Any

import pytest
import trio

from api.app import create_app
from engine.gateways.custody import SimulatedCustody
from engine.service import Service
from engine.storage.memory_history import FollowingHistory
from engine.units import OrderId
from engine.wiring import Engine
from tests.api.routes.conftest import Open
from tests.api.routes.venue import StallingStore, Venue, until


async def test_a_reading_key_reads_and_does_not_trade(venue: Venue) -> None:
    assert (await venue.reader.get("/v1/balances"))["account"] == 100
    assert (await venue.reader.place("a-1", 403))["code"] == "FORBIDDEN"
    assert (await venue.reader.delete("/v1/orders", 403))["code"] == "FORBIDDEN"


@pytest.mark.parametrize(
    "header", ["", "Basic abc", "Bearer", "Bearer ock_unknown", "Bearer " + "x" * 500]
)
async def test_what_is_no_known_key_is_turned_away(header: str, venue: Venue) -> None:
    response = await venue.nobody.ask("GET", "/v1/balances", Authorization=header)
    assert venue.nobody.read(response, 401)["code"] == "UNAUTHORIZED"


async def test_the_scheme_is_read_in_any_case(venue: Venue) -> None:
    response = await venue.nobody.ask("GET", "/v1/balances", Authorization="bearer  ock_alice")
    assert response.status_code == 200


@pytest.mark.parametrize(
    ("changes", "code", "field"),
    [
        ({"colour": "red"}, "INVALID_FIELD", "colour"),
        ({"price": "1.234"}, "NOT_A_MULTIPLE", "price"),
        ({"price": "1e3"}, "NOT_DECIMAL", "price"),
        ({"price": "-1"}, "NOT_DECIMAL", "price"),
        ({"price": "9" * 30}, "TOO_LARGE", "price"),
        ({"price": "9" * 40}, "TOO_LONG", "price"),
        ({"price": 1.5}, "INVALID_FIELD", "price"),
        ({"quantity": "0.0001"}, "NOT_A_MULTIPLE", "quantity"),
        ({"quantity": None}, "INVALID_FIELD", "quantity"),
        ({"side": "BUY"}, "INVALID_FIELD", "side"),
        ({"type": "iceberg"}, "INVALID_FIELD", "type"),
        ({"time_in_force": "DAY"}, "INVALID_FIELD", "time_in_force"),
        ({"client_order_id": "no spaces"}, "INVALID_FIELD", "client_order_id"),
        ({"client_order_id": "new\n"}, "INVALID_FIELD", "client_order_id"),
        ({"client_order_id": ""}, "INVALID_FIELD", "client_order_id"),
        ({"client_order_id": "x" * 65}, "INVALID_FIELD", "client_order_id"),
        ({"minimum_quantity": "x"}, "NOT_DECIMAL", "minimum_quantity"),
        ({"account": -5}, "INVALID_FIELD", "account"),
        ({"expires_at_ns": 2**63}, "INVALID_FIELD", "expires_at_ns"),
    ],
)
async def test_a_malformed_order_names_the_field_at_fault(
    changes: dict[str, Any], code: str, field: str, venue: Venue
) -> None:
    order = {
        "client_order_id": "a-1",
        "instrument": "BTC-USD",
        "side": "buy",
        "type": "limit",
        "price": "100.00",
        "quantity": "1",
        **changes,
    }
    refused = venue.alice.read(await venue.alice.ask("POST", "/v1/orders", order), 400)
    assert (refused["code"], refused["field"]) == (code, field)
    assert venue.service.released.keys.get(100, "a-1") is None


async def test_an_unknown_instrument_is_not_recorded(venue: Venue) -> None:
    sequence = venue.service.released.sequence
    refused = await venue.alice.place("a-1", 404, instrument="ETH-USD")
    assert (refused["code"], refused["field"]) == ("UNKNOWN_INSTRUMENT", "instrument")
    assert venue.service.released.sequence == sequence


@pytest.mark.parametrize("key", ["no spaces", "", "x" * 65, "a/b"])
async def test_a_bad_idempotency_key_is_refused(key: str, venue: Venue) -> None:
    headers = {"Idempotency-Key": key}
    response = await venue.alice.ask("DELETE", "/v1/orders", **headers)
    refused = venue.alice.read(response, 400)
    assert (refused["code"], refused["field"]) == ("INVALID_KEY", "Idempotency-Key")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "MALFORMED_JSON"),
        (b"{", "MALFORMED_JSON"),
        (b'{"asset":"\xff"}', "MALFORMED_JSON"),
        (b'{"asset":"\\ud800"}', "MALFORMED_JSON"),
        (b'{"asset":"' + b"x" * 201 + b'"}', "INVALID_FIELD"),
    ],
)
async def test_a_body_that_is_no_json_is_called_that(body: bytes, code: str, venue: Venue) -> None:
    response = await venue.alice.ask("POST", "/v1/withdrawals", body)
    assert venue.alice.read(response, 400)["code"] == code


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("assets", {"code": "X", "kind": "coin", "scale": 10**30}, "scale"),
        ("assets", {"code": "X", "kind": "coin", "scale": -(10**30)}, "scale"),
        ("fees", {"tier": "", "maker_ppm": 10**30, "taker_ppm": 0}, "maker_ppm"),
        ("accounts", {"owner": 10**30, "name": "x"}, "owner"),
        ("deposits", {"account": 10**30}, "account"),
        ("owners", {"name": "x" * 201}, "name"),
    ],
)
async def test_what_the_journal_could_not_hold_never_reaches_it(
    path: str, body: dict[str, Any], field: str, venue: Venue
) -> None:
    refused = await venue.admin.post(f"/v1/admin/{path}", 400, **body)
    assert (refused["code"], refused["field"]) == ("INVALID_FIELD", field)
    assert (await venue.nobody.get("/v1/health"))["status"] == "UP"


async def test_every_error_has_one_shape(venue: Venue) -> None:
    ask = venue.alice.ask
    text = {"Content-Type": "text/plain"}
    for response, status, code in (
        (await ask("GET", "/v1/nothing"), 404, "NOT_FOUND"),
        (await ask("PATCH", "/v1/orders"), 405, "METHOD_NOT_ALLOWED"),
        (await ask("POST", "/v1/orders", "x" * 20_000), 413, "BODY_TOO_LARGE"),
        (await ask("POST", "/v1/orders", "{}", **text), 415, "UNSUPPORTED_MEDIA_TYPE"),
        (await ask("POST", "/v1/orders", "{}"), 400, "INVALID_FIELD"),
        (await venue.nobody.ask("GET", "/v1/orders"), 401, "UNAUTHORIZED"),
        (await venue.reader.ask("DELETE", "/v1/orders"), 403, "FORBIDDEN"),
    ):
        error = venue.alice.read(response, status)
        assert error["code"] == code
        assert error["message"]
        assert isinstance(error["server_time_ns"], int)
        assert error["request_id"] == response.headers["x-request-id"]


async def test_the_callers_own_request_id_comes_back(venue: Venue) -> None:
    response = await venue.alice.ask("GET", "/v1/nothing", **{"X-Request-Id": "mine-1"})
    assert response.json()["error"]["request_id"] == "mine-1"
    assert response.headers["x-request-id"] == "mine-1"


async def test_the_overview_names_every_route(venue: Venue) -> None:
    routes = (await venue.nobody.get("/v1"))["routes"]
    assert {"route": "DELETE /v1/orders/<order_id>", "about": "DELETE /v1/orders/ID."} in routes
    assert len(routes) > 40


async def test_without_an_engine_everything_says_so() -> None:
    store = StallingStore()
    service = Service(Engine(store, SimulatedCustody()), FollowingHistory(store))
    client = create_app(service).test_client()
    health = await client.get("/v1/health")
    assert (health.status_code, (await health.get_json())["status"]) == (503, "DOWN")
    for path in ("/v1/time", "/v1/orders", "/v1/balances"):
        response = await client.get(path, headers={"Authorization": "Bearer ock_alice"})
        error = (await response.get_json())["error"]
        assert (response.status_code, error["code"]) == (503, "HALTED")
        assert response.headers["Retry-After"]
        assert error["server_time_ns"] > 0


async def test_a_full_gate_refuses_orders_and_lets_cancels_in(open_venue: Open) -> None:
    slots_max = 20
    venue = await open_venue(order_slots_max=slots_max, edge_deadline_s=0.2)
    placed = await venue.alice.place("a-1")
    venue.store.stall()
    async with trio.open_nursery() as nursery:
        for number in range(slots_max):
            nursery.start_soon(venue.alice.place, f"b-{number}", 504)
        await until(lambda: venue.engine.gate.under_way_count == slots_max)
        full = await venue.alice.place("a-3", 503)
        assert full["code"] == "OVERLOADED"
        nursery.start_soon(venue.alice.delete, f"/v1/orders/{placed['order_id']}", 504)
        await until(lambda: venue.engine.gate.under_way_count == slots_max + 1)
    venue.store.move_on()
    await until(lambda: venue.engine.gate.under_way_count == 0)
    assert (await venue.alice.place("a-3"))["status"] == "OPEN"


async def test_a_record_keeps_who_sent_its_command_and_why(venue: Venue) -> None:
    headers = {"Outcry-Reason": "ticket%204711%3A%20na%C3%AFve", "X-Request-Id": "op-1"}
    response = await venue.admin.ask("POST", "/v1/admin/owners", {"name": "Carol"}, **headers)
    assert response.status_code == 201
    origin = (await venue.service.record(venue.service.released.sequence)).origin
    assert origin is not None
    assert (origin.key_id, origin.request_id) == (1, "op-1")
    assert origin.reason == "ticket 4711: naïve"


async def test_a_traders_reason_is_not_kept(venue: Venue) -> None:
    await venue.alice.ask("DELETE", "/v1/orders", **{"Outcry-Reason": "mine"})
    origin = (await venue.service.record(venue.service.released.sequence)).origin
    assert origin is not None
    assert (origin.key_id, origin.reason) == (2, "")


@pytest.mark.parametrize("reason", ["x" * 201, "line%0Afeed", "%00"])
async def test_a_reason_that_cannot_be_shown_is_refused(reason: str, venue: Venue) -> None:
    sent = {"Outcry-Reason": reason}
    response = await venue.admin.ask("POST", "/v1/admin/owners", {"name": "Carol"}, **sent)
    refused = venue.admin.read(response, 400)
    assert (refused["code"], refused["field"]) == ("INVALID_FIELD", "Outcry-Reason")


async def test_an_order_keeps_the_key_that_placed_it(venue: Venue) -> None:
    placed = await venue.bob.place("b-1")
    assert venue.service.order(OrderId(int(placed["order_id"]))).terms.key_id == 3

"""Who may call, what a request must look like, and what every error looks like."""

from typing import Any

import pytest

from api.app import create_app
from tests.api.routes.venue import Venue

OPEN_ROUTES = {"/v1", "/v1/health", "/v1/time"}


async def test_every_route_but_three_asks_for_a_key(venue: Venue) -> None:
    app = create_app(venue.service)
    asked = 0
    for rule in app.url_map.iter_rules():
        path = rule.rule.replace("<path:symbol>", "X")
        if path in OPEN_ROUTES or "filename" in path:
            continue
        for name in ("order_id", "client_order_id", "withdrawal_id", "key_id"):
            path = path.replace(f"<{name}>", "1")
        for method in (rule.methods or set()) - {"OPTIONS", "HEAD"}:
            response = await venue.nobody.ask(method, path)
            assert venue.nobody.read(response, 401)["code"] == "UNAUTHORIZED"
            assert response.headers["www-authenticate"] == "Bearer"
            asked += 1
    assert asked > 30


async def test_administration_is_for_admins(venue: Venue) -> None:
    app = create_app(venue.service)
    for rule in app.url_map.iter_rules():
        if rule.rule.startswith("/v1/admin/"):
            path = rule.rule.replace("<key_id>", "1")
            for method in (rule.methods or set()) - {"OPTIONS", "HEAD"}:
                response = await venue.alice.ask(method, path)
                assert venue.alice.read(response, 403)["code"] == "FORBIDDEN"


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
    [("", "MALFORMED_JSON"), ("{", "MALFORMED_JSON"), ("\xff", "MALFORMED_JSON")],
)
async def test_a_body_that_is_no_json_is_called_that(body: str, code: str, venue: Venue) -> None:
    response = await venue.alice.ask("POST", "/v1/orders", body)
    assert venue.alice.read(response, 400)["code"] == code


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

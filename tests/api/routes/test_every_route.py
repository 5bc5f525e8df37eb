"""Every route by every kind of key: what is declared is what happens, for new routes too."""

import json
from collections.abc import Iterator, Sequence
from typing import Any, get_args

import msgspec
import pytest

from api.app import all_routes
from api.edge import Edge
from api.keys.auth import bearer_key
from api.openapi.document import Book
from api.openapi.samples import sample
from api.routing import Route
from api.settings import ApiSettings
from engine.accounts.messages import KeyCreated, Permission, RevokeKey
from engine.units import TimeNs
from tests.api.routes.venue import ALICE, BOB, Caller, Venue, until

NOBODY = 999
IN_PATH = {
    "order_id": NOBODY,
    "withdrawal_id": NOBODY,
    "client_order_id": "nothing",
    "key_id": NOBODY,
    "path:symbol": "BTC-USD",
}
PERMISSIONS = (Permission.READ, Permission.TRADE, Permission.TRANSFER, Permission.ADMIN)


def routes_of(venue: Venue) -> Sequence[Route]:
    """Every route of the app."""
    return all_routes(Edge(venue.service, ApiSettings()))


def path_of(route: Route, **values: Any) -> str:
    """A path that the route is found by; what it names is made up unless stated."""
    path = route.path
    for name, value in {**IN_PATH, **values}.items():
        path = path.replace(f"<{name}>", str(value))
    assert "<" not in path, path
    return path


async def add(venue: Venue, secret: str, *permissions: Permission, **fields: Any) -> int:
    """Let a key in; its id."""
    account_id = 0 if Permission.ADMIN in permissions else ALICE
    command = bearer_key(secret, *permissions, account_id=account_id)
    record = await venue.service.submit(msgspec.structs.replace(command, **fields))
    [key_id] = [event.key.key_id for event in record.events if type(event) is KeyCreated]
    return key_id


async def ask(caller: Caller, route: Route, **headers: str) -> tuple[int, str]:
    """The status and code of an empty request."""
    body: Any = None if route.body is None else {}
    response = await caller.ask(route.method, path_of(route), body, **headers)
    assert ("www-authenticate" in response.headers) <= (response.status_code == 401)
    if response.headers["content-type"] != "application/json":
        return response.status_code, ""
    content = response.json()
    error = content.get("error", {}) if isinstance(content, dict) else {}
    return response.status_code, error.get("code", "")


@pytest.mark.parametrize("permission", PERMISSIONS)
async def test_a_key_passes_where_its_permission_is_declared_and_nowhere_else(
    permission: Permission, venue: Venue
) -> None:
    await add(venue, "ock_one", permission)
    caller = venue.caller("ock_one")
    for route in routes_of(venue):
        status, code = await ask(caller, route)
        passes = route.permission in (None, permission) or permission is Permission.ADMIN
        told = f"{permission}: {route.method} {route.path}: {status} {code}"
        assert ((status, code) == (403, "FORBIDDEN")) is not passes, told
        assert status not in (401, 500), told


@pytest.mark.parametrize("kind", ["none", "unknown", "revoked", "expired", "no-bearer"])
async def test_a_key_that_is_not_in_force_passes_open_routes_alone(kind: str, venue: Venue) -> None:
    end_ns = TimeNs(venue.service.now_ns() + 20_000_000)
    await add(venue, "ock_expired", *PERMISSIONS[:3], expires_at_ns=end_ns)
    await venue.service.submit(RevokeKey(await add(venue, "ock_revoked", Permission.ADMIN)))
    await until(lambda: venue.service.now_ns() > end_ns)
    secret = None if kind in ("none", "no-bearer") else f"ock_{kind}"
    headers = {"Authorization": "Basic b2NrX2FkbWlu"} if kind == "no-bearer" else {}
    for route in routes_of(venue):
        status, code = await ask(venue.caller(secret), route, **headers)
        told = f"{kind}: {route.method} {route.path}: {status} {code}"
        assert (status == 401) is (route.permission is not None), told
        assert status != 500, told


async def test_nobody_acts_for_another_account(venue: Venue) -> None:
    await add(venue, "ock_trader", *PERMISSIONS[:3])
    caller, sequence = venue.caller("ock_trader"), venue.service.released.sequence
    asked = 0
    for route, path, body in naming(routes_of(venue), BOB):
        response = await caller.ask(route.method, path, body)
        content = response.json()
        for item in content.get("answers", [{"status": response.status_code, **content}]):
            assert item["status"] == 403, path
            assert item["error"]["message"] == "This key acts for its own account only.", path
        asked += 1
    assert asked > 15
    assert venue.service.released.sequence == sequence


def naming(routes: Sequence[Route], account: int) -> Iterator[tuple[Route, str, Any]]:
    """Requests that name an account, of all routes on which a trader can."""
    book = Book(routes)
    for route in routes:
        if route.permission in (None, Permission.ADMIN):
            continue
        for form in book.fields(route.query):
            if "account" in form.get("properties", {}):
                query = {**sample(form, book.components), "account": account}
                pairs = "&".join(f"{name}={value}" for name, value in query.items())
                yield route, f"{path_of(route)}?{pairs}", None
        for form in [] if route.body is None else book.fields(route.body):
            if "account" in form.get("properties", {}):
                body = {**sample(form, book.components), "account": account}
                yield route, path_of(route), body


async def test_what_belongs_to_another_account_is_not_found(venue: Venue) -> None:
    order = await venue.alice.place("a-1", price="1.00")
    withdrawal = await venue.alice.post(
        "/v1/withdrawals", asset="USD", amount="1", destination="home"
    )
    found = {
        "order_id": order["order_id"],
        "client_order_id": "a-1",
        "withdrawal_id": withdrawal["withdrawal_id"],
    }
    asked = 0
    for route in routes_of(venue):
        if any(f"<{name}>" in route.path for name in found):
            body = {"price": "2.00", "quantity": "1.000"} if route.method == "PUT" else None
            response = await venue.bob.ask(route.method, path_of(route, **found), body)
            venue.bob.read(response, 404)
            asked += 1
    assert asked >= 8
    assert (await venue.alice.get("/v1/orders/by-client-id/a-1"))["status"] == "OPEN"


async def test_no_route_ignores_a_parameter_that_it_does_not_know(venue: Venue) -> None:
    for route in routes_of(venue):
        body: Any = None if route.body is None else {}
        response = await venue.admin.ask(route.method, path_of(route) + "?nonsense=1", body)
        assert response.status_code == 400, f"{route.method} {route.path}"
        assert response.json()["error"]["field"] == "nonsense", f"{route.method} {route.path}"


async def test_no_route_ignores_a_field_that_it_does_not_know(venue: Venue) -> None:
    routes = routes_of(venue)
    book = Book(routes)
    for route in routes:
        for form in [] if route.body is None else book.fields(route.body):
            body = {**sample(form, book.components), "nonsense": 1}
            response = await venue.admin.ask(route.method, path_of(route), body)
            assert response.status_code == 400, f"{route.method} {route.path}"
            assert response.json()["error"]["field"] == "nonsense", f"{route.method} {route.path}"


async def test_every_reading_route_answers_what_it_declares(venue: Venue) -> None:
    order = await venue.alice.place("a-1", side="sell")
    await venue.bob.place("b-1", quantity="0.500")
    withdrawal = await venue.alice.post(
        "/v1/withdrawals", asset="USD", amount="1", destination="home"
    )
    found = {
        "order_id": order["order_id"],
        "client_order_id": "a-1",
        "withdrawal_id": withdrawal["withdrawal_id"],
    }
    routes = routes_of(venue)
    book = Book(routes)
    for route in routes:
        if route.method != "GET" or route.content_type != "application/json":
            continue
        [form] = book.fields(route.query)
        query = sample(form, book.components)
        if "account" in form.get("properties", {}):
            query["account"] = ALICE
        pairs = "&".join(f"{name}={value}" for name, value in query.items())
        path = f"{path_of(route, **found)}?{pairs}".rstrip("?")
        response = await venue.admin.ask("GET", path)
        assert response.status_code == 200, path
        assert fits(response.content, route.answer), f"{path}: {response.text[:300]}"


def fits(sent: bytes, kind: Any) -> bool:
    """Whether an answer is of a type, and has nothing that the type does not know."""
    for one in get_args(kind) if is_untagged(kind) else (kind,):
        try:
            again = msgspec.json.encode(msgspec.json.decode(sent, type=one))
        except msgspec.ValidationError:
            continue
        if json.loads(again) == json.loads(sent):
            return True
    return False


def is_untagged(kind: Any) -> bool:
    """Whether a type is a union of which a decoder could not choose one."""
    try:
        msgspec.json.Decoder(kind)
    except TypeError:
        return True
    return False

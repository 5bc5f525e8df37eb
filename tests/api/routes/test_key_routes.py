"""Keys over HTTP: made, replaced, revoked, and signed requests as a client sends them."""

import json
import re
from pathlib import Path
from typing import Any

import httpx2
import pytest
import trio
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

import api
from api.keys.signing import Stamp, sign_ed25519, sign_hmac, signed_text
from engine.accounts.messages import KeyScheme
from tests.api.routes.venue import Caller, Venue

DAY_NS = 86_400_000_000_000
KEYS = "/v1/admin/keys"
TRADER: dict[str, Any] = {"permissions": ["READ", "TRADE"], "account": 100}
PRIVATE = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))


def pem() -> str:
    """The public key as tools write it."""
    return (
        PRIVATE.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    )


class SigningCaller(Caller):
    """A caller whose requests are signed, just before they are sent, by the client's own clock."""

    def __init__(self, venue: Venue, key: Any) -> None:
        super().__init__(venue.caller(None).client, None)
        self._service = venue.service
        self._key = key
        self._sent = 0

    async def ask(
        self, method: str, path: str, body: Any = None, *, key: str = "", **headers: str
    ) -> httpx2.Response:
        """Send a signed request."""
        if key:
            headers["Idempotency-Key"] = key
        request = self.client.build_request(method, path, json=body, headers=headers)
        self._sent += 1
        now_ms = self._service.now_ns() // 1_000_000
        stamp = Stamp(now_ms, nonce=str(self._sent))
        target = request.url.raw_path.decode()
        text = signed_text(stamp, method, target, request.content)
        if self._key["scheme"] == "ED25519":
            signature = sign_ed25519(PRIVATE.private_bytes_raw(), text)
        else:
            signature = sign_hmac(self._key["secret"], text)
        request.headers["Outcry-Key"] = str(self._key["key_id"])
        request.headers["Outcry-Timestamp"] = str(stamp.timestamp_ms)
        request.headers["Outcry-Nonce"] = stamp.nonce
        request.headers["Outcry-Signature"] = signature.hex()
        return await self.client.send(request)


def scheme_of(scheme: str) -> dict[str, Any]:
    """What the maker of a key of a scheme sends."""
    return {"scheme": scheme, **({"public_key": pem()} if scheme == "ED25519" else {})}


@pytest.mark.parametrize("scheme", ["HMAC-SHA256", "ED25519"])
async def test_a_key_that_signs_reads_and_trades(venue: Venue, scheme: str) -> None:
    key = await venue.admin.post(KEYS, **TRADER, **scheme_of(scheme))
    holder = SigningCaller(venue, key)
    placed = await holder.place("s-1")
    assert placed["status"] == "OPEN"
    assert (await holder.get("/v1/orders?instrument=BTC-USD&limit=1"))["orders"]
    assert (await holder.get("/v1/instruments/BTC%2FUSD"))["symbol"] == "BTC/USD"
    await holder.delete(f"/v1/orders/{placed['order_id']}")
    assert (await holder.ask("GET", "/v1/balances?account=101")).status_code == 403
    record = await venue.service.record(int(placed["order_id"]))
    assert record.origin is not None
    assert record.origin.key_id == key["key_id"]
    assert record.origin.not_after_ns > record.now_ns


async def test_what_an_attacker_saw_is_worth_nothing(venue: Venue) -> None:
    key = await venue.admin.post(KEYS, **TRADER, scheme="HMAC-SHA256")
    order = {"client_order_id": "s-1", "instrument": "BTC-USD", "side": "buy", "type": "limit"}
    terms = {**order, "price": "100.00", "quantity": "1"}
    seen = await SigningCaller(venue, key).ask("POST", "/v1/orders", terms)
    assert seen.status_code == 201
    client, sent = venue.caller(None).client, seen.request
    changed = sent.content.replace(b'"1"', b'"9"')
    for method, path, content, code in (
        ("POST", "/v1/orders", sent.content, "REPLAYED"),
        ("POST", "/v1/orders", changed, "BAD_SIGNATURE"),
        ("POST", "/v1/orders?", sent.content, "REPLAYED"),
        ("POST", "/v1/orders?account=101", sent.content, "BAD_SIGNATURE"),
        ("POST", "/v1/withdrawals", sent.content, "BAD_SIGNATURE"),
        ("PUT", "/v1/orders", sent.content, "METHOD_NOT_ALLOWED"),
    ):
        again = await client.request(method, path, content=content, headers=sent.headers)
        assert again.json()["error"]["code"] == code


async def test_a_request_out_of_time_is_told_the_servers_time(venue: Venue) -> None:
    headers = {"Outcry-Key": "1", "Outcry-Timestamp": "1700000000000", "Outcry-Signature": "x"}
    response = await venue.nobody.ask("GET", "/v1/balances", **headers)
    error = venue.nobody.read(response, 401)
    assert (error["code"], error["field"]) == ("TIMESTAMP_OUTSIDE_WINDOW", "Outcry-Timestamp")
    server_time_ms = error["server_time_ns"] // 1_000_000
    assert 0 <= 1_700_000_000_000 - error["difference_ms"] - server_time_ms + 1_000 <= 1_000


@pytest.mark.parametrize(
    ("form", "shown"),
    [
        ({}, {"scheme": "BEARER", "public_key": None, "networks": []}),
        ({"label": "bot"}, {"label": "bot"}),
        ({"scheme": "HMAC-SHA256"}, {"scheme": "HMAC-SHA256", "public_key": None}),
        ({"public_key": pem()}, {"scheme": "ED25519", "secret": None}),
        ({"networks": ["127.0.0.1"]}, {"networks": ["127.0.0.1/32"], "expires_at_ns": 0}),
        ({"expires_at_ns": 0}, {"expires_at_ns": 0}),
        ({"expires_at_ns": 2**62}, {"expires_at_ns": 2**62}),
    ],
    ids=str,
)
async def test_a_key_is_answered_as_it_is(
    venue: Venue, form: dict[str, Any], shown: dict[str, Any]
) -> None:
    key = await venue.admin.post(KEYS, **TRADER, **form)
    assert shown.items() <= key.items()
    listed = (await venue.admin.get(KEYS))["keys"][-1]
    assert listed == {name: key[name] for name in key if name != "secret"}


@pytest.mark.parametrize(("form", "days"), [({}, 90), ({"expires_in_days": 7}, 7)])
async def test_a_key_without_networks_ends(venue: Venue, form: dict[str, Any], days: int) -> None:
    key = await venue.admin.post(KEYS, **TRADER, **form)
    left_ns = key["expires_at_ns"] - venue.service.now_ns()
    assert 0 <= days * DAY_NS - left_ns < 10**10


@pytest.mark.parametrize(
    ("form", "status", "code", "field"),
    [
        ({"permissions": []}, 400, "INVALID_FIELD", "permissions"),
        ({"permissions": ["ROOT"]}, 400, "INVALID_FIELD", "permissions[0]"),
        ({"permissions": ["READ"] * 5}, 400, "INVALID_FIELD", "permissions"),
        ({"permissions": ["READ", "ADMIN"]}, 422, "INVALID_VALUE", "permissions"),
        ({"permissions": ["READ", "TRANSFER"]}, 400, "INVALID_FIELD", "networks"),
        ({"scheme": "ED25519"}, 400, "INVALID_FIELD", "public_key"),
        ({"scheme": "ED25519", "public_key": "x"}, 400, "INVALID_FIELD", "public_key"),
        ({"scheme": "BEARER", "public_key": pem()}, 400, "INVALID_FIELD", "public_key"),
        ({"public_key": "x" * 401}, 400, "INVALID_FIELD", "public_key"),
        ({"networks": ["10.0.0.1/8"]}, 422, "INVALID_VALUE", "networks"),
        ({"networks": ["10.0.0.1"] * 33}, 400, "INVALID_FIELD", "networks"),
        ({"label": "x" * 101}, 400, "INVALID_FIELD", "label"),
        ({"expires_in_days": 0}, 400, "INVALID_FIELD", "expires_in_days"),
        ({"expires_in_days": 1, "expires_at_ns": 0}, 400, "INVALID_FIELD", "expires_in_days"),
        ({"expires_at_ns": 1}, 422, "ALREADY_EXPIRED", "expires_at_ns"),
        ({"replaces": 99}, 404, "UNKNOWN_KEY", "replaces"),
        ({"replaces": 2, "account": 101}, 422, "INVALID_VALUE", "account"),
        ({"replaces": 2, "grace_s": -1}, 400, "INVALID_FIELD", "grace_s"),
        ({"role": "TRADE"}, 400, "INVALID_FIELD", "role"),
    ],
    ids=lambda value: str(value)[:50],
)
async def test_a_key_that_cannot_be_is_refused(
    venue: Venue, form: dict[str, Any], status: int, code: str, field: str
) -> None:
    before = await venue.admin.get(KEYS)
    refused = await venue.admin.post(KEYS, status, **{**TRADER, **form})
    assert (refused["code"], refused["field"]) == (code, field)
    assert await venue.admin.get(KEYS) == before


@pytest.mark.parametrize("scheme", [scheme.value for scheme in KeyScheme])
async def test_a_repeat_is_the_same_key_without_its_secret(venue: Venue, scheme: str) -> None:
    form = {**TRADER, **scheme_of(scheme)}
    first = await venue.admin.post(KEYS, key="k-1", **form)
    assert await venue.admin.post(KEYS, key="k-1", **form) == {**first, "secret": None}


async def test_a_replaced_key_works_until_its_grace_is_over(venue: Venue) -> None:
    networks = ["127.0.0.0/8"]
    old = await venue.admin.post(
        KEYS, **TRADER, scheme="HMAC-SHA256", networks=networks, label="bot"
    )
    new = await venue.admin.post(KEYS, replaces=old["key_id"], grace_s=60)
    taken_over = ("permissions", "account", "label", "scheme", "networks", "expires_at_ns")
    assert all(new[name] == old[name] for name in taken_over)
    before, after = SigningCaller(venue, old), SigningCaller(venue, new)
    for holder in (before, after):
        assert (await holder.get("/v1/balances"))["account"] == 100
    last = await venue.admin.post(KEYS, replaces=new["key_id"])
    assert venue.admin.read(await after.ask("GET", "/v1/balances"), 401)["code"] == "KEY_EXPIRED"
    assert (await before.get("/v1/balances"))["account"] == 100
    assert (await SigningCaller(venue, last).get("/v1/balances"))["account"] == 100


async def test_a_key_is_let_in_from_its_networks_alone(venue: Venue) -> None:
    here, elsewhere = [
        await venue.admin.post(KEYS, **TRADER, networks=[network])
        for network in ("127.0.0.0/8", "192.0.2.0/24")
    ]
    assert await venue.caller(here["secret"]).get("/v1/balances")
    refused = await venue.caller(elsewhere["secret"]).ask("GET", "/v1/balances")
    assert venue.nobody.read(refused, 403)["code"] == "ADDRESS_NOT_ALLOWED"


async def test_permissions_are_asked_for_one_by_one(venue: Venue) -> None:
    key = await venue.admin.post(KEYS, permissions=["TRADE"], account=100)
    trader = venue.caller(key["secret"])
    assert (await trader.place("t-1"))["status"] == "OPEN"
    assert (await trader.ask("GET", "/v1/balances")).status_code == 403
    form = {"asset": "USD", "amount": "1", "destination": "x"}
    assert (await trader.ask("POST", "/v1/withdrawals", form)).status_code == 403


def shell_example() -> str:
    """The function that the reference shows."""
    page = (Path(api.__file__).parents[1] / "docs" / "api.md").read_text("utf-8")
    [block] = re.findall(r"```sh\n(call\(\).*?)```", page, re.DOTALL)
    return str(block)


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["HMAC-SHA256", "ED25519"])
async def test_the_references_shell_example_works(
    venue: Venue, scheme: str, tmp_path: Path
) -> None:
    key = await venue.admin.post(KEYS, **TRADER, **scheme_of(scheme))
    script = shell_example()
    if scheme == "ED25519":
        script = re.sub(r"\n  # (?=printf)", "\n  ", script)
        private = PRIVATE.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        (tmp_path / "key.pem").write_bytes(private)
    env = {"URL": venue.bind.url, "KEY_ID": str(key["key_id"]), "SECRET": key["secret"] or ""}
    done = await trio.run_process(
        ["bash", "-euc", script],
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin", **env},
        capture_stdout=True,
    )
    listed, placed = (json.loads(line) for line in done.stdout.splitlines())
    assert listed["orders"] == []
    assert (placed["status"], placed["client_order_id"]) == ("OPEN", "s-1")


async def test_a_holder_sees_its_own_key(venue: Venue) -> None:
    key = await venue.admin.post(KEYS, **TRADER, scheme="HMAC-SHA256")
    shown = await SigningCaller(venue, key).get("/v1/key")
    assert shown == {name: key[name] for name in key if name != "secret"}
    assert (await venue.admin.get("/v1/key"))["permissions"] == ["ADMIN"]

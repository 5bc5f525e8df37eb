"""Which key a program uses, as its environment says."""

import pytest

from api.client import Bearer, Signed
from api.client.credentials import Anonymous
from api.client.environment import URL, NoKey, NoServer, server_of
from api.keys.signing import (
    Stamp,
    base64url,
    bytes_of_base64url,
    public_key_of,
    signed_text,
    verify_ed25519,
    verify_hmac,
)

PRIVATE_KEY = "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A"
PUBLIC_KEY = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"
SHARED = "ocs_fs8_VWKMEgD1KVz-sHZHLaYgqbdaiLMMgWFVsBwyZM0"


def test_a_bearer_secret_is_enough_and_the_server_is_the_one_at_home() -> None:
    server = server_of({"OUTCRY_KEY": "ock_x"})
    assert server.url == URL
    assert server.credentials.headers("GET", "/v1", b"") == {"Authorization": "Bearer ock_x"}
    assert server_of({"OUTCRY_KEY": "x", "OUTCRY_URL": "http://a:1/"}).url == "http://a:1"


def signed_by(secret: str) -> tuple[bytes, bytes]:
    """What a key that signs signed, and its signature."""
    credentials = server_of({"OUTCRY_KEY_ID": "7", "OUTCRY_SECRET": secret}).credentials
    assert isinstance(credentials, Signed)
    headers = credentials.headers("POST", "/v1/orders?a=b", b"body")
    assert headers["Outcry-Key"] == "7"
    timestamp, window = int(headers["Outcry-Timestamp"]), int(headers["Outcry-Window"])
    stamp = Stamp(timestamp, window, headers["Outcry-Nonce"])
    text = signed_text(stamp, "POST", "/v1/orders?a=b", b"body")
    return text, bytes.fromhex(headers["Outcry-Signature"])


def test_a_secret_signs_by_what_it_is() -> None:
    assert verify_hmac(SHARED, *signed_by(SHARED))
    assert public_key_of(PUBLIC_KEY) == PUBLIC_KEY
    assert verify_ed25519(PUBLIC_KEY, *signed_by(PRIVATE_KEY))


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"OUTCRY_KEY": ""},
        {"OUTCRY_KEY_ID": "7"},
        {"OUTCRY_SECRET": SHARED},
        {"OUTCRY_KEY_ID": "seven", "OUTCRY_SECRET": SHARED},
        {"OUTCRY_KEY_ID": "7", "OUTCRY_SECRET": "ock_secret"},
        {"OUTCRY_KEY_ID": "7", "OUTCRY_SECRET": base64url(b"too short")},
    ],
)
def test_what_is_no_key_is_told_without_its_secret(environ: dict[str, str]) -> None:
    with pytest.raises(NoKey) as told:
        server_of(environ)
    secret = environ.get("OUTCRY_SECRET")
    assert secret is None or secret not in str(told.value)


def test_a_clock_is_set_by_the_servers_time_and_stays_set() -> None:
    now_ms = 5_000
    signed = Signed.ed25519(7, bytes_of_base64url(PRIVATE_KEY), now_ms=lambda: now_ms)
    assert signed.set_clock(1_000_000)
    now_ms += 30
    assert signed.headers("GET", "/", b"")["Outcry-Timestamp"] == "1000030"
    assert signed.set_clock(now_ms)
    assert signed.headers("GET", "/", b"")["Outcry-Timestamp"] == "5030"


def test_who_states_no_time_has_no_clock_to_set() -> None:
    assert not Bearer("x").set_clock(1)
    assert not Anonymous().set_clock(1)


def test_a_server_without_a_scheme_is_told_before_anything_is_sent() -> None:
    with pytest.raises(NoServer) as told:
        server_of({"OUTCRY_URL": "127.0.0.1:8080", "OUTCRY_KEY": "ock_a"})
    assert "OUTCRY_URL" in str(told.value)

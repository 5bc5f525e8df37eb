"""What is signed, by whom it can be checked, and the vectors that the reference shows."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

import api
from api.keys.signing import (
    Stamp,
    base64url,
    bytes_of_base64url,
    public_key_of,
    sign_ed25519,
    sign_hmac,
    signature_of,
    signed_text,
    verify_ed25519,
    verify_hmac,
)

PAGE = (Path(api.__file__).parents[1] / "docs" / "api.md").read_text("utf-8")
SECONDS = 1_000_000_000


def vectors() -> list[dict[str, Any]]:
    """The known answers of the reference."""
    [block] = re.findall(r"```json\n(\[.*?\])\n```", PAGE, re.DOTALL)
    found: list[dict[str, Any]] = json.loads(block)
    return found


def stated_keys() -> tuple[str, bytes, str]:
    """The reference's secret, private and public key."""
    secret, private_key, public_key = re.findall(r"`(ocs_[\w-]{43}|[\w-]{43})`", PAGE)
    return secret, bytes_of_base64url(private_key), public_key


@pytest.mark.parametrize("vector", vectors(), ids=lambda vector: vector["method"])
def test_the_references_vectors_are_true(vector: dict[str, Any]) -> None:
    secret, private_key, public_key = stated_keys()
    stamp = Stamp(vector["timestamp"], vector["window"], vector["nonce"])
    text = signed_text(stamp, vector["method"], vector["target"], vector["body"].encode())
    assert text.decode() == vector["text"]
    assert sign_hmac(secret, text).hex() == vector["hmac"]
    assert sign_ed25519(private_key, text).hex() == vector["ed25519"]
    assert verify_hmac(secret, text, bytes.fromhex(vector["hmac"]))
    assert verify_ed25519(public_key, text, bytes.fromhex(vector["ed25519"]))


def test_every_part_of_a_request_changes_what_is_signed() -> None:
    stamp = Stamp(1, 2, "n")
    texts = {
        signed_text(stamp, "GET", "/a?b", b"c"),
        signed_text(Stamp(2, 2, "n"), "GET", "/a?b", b"c"),
        signed_text(Stamp(1, 3, "n"), "GET", "/a?b", b"c"),
        signed_text(Stamp(1, 2, "m"), "GET", "/a?b", b"c"),
        signed_text(stamp, "PUT", "/a?b", b"c"),
        signed_text(stamp, "GET", "/a?c", b"c"),
        signed_text(stamp, "GET", "/a?b", b""),
    }
    assert len(texts) == 7


def test_a_signature_of_another_key_or_text_is_none() -> None:
    private_key = bytes(32)
    public_key = base64url(
        Ed25519PrivateKey.from_private_bytes(private_key).public_key().public_bytes_raw()
    )
    signature = sign_ed25519(private_key, b"text")
    assert verify_ed25519(public_key, b"text", signature)
    assert not verify_ed25519(public_key, b"other", signature)
    assert not verify_ed25519(public_key, b"text", sign_ed25519(b"x" * 32, b"text"))
    assert not verify_hmac("secret", b"text", sign_hmac("other", b"text"))
    assert not verify_hmac("secret", b"text", b"")


def test_a_signature_cannot_be_written_anew_as_another_valid_one() -> None:
    order = 2**252 + 27742317777372353535851937790883648493
    private_key = bytes(range(32))
    public_key = base64url(
        Ed25519PrivateKey.from_private_bytes(private_key).public_key().public_bytes_raw()
    )
    signature = sign_ed25519(private_key, b"text")
    scalar = int.from_bytes(signature[32:], "little") + order
    assert not verify_ed25519(public_key, b"text", signature[:32] + scalar.to_bytes(32, "little"))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ab" * 31,
        "zz" * 32,
        base64url(bytes(31)),
        base64url(bytes(33)),
        base64url(bytes(32))[:-1] + "B",  # bits that belong to no byte
        "*" + base64url(bytes(32)),
        "é" * 43,
    ],
)
def test_what_is_no_signature_is_known_as_none(text: str) -> None:
    assert signature_of(text, 32) is None


@pytest.mark.parametrize(
    ("now_ns", "is_fresh"),
    [
        (100 * SECONDS, True),
        (105 * SECONDS, True),
        (105 * SECONDS + 1, False),
        (99 * SECONDS, True),
        (99 * SECONDS - 1, False),
    ],
)
def test_a_stamp_is_fresh_from_one_second_before_to_the_end_of_its_window(
    now_ns: int, is_fresh: bool
) -> None:
    assert Stamp(100_000).is_fresh(now_ns) is is_fresh


@pytest.mark.parametrize(
    ("stamp", "is_sane"),
    [
        (Stamp(0, 1), True),
        (Stamp(0, 60_000, "A-z.0_9:" * 4), True),
        (Stamp(0, 0), False),
        (Stamp(0, 60_001), False),
        (Stamp(-1), False),
        (Stamp(10**15), False),
        (Stamp(0, nonce="x" * 33), False),
        (Stamp(0, nonce="a\nb"), False),
        (Stamp(0, nonce="a\n"), False),
        (Stamp(0, nonce="é"), False),
    ],
)
def test_a_stamp_has_limits_whatever_the_time_is(stamp: Stamp, is_sane: bool) -> None:
    assert stamp.is_sane() is is_sane


def test_a_public_key_is_read_from_pem_and_base64url_alike() -> None:
    public_key = Ed25519PrivateKey.generate().public_key()
    pem = public_key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    assert public_key_of(pem) == public_key_of(base64url(public_key.public_bytes_raw()))


def test_what_is_no_ed25519_public_key_is_none() -> None:
    other = X25519PrivateKey.generate().public_key()
    pem = other.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    for text in (pem, "", "-----BEGIN PUBLIC KEY-----", base64url(bytes(31)), "é"):
        assert public_key_of(text) is None

"""What a signed request signs, and how signatures are made and checked. Pure.

The signed text has six lines, joined by a line feed: timestamp, window, nonce, method, path with
query as sent, SHA-256 of the body in hexadecimal. Only the fifth is free text and the others have
no line feed in them, so one text means one request.
"""

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as NotBase64
from functools import lru_cache
from hashlib import sha256
from hmac import compare_digest
from hmac import digest as hmac_digest
from typing import Final

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from engine.accounts.messages import KeyScheme

KEY_ID_HEADER: Final = "Outcry-Key"
TIMESTAMP_HEADER: Final = "Outcry-Timestamp"
WINDOW_HEADER: Final = "Outcry-Window"
NONCE_HEADER: Final = "Outcry-Nonce"
SIGNATURE_HEADER: Final = "Outcry-Signature"

WINDOW_MS: Final = 5_000
WINDOW_MS_MAX: Final = 60_000
#: How far a client's clock may run ahead of ours.
AHEAD_MS_MAX: Final = 1_000
NONCE_PATTERN: Final = r"^[A-Za-z0-9._:-]{0,32}\Z"
PUBLIC_KEY_CHARACTERS_MAX: Final = 400

#: Bytes of a signature.
SIGNATURE_BYTES: Final = {KeyScheme.HMAC: 32, KeyScheme.ED25519: 64}
_NS_OF_MS: Final = 1_000_000
_matches_nonce = re.compile(NONCE_PATTERN).match


class Stamp(msgspec.Struct, frozen=True):
    """When a request was made, for how long it counts, and what tells it from its like."""

    timestamp_ms: int
    window_ms: int = WINDOW_MS
    nonce: str = ""

    @property
    def not_after_ns(self) -> int:
        """The last moment at which the request counts."""
        return (self.timestamp_ms + self.window_ms) * _NS_OF_MS

    def is_sane(self) -> bool:
        """Whether its parts are within their limits, whatever the time is."""
        return (
            0 <= self.timestamp_ms < 10**15
            and 1 <= self.window_ms <= WINDOW_MS_MAX
            and _matches_nonce(self.nonce) is not None
        )

    def is_fresh(self, now_ns: int) -> bool:
        """Whether it counts now: neither too old nor too far ahead."""
        ahead_ns = self.timestamp_ms * _NS_OF_MS - now_ns
        return ahead_ns <= AHEAD_MS_MAX * _NS_OF_MS and now_ns <= self.not_after_ns


def signed_text(stamp: Stamp, method: str, target: str, body: bytes) -> bytes:
    """What is signed. `target` is the path with its query, percent-encoded as sent.

    >>> print(signed_text(Stamp(1_700_000_000_000), "GET", "/v1/balances", b"").decode())
    1700000000000
    5000
    <BLANKLINE>
    GET
    /v1/balances
    e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855
    """
    lines = (
        str(stamp.timestamp_ms),
        str(stamp.window_ms),
        stamp.nonce,
        method,
        target,
        sha256(body).hexdigest(),
    )
    return "\n".join(lines).encode()


def sign_hmac(secret: str, text: bytes) -> bytes:
    """The signature by a shared secret, whose characters are the key as they stand."""
    return hmac_digest(secret.encode(), text, "sha256")


def sign_ed25519(private_key: bytes, text: bytes) -> bytes:
    """The signature by a private key of 32 bytes."""
    return Ed25519PrivateKey.from_private_bytes(private_key).sign(text)


def verify_hmac(secret: str, text: bytes, signature: bytes) -> bool:
    """Whether the signature is that of the secret's holder; takes as long either way."""
    return compare_digest(sign_hmac(secret, text), signature)


def verify_ed25519(public_key: str, text: bytes, signature: bytes) -> bool:
    """Whether the signature is that of the holder of the private key."""
    try:
        _loaded(public_key).verify(signature, text)
    except InvalidSignature:
        return False
    return True


@lru_cache(maxsize=1_024)
def _loaded(public_key: str) -> Ed25519PublicKey:
    return Ed25519PublicKey.from_public_bytes(bytes_of_base64url(public_key))


def signature_of(text: str, size: int) -> bytes | None:
    """A signature of so many bytes, in hexadecimal or base64url; None if it is none.

    >>> signature_of("ab" * 32, 32) == signature_of(base64url(b"\\xab" * 32), 32)
    True
    """
    try:
        if len(text) == 2 * size:
            return bytes.fromhex(text)
        raw = bytes_of_base64url(text)
    except ValueError:
        return None
    return raw if len(raw) == size else None


def public_key_of(text: str) -> str | None:
    """A public key in base64url, from base64url or PEM; None if it is no Ed25519 public key.

    >>> public_key_of("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo=")
    '11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo'
    """
    try:
        if "BEGIN" in text:
            loaded = load_pem_public_key(text.encode())
            if not isinstance(loaded, Ed25519PublicKey):
                return None
            return base64url(loaded.public_bytes_raw())
        raw = bytes_of_base64url(text)
    except Exception:  # the loader names too many ways of being no key
        return None
    return base64url(raw) if len(raw) == 32 else None


def base64url(raw: bytes) -> str:
    """Bytes as text, without padding."""
    return urlsafe_b64encode(raw).rstrip(b"=").decode()


def bytes_of_base64url(text: str) -> bytes:
    """Text as bytes, padded or not.

    Raises: ValueError for what is none; no character is passed over.
    """
    bare = text.rstrip("=").encode("ascii")
    raw = urlsafe_b64decode(bare + b"=" * (-len(bare) % 4))
    if base64url(raw) != bare.decode():
        raise NotBase64("not the one way to write these bytes")
    return raw

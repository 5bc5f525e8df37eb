"""How a client proves who it is: a bearer secret, or signatures by HMAC-SHA256 or Ed25519."""

import secrets
import time
from collections.abc import Callable
from typing import Protocol

from api.keys.signing import (
    KEY_ID_HEADER,
    NONCE_HEADER,
    SIGNATURE_HEADER,
    TIMESTAMP_HEADER,
    WINDOW_HEADER,
    WINDOW_MS,
    Stamp,
    sign_ed25519,
    sign_hmac,
    signed_text,
)

NowMs = Callable[[], int]


def system_now_ms() -> int:
    """This machine's clock."""
    return time.time_ns() // 1_000_000


class Credentials(Protocol):
    """Something that makes the headers of one request."""

    def headers(self, method: str, target: str, body: bytes) -> dict[str, str]:
        """Headers that prove the request; made anew for every attempt."""
        ...

    def set_clock(self, server_time_ms: int) -> bool:
        """Go by the server's time from here on; whether that may help."""
        ...


class Anonymous:
    """No key: the public routes alone."""

    def headers(self, method: str, target: str, body: bytes) -> dict[str, str]:
        """None."""
        return {}

    def set_clock(self, server_time_ms: int) -> bool:
        """No time is stated."""
        return False


class Bearer:
    """Shows the secret with each request; for the machine's own network only."""

    def __init__(self, secret: str) -> None:
        self._headers = {"Authorization": f"Bearer {secret}"}

    def headers(self, method: str, target: str, body: bytes) -> dict[str, str]:
        """The secret."""
        return dict(self._headers)

    def set_clock(self, server_time_ms: int) -> bool:
        """No time is stated."""
        return False


class Signed:
    """Signs each request. `Signed.hmac` and `Signed.ed25519` make one.

    A fresh nonce goes with each, so that two equal requests in one millisecond are no replay. When
    the server says that our clock is wrong, the difference is remembered.
    """

    def __init__(
        self,
        key_id: int,
        sign: Callable[[bytes], bytes],
        *,
        window_ms: int = WINDOW_MS,
        now_ms: NowMs = system_now_ms,
    ) -> None:
        self._key_id = key_id
        self._sign = sign
        self._window_ms = window_ms
        self._now_ms = now_ms
        self._offset_ms = 0

    @classmethod
    def hmac(
        cls,
        key_id: int,
        secret: str,
        *,
        window_ms: int = WINDOW_MS,
        now_ms: NowMs = system_now_ms,
    ) -> "Signed":
        """By the secret that was shown when the key was made."""
        return cls(key_id, lambda text: sign_hmac(secret, text), window_ms=window_ms, now_ms=now_ms)

    @classmethod
    def ed25519(
        cls,
        key_id: int,
        private_key: bytes,
        *,
        window_ms: int = WINDOW_MS,
        now_ms: NowMs = system_now_ms,
    ) -> "Signed":
        """By a private key of 32 bytes that never leaves the client."""
        return cls(
            key_id, lambda text: sign_ed25519(private_key, text), window_ms=window_ms, now_ms=now_ms
        )

    def headers(self, method: str, target: str, body: bytes) -> dict[str, str]:
        """Key, stamp and signature."""
        now_ms = self._now_ms() + self._offset_ms
        stamp = Stamp(now_ms, self._window_ms, secrets.token_hex(8))
        signature = self._sign(signed_text(stamp, method, target, body))
        return {
            KEY_ID_HEADER: str(self._key_id),
            TIMESTAMP_HEADER: str(stamp.timestamp_ms),
            WINDOW_HEADER: str(stamp.window_ms),
            NONCE_HEADER: stamp.nonce,
            SIGNATURE_HEADER: signature.hex(),
        }

    def set_clock(self, server_time_ms: int) -> bool:
        """Remember how far the server's clock is from ours."""
        self._offset_ms = server_time_ms - self._now_ms()
        return True

"""Which server, and by which key, as the environment says.

`OUTCRY_URL`, else the one at home. `OUTCRY_KEY`: a bearer secret. Or, to sign, `OUTCRY_KEY_ID` with
`OUTCRY_SECRET`: a shared secret (`ocs_...`), or an Ed25519 private key of 32 bytes in base64url.
"""

import os
from collections.abc import Mapping
from typing import Final, NamedTuple

from api.client.credentials import Bearer, Credentials, Signed
from api.client.errors import ClientError
from api.keys.signing import bytes_of_base64url

URL: Final = "http://127.0.0.1:8080"
_SHARED: Final = "ocs_"
_PRIVATE_KEY_BYTES: Final = 32


class NoKey(ClientError):
    """The environment names no key, or none that makes sense."""


class NoServer(NoKey):
    """What the environment names as the server is none, so no key is of use."""


class Server(NamedTuple):
    """Where it is, and how it is called at."""

    url: str
    credentials: Credentials


def server_of(environ: Mapping[str, str] = os.environ) -> Server:
    """The server that the environment names, and its key. Raises: NoKey, NoServer."""
    url = environ.get("OUTCRY_URL", URL).rstrip("/")
    if not url.startswith(("http://", "https://")):
        raise NoServer(f"OUTCRY_URL begins with http:// or https://, {url!r} does not")
    if bearer := environ.get("OUTCRY_KEY"):
        return Server(url, Bearer(bearer))
    key_id, secret = environ.get("OUTCRY_KEY_ID", ""), environ.get("OUTCRY_SECRET", "")
    if not key_id or not secret:
        raise NoKey("set OUTCRY_KEY; or OUTCRY_KEY_ID and OUTCRY_SECRET for a key that signs")
    return Server(url, signed(key_id, secret))


def signed(key_id: str, secret: str) -> Signed:
    """A key that signs, from text. Raises: NoKey; the text of a secret is not repeated."""
    if not key_id.isascii() or not key_id.isdigit():
        raise NoKey(f"OUTCRY_KEY_ID is a number, not {key_id!r}")
    if secret.startswith(_SHARED):
        return Signed.hmac(int(key_id), secret)
    try:
        private_key = bytes_of_base64url(secret)
    except ValueError:
        private_key = b""
    if len(private_key) != _PRIVATE_KEY_BYTES:
        raise NoKey("OUTCRY_SECRET is neither `ocs_...` nor 32 bytes in base64url")
    return Signed.ed25519(int(key_id), private_key)

"""The parts of the OpenAPI document that all routes share: proofs of keys, headers, errors."""

from typing import Annotated, Any, Final

import msgspec

from api.edge import KEY_HEADER, KEY_PATTERN, REASON_HEADER
from api.keys import signing
from api.openapi.error_codes import codes
from api.problems import REQUEST_ID_HEADER

JSON: Final = "application/json"
REF: Final = "#/components/schemas/"
BEARER: Final = "bearer"
SIGNED: Final = ("keyId", "timestamp", "signature")
KEY_SCHEMA: Final = {"pattern": KEY_PATTERN.replace(r"\Z", "$")}
_SAID: Final = {
    400: "The request makes no sense in itself.",
    401: "No key, or none that is in force.",
    403: "The key may not do this, or not for this account.",
    404: "There is no such thing, or it is not yours.",
    408: "The request took too long to arrive.",
    409: "It contradicts what was there before.",
    413: "The body is too large.",
    415: "The body is of another type than JSON.",
    422: "Refused. The same key gets this answer again.",
    429: "Too many requests; see `Retry-After`.",
    431: "The headers are too large.",
    500: "Our fault. It may have happened.",
    503: "Nothing was accepted; see `Retry-After`.",
    504: "It may have happened: ask again with the same key.",
}


class ErrorObject(msgspec.Struct, frozen=True, kw_only=True):
    """What went wrong. `code` is for programs, `message` for people, `field` was at fault."""

    code: str
    message: str
    field: str | msgspec.UnsetType = msgspec.UNSET
    rule: str | msgspec.UnsetType = msgspec.UNSET
    retry_after_s: float | msgspec.UnsetType = msgspec.UNSET
    difference_ms: int | msgspec.UnsetType = msgspec.UNSET
    server_time_ns: int
    request_id: Annotated[str, msgspec.Meta(max_length=64)]


class ErrorAnswer(msgspec.Struct, frozen=True):
    """Every answer that is no success."""

    error: ErrorObject


def security_schemes() -> dict[str, Any]:
    """How a key is proven."""

    def header(name: str, about: str) -> dict[str, str]:
        return {"type": "apiKey", "in": "header", "name": name, "description": about}

    key_id, timestamp, signature = SIGNED
    return {
        BEARER: {"type": "http", "scheme": "bearer", "bearerFormat": "ock_..."},
        key_id: header(signing.KEY_ID_HEADER, "The id of a key that signs."),
        timestamp: header(signing.TIMESTAMP_HEADER, "Milliseconds since the Unix epoch."),
        signature: header(
            signing.SIGNATURE_HEADER,
            "Of timestamp, window, nonce, method, path with query, and the body's SHA-256 in "
            "hexadecimal, one a line: HMAC-SHA256 or Ed25519, in hexadecimal or base64url.",
        ),
    }


def parameters() -> dict[str, Any]:
    """Headers that a request may have."""

    def header(name: str, about: str, schema: dict[str, Any]) -> dict[str, Any]:
        kind = {"type": "string", **schema}
        return {"name": name, "in": "header", "description": about, "schema": kind}

    key = KEY_SCHEMA
    return {
        "RequestId": header(
            REQUEST_ID_HEADER, "Comes back, if it is 1 to 64 of A-Z a-z 0-9 . _ : -", {}
        ),
        "IdempotencyKey": header(KEY_HEADER, "The command is done once under it.", key),
        "Reason": header(
            REASON_HEADER,
            "For the audit log, percent-encoded; with whatever an admin key does.",
            {"maxLength": 200},
        ),
    }


def responses() -> dict[str, Any]:
    """Every error answer, with the codes that it may have."""
    by_status: dict[int, list[str]] = {}
    for code, statuses in codes().items():
        for status in statuses:
            by_status.setdefault(status, []).append(code)
    return {
        f"E{status}": {
            "description": f"{said} Codes: {', '.join(sorted(by_status.get(status, [])))}.",
            "headers": ref_headers(),
            "content": {JSON: {"schema": {"$ref": f"{REF}ErrorAnswer"}}},
        }
        for status, said in _SAID.items()
    }


def headers() -> dict[str, Any]:
    """Headers that every answer has."""
    text = {"type": "string"}
    return {
        REQUEST_ID_HEADER: {"description": "Yours, or a new one.", "schema": text},
        "RateLimit-Policy": {
            "description": "So many in so many seconds.",
            "schema": text,
        },
        "RateLimit": {"description": "What remains, and when all is back.", "schema": text},
    }


def ref_headers() -> dict[str, Any]:
    """The same, by reference."""
    return {name: {"$ref": f"#/components/headers/{name}"} for name in headers()}

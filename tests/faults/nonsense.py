"""What a broken or hostile client might say: grammar of nonsense, and sense with a fault in it."""

from typing import Any, Final

import msgspec
from hypothesis import strategies as st

#: Just beyond what a message or a body may have.
_TOO_LARGE: Final = 65_537

ORDER: Final = {
    "client_order_id": "f-1",
    "instrument": "BTC-USD",
    "side": "buy",
    "type": "limit",
    "price": "100.00",
    "quantity": "1.0000",
}
#: Sense, by the route that would take it.
BODIES: Final[dict[str, Any]] = {
    "/v1/orders": ORDER,
    "/v1/orders/validate": ORDER,
    "/v1/orders/batch": {"orders": [ORDER, {**ORDER, "client_order_id": "f-2"}]},
    "/v1/orders/batch/cancel": {"orders": [{"client_order_id": "f-1"}]},
    "/v1/withdrawals": {"asset": "BTC", "amount": "1.00000000", "destination": "nowhere"},
    "/v1/dead-man": {"timeout_ms": 1_000},
}
#: No sense comes here, for it would be obeyed.
ADMIN_PATHS: Final = (
    "/v1/admin/deposits",
    "/v1/admin/transfers",
    "/v1/admin/halts",
    "/v1/admin/keys",
    "/v1/admin/instruments",
    "/v1/admin/limits",
)
STREAM_MESSAGES: Final[tuple[dict[str, Any], ...]] = (
    {"id": 1, "op": "place", "order": ORDER},
    {"id": 2, "op": "validate", "order": ORDER},
    {"id": "c", "op": "cancel", "client_order_id": "f-1"},
    {"id": 3, "op": "replace", "order_id": "1", "price": "1.00", "quantity": "1.0000"},
    {"id": 4, "op": "cancel_all", "scope": "key"},
    {"id": 5, "op": "subscribe"},
    {"id": 6, "op": "resume", "after": [1, 0]},
    {"id": 7, "op": "unsubscribe"},
    {"id": 8, "op": "dead_man", "timeout_ms": 0},
    {"id": 9, "op": "cancel_on_disconnect", "enabled": False},
    {"id": 10, "op": "login", "secret": "ock_x"},
)
FEED_MESSAGES: Final[tuple[dict[str, Any], ...]] = (
    {"id": 1, "op": "subscribe", "channels": ["depth", "trades"], "instruments": ["BTC-USD"]},
    {"id": 2, "op": "unsubscribe", "channels": ["candles:1m"], "instruments": ["ETH-USD"]},
    {"id": 3, "op": "list"},
)
QUERIES: Final = (
    "/v1/depth?instrument=BTC-USD&limit=5",
    "/v1/trades?instrument=BTC-USD&after=1-0",
    "/v1/candles?instrument=BTC-USD&interval=1m",
    "/v1/orders?instrument=BTC-USD&after=0",
    "/v1/orders/by-client-id/f-1",
    "/v1/orders/history?before=9&min_sequence=1",
    "/v1/fills?after=1-0&limit=2",
    "/v1/statement?limit=2",
)

_number = st.sampled_from(
    (
        b"NaN",
        b"-Infinity",
        b"1e400",
        b"-1e-400",
        b"1" * 401,
        b"-0",
        b"00",
        b"0x1",
        b"1e",
        b".5",
        b"9223372036854775808",
        b"-9223372036854775809",
        b"1.5",
        b"1e5",
        b"18446744073709551616",
    )
)
_text = st.one_of(
    st.sampled_from(
        (
            *(b'"\xff\xfe"', b'"\xc0\xaf"', b'"\xed\xa0\x80"', b'"\\ud800"', b'"\\u0000"', b'"\n"'),
            *(b'"' + b"x" * 5_000 + b'"', b'"1e400"', b'"NaN"', b'"-1"', b'"\xef\xbc\x91"', b'"'),
        )
    ),
    st.text(max_size=12).map(msgspec.json.encode),
)
_scalar: st.SearchStrategy[bytes] = st.one_of(
    _number, _text, st.sampled_from((b"null", b"true", b"tru", b"", b"{}", b"[]"))
)
_name = st.sampled_from((*(f'"{name}"'.encode() for name in (*ORDER, "op", "id", "orders")), b"1"))


def _object(pairs: list[tuple[bytes, bytes]]) -> bytes:
    return b"{" + b",".join(name + b":" + said for name, said in pairs) + b"}"


def _nested(depth: int) -> bytes:
    return b'{"orders":' * depth + b"1" + b"}" * depth


#: JSON of a kind: names twice, numbers that no machine has, depths that no stack has.
json_nonsense: Final = st.one_of(
    st.recursive(
        _scalar,
        lambda inner: st.one_of(
            st.lists(inner, max_size=4).map(lambda parts: b"[" + b",".join(parts) + b"]"),
            st.lists(st.tuples(_name, inner), max_size=5).map(_object),
        ),
        max_leaves=8,
    ),
    st.sampled_from((32, 33, 1_000, 5_000)).map(_nested),
    st.sampled_from((33, 1_000, 30_000)).map(lambda depth: b"[" * depth),
    st.binary(max_size=60),
)


@st.composite
def with_a_fault(draw: st.DrawFn, senses: tuple[Any, ...]) -> bytes:
    """A good message, but for a field that is another or there twice, or for some bytes."""
    sense = draw(st.sampled_from(senses))
    how = draw(st.sampled_from(("field", "twice", "bytes", "cut", "filled", "inner")))
    content = _encoded(sense)
    name = draw(st.sampled_from(sorted(sense)))
    place = draw(st.integers(0, len(content) - 1))
    match how:
        case "twice":
            again: bytes = draw(_scalar)
            return content[:-1] + b',"' + str(name).encode() + b'":' + again + b"}"
        case "filled":
            return content[:-1] + b',"filler":"' + b"x" * _TOO_LARGE + b'"}'
        case "cut":
            return content[:place]
        case "bytes":
            odd: bytes = draw(st.binary(min_size=1, max_size=4))
            return content[:place] + odd + content[place + 1 :]
    said = msgspec.Raw(draw(_scalar) or b"null")
    if how == "inner" and isinstance(sense.get("order"), dict):
        name = draw(st.sampled_from(sorted(ORDER)))
        return _encoded({**sense, "order": {**ORDER, name: said}})
    return _encoded({**sense, name: said})


def _encoded(sense: object) -> bytes:
    return bytes(msgspec.json.encode(sense))


@st.composite
def queries(draw: st.DrawFn) -> str:
    """A path and query with something else in it."""
    sense = draw(st.sampled_from(QUERIES))
    place = draw(st.integers(4, len(sense)))
    odd = draw(st.sampled_from(("%ff", "%00", "&", "=", "%", "9" * 400, "-1", "NaN", "..", "%2f")))
    return sense[:place] + odd + sense[place + draw(st.integers(0, 6)) :]


@st.composite
def frames(draw: st.DrawFn) -> bytes:
    """A frame as no client library would send it: reserved bits, lengths, masks, opcodes."""
    first = draw(st.integers(0, 255))
    payload = draw(st.binary(max_size=140))
    length = draw(st.sampled_from((len(payload), len(payload) + 1, 126, 127, 0)))
    masked = draw(st.sampled_from((0x80, 0x80, 0)))
    if length >= 126:
        wide = draw(st.sampled_from((b"\xff" * 8, b"\x00" * 8, b"\x00" * 6 + b"\xff\xff")))
        return bytes((first, masked | length)) + (wide if length == 127 else wide[-2:]) + payload
    return bytes((first, masked | length)) + b"\x01\x02\x03\x04" + payload


_request_line = st.sampled_from(
    (
        b"GET /v1/time HTTP/1.1",
        b"POST /v1/orders HTTP/1.0",
        b"GET  /v1/time",
        b"PRI * HTTP/2.0",
        b"\x16\x03\x01\x02\x00\x01",
        b"GET /" + b"a" * 20_000 + b" HTTP/1.1",
        b"FOO /\xff HTTP/1.1",
    )
)
_header = st.sampled_from(
    (
        *(b"Host: x", b"Host: x\r\nHost: y", b"Content-Length: -1", b"Content-Length: 9" * 2),
        *(b"Transfer-Encoding: chunked", b"Transfer-Encoding: gzip, chunked", b": x", b"X:\x00"),
        *(b"Upgrade: websocket\r\nConnection: Upgrade", b"Sec-WebSocket-Version: 8", b" folded: x"),
        *(b"Authorization: Bearer \xff", b"Content-Encoding: gzip", b"X: " + b"y" * 17_000),
        *(b"Expect: 100-continue", b"Outcry-Timestamp: 1e400", b"X-Forwarded-For: ::::"),
    )
)
#: Whole requests that are none.
heads: Final = st.tuples(
    _request_line, st.lists(_header, max_size=4), st.sampled_from((b"", b"\r\n\r\n", b"5\r\nx"))
).map(lambda parts: b"\r\n".join((parts[0], *parts[1], b"", parts[2])))

"""Whether an HTTP request becomes a websocket, and in which language it will speak."""

from collections.abc import Collection, Iterator, Mapping
from typing import Final

import h11
import msgspec
from websockets.datastructures import Headers
from websockets.http11 import Request
from websockets.server import ServerProtocol
from websockets.typing import Origin, Subprotocol

from api.sockets.codec import CODECS, JSON, Codec

_EARLY_BYTES: Final = "Wait for the acceptance before sending anything."
_NO_SOCKET: Final = "No websocket is served at this path."
_MESSAGES: Final = {
    403: "This origin may not open websockets here.",
    405: "A websocket is opened by GET.",
    426: "This is a websocket: ask for an upgrade to it.",
    505: "HTTP/1.1 is spoken here.",
}


class SocketAsked(Exception):
    """A request that is ours to judge: for a socket's path, or for a socket where there is none."""

    def __init__(self, path: str, request: h11.Request, rest: bytes) -> None:
        super().__init__(path)
        self.path = path
        self.request = request
        #: What came after its head.
        self.rest = rest


class HeaderTexts(Mapping[str, str]):
    """Headers of one request, looked up whatever their case; repeated ones joined by a comma."""

    __slots__ = ("_texts",)

    def __init__(self, raw: list[tuple[bytes, bytes]]) -> None:
        self._texts: dict[str, str] = {}
        for raw_name, raw_text in raw:
            name, text = raw_name.decode("latin1").lower(), raw_text.decode("latin1")
            self._texts[name] = f"{self._texts[name]}, {text}" if name in self._texts else text

    def __getitem__(self, name: str) -> str:
        return self._texts[name.lower()]

    def __iter__(self) -> Iterator[str]:
        return iter(self._texts)

    def __len__(self) -> int:
        return len(self._texts)


class Accepted(msgspec.Struct, frozen=True):
    """A request that becomes a websocket."""

    path: str
    #: The path and its query, as they were sent.
    target: str
    headers: HeaderTexts
    codec: Codec
    #: The whole answer, ready for the wire.
    answer: bytes


class NotAccepted(msgspec.Struct, frozen=True):
    """A request that is answered with an error instead."""

    status: int
    message: str
    headers: tuple[tuple[bytes, bytes], ...] = ()


def asks_to_upgrade(request: h11.Request) -> bool:
    """Whether a request wants to become a websocket."""
    texts = {bytes(name): text.lower() for name, text in request.headers}
    options = texts.get(b"connection", b"").split(b",")
    return texts.get(b"upgrade") == b"websocket" and b"upgrade" in map(bytes.strip, options)


def judge(
    asked: SocketAsked, paths: Collection[str], origins: tuple[str, ...]
) -> Accepted | NotAccepted:
    """Check a request by RFC 6455, section 4.2.1, and choose its language.

    Browsers say where a page comes from (`Origin`): the server's own pages may connect, and those
    of `origins`. Other programs say nothing and are let in; what they may do depends on their key.
    """
    if asked.path not in paths:
        return NotAccepted(404, _NO_SOCKET)
    if asked.rest:
        return NotAccepted(400, _EARLY_BYTES)
    headers = HeaderTexts(asked.request.headers.raw_items())
    protocol = ServerProtocol(
        origins=_origins(headers.get("host", ""), origins),
        subprotocols=_subprotocols(headers),
    )
    response = protocol.accept(_as_websockets_has_it(asked.request))
    if response.status_code != 101:
        status = response.status_code
        message = _MESSAGES.get(status, f"The handshake is wrong: {protocol.handshake_exc}.")
        return NotAccepted(status, message, _extra_headers(response.headers))
    codec = next((codec for codec in CODECS if codec.subprotocol == protocol.subprotocol), JSON)
    target = asked.request.target.decode("ascii")
    return Accepted(asked.path, target, headers, codec, response.serialize())


def _origins(host: str, listed: tuple[str, ...]) -> list[Origin | None]:
    own = (f"http://{host}", f"https://{host}")
    return [None, *(Origin(text) for text in (*own, *listed))]


def _subprotocols(headers: HeaderTexts) -> list[Subprotocol] | None:
    """What to choose from; the library would refuse a client that asks for none."""
    if "sec-websocket-protocol" not in headers:
        return None
    return [Subprotocol(codec.subprotocol) for codec in CODECS]


def _as_websockets_has_it(request: h11.Request) -> Request:
    headers = Headers()
    for name, text in request.headers.raw_items():
        headers[name.decode("latin1")] = text.decode("latin1")
    return Request(
        path=request.target.decode("ascii"),
        headers=headers,
        method=request.method.decode("ascii"),
        protocol=f"HTTP/{request.http_version.decode('ascii')}",
    )


def _extra_headers(headers: Headers) -> tuple[tuple[bytes, bytes], ...]:
    kept = ("Upgrade", "Allow")
    return tuple((name.encode(), headers[name].encode()) for name in kept if name in headers)

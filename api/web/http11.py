"""What one connection speaks: HTTP/1.1 and websockets, hypercorn's, with its rough edges taken off.

Every error is JSON, an answer's head and body leave in one write, websockets are not compressed and
their messages bounded. HTTP/2 is not spoken.
"""

import time
from collections.abc import Collection
from typing import Any, Final

import h11
from hypercorn.events import Closed, Event, RawData
from hypercorn.protocol.events import Body, EndBody, Response
from hypercorn.protocol.events import Event as StreamEvent
from hypercorn.protocol.h11 import H11Protocol, H11WSConnection
from hypercorn.protocol.http_stream import HTTPStream
from hypercorn.protocol.ws_stream import FrameTooLargeError, WebsocketBuffer, WSStream
from hypercorn.typing import H11SendableEvent
from wsproto.events import Message

from api import problems
from api.sockets.handshake import SocketAsked, asks_to_upgrade

#: What hypercorn answers of its own accord.
_BARE_ERROR_HEADERS: Final = [(b"content-length", b"0"), (b"connection", b"close")]
#: What is answered here without any app, and is not the client's mistake.
_MESSAGES: Final = {
    500: "The server failed.",
    429: "Too many connections from this address.",
    503: "Nothing was accepted: all connections are taken. Repeat later.",
    505: "HTTP/1.1 is spoken here.",
}
_EARLY_BYTES: Final = "bytes arrived before the websocket was accepted"


class MessageTooLarge(Exception):
    """The client went on sending after it was told that its message was too large."""


class Http11(H11Protocol):
    """HTTP/1.1 and websockets, with JSON errors, one write per answer head, and no compression."""

    def __init__(self, *args: object, socket_paths: Collection[str] = ()) -> None:
        """Requests for `socket_paths`, and for a websocket anywhere else, raise SocketAsked.

        Without any `socket_paths` the app serves websockets itself, the stock way.
        """
        super().__init__(*args)  # type: ignore[arg-type]
        self._socket_paths = socket_paths
        self._head = b""
        self._closes_after_answer = False

    async def handle(self, event: Event) -> None:
        """Take what arrived, unless it comes before a websocket is accepted.

        The stock server answers such bytes 400 while the app may be answering too, and one of the
        two then ends the process; a client has to wait for the acceptance (RFC 6455, 4.1).
        """
        stream = self.stream
        speaks = isinstance(event, RawData) and bool(event.data)
        if speaks and isinstance(stream, WSStream) and not stream.handshake.accepted:
            raise h11.RemoteProtocolError(_EARLY_BYTES)
        await super().handle(event)

    async def _send_h11_event(self, event: H11SendableEvent) -> None:
        """Hold a response's head back until its first body bytes, so that both are one write."""
        try:
            data = self._head + (self.connection.send(event) or b"")
        except h11.LocalProtocolError:
            if self.connection.their_state is not h11.ERROR:
                raise
            return
        self._head = data if isinstance(event, h11.Response) else b""
        if data and not self._head:
            await self.send(RawData(data=data))

    async def _check_protocol(self, event: h11.Request) -> None:
        """Stay with HTTP/1.1: an offer of h2c is ignored, HTTP/2 by prior knowledge refused.

        A body of two lengths is refused, since two servers may read two requests in it. A head that
        came in one piece is measured here: the parser measures only those that it waits for.
        """
        if _head_bytes(event) > self.config.h11_max_incomplete_size:
            await self._send_error_response(431)
            raise h11.RemoteProtocolError("the head is too large")
        if event.http_version not in {b"1.0", b"1.1"}:
            await self._send_error_response(505)
            raise h11.RemoteProtocolError("HTTP/1.1 is spoken here")
        names = {name.lower() for name, _ in event.headers}
        if {b"content-length", b"transfer-encoding"} <= names:
            # Whoever is in front may have counted by the other one (RFC 9112, 6.1).
            await self._send_error_response(400)
            raise h11.RemoteProtocolError("both Content-Length and Transfer-Encoding")

    async def _create_stream(self, request: h11.Request) -> None:
        """Start the app, without compressed websockets: 64 KiB of them can unpack to 64 MiB.

        Raises: SocketAsked for what no app is to see.
        """
        path = request.target.partition(b"?")[0].decode("latin1")
        if self._socket_paths and (path in self._socket_paths or asks_to_upgrade(request)):
            raise SocketAsked(path, request, self.connection.trailing_data[0])
        offered = request.headers.raw_items()
        plain = [(n, v) for n, v in offered if n.lower() != b"sec-websocket-extensions"]
        if len(plain) != len(offered):
            request = h11.Request(
                method=request.method,
                target=request.target,
                headers=plain,
                http_version=request.http_version,
            )
        await super()._create_stream(request)
        if isinstance(self.stream, WSStream):
            self.stream.buffer = BoundedMessage(self.config.websocket_max_message_size)
        if isinstance(self.connection, H11WSConnection) and self.connection.buffer:
            raise h11.RemoteProtocolError(_EARLY_BYTES)

    async def stream_send(self, event: StreamEvent) -> None:
        """Put a JSON body into the bare errors that hypercorn answers of its own accord.

        And close after them: the stock server leaves a refused websocket's connection open.
        """
        if isinstance(event, Response) and event.headers == _BARE_ERROR_HEADERS:
            self._closes_after_answer = True
            headers, body = json_error(event.status_code)
            await super().stream_send(Response(event.stream_id, headers, event.status_code))
            if not (isinstance(self.stream, HTTPStream) and self.stream.scope["method"] == "HEAD"):
                await super().stream_send(Body(event.stream_id, body))
            return
        ends = self.context.terminated.is_set()
        if ends and isinstance(event, Response) and event.status_code >= 200:
            # Told so, a client does not send its next request into the closing connection.
            headers = [*event.headers, (b"connection", b"close")]
            event = Response(event.stream_id, headers, event.status_code)
        await super().stream_send(event)
        if self._closes_after_answer and isinstance(event, EndBody):
            await self.send(Closed())

    async def _send_error_response(self, status_code: int) -> None:
        headers, body = json_error(status_code)
        headers += self.config.response_headers("h11")
        await self._send_h11_event(h11.Response(status_code=status_code, headers=headers))
        await self._send_h11_event(h11.Data(data=body))
        await self._send_h11_event(h11.EndOfMessage())


def _head_bytes(event: h11.Request) -> int:
    """What a request's target and headers took, each with its colon, blank and line end."""
    return len(event.target) + sum(len(name) + len(value) + 4 for name, value in event.headers)


def json_error(status: int, message: str = "") -> tuple[list[tuple[bytes, bytes]], bytes]:
    """Headers and body of an answer to what never became a request; it ends the connection."""
    request_id = problems.accepted_request_id(None)
    message = message or _MESSAGES.get(status, "The request could not be understood.")
    problem = problems.of_status(status, message)
    body = problems.encode(problem, time.time_ns(), request_id)
    return [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(body)).encode()),
        (b"x-request-id", request_id.encode()),
        (b"connection", b"close"),
    ], body


class BoundedMessage(WebsocketBuffer):
    """Collects one websocket message; the stock one grows on after it has said "too large"."""

    def __init__(self, max_length: int) -> None:
        super().__init__(max_length)
        self._refused = False

    def extend(self, event: Message[Any]) -> None:
        """Add a part; raises MessageTooLarge when the client goes on after the first refusal."""
        if self._refused:
            raise MessageTooLarge
        if self.length + len(event.data) > self.max_length:
            self._refused = True
            self.clear()
            raise FrameTooLargeError
        super().extend(event)

"""One websocket over one connection, for trio: whole messages in and out, and why it ended."""

import ssl
from contextlib import suppress
from typing import Final, Self

import trio
from websockets.client import ClientProtocol
from websockets.exceptions import InvalidHandshake, InvalidStatus
from websockets.frames import Frame, Opcode
from websockets.typing import Subprotocol
from websockets.uri import WebSocketURI, parse_uri

from api.client.conversation import Language
from api.client.errors import SocketClosed
from api.client.exchange import error_of

MESSAGE_BYTES_MAX: Final = 16 * 1024 * 1024
OPENING_S_MAX: Final = 10.0
#: The server pings three times as often: silence means that nobody is there.
SILENCE_S_MAX: Final = 60.0
#: For a farewell.
CLOSING_S_MAX: Final = 2.0
_READ_BYTES: Final = 65_536
_BROKEN: Final = (trio.BrokenResourceError, trio.ClosedResourceError)


class Wire:
    """A connection that has become a websocket; made by `dial`. Keep `write_all` running.

    `put` never waits: what is put while something is being sent goes out with the next write.
    """

    def __init__(self, stream: trio.abc.Stream, protocol: ClientProtocol, *, binary: bool) -> None:
        self._stream = stream
        self._protocol = protocol
        self._send = protocol.send_binary if binary else protocol.send_text
        self._parts: list[bytes] = []
        self._news = trio.Event()
        self._is_over = False

    @classmethod
    async def dial(cls, url: str, path: str, headers: dict[str, str], language: Language) -> Self:
        """Connect. Waits, not for long.

        Raises: OSError; SocketClosed when the server refuses.
        """
        address = parse_uri(address_of(url, path))
        protocol = ClientProtocol(
            address,
            subprotocols=[Subprotocol(language.subprotocol)],
            max_size=MESSAGE_BYTES_MAX,
        )
        with trio.move_on_after(OPENING_S_MAX):
            stream = await _connected(address)
            wire = cls(stream, protocol, binary=language.is_binary)
            try:
                await wire._shake_hands(headers)
            except BaseException:
                await trio.aclose_forcefully(stream)
                raise
            return wire
        raise TimeoutError(f"{url} did not open a websocket in {OPENING_S_MAX:.0f} s")

    def put(self, message: bytes) -> None:
        """Have a message sent. Raises: SocketClosed."""
        if self._is_over or self._protocol.close_sent is not None:
            raise self.closed()
        self._send(message)
        self._news.set()

    def hang_up(self) -> None:
        """Say farewell, behind everything that was put."""
        if not self._is_over and self._protocol.close_sent is None:
            self._protocol.send_close(1000)
            self._news.set()

    async def get(self) -> list[bytes]:
        """Every whole message that is here. Waits for some.

        Raises: SocketClosed.
        """
        protocol = self._protocol
        while True:
            messages = [
                message for event in protocol.events_received() for message in self._whole(event)
            ]
            if messages:
                return messages
            if self._is_over:
                raise self.closed()
            await self._hear()
            self._news.set()  # a pong to be sent, perhaps

    async def write_all(self) -> None:
        """Send what was put. Returns when the connection is over."""
        try:
            while True:
                self._news = trio.Event()
                data = b"".join(self._protocol.data_to_send())
                if data:
                    await self._stream.send_all(data)
                elif self._is_over:
                    return
                else:
                    await self._news.wait()
        except _BROKEN:
            self._end()

    async def close(self) -> None:
        """Drop the connection at once."""
        self._end()
        await trio.aclose_forcefully(self._stream)

    def closed(self) -> SocketClosed:
        """What the server said when it hung up; 1006 if it said nothing."""
        said = self._protocol.close_rcvd
        if said is None:
            return SocketClosed(1006, str(self._protocol.parser_exc or "the connection broke"))
        return SocketClosed(said.code, said.reason)

    async def _hear(self) -> None:
        data = b""
        with trio.move_on_after(SILENCE_S_MAX):
            with suppress(*_BROKEN):
                data = bytes(await self._stream.receive_some(_READ_BYTES))
        protocol = self._protocol
        if data:
            protocol.receive_data(data)
        if not data or protocol.close_rcvd is not None or protocol.parser_exc is not None:
            self._end()

    def _end(self) -> None:
        self._is_over = True
        self._news.set()

    def _whole(self, event: object) -> list[bytes]:
        """The message that a frame completes, if it does."""
        if not isinstance(event, Frame) or event.opcode not in _OF_MESSAGES:
            return []
        if event.fin and not self._parts:
            return [bytes(event.data)]
        self._parts.append(bytes(event.data))
        if not event.fin:
            return []
        parts, self._parts = self._parts, []
        return [b"".join(parts)]

    async def _shake_hands(self, headers: dict[str, str]) -> None:
        protocol = self._protocol
        request = protocol.connect()
        request.headers.update(headers)
        protocol.send_request(request)
        try:
            await self._stream.send_all(b"".join(protocol.data_to_send()))
            while protocol.state.name == "CONNECTING":
                data = await self._stream.receive_some(_READ_BYTES)
                protocol.receive_data(data) if data else protocol.receive_eof()
                if protocol.handshake_exc is not None or not data:
                    break
        except trio.BrokenResourceError as error:
            raise ConnectionError("the connection broke") from error
        failure = protocol.handshake_exc
        if isinstance(failure, InvalidStatus):
            response = failure.response
            refusal = error_of(response.status_code, bytes(response.body))
            raise SocketClosed(1006, f"HTTP {response.status_code}", refusal)
        if isinstance(failure, InvalidHandshake):
            raise SocketClosed(1006, str(failure))
        if failure is not None:
            raise ConnectionError(str(failure))


_OF_MESSAGES: Final = (Opcode.TEXT, Opcode.BINARY, Opcode.CONT)


def address_of(url: str, path: str) -> str:
    """The address of a socket of the server at `url`.

    >>> address_of("http://127.0.0.1:8080/", "/v1/feed")
    'ws://127.0.0.1:8080/v1/feed'
    """
    return url.replace("http", "ws", 1).rstrip("/") + path


async def _connected(address: WebSocketURI) -> trio.abc.Stream:
    stream = await trio.open_tcp_stream(address.host, address.port)
    if not address.secure:
        return stream
    context = ssl.create_default_context()
    secure = trio.SSLStream(stream, context, server_hostname=address.host, https_compatible=True)
    try:
        await secure.do_handshake()
    except BaseException:
        await trio.aclose_forcefully(stream)
        raise
    return secure

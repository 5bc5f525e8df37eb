"""Clients that cost next to nothing: prepared bytes over plain sockets, counted and timed.

One selector and no task per connection, so that the processor is the server's. Only as much of an
answer is read as tells where it ends and how many orders it accepts.
"""

import selectors
import socket
import time
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from engine.errors import InvariantViolated

#: Something must come within so many seconds.
SILENCE_S_MAX: Final = 30.0
_READ_BYTES: Final = 1 << 18
_CREATED: Final = b'"status":201,'
_LENGTH: Final = b"\r\ncontent-length: "
_TEXT: Final = 1  # opcodes of websocket frames
_PING: Final = 9


class Driven(msgspec.Struct):
    """What one measure came to. `latencies_s` are those of requests, or of socket messages."""

    latencies_s: list[float] = []
    accepted: int = 0
    wall_s: float = 0.0


class HttpWire:
    """One connection kept alive; sends the next request once the last one is answered."""

    def __init__(self, port: int, requests: Sequence[bytes], created: int) -> None:
        """`created` is how many orders each answer is expected to accept; 0 for any good answer."""
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.is_done = False
        self._requests: Iterator[bytes] = iter(requests)
        self._created = created
        self._buffer = bytearray()
        self._sent_s = 0.0

    def begin(self) -> None:
        """Send the first request."""
        self._next()

    def read(self, driven: Driven) -> None:
        """Take in what has arrived; if that is a whole answer, send the next request."""
        buffer = self._buffer
        buffer += _received(self.socket)
        head = buffer.find(b"\r\n\r\n")
        if head < 0:
            return
        at = buffer.find(_LENGTH, 0, head) + len(_LENGTH)
        if len(buffer) < head + 4 + int(buffer[at : buffer.index(b"\r", at)]):
            return
        driven.latencies_s.append(time.perf_counter() - self._sent_s)
        driven.accepted += self._judged(bytes(buffer), head)
        buffer.clear()
        self._next()

    def _judged(self, answer: bytes, head: int) -> int:
        if self._created <= 1:
            accepted = int(answer.startswith(b"HTTP/1.1 20"))
        else:
            accepted = answer.count(_CREATED, head)
        if accepted < self._created:
            raise InvariantViolated(f"not accepted: {answer[:2_000].decode('latin1')}")
        return accepted if self._created else 0

    def _next(self) -> None:
        request = next(self._requests, None)
        if request is None:
            self.is_done = True
            return
        self._sent_s = time.perf_counter()
        self.socket.sendall(request)


class SocketWire:
    """A websocket of the private stream with up to `window` orders under way."""

    def __init__(
        self, port: int, authorization: str, messages: Sequence[bytes], window: int
    ) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.is_done = False
        self._frames = [masked(message) for message in messages]
        self._window = window
        self._at = 0
        self._sent_s: deque[float] = deque()
        self._buffer = self._upgrade(authorization)

    def _upgrade(self, authorization: str) -> bytes:
        self.socket.sendall(
            (
                "GET /v1/stream HTTP/1.1\r\nHost: bench\r\nUpgrade: websocket\r\n"
                "Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
                f"Sec-WebSocket-Version: 13\r\nAuthorization: {authorization}\r\n\r\n"
            ).encode()
        )
        buffer = b""
        while b"\r\n\r\n" not in buffer:
            buffer += _received(self.socket)
        return buffer.partition(b"\r\n\r\n")[2]

    def begin(self) -> None:
        """Fill the window."""
        self._send(self._window)

    def read(self, driven: Driven) -> None:
        """Take in answers, and send as many messages more."""
        buffer = self._buffer + _received(self.socket)
        now_s, begins, answered = time.perf_counter(), 0, 0
        while (frame := frame_at(buffer, begins)) is not None:
            opcode, payload, ends = frame
            if opcode == _TEXT:
                answered += 1
                driven.latencies_s.append(now_s - self._sent_s.popleft())
                if buffer.find(_CREATED, payload, ends) < 0:
                    raise InvariantViolated(f"not accepted: {buffer[payload:ends].decode()}")
            elif opcode == _PING:
                self.socket.sendall(masked(buffer[payload:ends], 0x8A))
            else:
                raise InvariantViolated(f"the server closed: {buffer[payload:ends]!r}")
            begins = ends
        self._buffer = buffer[begins:]
        driven.accepted += answered
        self._send(answered)
        self.is_done = not self._sent_s

    def _send(self, count: int) -> None:
        frames = self._frames[self._at : self._at + count]
        self._at += len(frames)
        if frames:
            self._sent_s.extend([time.perf_counter()] * len(frames))
            self.socket.sendall(b"".join(frames))


def drive(wires: Sequence[HttpWire | SocketWire]) -> Driven:
    """Run the connections until each is done, and close them.

    Raises: InvariantViolated when an order is not accepted or nothing comes any more.
    """
    driven = Driven()
    try:
        began = time.perf_counter()
        _drive(wires, driven)
        driven.wall_s = time.perf_counter() - began
    finally:
        for wire in wires:
            wire.socket.close()
    return driven


def _drive(wires: Sequence[HttpWire | SocketWire], driven: Driven) -> None:
    with selectors.DefaultSelector() as selector:
        for wire in wires:
            selector.register(wire.socket, selectors.EVENT_READ, wire)
            wire.begin()
        while selector.get_map():
            ready = selector.select(SILENCE_S_MAX)
            if not ready:
                raise InvariantViolated(f"no answer for {SILENCE_S_MAX} s")
            for key, _ in ready:
                key.data.read(driven)
                if key.data.is_done:
                    selector.unregister(key.data.socket)


def _received(sock: socket.socket) -> bytes:
    data = sock.recv(_READ_BYTES)
    if not data:
        raise InvariantViolated("the server closed the connection")
    return data


def masked(payload: bytes, first_byte: int = 0x81) -> bytes:
    """A client's frame; a mask of zeros leaves the payload as it is."""
    size = len(payload)
    if size < 126:
        return bytes((first_byte, 0x80 | size)) + bytes(4) + payload
    return bytes((first_byte, 0xFE)) + size.to_bytes(2, "big") + bytes(4) + payload


def frame_at(buffer: bytes, at: int) -> tuple[int, int, int] | None:
    """Opcode, beginning and end of the payload of the whole frame at `at`; servers mask nothing."""
    if len(buffer) < at + 2:
        return None
    size, begins = buffer[at + 1] & 0x7F, at + 2
    if size >= 126:
        begins += 2 if size == 126 else 8
        if len(buffer) < begins:
            return None
        size = int.from_bytes(buffer[at + 2 : begins], "big")
    ends = begins + size
    return None if len(buffer) < ends else (buffer[at] & 0x0F, begins, ends)

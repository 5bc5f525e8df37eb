"""Many plain sockets in one loop, cheap enough that the processor is the server's.

Nothing here is clever on purpose: a wire sends bytes as they are, a loop reads whatever has arrived
and does what is due. The clock is `time.perf_counter`.
"""

import selectors
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final

import msgspec

from bench.wires import frame_at

TEXT: Final = 1
CLOSE: Final = 8
PING: Final = 9
#: No close frame came.
LOST: Final = 1006
_LENGTH: Final = b"\r\ncontent-length: "
_READ_BYTES: Final = 1 << 18


class Wire:
    """One connection. The loop calls `read` when something has arrived."""

    def __init__(self, port: int, *, source: str = "", receive_bytes: int = 0) -> None:
        """With `receive_bytes` our system holds no more than about that."""
        self.socket = socket.socket()
        if receive_bytes:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.settimeout(30.0)
        if source:
            self.socket.bind((source, 0))
        self.socket.connect(("127.0.0.1", port))
        self.is_over = False
        self._buffer = bytearray()

    def close(self) -> None:
        """Leave."""
        self.socket.close()

    def send(self, data: bytes) -> None:
        """Send all of it; a server that is gone is noticed by `read`."""
        self.socket.settimeout(30.0)
        with suppress(BrokenPipeError, ConnectionResetError):
            self.socket.sendall(data)

    def read(self, bytes_max: int = _READ_BYTES) -> None:
        """Take in what has arrived."""
        try:
            self.socket.setblocking(False)
            part = self.socket.recv(bytes_max)
        except BlockingIOError:
            return
        except ConnectionResetError:
            part = b""
        if part:
            self._buffer += part
        else:
            self.is_over = True
        self.take(time.perf_counter())

    def take(self, now_s: float) -> None:
        """Do something with what is in the buffer."""
        raise NotImplementedError


class Answer(msgspec.Struct, frozen=True):
    """One answer of HTTP: its status and body, how long it took, when it came."""

    status: int
    body: bytes
    took_s: float
    at_s: float


class HttpWire(Wire):
    """One request after the other; `heard` gets each answer."""

    def __init__(
        self,
        port: int,
        heard: Callable[["HttpWire", Answer], object],
        *,
        source: str = "",
    ) -> None:
        super().__init__(port, source=source)
        self.is_busy = False
        self._heard = heard
        self._sent_s = 0.0

    def ask(self, request: bytes) -> None:
        """Send one request."""
        self.is_busy = True
        self._sent_s = time.perf_counter()
        self.send(request)

    def take(self, now_s: float) -> None:
        """A whole answer, if it is here."""
        head = self._buffer.find(b"\r\n\r\n")
        if head < 0:
            return
        at = self._buffer.find(_LENGTH, 0, head) + len(_LENGTH)
        ends = head + 4 + int(self._buffer[at : self._buffer.index(b"\r", at)])
        if len(self._buffer) < ends:
            return
        status, body = int(self._buffer[9:12]), bytes(self._buffer[head + 4 : ends])
        del self._buffer[:ends]
        self.is_busy = False
        self._heard(self, Answer(status, body, now_s - self._sent_s, now_s))


class SocketWire(Wire):
    """One websocket; `heard` gets the payload of each message and when it came."""

    def __init__(
        self,
        port: int,
        path: str,
        heard: Callable[["SocketWire", bytes, float], object],
        *,
        secret: str = "",
        source: str = "",
        receive_bytes: int = 0,
    ) -> None:
        """Asks for the upgrade; `status` says how that was answered, once it is."""
        super().__init__(port, source=source, receive_bytes=receive_bytes)
        self.status = 0
        self.closed_with = 0
        self._heard = heard
        self._waiting: list[bytes] = []
        lines = [
            f"GET {path} HTTP/1.1",
            "Host: faults",
            "Upgrade: websocket",
            "Connection: Upgrade",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
            "Sec-WebSocket-Version: 13",
            *([f"Authorization: Bearer {secret}"] if secret else []),
        ]
        self.send(("\r\n".join(lines) + "\r\n\r\n").encode())

    def say(self, message: bytes) -> None:
        """Send one message, once we are let in."""
        if self.status:
            self.send(masked(message))
        else:
            self._waiting.append(masked(message))

    def enter(self) -> int:
        """Wait until the upgrade is answered; its status."""
        while not self.status and not self.is_over:
            self.read()
        return self.status

    def take(self, now_s: float) -> None:
        """Every whole frame that is here."""
        if not self.status:
            head = self._buffer.find(b"\r\n\r\n")
            if head < 0:
                return
            self.status = int(self._buffer[9:12])
            del self._buffer[: head + 4]
            if self.status != 101:
                self._buffer.clear()
                return
            self.send(b"".join(self._waiting))
        buffer, begins = bytes(self._buffer), 0
        while (frame := frame_at(buffer, begins)) is not None:
            opcode, payload, ends = frame
            if opcode == TEXT:
                self._heard(self, buffer[payload:ends], now_s)
            elif opcode == PING:
                self.send(masked(buffer[payload:ends], 0x8A))
            elif opcode == CLOSE:
                self.closed_with = int.from_bytes(buffer[payload : payload + 2], "big")
            begins = ends
        if begins:
            del self._buffer[:begins]
        if self.is_over and not self.closed_with:
            self.closed_with = LOST


class Loop:
    """Reads every wire, and does every so often what is due."""

    def __init__(self) -> None:
        self.wires: set[Wire] = set()
        self._selector = selectors.DefaultSelector()

    def add(self, wire: Wire) -> None:
        """Read this one from now on."""
        self.wires.add(wire)
        self._selector.register(wire.socket, selectors.EVENT_READ, wire)

    def drop(self, wire: Wire) -> None:
        """Read it no more, and close it."""
        if wire in self.wires:
            self.wires.remove(wire)
            self._selector.unregister(wire.socket)
        wire.close()

    def close(self) -> None:
        """Leave everywhere."""
        for wire in list(self.wires):
            self.drop(wire)
        self._selector.close()

    def run(self, seconds: float, *due: tuple[float, Callable[[], object]]) -> None:
        """Read for so long, and call each of `due` every so many seconds, however late we are."""
        self.run_until(lambda: False, seconds, *due)

    def run_until(
        self,
        done: Callable[[], bool],
        seconds_max: float,
        *due: tuple[float, Callable[[], object]],
    ) -> bool:
        """Read until `done`, at most for so long; whether it is."""
        now_s = time.perf_counter()
        ends_s, next_s = now_s + seconds_max, [now_s + every for every, _ in due]
        while now_s < ends_s:
            if done():
                return True
            wait_s = max(0.0, min((ends_s, now_s + 0.05, *next_s)) - now_s)
            self._read_some(wait_s)
            now_s = time.perf_counter()
            for place, (every, act) in enumerate(due):
                if next_s[place] <= now_s:
                    next_s[place] += every
                    act()
        return done()

    def _read_some(self, wait_s: float) -> None:
        for key, _ in self._selector.select(wait_s):
            wire: Wire = key.data
            if wire in self.wires:
                wire.read()
                if wire.is_over:
                    self.drop(wire)


def masked(payload: bytes, first_byte: int = 0x81) -> bytes:
    """A client's frame of any size; a mask of zeros leaves the payload as it is."""
    size = len(payload)
    if size < 126:
        length = bytes((0x80 | size,))
    elif size < 1 << 16:
        length = b"\xfe" + size.to_bytes(2, "big")
    else:
        length = b"\xff" + size.to_bytes(8, "big")
    return bytes((first_byte,)) + length + bytes(4) + payload


def post(path: str, secret: str, body: bytes) -> bytes:
    """A request with a JSON body, whole."""
    head = (
        f"POST {path} HTTP/1.1\r\nHost: faults\r\nAuthorization: Bearer {secret}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def percentile_ms(seconds: Sequence[float], share: float) -> float:
    """A percentile in milliseconds; 0 of nothing."""
    if not seconds:
        return 0.0
    ordered = sorted(seconds)
    return round(1_000 * ordered[min(len(ordered) - 1, int(share * len(ordered)))], 2)

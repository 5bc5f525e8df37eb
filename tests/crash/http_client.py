"""A client of bare HTTP/1.1 that knows of every request whether it may have arrived."""

from typing import Any, Final

import msgspec
import trio

_READ_BYTES: Final = 65_536


class Reply(msgspec.Struct, frozen=True):
    """What the server said; header names are in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def content(self) -> Any:
        """The body's JSON."""
        return msgspec.json.decode(self.body)

    @property
    def is_replay(self) -> bool:
        """Whether the answer is that of an earlier request with the same key."""
        return self.headers.get("idempotent-replay") == "true"


class NotSent(Exception):
    """There was no connection: the request certainly did not arrive."""


class AnswerLost(Exception):
    """The connection broke, or nothing was said in time: the request may have arrived."""


class Client:
    """One kept-alive connection with a bearer key; a broken one is opened anew by the next call."""

    def __init__(self, port: int, secret: str, wait_s: float = 30.0) -> None:
        self._port = port
        self._secret = secret
        self._wait_s = wait_s
        self._stream: trio.SocketStream | None = None

    async def call(self, method: str, path: str, body: bytes = b"", key: str = "") -> Reply:
        """Send one request and wait for its answer, `wait_s` at the most.

        Raises: NotSent, AnswerLost.
        """
        if self._stream is None:
            try:
                self._stream = await trio.open_tcp_stream("127.0.0.1", self._port)
            except OSError as error:
                raise NotSent(str(error)) from error
        try:
            with trio.fail_after(self._wait_s):
                await self._stream.send_all(self._head(method, path, body, key) + body)
                return await _read_reply(self._stream)
        except (trio.BrokenResourceError, trio.TooSlowError, EOFError) as error:
            self.close()
            raise AnswerLost(f"{method} {path}: {error!r}") from error
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Leave without goodbye."""
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.socket.close()

    def _head(self, method: str, path: str, body: bytes, key: str) -> bytes:
        lines = [f"{method} {path} HTTP/1.1", "Host: outcry"]
        if self._secret:
            lines.append(f"Authorization: Bearer {self._secret}")
        if body:
            lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
        if key:
            lines.append(f"Idempotency-Key: {key}")
        return ("\r\n".join(lines) + "\r\n\r\n").encode()


async def _read_reply(stream: trio.SocketStream) -> Reply:
    """One whole answer. Raises: EOFError when the server closes before its end."""
    heard = bytearray()
    while (end := heard.find(b"\r\n\r\n")) < 0:
        heard += await _read_some(stream)
    first, *lines = bytes(heard[:end]).decode("latin1").split("\r\n")
    pairs = (line.partition(":") for line in lines)
    headers = {name.strip().lower(): text.strip() for name, _, text in pairs}
    body = heard[end + 4 :]
    while len(body) < int(headers.get("content-length", "0")):
        body += await _read_some(stream)
    return Reply(int(first.split(" ")[1]), headers, bytes(body))


async def _read_some(stream: trio.SocketStream) -> bytes:
    part = await stream.receive_some(_READ_BYTES)
    if not part:
        raise EOFError("the server closed the connection")
    return bytes(part)

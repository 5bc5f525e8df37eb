"""The sockets for plain threads: one request or event after the other."""

from collections import deque
from contextlib import ExitStack, suppress
from types import TracebackType
from typing import Any, Self

from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from api.client.conversation import JSON, MSGPACK, Conversation, is_answer, result_of
from api.client.credentials import Anonymous, Credentials
from api.client.errors import SocketClosed, Unanswered
from api.client.exchange import error_of
from api.client.trio_socket import EVENTS_WAITING_MAX, sets_clock
from api.client.wire import MESSAGE_BYTES_MAX, address_of

#: As the server has it.
_SLOW_CONSUMER = 4008


class Socket:
    """One connection to `/v1/feed` or `/v1/stream`. Ask: `request`. Listen: `event`.

    For one thread. Events that arrive while an answer is awaited are kept for `event`; with too
    many of them it hangs up, since to leave one out would be worse.
    """

    def __init__(
        self,
        url: str,
        path: str,
        credentials: Credentials | None = None,
        *,
        msgpack: bool = False,
    ) -> None:
        """Connect. Raises: OSError; SocketClosed when the server refuses."""
        self._language = MSGPACK if msgpack else JSON
        proof = credentials or Anonymous()
        self._connection: ClientConnection
        self._stack = ExitStack()
        try:
            self._open(url, path, proof)
        except SocketClosed as closed:
            if not sets_clock(closed, proof):
                raise
            self._open(url, path, proof)

    def __enter__(self) -> Self:
        """Connected already."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Hang up."""
        self._stack.close()

    def request(self, op: str, **fields: Any) -> Any:
        """Send a request and wait for its result.

        Raises: Refused; Unanswered when the connection ended first.
        """
        number, content = self._talk.request(op, **fields)
        try:
            self._connection.send(content, text=not self._language.is_binary)
            while True:
                message = self._hear()
                if not is_answer(message):
                    self._keep(message)
                elif message["id"] == number:
                    return result_of(message)
        except ConnectionClosed as error:
            self._hear_the_rest()
            raise Unanswered(str(self._closed_by(error))) from error

    def event(self, timeout_s: float | None = None) -> dict[str, Any] | None:
        """The next message that is no answer; None if there is none in time.

        Raises: SocketClosed.
        """
        if self._events:
            return self._events.popleft()
        try:
            while is_answer(message := self._hear(timeout_s)):
                pass  # to a request that was given up
        except TimeoutError:
            return None
        except ConnectionClosed as error:
            raise self._closed_by(error) from error
        return message

    def _open(self, url: str, path: str, credentials: Credentials) -> None:
        try:
            opening = connect(
                address_of(url, path),
                additional_headers=credentials.headers("GET", path, b""),
                subprotocols=[Subprotocol(self._language.subprotocol)],
                compression=None,
                max_size=MESSAGE_BYTES_MAX,
                proxy=None,
            )
            self._connection = self._stack.enter_context(opening)
        except InvalidStatus as error:
            response = error.response
            refusal = error_of(response.status_code, bytes(response.body))
            raise SocketClosed(1006, f"HTTP {response.status_code}", refusal) from error
        except InvalidHandshake as error:
            raise SocketClosed(1006, str(error)) from error
        self._talk = Conversation(self._language)
        self._events: deque[dict[str, Any]] = deque()
        try:
            self.request("ping")
        except Unanswered as error:
            cause = error.__cause__
            assert isinstance(cause, ConnectionClosed)
            self._stack.close()
            raise self._closed_by(cause) from error

    def _hear(self, timeout_s: float | None = None) -> dict[str, Any]:
        return self._talk.take(self._connection.recv(timeout_s, decode=False))

    def _hear_the_rest(self) -> None:
        """What came before the connection ended, why it did among it."""
        with suppress(ConnectionClosed, TimeoutError):
            while True:
                message = self._hear(0)
                if not is_answer(message):
                    self._keep(message)

    def _keep(self, message: dict[str, Any]) -> None:
        if len(self._events) >= EVENTS_WAITING_MAX:
            self._stack.close()
            raise SocketClosed(_SLOW_CONSUMER, "nobody listened to the events")
        self._events.append(message)

    def _closed_by(self, error: ConnectionClosed) -> SocketClosed:
        if error.rcvd is None:
            return SocketClosed(1006, "the connection broke", self._talk.refusal)
        return SocketClosed(error.rcvd.code, error.rcvd.reason, self._talk.refusal)

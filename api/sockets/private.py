"""The private stream, `/v1/stream`: a session of one key, from its handshake to its farewell.

Messages are read as they come and answered by their id. Before a key is proven, only `login` and
`ping` are; what a key then may do is `session`.
"""

from typing import Final

import msgspec
import trio
from structlog.contextvars import bind_contextvars

from api.door import FORWARDED_HEADER, Door, too_many
from api.keys.addresses import client_address
from api.keys.auth import Caller, Login, SentRequest
from api.keys.signing import KEY_ID_HEADER
from api.problems import (
    REQUEST_ID_HEADER,
    accepted_request_id,
    error_object,
    message_request_id,
    of_status,
)
from api.rejected import Rejected, invalid, problem_of
from api.sockets.codec import Codec
from api.sockets.codes import CloseCode
from api.sockets.key_session import KeySession
from api.sockets.stream_messages import Answer, AnyOp, LoginOp, PingOp
from api.sockets.wire import Socket, SocketClosed
from engine.errors import EngineError

LOGIN_S_MAX: Final = 10.0
#: Between two looks at whether the key is still in force.
RECHECK_S: Final = 0.5
#: After so many messages others get a turn: a few milliseconds.
MESSAGES_PER_TURN_MAX: Final = 128
#: A client that keeps to the rates of its key never meets this; it ends floods.
MESSAGES_PER_S_MAX: Final = 50_000
#: The client is gone: nobody is there to be answered.
_LOST: Final = 1006


class PrivateStream:
    """Accepts sockets; each gets a session of its own. One per server."""

    def __init__(self, door: Door) -> None:
        self.door: Final = door

    async def __call__(self, socket: Socket) -> None:
        """Serve one socket until either side has enough."""
        peer, proxies = socket.peer, self.door.edge.settings.proxies
        if proxies:
            peer = client_address(peer, socket.headers.get(FORWARDED_HEADER, ""), proxies)
        await _Connection(self.door, socket, peer).run()


class _Connection:
    """One socket, before and after its key is known."""

    def __init__(self, door: Door, socket: Socket, peer: str) -> None:
        self._door = door
        self._socket = socket
        self._peer = peer
        self._id = accepted_request_id(socket.headers.get(REQUEST_ID_HEADER))
        self._login_until_s = trio.current_time() + LOGIN_S_MAX
        self._session: KeySession | None = None
        self._nursery: trio.Nursery

    async def run(self) -> None:
        """Serve until either side has enough; what is in flight then is still answered."""
        bind_contextvars(request_id=self._id)
        async with trio.open_nursery() as self._nursery:
            self._greet()
            self._nursery.start_soon(self._watch_key)
            try:
                code = await self._serve()
                if self._session is not None and code != _LOST:
                    await self._session.finish()
            finally:
                if self._session is not None:
                    self._session.leave()
            self._nursery.cancel_scope.cancel()

    def _greet(self) -> None:
        """Let in whoever has proven a key in the handshake."""
        standing = self._door.rates.of_address(self._peer, 1, self._door.monotonic_ns())
        if standing is not None and standing.wait_ns:
            self._end(Rejected(too_many(standing)))
            return
        headers = self._socket.headers
        if headers.get("Authorization") is None and headers.get(KEY_ID_HEADER) is None:
            return
        door = self._door
        try:
            directory, now_ns = door.edge.directory, door.edge.clock.now_ns()
            needed = KeySession.NEEDED
            caller = door.doorkeeper.caller(directory, self._handshake(), needed, now_ns)
            self._let_in(caller)
        except (Rejected, EngineError) as error:
            self._end(error)

    async def _serve(self) -> int:
        """Take messages until the socket ends; returns its close code."""
        socket = self._socket
        while not self._is_over:
            try:
                messages = await socket.receive()
            except SocketClosed as closed:
                return closed.code
            self._recheck()
            for start in range(0, len(messages), MESSAGES_PER_TURN_MAX):
                for message in messages[start : start + MESSAGES_PER_TURN_MAX]:
                    self._take(message)
                if self._session is not None:
                    self._session.send()
                await trio.lowlevel.checkpoint()
        return CloseCode.NORMAL

    @property
    def _is_over(self) -> bool:
        if self._session is None:
            return self._socket.closed_with is not None
        return self._session.is_over

    def _take(self, message: bytes) -> None:
        codec = self._socket.codec
        if self._is_over:
            return  # behind a farewell
        try:
            op: AnyOp = codec.decode(message, AnyOp)
        except msgspec.DecodeError as error:
            self._refuse(_id_of(message, codec), error)
            return
        try:
            self._do(op)
        except Exception as error:  # one message's fault is that message's answer
            self._refuse(op.id, error)

    def _do(self, op: AnyOp) -> None:
        session = self._session
        if type(op) is PingOp:
            self._socket.outbox.send(Answer(op.id, 200, {"pong": True}))
        elif session is not None and type(op) is not LoginOp:
            session.do(op)
        elif session is None and type(op) is LoginOp:
            self._login(op)
        elif session is None:
            raise Rejected(of_status(401, "Log in first."))
        else:
            raise invalid("op", "This socket is logged in already.")

    def _login(self, op: LoginOp) -> None:
        door = self._door
        login = Login(op.secret, op.key_id, op.timestamp, op.window, op.nonce, op.signature)
        directory, now_ns = door.edge.directory, door.edge.clock.now_ns()
        try:
            caller = door.doorkeeper.login(
                directory, login, self._handshake(), now_ns, KeySession.NEEDED
            )
            self._let_in(caller)
        except Rejected as rejected:
            self._end(rejected, op.id)
            return
        welcome = {"key_id": caller.key_id, "account": caller.own_account_id or None}
        self._socket.outbox.send(Answer(op.id, 200, welcome))

    def _let_in(self, caller: Caller) -> None:
        """Open the key's session. Raises: Rejected when it has too many sockets."""
        socket = self._socket
        if not socket.claim(("key", caller.key_id)):
            raise Rejected(of_status(429, "This key has too many sockets open."))
        socket.may_be_silent = True
        socket.limit_messages(MESSAGES_PER_S_MAX, MESSAGES_PER_S_MAX)
        self._session = KeySession(self._door, socket, caller, self._id, self._nursery)

    def _handshake(self) -> SentRequest:
        return SentRequest("GET", self._socket.target, self._socket.headers, b"", self._peer)

    def _recheck(self) -> None:
        """End the session of a key that is no longer in force."""
        if self._session is None:
            return
        edge = self._door.edge
        try:
            self._door.doorkeeper.recheck(edge.directory, self._session.caller, edge.clock.now_ns())
        except Rejected as rejected:
            self._session.revoke()
            self._end(rejected)
        except EngineError:
            pass  # between two lives of the engine nobody knows

    async def _watch_key(self) -> None:
        while True:
            await trio.sleep(RECHECK_S)
            if self._session is not None:
                self._recheck()
            elif trio.current_time() > self._login_until_s:
                self._socket.close(CloseCode.UNAUTHORIZED, "no login in time")

    def _refuse(self, message_id: int | str | None, error: Exception) -> None:
        problem = problem_of(error)
        self._door.edge.traffic.refused(problem.code)
        request_id = message_request_id(self._id, message_id)
        told = error_object(problem, self._door.edge.clock.now_ns(), request_id)
        self._socket.outbox.send(Answer(message_id, problem.status, None, told))

    def _end(self, error: Exception, message_id: int | str | None = None) -> None:
        """Say what is wrong with whoever is there, and close."""
        self._refuse(message_id, error)
        problem = problem_of(error)
        if problem.status == 401 and self._session is None:
            self._door.rates.failed(self._peer, self._door.monotonic_ns())
        code = _CODES.get(problem.status, CloseCode.TOO_MANY_REQUESTS)
        self._socket.close(code, problem.code)


_CODES: Final = {
    401: CloseCode.UNAUTHORIZED,
    403: CloseCode.FORBIDDEN,
    503: CloseCode.SERVER_STOPPING,
}


class _Named(msgspec.Struct):
    """As much of a message as its answer needs."""

    id: int | str | None = None


def _id_of(message: bytes, codec: Codec) -> int | str | None:
    """The id of a message that is no good, if it has one that can be repeated."""
    try:
        found = codec.decode(message, _Named).id
    except msgspec.DecodeError:
        return None
    return found if not isinstance(found, str) or len(found) <= 64 else None

"""What a caller of the client can meet."""

import msgspec


class ErrorBody(msgspec.Struct, frozen=True, kw_only=True):
    """What the server says of an error; fields that later servers add are passed over."""

    code: str
    message: str = ""
    field: str = ""
    rule: str = ""
    server_time_ns: int = 0
    request_id: str = ""
    retry_after_s: float = 0.0


class ClientError(Exception):
    """Base of everything below; never raised itself."""


class Refused(ClientError):
    """The server answered with an error; nothing of the request is in doubt.

    `code` is stable and meant for programs; see the table of errors in docs/api.md.
    """

    def __init__(self, status: int, error: ErrorBody) -> None:
        place = f" ({error.field})" if error.field else ""
        super().__init__(f"{status} {error.code}{place}: {error.message}")
        self.status = status
        self.error = error

    @property
    def code(self) -> str:
        """The stable code."""
        return self.error.code


class Unanswered(ClientError):
    """No definite answer came: it may have happened. The same request asks again."""


class Unreachable(Unanswered):
    """Not even a connection came about, so nothing was sent and nothing has happened."""


class SocketClosed(ClientError):
    """A websocket was closed, or never opened; `code` is the close code, 1006 for none.

    `refusal` is the error that the server gave for it, if it gave one.
    """

    def __init__(self, code: int, reason: str, refusal: Refused | None = None) -> None:
        super().__init__(f"closed with {code}: {refusal or reason or 'no reason given'}")
        self.code = code
        self.reason = reason
        self.refusal = refusal


class Gap(ClientError):
    """An event came that does not follow the one before: reconnect and resume."""


class OutOfStep(ClientError):
    """Something was missed or altered on the way: subscribe again, which brings a snapshot."""

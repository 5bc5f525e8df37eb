"""Reads a request's body before the app is called, within a size and a time.

hypercorn on trio leaves a kept-alive connection dead when the app answers (404, 401, 429, …) before
the body has arrived, as it does with clients that send head and body apart. Reading first closes
that hole; the two bounds keep it from becoming a hole of its own.
"""

import time
from collections.abc import Callable
from typing import Final

import trio
from hypercorn.typing import (
    ASGIFramework,
    ASGIReceiveCallable,
    ASGIReceiveEvent,
    ASGISendCallable,
    HTTPScope,
    Scope,
)

from api import problems
from api.problems import Problem
from api.web.limits import ServerCounts, ServerLimits

#: After refusing a body we listen on for so long, so that the client comes to read our answer.
_DRAIN_S_MAX: Final = 1.0

_TOO_LARGE: Final = problems.of_status(413, "The body is larger than this server accepts.")
_TOO_SLOW: Final = problems.of_status(408, "The body took too long to arrive.")


class WholeBody:
    """An ASGI app that calls another one only once the whole request is here.

    A body over `body_bytes_max` is answered 413, one slower than `body_read_s_max` 408, and the
    connection is closed. Waits for the client.
    """

    def __init__(
        self,
        app: ASGIFramework,
        limits: ServerLimits,
        counts: ServerCounts,
        now_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._app = app
        self._limits = limits
        self._counts = counts
        self._now_ns = now_ns

    async def __call__(
        self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable
    ) -> None:
        """Serve one request; websockets and lifespan pass through."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        body = await self._read(scope, receive)
        if isinstance(body, bytes):
            await self._app(scope, _replaying(body, receive), send)
        elif body is not None:
            await self._refuse(body, scope, receive, send)

    async def _read(self, scope: HTTPScope, receive: ASGIReceiveCallable) -> bytes | Problem | None:
        """The body; or what is wrong with it; or None when the client has left."""
        bytes_max = self._limits.body_bytes_max
        if _announced_bytes(scope) > bytes_max:
            return _TOO_LARGE
        body = bytearray()
        with trio.move_on_after(self._limits.body_read_s_max):
            while True:
                event = await receive()
                if event["type"] != "http.request":
                    return None
                body += event["body"]
                if len(body) > bytes_max:
                    return _TOO_LARGE
                if not event["more_body"]:
                    return bytes(body)
        return _TOO_SLOW

    async def _refuse(
        self,
        problem: Problem,
        scope: HTTPScope,
        receive: ASGIReceiveCallable,
        send: ASGISendCallable,
    ) -> None:
        """Answer, read on for a moment, and end; an unread body makes the server close.

        Closing on bytes still under way would reset the connection, and the client might never
        see the answer.
        """
        if problem is _TOO_LARGE:
            self._counts.bodies_too_large += 1
            drain_s = _DRAIN_S_MAX
        else:
            self._counts.bodies_too_slow += 1
            drain_s = 0.0
        request_id = problems.accepted_request_id(_sent_request_id(scope))
        body = problems.encode(problem, self._now_ns(), request_id)
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(body)),
            (b"x-request-id", request_id.encode()),
            (b"connection", b"close"),
        ]
        await send({"type": "http.response.start", "status": problem.status, "headers": headers})
        await send({"type": "http.response.body", "body": body, "more_body": True})
        with trio.move_on_after(drain_s):
            while (await receive()).get("more_body", False):
                pass
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def _replaying(body: bytes, receive: ASGIReceiveCallable) -> ASGIReceiveCallable:
    """The client's events as the app sees them: the whole body first, then whatever follows."""
    pending: list[ASGIReceiveEvent] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replay() -> ASGIReceiveEvent:
        return pending.pop() if pending else await receive()

    return replay


def _announced_bytes(scope: HTTPScope) -> int:
    """What `Content-Length` says; h11 has already refused one that is no number."""
    return int(_header(scope, b"content-length") or 0)


def _sent_request_id(scope: HTTPScope) -> str | None:
    sent = _header(scope, problems.REQUEST_ID_HEADER.lower().encode())
    return None if sent is None else sent.decode("latin1")


def _header(scope: HTTPScope, name: bytes) -> bytes | None:
    return next((text for header, text in scope["headers"] if header.lower() == name), None)

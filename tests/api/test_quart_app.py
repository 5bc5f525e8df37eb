"""The app serves whole requests, each in one task."""

from typing import Any

import trio
from quart import Response, request

from api.web.quart_app import OutcryApp

HEADERS = [(b"host", b"x"), (b"content-type", b"application/json")]


async def answered(app: OutcryApp, events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What the app sends when a client sends this; then the client stays and says nothing."""
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": "/echo",
        "raw_path": b"/echo",
        "query_string": b"",
        "root_path": "",
        "headers": HEADERS,
        "client": ("127.0.0.1", 1),
        "extensions": {},
    }
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        if not events:
            await trio.sleep_forever()
        return events.pop(0)

    async def send(event: Any) -> None:
        sent.append(event)

    with trio.fail_after(5):
        await app(scope, receive, send)  # type: ignore[arg-type]
    return sent


def echoing() -> OutcryApp:
    app = OutcryApp("echo", static_folder=None)

    async def echo() -> Response:
        return Response(await request.get_data())

    app.post("/echo")(echo)
    return app


def part(body: bytes, *, more: bool) -> dict[str, Any]:
    return {"type": "http.request", "body": body, "more_body": more}


async def test_an_answer_is_one_piece_and_says_how_long_it_is() -> None:
    start, body = await answered(echoing(), [part(b"a", more=True), part(b"b", more=False)])
    assert start["status"] == 200
    assert (b"content-length", b"2") in start["headers"]
    assert body == {"type": "http.response.body", "body": b"ab", "more_body": False}


async def test_a_request_that_never_became_whole_is_not_answered() -> None:
    assert not await answered(echoing(), [part(b"a", more=True), {"type": "http.disconnect"}])


async def test_what_the_framework_refuses_is_answered_in_one_piece_too() -> None:
    app = OutcryApp("nothing", static_folder=None)
    start, body = await answered(app, [part(b"", more=False)])
    assert start["status"] == 404
    assert body["body"]
    assert not body["more_body"]

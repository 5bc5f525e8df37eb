"""The web framework's app, serving each request in the one task that the server gave it.

The stock app opens two tasks for every request: one for the handler, one that listens for the
client's leaving and then cancels it. Here a request is whole before the app sees it, an answer is
one piece, and a command goes its way whether or not somebody still listens; so nothing needs
them (docs/benchmarks.md has what they cost).
"""

from hypercorn.typing import ASGIReceiveCallable, ASGISendCallable
from quart import Response
from quart.utils import encode_headers
from quart_trio import QuartTrio
from quart_trio.asgi import TrioASGIHTTPConnection


class OneTask(TrioASGIHTTPConnection):
    """One request, from its first byte to the last of its answer."""

    async def __call__(self, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        """Answer; a client that leaves before the request is whole is not answered."""
        request = self._create_request_from_scope(send)
        while True:
            event = await receive()
            if event["type"] != "http.request":
                return
            request.body.append(event["body"])
            if not event["more_body"]:
                break
        request.body.set_complete()
        response = await self.app.handle_request(request)
        if isinstance(response, Response):
            body = await response.get_data(as_text=False)
        else:
            body = response.get_data()
        await send(
            {
                "type": "http.response.start",
                "status": response.status_code,
                "headers": encode_headers(response.headers),
            }
        )
        await send({"type": "http.response.body", "body": body, "more_body": False})


class OutcryApp(QuartTrio):
    """An app of routes that answer whole requests."""

    asgi_http_class = OneTask

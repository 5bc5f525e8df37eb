"""Declaring routes: the path, who may call it, what it costs, what goes in and what comes out.

One declaration serves everybody who must know: the check of permissions and rates before the
handler runs, the OpenAPI document, and the test of every route by every kind of key.
"""

from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec
from quart import Blueprint, Response

from api.queries import NoQuery
from engine.accounts.messages import Permission

Handler = Callable[..., Awaitable[Response]]


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """One route. `permission` None is open to all; `is_calming` ones are never throttled.

    `body` and `query` are the types that the handler decodes, `answer` the type of what it answers
    with `status`.
    """

    method: str
    path: str
    handler: Handler
    permission: Permission | None
    body: Any = None
    query: Any = NoQuery
    answer: Any = None
    status: int = 200
    weight: int = 1
    is_calming: bool = False


class Routes:
    """The routes of one subject below a common prefix. Declare: `get`, `post`, `put`, `delete`.

    Each takes a path, a handler, the permission it needs, and fields of `Route` by name.
    """

    def __init__(self, name: str, prefix: str) -> None:
        self.table: list[Route] = []
        self._name: Final = name
        self._prefix: Final = prefix

    def get(
        self, path: str, handler: Handler, permission: Permission | None, **fields: Any
    ) -> None:
        """Declare a reading route."""
        self._declare("GET", path, handler, permission, fields)

    def post(
        self, path: str, handler: Handler, permission: Permission | None, **fields: Any
    ) -> None:
        """Declare a route that makes something."""
        self._declare("POST", path, handler, permission, fields)

    def put(
        self, path: str, handler: Handler, permission: Permission | None, **fields: Any
    ) -> None:
        """Declare a route that changes something."""
        self._declare("PUT", path, handler, permission, fields)

    def delete(
        self, path: str, handler: Handler, permission: Permission | None, **fields: Any
    ) -> None:
        """Declare a route that ends something."""
        self._declare("DELETE", path, handler, permission, fields)

    def _declare(
        self,
        method: str,
        path: str,
        handler: Handler,
        permission: Permission | None,
        fields: dict[str, Any],
    ) -> None:
        whole = self._prefix + path
        route = Route(method=method, path=whole, handler=handler, permission=permission, **fields)
        self.table.append(route)

    def blueprint(self) -> Blueprint:
        """What the app registers."""
        blueprint = Blueprint(self._name, __name__)
        for route in self.table:
            blueprint.route(route.path, methods=[route.method])(route.handler)
        return blueprint

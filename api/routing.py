"""Declaring routes: the path, who may call it, what it costs, what goes in and what comes out.

One declaration serves everybody who must know: the check of permissions and rates before the
handler runs, the OpenAPI document, and the test of every route by every kind of key.
"""

from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any, Final, TypeAlias

import msgspec
from quart import Blueprint, Response

from api.queries import NoQuery
from engine.accounts.messages import Permission

Handler: TypeAlias = Callable[..., Awaitable[Response]]


class Route(msgspec.Struct, frozen=True, kw_only=True):
    """One route. `permission` None is open to all; `is_calming` ones are never throttled.

    `body` and `query` are the types that the handler decodes, `answer` the type of what it answers
    with `status`, or with one of `other_statuses`; `other_errors` are those that its kind of route
    usually has not. `weight` is what it counts for rates.
    """

    subject: str
    method: str
    path: str
    handler: Handler
    permission: Permission | None
    body: Any = None
    query: Any = NoQuery
    answer: Any = None
    status: int = 200
    other_statuses: tuple[int, ...] = ()
    other_errors: tuple[int, ...] = ()
    content_type: str = "application/json"
    weight: int = 1
    is_calming: bool = False

    @property
    def about(self) -> str:
        """The first line of what its handler's docstring says."""
        return (self.handler.__doc__ or "").partition("\n")[0]


#: Puts what every request must pass in front of a route's handler.
Guard: TypeAlias = Callable[[Route], Handler]


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
        self.table.append(
            Route(
                subject=self._name,
                method=method,
                path=whole,
                handler=handler,
                permission=permission,
                **fields,
            )
        )

    def blueprint(self, guard: Guard) -> Blueprint:
        """What the app registers: every handler behind the guard."""
        blueprint = Blueprint(self._name, __name__)
        for route in self.table:
            guarded = wraps(route.handler)(guard(route))
            blueprint.route(route.path, methods=[route.method])(guarded)
        return blueprint

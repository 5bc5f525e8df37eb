"""What the app says of itself: an overview of its routes, and the same for tools and for people.

All of it is made of the table of routes, once, when it is first asked for.
"""

from collections.abc import Sequence
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version

import msgspec
from quart import Response

from api.edge import answer, query
from api.openapi.document import document
from api.openapi.page import page
from api.openapi.style import CONTENT_SECURITY_POLICY
from api.queries import NoQuery
from api.routing import Route, Routes

_HTML = "text/html; charset=utf-8"


class OverviewRow(msgspec.Struct, frozen=True):
    """One route, and what it is about."""

    route: str
    about: str


class OverviewAnswer(msgspec.Struct, frozen=True):
    """Every route."""

    routes: list[OverviewRow]


class DocumentRoutes:
    """What anybody may read of the routes of a table."""

    def __init__(self, table: Sequence[Route]) -> None:
        self._table = [*table, *self.routes().table]

    def routes(self) -> Routes:
        """What is declared to the app."""
        routes = Routes("documents", "/v1")
        routes.get("", self.overview, None, answer=OverviewAnswer)
        routes.get("/openapi.json", self.openapi, None, answer=dict, weight=10)
        routes.get("/docs", self.docs, None, content_type="text/html", weight=10)
        return routes

    async def overview(self) -> Response:
        """GET /v1: every route with a word about it."""
        query(NoQuery)
        return answer(overview_of(self._table))

    async def openapi(self) -> Response:
        """GET /v1/openapi.json: the same for tools, in OpenAPI 3.1."""
        query(NoQuery)
        return Response(self._openapi, content_type="application/json")

    async def docs(self) -> Response:
        """GET /v1/docs: the same for people, as a page that loads nothing from elsewhere."""
        query(NoQuery)
        headers = {
            "Content-Security-Policy": CONTENT_SECURITY_POLICY,
            "Referrer-Policy": "no-referrer",
            "X-Content-Type-Options": "nosniff",
        }
        return Response(self._page, headers=headers, content_type=_HTML)

    @cached_property
    def _openapi(self) -> bytes:
        return msgspec.json.encode(document(self._table, _release())) + b"\n"

    @cached_property
    def _page(self) -> str:
        return page(document(self._table, _release()))


def overview_of(table: Sequence[Route]) -> OverviewAnswer:
    """Every route with the first line of what its docstring says of it."""
    rows = [OverviewRow(f"{one.method} {one.path}", one.about) for one in table]
    return OverviewAnswer(sorted(rows, key=lambda row: row.route.split()[::-1]))


def _release() -> str:
    try:
        return version("outcry")
    except PackageNotFoundError:
        return "0"

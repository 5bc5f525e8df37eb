"""The OpenAPI document of a table of routes: what is declared once, in the words of tools.

Nothing is written by hand here that a route or a type says of itself already.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from types import UnionType
from typing import Any, Final, Union, get_args, get_origin

import msgspec

from api.openapi import shared
from api.openapi.error_codes import codes
from api.openapi.samples import sample
from api.openapi.shared import BEARER, JSON, REF, SIGNED, ErrorAnswer
from api.routing import Route
from engine.accounts.messages import Permission

OPENAPI_VERSION: Final = "3.1.0"
_IN_PATH: Final = re.compile(r"<(?:path:)?([a-z_]+)>")
#: What ids in paths look like; an order of another id is not found.
_IN_PATHS: Final = {"client_order_id": shared.KEY_SCHEMA}
#: Errors that any route may be answered with, those that a key may lead to, and so on.
_ANY_ERRORS: Final = (400, 408, 413, 429, 431, 500, 503)
_KEY_ERRORS: Final = (401, 403, 404)
_BODY_ERRORS: Final = (415,)
_COMMAND_ERRORS: Final = (409, 422, 504)


def document(routes: Sequence[Route], version: str) -> dict[str, Any]:
    """The whole document. `version` is that of the server."""
    book = Book(routes)
    components = book.components
    paths: dict[str, Any] = {}
    for route in routes:
        paths.setdefault(_templated(route.path), {})[route.method.lower()] = book.operation(route)
    return {
        "openapi": OPENAPI_VERSION,
        "info": {
            "title": "Outcry",
            "version": version,
            "summary": "A trading and settlement engine.",
            "description": _DESCRIPTION,
        },
        "servers": [{"url": "/"}],
        "tags": [{"name": name} for name in dict.fromkeys(one.subject for one in routes)],
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": shared.security_schemes(),
            "parameters": shared.parameters(),
            "responses": shared.responses(),
            "headers": shared.headers(),
        },
    }


_DESCRIPTION: Final = (
    "Decimals are text, times whole nanoseconds since the Unix epoch. Nothing is ignored: unknown "
    "fields and parameters are refused. A command with a key (`client_order_id`, or the header "
    "`Idempotency-Key`) is done once, however often it is sent. Market data as it moves, and "
    "orders with what becomes of them, are on the websockets `/v1/feed` and `/v1/stream`; those, "
    "signing, and what errors mean for a repeat, are in `docs/api.md`."
)


class Book:
    """Finds the schemas of types and writes operations."""

    def __init__(self, routes: Sequence[Route]) -> None:
        types = [kind for one in routes for kind in (one.body, one.query) if kind is not None]
        types += [kind for one in routes for kind in _alternatives(one.answer)]
        schemas, components = msgspec.json.schema_components(
            [*types, ErrorAnswer], ref_template=REF + "{name}"
        )
        self._known = dict(zip(map(repr, types), map(_for_tools, schemas), strict=False))
        self.components: Final[dict[str, Any]] = _for_tools(components)
        self.components["ErrorObject"]["properties"]["code"]["enum"] = sorted(codes())

    def schema(self, kind: Any) -> dict[str, Any]:
        """The schema of a type that a route declares."""
        known = self._known.get(repr(kind))
        if known is None:
            return {"anyOf": [self._known[repr(one)] for one in _alternatives(kind)]}
        return dict(known)

    def fields(self, kind: Any) -> list[dict[str, Any]]:
        """The object that a type is; or each of those that it may be."""
        return list(self._objects(self.schema(kind)))

    def _objects(self, schema: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        if "$ref" in schema:
            yield from self._objects(self.components[schema["$ref"].removeprefix(REF)])
        elif "anyOf" in schema:
            for one in schema["anyOf"]:
                yield from self._objects(one)
        elif schema.get("type") == "object":
            yield dict(schema)

    def operation(self, route: Route) -> dict[str, Any]:
        """One route."""
        found: dict[str, Any] = {
            "operationId": f"{route.subject}_{route.handler.__name__}",
            "tags": [route.subject],
            "summary": route.about,
            "description": _description(route),
            "parameters": [*self._path(route), *self._query(route), *self._headers(route)],
            "responses": self._responses(route),
            "security": _security(route.permission),
            "x-weight": route.weight,
            "x-permission": route.permission,
        }
        if route.body is not None:
            content = {"schema": self.schema(route.body), "examples": self._examples(route)}
            found["requestBody"] = {"required": True, "content": {JSON: content}}
        return found

    def _examples(self, route: Route) -> dict[str, Any]:
        return {
            str(one.get("title", number)): {"value": sample(one, self.components)}
            for number, one in enumerate(self.fields(route.body))
        }

    def _path(self, route: Route) -> Iterator[dict[str, Any]]:
        for name in _IN_PATH.findall(route.path):
            yield {
                "name": name,
                "in": "path",
                "required": True,
                "schema": {"type": "string", **_IN_PATHS.get(name, {"minLength": 1})},
                "example": sample({"type": "string", "title": name}, {}),
            }

    def _query(self, route: Route) -> Iterator[dict[str, Any]]:
        for form in self.fields(route.query):
            for name, schema in form.get("properties", {}).items():
                parameter = {
                    "name": name,
                    "in": "query",
                    "required": name in form.get("required", ()),
                    "schema": _never_null(schema),
                }
                if parameter["required"]:
                    parameter["example"] = sample({"type": "string", "title": name}, {})
                yield parameter

    def _headers(self, route: Route) -> Iterator[dict[str, Any]]:
        names = ["RequestId"]
        if route.method != "GET" and self._takes_key(route):
            names.append("IdempotencyKey")
        if route.method != "GET" and route.permission is Permission.ADMIN:
            names.append("Reason")
        for name in names:
            yield {"$ref": f"#/components/parameters/{name}"}

    def _takes_key(self, route: Route) -> bool:
        """Whether the key is the header's; an order brings its own."""
        if route.body is None:
            return True
        return not any(
            {"client_order_id", "orders"} & form["properties"].keys()
            for form in self.fields(route.body)
        )

    def _responses(self, route: Route) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for status in (route.status, *route.other_statuses):
            found[str(status)] = {
                "description": route.about,
                "headers": shared.ref_headers(),
                "content": {
                    route.content_type: (
                        {"schema": self.schema(route.answer)} if route.answer is not None else {}
                    )
                },
            }
        for status in _errors_of(route):
            found.setdefault(str(status), {"$ref": f"#/components/responses/E{status}"})
        return found


def _errors_of(route: Route) -> list[int]:
    errors = [*_ANY_ERRORS, *route.other_errors]
    if route.permission is not None:
        errors += _KEY_ERRORS
        if route.method != "GET":
            errors += _COMMAND_ERRORS
    if route.body is not None:
        errors += _BODY_ERRORS
    return sorted(set(errors))


def _description(route: Route) -> str:
    said = " ".join((route.handler.__doc__ or "").split())
    needs = "Open to all." if route.permission is None else f"Needs `{route.permission}`."
    calms = " Never throttled." if route.is_calming else ""
    return f"{said}\n\n{needs} Weight {route.weight}.{calms}"


def _security(permission: Permission | None) -> list[dict[str, list[str]]]:
    if permission is None:
        return []
    return [{BEARER: []}, {name: [] for name in SIGNED}]


def _templated(path: str) -> str:
    """A path as OpenAPI writes it.

    >>> _templated("/v1/instruments/<path:symbol>")
    '/v1/instruments/{symbol}'
    """
    return _IN_PATH.sub(r"{\1}", path)


def _never_null(schema: Mapping[str, Any]) -> dict[str, Any]:
    """A query parameter is left out instead."""
    if "anyOf" not in schema:
        return dict(schema)
    kept = [one for one in schema["anyOf"] if one != {"type": "null"}]
    return kept[0] if len(kept) == 1 else {**schema, "anyOf": kept}


def _for_tools(schema: Any) -> Any:
    """A schema in the words that most tools know: patterns of JavaScript, pairs as short lists."""
    if isinstance(schema, dict):
        first, *others = schema.get("prefixItems", (None,))
        if first is not None and all(one == first for one in others):
            kept = {name: one for name, one in schema.items() if name != "prefixItems"}
            return _for_tools({**kept, "items": first})
        return {name: _for_tools(one) for name, one in schema.items()}
    if isinstance(schema, list | tuple):
        return [_for_tools(one) for one in schema]
    return schema.replace(r"\Z", "$") if isinstance(schema, str) else schema


def _alternatives(kind: Any) -> Sequence[Any]:
    """The types of a union, which may have no tags to tell them apart."""
    if kind is None:
        return ()
    return get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)

"""The OpenAPI document as a page for people: plain HTML, no script, nothing from elsewhere."""

import json
from collections.abc import Iterator, Mapping
from html import escape
from typing import Any, Final
from urllib.parse import urlencode

from api.openapi.examples import curl, python
from api.openapi.style import STYLE

_METHODS: Final = ("get", "post", "put", "delete")
Json = Mapping[str, Any]


def page(document: Json) -> str:
    """The whole page."""
    book = _Page(document)
    operations = list(_operations(document))
    subjects: dict[str, list[tuple[str, str, Json]]] = {}
    for one in operations:
        subjects.setdefault(one[2]["tags"][0], []).append(one)
    menu = "".join(
        f"<h2>{_title(name)}</h2>" + "".join(_link(*one) for one in rows)
        for name, rows in subjects.items()
    )
    body = "".join(
        f"<h2 id={_quoted(name)}>{_title(name)}</h2>" + "".join(book.article(*one) for one in rows)
        for name, rows in subjects.items()
    )
    info = document["info"]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(info['title'])} API</title><style>{STYLE}</style></head><body>"
        f"<nav aria-label='Routes'><strong>{escape(info['title'])}</strong>{menu}"
        "<h2>More</h2><a href='#errors'>Errors</a><a href='/v1/openapi.json'>openapi.json</a></nav>"
        f"<main><h1>{escape(info['title'])} API</h1>{book.introduction()}{body}{book.errors()}"
        "</main></body></html>\n"
    )


class _Page:
    """Writes the parts of the page of one document."""

    def __init__(self, document: Json) -> None:
        self._document = document
        self._parts = document["components"]

    def introduction(self) -> str:
        info = self._document["info"]
        return (
            f"<p>{escape(info['summary'])} Release {escape(info['version'])}.</p>"
            f"<p>{_prose(info['description'])}</p>"
            "<p>The examples want <code>export OUTCRY_URL=http://127.0.0.1:8080 OUTCRY_KEY=ock_..."
            "</code>, the key of an account where an order or a balance is meant. "
            "Instead of showing a key, a request may be signed with one: see "
            "<code>Outcry-Signature</code> in <a href='/v1/openapi.json'>openapi.json</a>.</p>"
        )

    def article(self, path: str, method: str, operation: Json) -> str:
        """One route."""
        needs = operation["x-permission"] or "open to all"
        tags = [f"<span class=tag>{escape(str(needs))}</span>"]
        tags.append(f"<span class=tag>weight {operation['x-weight']}</span>")
        about = operation["description"].rpartition("\n\n")[0].partition(": ")[2]
        parts = [
            f"<article id={_quoted(operation['operationId'])}><h3>{_method(method)}{escape(path)}"
            f"{''.join(tags)}</h3><p>{_prose(_sentence(about))}</p>",
            self._parameters(operation),
        ]
        if "requestBody" in operation:
            content = operation["requestBody"]["content"]["application/json"]
            parts.append(self._objects("Body", content["schema"]))
        parts.append(self._answer(operation))
        parts.append(self._examples(path, method, operation))
        return "".join(parts) + "</article>"

    def _parameters(self, operation: Json) -> str:
        rows = []
        for one in operation["parameters"]:
            found = self._resolved(one)
            rows.append(
                _row(
                    found["name"],
                    found["in"],
                    "yes" if found.get("required") else "",
                    self._kind(found["schema"]),
                )
            )
        return _table(("parameter", "in", "required", "type"), rows)

    def _answer(self, operation: Json) -> str:
        parts = []
        for status, response in operation["responses"].items():
            if "$ref" in response:
                continue
            for content in response["content"].values():
                schema = content.get("schema", {})
                parts.append(self._objects(f"Answer {status}", schema))
        errors = [status for status, one in operation["responses"].items() if "$ref" in one]
        links = ", ".join(f"<a href='#e{status}'>{status}</a>" for status in errors)
        return f"{''.join(parts)}<p>Errors: {links}</p>"

    def _objects(self, label: str, schema: Json) -> str:
        """Tables of what a schema may be."""
        parts = []
        for one in self._alternatives(schema):
            fields, needed = one.get("properties", {}), one.get("required", ())
            rows = [
                _row(name, "yes" if name in needed else "", self._kind(kind), self._default(kind))
                for name, kind in fields.items()
            ]
            about = one.get("description", "")
            title = f"{label}: <code>{escape(one.get('title', ''))}</code> {_prose(about)}"
            table = _table(("field", "required", "type", "otherwise"), rows)
            parts.append(f"<details><summary>{title}</summary>{table}</details>")
        return "".join(parts)

    def _alternatives(self, schema: Json) -> Iterator[Json]:
        found = self._resolved(schema)
        if "anyOf" in found:
            for one in found["anyOf"]:
                yield from self._alternatives(one)
        elif "properties" in found:
            yield found

    def _resolved(self, part: Json) -> Json:
        """What a reference stands for."""
        if "$ref" not in part:
            return part
        *_, kind, name = part["$ref"].split("/")
        found: Json = self._parts[kind][name]
        return found

    def _kind(self, schema: Json) -> str:
        """A type in a few words."""
        if "$ref" in schema:
            found = self._resolved(schema)
            if "enum" in found:
                return self._kind(found)
            inner = self._inner(found)
            return f"{escape(found.get('title', 'object'))}{inner}"
        if "anyOf" in schema:
            return " or ".join(self._kind(one) for one in schema["anyOf"])
        if "enum" in schema:
            return ", ".join(f"<code>{escape(str(one))}</code>" for one in schema["enum"])
        if schema.get("type") == "array":
            return f"list of {self._kind(schema.get('items') or {'type': 'values'})}"
        if isinstance(schema.get("additionalProperties"), dict):
            return f"object of {self._kind(schema['additionalProperties'])}"
        return escape(str(schema.get("type", "anything"))) + _bounds(schema)

    def _inner(self, found: Json) -> str:
        names = ", ".join(f"<code>{escape(name)}</code>" for name in found.get("properties", {}))
        return f" ({names})" if names else ""

    def _default(self, schema: Json) -> str:
        return (
            f"<code>{escape(json.dumps(schema['default']))}</code>" if "default" in schema else ""
        )

    def _examples(self, path: str, method: str, operation: Json) -> str:
        bodies: Json = {"": {"value": None}}
        if "requestBody" in operation:
            bodies = operation["requestBody"]["content"]["application/json"]["examples"]
        target = path
        for one in operation["parameters"]:
            if one.get("in") == "path":
                target = target.replace(f"{{{one['name']}}}", str(one["example"]))
        asked = {
            one["name"]: one["example"]
            for one in operation["parameters"]
            if one.get("in") == "query" and one["required"]
        }
        target += f"?{urlencode(asked)}" if asked else ""
        is_open = not operation["security"]
        shown = {
            f"curl {name}": curl(method, target, one["value"], is_open=is_open)
            for name, one in bodies.items()
        }
        first = next(iter(bodies.values()))["value"]
        shown["Python"] = python(method, target, first, is_open=is_open)
        return "".join(
            f"<details><summary>{escape(name)}</summary><pre>{escape(text)}</pre></details>"
            for name, text in shown.items()
        )

    def errors(self) -> str:
        """Every error answer with its codes."""
        rows = []
        for name, response in self._parts["responses"].items():
            said, _, codes = response["description"].partition(" Codes: ")
            shown = ", ".join(f"<code>{code}</code>" for code in codes.rstrip(".").split(", "))
            rows.append(
                f"<tr id={_quoted(name.lower())}><td>{name[1:]}</td><td>{_prose(said)}</td>"
                f"<td>{shown}</td></tr>"
            )
        shape = self._objects("Error", self._parts["schemas"]["ErrorObject"])
        return f"<h2 id=errors>Errors</h2>{shape}" + _table(("status", "means", "codes"), rows)


def _operations(document: Json) -> Iterator[tuple[str, str, Json]]:
    for path, item in document["paths"].items():
        for method in _METHODS:
            if method in item:
                yield path, method, item[method]


def _bounds(schema: Json) -> str:
    least = schema.get("minimum", schema.get("minLength"))
    most = schema.get("maximum", schema.get("maxLength"))
    said = "".join((f" from {least:,}" if least is not None else "", _most(most)))
    return f" <small>{escape(said)}</small>" if said else ""


def _most(most: int | None) -> str:
    return "" if most is None else " of 64 bits" if most >= 2**63 - 1 else f" up to {most:,}"


def _title(name: str) -> str:
    return escape(name.replace("_", " ").capitalize())


def _method(method: str) -> str:
    return f"<span class='method {method}'>{method.upper()}</span> "


def _link(path: str, method: str, operation: Json) -> str:
    return f"<a href={_quoted('#' + operation['operationId'])}>{_method(method)}{escape(path)}</a>"


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _prose(text: str) -> str:
    """Text with what stands between backticks as code."""
    parts = escape(text).split("`")
    return "".join(f"<code>{one}</code>" if at % 2 else one for at, one in enumerate(parts))


def _quoted(text: str) -> str:
    return f'"{escape(text, quote=True)}"'


def _row(name: str, *cells: str) -> str:
    tail = "".join(f"<td>{cell}</td>" for cell in cells)
    return f"<tr><td><code>{escape(name)}</code></td>{tail}</tr>"


def _table(heads: tuple[str, ...], rows: list[str]) -> str:
    if not rows:
        return ""
    head = "".join(f"<th>{one}</th>" for one in heads)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table>"

"""The OpenAPI document is whole, and the docs page shows all of it and loads nothing."""

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any

import msgspec
import pytest

from api.app import all_routes, create_app
from api.edge import Edge
from api.openapi.document import Book, document
from api.openapi.examples import curl
from api.openapi.page import page
from api.openapi.samples import sample
from api.routing import Route
from api.settings import ApiSettings
from engine.gateways.custody import SimulatedCustody
from engine.service import Service
from engine.storage.memory import MemoryJournalStore
from engine.storage.memory_history import FollowingHistory
from engine.wiring import Engine


def new_service() -> Service:
    store = MemoryJournalStore()
    return Service(Engine(store, SimulatedCustody()), FollowingHistory(store))


def declared() -> list[Route]:
    return all_routes(Edge(new_service(), ApiSettings()))


@pytest.fixture(scope="module")
def whole() -> dict[str, Any]:
    """The document as a tool reads it."""
    read: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(document(declared(), "1.2.3")))
    return read


def operations(whole: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for item in whole["paths"].values():
        yield from item.values()


def parts(part: Any) -> Iterator[dict[str, Any]]:
    """Every object below this one."""
    if isinstance(part, dict):
        yield part
        for one in part.values():
            yield from parts(one)
    elif isinstance(part, list):
        for one in part:
            yield from parts(one)


def test_every_route_is_an_operation_with_a_name_of_its_own(whole: dict[str, Any]) -> None:
    found = list(operations(whole))
    assert len(found) == len(declared())
    assert len({one["operationId"] for one in found}) == len(found)
    assert all(one["summary"] for one in found)


def test_every_reference_leads_somewhere(whole: dict[str, Any]) -> None:
    seen = 0
    for part in parts(whole):
        if isinstance(part.get("$ref"), str):
            place: Any = whole
            for name in part["$ref"].removeprefix("#/").split("/"):
                place = place[name]
            seen += 1
    assert seen > 100


def test_every_parameter_of_a_path_is_declared(whole: dict[str, Any]) -> None:
    for path, item in whole["paths"].items():
        names = set(re.findall(r"{(\w+)}", path))
        for one in item.values():
            stated = {each["name"] for each in one["parameters"] if each.get("in") == "path"}
            assert stated == names, path


def test_every_pattern_is_one_that_other_languages_know(whole: dict[str, Any]) -> None:
    for part in parts(whole):
        if isinstance(part.get("pattern"), str):
            assert "\\Z" not in part["pattern"]
            re.compile(part["pattern"])


def test_what_needs_a_key_says_so(whole: dict[str, Any]) -> None:
    for route in declared():
        path = re.sub(r"<(?:path:)?(\w+)>", r"{\1}", route.path)
        told = whole["paths"][path][route.method.lower()]
        assert bool(told["security"]) is (route.permission is not None), path
        assert ("401" in told["responses"]) is (route.permission is not None), path
        for scheme in parts(told["security"]):
            assert scheme.keys() <= whole["components"]["securitySchemes"].keys()


def test_every_example_is_what_its_route_takes() -> None:
    routes = declared()
    book = Book(routes)
    for route in routes:
        for form in [] if route.body is None else book.fields(route.body):
            example = sample(form, book.components)
            assert msgspec.convert(example, route.body), (route.path, example)


def test_every_error_answer_names_its_codes(whole: dict[str, Any]) -> None:
    known = set(whole["components"]["schemas"]["ErrorObject"]["properties"]["code"]["enum"])
    for name, response in whole["components"]["responses"].items():
        codes = set(
            re.findall(r"\b[A-Z]+(?:_[A-Z]+)*\b", response["description"].split("Codes: ")[1])
        )
        assert codes, name
        assert codes <= known, name


class Reader(HTMLParser):
    """Checks that tags are closed; collects text, anchors, and what would be loaded."""

    VOID = frozenset(("meta", "br", "!doctype"))

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: set[str] = set()
        self.links: set[str] = set()
        self.loads: list[str] = []
        self.said: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in self.VOID:
            self.open.append(tag)
        for name, value in attrs:
            if name == "id":
                assert value not in self.ids, value
                self.ids.add(str(value))
            elif name == "href":
                self.links.add(str(value))
            elif name in ("src", "style") or name.startswith("on"):
                self.loads.append(f"{tag} {name}")
        if tag in ("script", "link", "img", "iframe"):
            self.loads.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, text: str) -> None:
        self.said.append(text)


def read(html: str) -> Reader:
    reader = Reader()
    reader.feed(html)
    reader.close()
    assert reader.open == []
    return reader


def test_the_page_shows_every_route_and_loads_nothing(whole: dict[str, Any]) -> None:
    reader = read(page(whole))
    assert reader.loads == []
    assert {one["operationId"] for one in operations(whole)} <= reader.ids
    inner = {link.removeprefix("#") for link in reader.links if link.startswith("#")}
    assert inner <= reader.ids
    assert {link for link in reader.links if not link.startswith("#")} == {"/v1/openapi.json"}
    said = " ".join(reader.said)
    for field in ("client_order_id", "protection_price", "INSUFFICIENT_FUNDS"):
        assert field in said


def test_what_a_document_says_is_never_markup(whole: dict[str, Any]) -> None:
    hostile = "<script>alert(1)</script>\"'"
    text = msgspec.json.encode(whole).decode().replace("oldest first", hostile.replace('"', '\\"'))
    html = page(msgspec.json.decode(text))
    assert "<script>" not in html
    assert "&lt;script&gt;" in html


def test_an_example_survives_a_quote_in_it() -> None:
    line = curl("post", "/v1/orders", {"label": "Bob's"}, is_open=False)
    assert """-d '{"label": "Bob'\\''s"}'""" in line


def test_examples_can_be_sent_one_after_the_other(whole: dict[str, Any]) -> None:
    content = whole["paths"]["/v1/orders"]["post"]["requestBody"]["content"]["application/json"]
    ids = [one["value"]["client_order_id"] for one in content["examples"].values()]
    assert len(set(ids)) == len(ids) == 7


def test_an_example_has_the_parameters_that_must_be_there(whole: dict[str, Any]) -> None:
    html = page(whole)
    assert "$OUTCRY_URL/v1/depth?instrument=BTC-USD" in html
    assert "/v1/candles?instrument=BTC-USD&quot;" in html


def test_the_page_names_the_websockets_too(whole: dict[str, Any]) -> None:
    assert all(f"<code>{path}</code>" in page(whole) for path in ("/v1/feed", "/v1/stream"))


async def test_both_are_open_to_all_and_the_page_is_locked_down() -> None:
    client = create_app(new_service()).test_client()
    response = await client.get("/v1/openapi.json")
    assert (response.status_code, (await response.get_json())["openapi"]) == (200, "3.1.0")
    shown = await client.get("/v1/docs")
    policy = shown.headers["Content-Security-Policy"]
    assert shown.status_code == 200
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in policy
    assert (await shown.get_data(as_text=True)).startswith("<!doctype html>")

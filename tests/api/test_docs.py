"""The reference of the HTTP API is complete, and every example in it is true."""

import json
import re
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest
import trio
from quart_trio import QuartTrio

import api
from api.app import all_routes, create_app
from api.demo.seeding import Secrets, seed
from api.edge import Edge
from api.openapi.error_codes import codes
from api.orders.answers import OrderAnswer, ReplaceAnswer
from api.queries import Form
from api.routes.accounts import BalanceAnswer
from api.routes.withdrawals import WithdrawalAnswer
from api.routing import Route
from api.settings import ApiSettings
from engine.accounts.messages import KeyScheme, Permission
from engine.gateways.custody import SimulatedCustody
from engine.ledger.amounts import AssetKind
from engine.orderbook.messages import (
    CancelReason,
    InstrumentState,
    SelfTradePrevention,
    TimeInForce,
)
from engine.products.exchange.orders import OrderStatus
from engine.products.withdrawals.desk import WithdrawalStatus
from engine.service import HealthStatus, Service
from engine.settings import EngineSettings
from engine.storage.memory import MemoryJournalStore
from engine.storage.memory_history import FollowingHistory
from engine.wiring import Engine

PAGE = Path(api.__file__).parents[1] / "docs" / "api.md"
ENUMS: tuple[type[Enum], ...] = (
    AssetKind,
    CancelReason,
    HealthStatus,
    InstrumentState,
    KeyScheme,
    OrderStatus,
    Permission,
    SelfTradePrevention,
    TimeInForce,
    WithdrawalStatus,
)
ANSWERS: tuple[type[msgspec.Struct], ...] = (
    BalanceAnswer,
    OrderAnswer,
    ReplaceAnswer,
    WithdrawalAnswer,
)
SECRETS = Secrets(admin="ock_admin", alice="ock_alice", bob="ock_bob")
#: Differs from run to run; beyond it an answer is the same to the last letter.
_VARYING = re.compile(r"_ns$|^secret$|^request_id$")
_EXCHANGE = re.compile(r"(Alice|Bob|Admin) ([A-Z]+) (/\S+) ?(.*?)\n(\d{3}) (.*)", re.DOTALL)


class Exchange(NamedTuple):
    """One example: a request, and how it is answered; `...` in it stands for further fields."""

    who: str
    method: str
    path: str
    body: str
    status: int
    answer: str


def examples() -> Iterator[Exchange]:
    """Every example of the page, in order."""
    for block in re.findall(r"```http\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL):
        for text in re.split(r"\n(?=(?:Alice|Bob|Admin) )", block.strip()):
            found = _EXCHANGE.fullmatch(text)
            assert found, text
            who, method, path, body, status, answer = found.groups()
            yield Exchange(who, method, path, body, int(status), answer)


def stated_codes() -> dict[str, set[int]]:
    """Every error code that the sources of the edge state themselves, with its statuses."""
    stated: dict[str, set[int]] = {}
    for path in Path(api.__file__).parent.glob("*.py"):
        source = path.read_text("utf-8")
        for status_text, code in re.findall(r'Problem\(\s*(\d{3}),\s*"([A-Z_]+)"', source):
            stated.setdefault(code, set()).add(int(status_text))
        for code in re.findall(r'code: str = "([A-Z_]+)"|invalid\([^()]*"([A-Z_]+)"\)', source):
            stated.setdefault(max(code), set()).add(400)
    return stated


def error_rows() -> Iterator[tuple[str, str]]:
    """The cells of the error table that name codes and statuses."""
    table = PAGE.read_text("utf-8").partition("## Errors")[2].partition("## Limits")[0]
    for line in table.splitlines():
        if line.startswith("| `"):
            _, named, statuses, *_ = line.split("|")
            yield named, statuses


def new_engine() -> Engine:
    """An engine on a journal in memory, not started."""
    return Engine(MemoryJournalStore(), SimulatedCustody(), EngineSettings())


def new_service() -> Service:
    """A service in front of nothing."""
    engine = new_engine()
    return Service(engine, FollowingHistory(engine.store))


def declared() -> list[Route]:
    """Every route of the app."""
    return all_routes(Edge(new_service(), ApiSettings()))


def forms(kind: type[Form] = Form) -> Iterator[type[Form]]:
    """Everything that a caller may fill in."""
    for form in kind.__subclasses__():
        yield form
        yield from forms(form)


def test_the_page_names_every_route() -> None:
    page = PAGE.read_text("utf-8")
    for one in declared():
        route = f"{one.method} {one.path}".replace("<path:symbol>", "SYMBOL")
        assert f"`{re.sub('<.*>', 'ID', route)}`" in page, route


def test_the_page_shows_an_example_of_every_route() -> None:
    shown = {(one.method, re.sub(r"\?.*", "", one.path)) for one in examples()}
    for one in declared():
        if one.content_type != "application/json":
            continue
        pattern = re.sub(r"<[^>]*>", "[^/]+", one.path)
        assert any(m == one.method and re.fullmatch(pattern, p) for m, p in shown), one.path


def test_the_table_of_codes_knows_every_code_that_is_stated_somewhere() -> None:
    known = codes()
    for code, statuses in stated_codes().items():
        assert statuses <= known.get(code, set()), code


def test_the_page_names_every_error_code_with_its_status() -> None:
    rows = list(error_rows())
    for code, statuses in codes().items():
        cells = [stated for named, stated in rows if f"`{code}`" in named]
        assert cells, code
        assert all(any(str(one) in stated for stated in cells) for one in statuses), code


def test_the_page_names_no_error_code_that_does_not_exist() -> None:
    named = {code for cell, _ in error_rows() for code in re.findall(r"`([A-Z_]+)`", cell)}
    assert named == set(codes())


@pytest.mark.parametrize("kind", ENUMS)
def test_the_page_names_every_value_of(kind: type[Enum]) -> None:
    page = PAGE.read_text("utf-8")
    for member in kind:
        value = member.value if isinstance(member.value, str) else member.name
        assert f"`{value}`" in page, value


def test_the_page_names_every_field_that_is_sent_or_answered() -> None:
    page = PAGE.read_text("utf-8")
    for kind in (*forms(), *ANSWERS):
        for name in kind.__struct_fields__:
            assert re.search(rf'[`"]{name}[`"]', page), f"{kind.__name__}.{name}"


async def test_every_example_is_answered_as_shown(nursery: trio.Nursery) -> None:
    engine = new_engine()
    await nursery.start(engine.run)
    service = Service(engine, FollowingHistory(engine.store))
    await seed(service, SECRETS)
    app = create_app(service)
    for example in examples():
        status, answer = await answer_to(app, example)
        assert (status, fits(example.answer, answer)) == (example.status, True), (example, answer)


async def answer_to(app: QuartTrio, example: Exchange) -> tuple[int, Any]:
    """How an example is answered by a running engine."""
    secret = getattr(SECRETS, example.who.lower())
    headers = {"Authorization": f"Bearer {secret}"}
    if example.body:
        headers["Content-Type"] = "application/json"
    ask: Any = app.test_client().open  # typed as if every argument had to be given
    response = await ask(
        example.path, method=example.method, headers=headers, data=example.body or None
    )
    return response.status_code, json.loads(await response.get_data())


def fits(shown: str, answer: Any) -> bool:
    """Whether an answer is the one shown."""
    marked = re.sub(r",?\s*\.\.\.(?=\s*\})", ', "...": 0', shown)
    return _fits(json.loads(marked.replace("{, ", "{")), answer)


def _fits(shown: Any, answer: Any) -> bool:
    if isinstance(shown, list) and isinstance(answer, list):
        return len(shown) == len(answer) and all(map(_fits, shown, answer))
    if not isinstance(shown, dict) or not isinstance(answer, dict):
        return bool(shown == answer)
    if shown.pop("...", None) is None and shown.keys() != answer.keys():
        return False
    return all(
        name in answer and (bool(_VARYING.search(name)) or _fits(value, answer[name]))
        for name, value in shown.items()
    )

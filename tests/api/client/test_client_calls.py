"""The calls of the client are the routes of the app: none is missing, and each fits its route."""

import inspect
from collections.abc import Iterator
from types import ModuleType
from typing import Any
from urllib.parse import parse_qsl

import httpx2
import msgspec
import pytest
import trio
from quart_trio import QuartTrio

from api.app import all_routes, create_app
from api.client import Bearer, Patience, Refused, TrioClient, Unanswered, admin_calls, calls
from api.client.call import Call, PagedCall
from api.edge import Edge
from api.orders.answers import InFlightAnswer, OrderAnswer
from api.queries import NoQuery
from api.routes.audit import ActsAnswer
from api.routing import Route
from api.settings import ApiSettings
from engine.gateways.custody import SimulatedCustody
from engine.service import Service
from engine.settings import EngineSettings
from engine.storage.memory import MemoryJournalStore
from engine.storage.memory_history import FollowingHistory
from engine.wiring import Engine
from tests.api.client.server import ADMIN_KEY, ALICE_KEY, Server, limit

ORDER = limit("c-1")
TERMS = calls.ReplaceForm(price="101.00", quantity="2.000")
TRADING: list[Call[Any]] = [
    calls.server_time(),
    calls.health(),
    calls.live(),
    calls.overview(),
    calls.openapi(),
    calls.own_key(),
    calls.instruments(),
    calls.instrument("BTC/USD"),
    calls.depth("BTC-USD"),
    calls.ticker("BTC-USD"),
    calls.tickers(),
    calls.candles("BTC-USD", "1m", from_ns=1, to_ns=2, min_sequence=1),
    calls.trades("BTC-USD", after="0-0"),
    calls.place(ORDER),
    calls.place_batch([limit("c-2")], account=100),
    calls.validate(limit("c-3")),
    calls.order("c-1"),
    calls.replace("c-1", TERMS, key="r-1"),
    calls.replace_id("17", calls.ReplaceForm(price="102.00", quantity="2.000")),
    calls.order_id("17"),
    calls.open_orders("BTC-USD"),
    calls.order_history("BTC-USD", before=1_000),
    calls.cancel("c-1", key="k-1"),
    calls.cancel_id("18"),
    calls.cancel_batch([calls.CancelForm(client_order_id="c-2")]),
    calls.cancel_all("BTC-USD", scope="key"),
    calls.fills("BTC-USD", after="0-0", min_sequence=1),
    calls.set_dead_man(0),
    calls.dead_man(),
    calls.balances(),
    calls.statement("USD", before="100-0"),
    calls.withdraw("USD", "1", "a bank & more", key="w-1"),
    calls.withdrawals(calls.WithdrawalStatus.COOLING),
    calls.withdrawal("26"),
    calls.cancel_withdrawal("26", key="w-2"),
]
ADMIN: list[Call[Any]] = [
    admin_calls.create_asset(
        admin_calls.AssetForm(code="EUR", kind=admin_calls.AssetKind.CURRENCY, scale=2), key="1"
    ),
    admin_calls.assets(),
    admin_calls.create_instrument(
        admin_calls.InstrumentForm(
            symbol="BTC-EUR", base="BTC", quote="EUR", tick_size="0.01", lot_size="1"
        )
    ),
    admin_calls.create_owner("Carol", key="2"),
    admin_calls.owners(),
    admin_calls.open_account(admin_calls.AccountForm(owner=2, name="Carol")),
    admin_calls.accounts(),
    admin_calls.create_key(
        admin_calls.KeyForm(permissions=(admin_calls.Permission.READ,), account=100)
    ),
    admin_calls.keys(),
    admin_calls.revoke_key(5),
    admin_calls.deposit(
        admin_calls.DepositForm(account=100, asset="USD", amount="1", reference="x"), key="3"
    ),
    admin_calls.transfer(
        admin_calls.TransferForm(account=100, to_account=101, asset="USD", amount="1")
    ),
    admin_calls.withdrawals(),
    admin_calls.entries(account=100, asset="USD"),
    admin_calls.set_limits(admin_calls.LimitsForm(account=101, open_orders_max=5)),
    admin_calls.limits(101),
    admin_calls.set_fees(admin_calls.FeesForm(tier="vip", maker_ppm=0, taker_ppm=1)),
    admin_calls.fees(),
    admin_calls.set_tier(101, "vip"),
    admin_calls.set_instrument_state("BTC/USD", "CANCEL_ONLY"),
    admin_calls.set_halt(
        admin_calls.HaltAccountForm(account=101, halted=True, reason="drill"), key="4"
    ).because("a drill, 50 % of it: ü"),
    admin_calls.halts(),
    admin_calls.actors(),
    admin_calls.sessions(),
    admin_calls.audit(after=0),
]


def functions(module: ModuleType) -> set[str]:
    """The calls that a module offers."""
    return {
        name
        for name, one in inspect.getmembers(module, inspect.isfunction)
        if one.__module__ == module.__name__ and not name.startswith("_") and name != "outcomes"
    }


@pytest.fixture(scope="module")
def edge() -> Edge:
    """An edge in front of nothing."""
    engine = Engine(MemoryJournalStore(), SimulatedCustody(), EngineSettings())
    return Edge(Service(engine, FollowingHistory(engine.store)), ApiSettings())


class Table:
    """The routes of the app, found by what is sent."""

    def __init__(self, edge: Edge) -> None:
        app: QuartTrio = create_app(edge.service)
        self._map = app.url_map.bind("test")
        self.routes = {(route.method, route.path): route for route in all_routes(edge)}

    def route_of(self, call: Call[Any]) -> Route:
        """The route that a call goes to."""
        path = httpx2.URL("http://test" + call.path).path  # as the server decodes it
        rule, _ = self._map.match(path, call.method, return_rule=True)
        return self.routes[call.method, rule.rule]


@pytest.fixture(scope="module")
def table(edge: Edge) -> Table:
    """Every route."""
    return Table(edge)


def test_every_route_has_a_call_and_every_call_is_tried_here(table: Table) -> None:
    routes = {(route.method, route.path) for route in map(table.route_of, TRADING + ADMIN)}
    json = {key for key, one in table.routes.items() if one.content_type == "application/json"}
    assert routes == json
    tried = inspect.getsource(inspect.getmodule(functions) or calls)
    for module, prefix in ((calls, "calls"), (admin_calls, "admin_calls")):
        missing = {name for name in functions(module) if f" {prefix}.{name}(" not in tried}
        assert missing == set()


@pytest.mark.parametrize("call", TRADING + ADMIN, ids=lambda one: f"{one.method} {one.path}")
def test_a_call_sends_what_its_route_takes_and_reads_what_it_answers(
    call: Call[Any], table: Table
) -> None:
    route = table.route_of(call)
    if route.answer == OrderAnswer | InFlightAnswer:
        assert (call.answer, call.not_yet) == (OrderAnswer, calls.InFlight)
    elif route.answer is not dict:
        assert call.answer == route.answer
    if route.body is not None:
        msgspec.json.decode(call.body, type=route.body)
        assert not call.query
    else:
        sent = dict(parse_qsl(call.target.partition("?")[2]))
        msgspec.convert(sent, route.query or NoQuery, strict=False)
        assert not call.body
    assert (503 in call.also) is (503 in route.other_statuses)


@pytest.mark.parametrize("call", TRADING + ADMIN, ids=lambda one: f"{one.method} {one.path}")
def test_what_changes_something_without_a_key_is_never_repeated(
    call: Call[Any], table: Table
) -> None:
    route = table.route_of(call)
    has_key = "Idempotency-Key" in call.headers
    alike = call.method in ("GET", "DELETE") or has_key or route.path in HARMLESS_TWICE
    assert call.is_repeatable is alike


HARMLESS_TWICE = {
    "/v1/orders",
    "/v1/orders/batch",
    "/v1/orders/batch-cancel",
    "/v1/orders/validate",
    "/v1/dead-man",
}


async def test_every_call_of_a_trader_is_answered(server: Server) -> None:
    async with TrioClient(server.url, server.signed()) as client:
        for call in TRADING:
            answer = await client.send(call)
            if isinstance(call, PagedCall):
                assert isinstance(call.rows_of(answer), list)


async def test_every_call_of_an_operator_is_answered(server: Server) -> None:
    async with TrioClient(server.url, Bearer(ADMIN_KEY)) as client:
        for call in ADMIN:
            answer = await client.send(call)
        assert isinstance(answer, ActsAnswer)
        assert [act.reason for act in answer.acts if act.action == "set-halt"] == [
            "a drill, 50 % of it: ü"
        ]


async def test_every_row_of_a_list_is_told_once_whatever_the_size_of_its_pages(
    server: Server,
) -> None:
    async with TrioClient(server.url, Bearer(ALICE_KEY)) as client:
        placed = await client.send(calls.place_batch([limit(f"p-{n}") for n in range(7)]))
        ids = [order.order_id for order in ok(calls.outcomes(placed))]
        for size in (1, 3, 7, 100):
            last = int(ids[-1])
            since = calls.order_history(limit=size, after=0, min_sequence=last)
            assert [row.order_id async for row in client.each(since)] == ids
            newest = calls.order_history(limit=size)
            assert [row.order_id async for row in client.each(newest)] == ids[::-1]
            rows = client.each(calls.open_orders(limit=size))
            assert [row.order_id async for row in rows] == ids


def ok(found: list[Any]) -> Iterator[OrderAnswer]:
    """What went well, which is all of it."""
    for one in found:
        assert isinstance(one, OrderAnswer), one
        yield one


async def test_a_batch_says_of_each_order_what_became_of_it(server: Server) -> None:
    async with TrioClient(server.url, Bearer(ALICE_KEY)) as client:
        orders = [limit("b-1"), limit("b-2", price="1.005"), limit("b-3", quantity="999999999")]
        placed, bad, poor = calls.outcomes(await client.send(calls.place_batch(orders)))
    assert isinstance(placed, OrderAnswer)
    assert isinstance(bad, Refused)
    assert isinstance(poor, Refused)
    assert (bad.code, bad.error.field) == ("NOT_A_MULTIPLE", "price")
    assert (poor.status, poor.code) == (422, "INSUFFICIENT_FUNDS")


@pytest.mark.parametrize("name", [".", "..", "a:b", "-", "A.b_c:9", "x" * 64])
async def test_every_client_order_id_finds_its_own_order(server: Server, name: str) -> None:
    async with TrioClient(server.url, server.signed()) as client:
        placed = await client.send(calls.place(limit(name)))
        assert (await client.send(calls.order(name))).order_id == placed.order_id
        assert (await client.send(calls.cancel(name))).order_id == placed.order_id


@pytest.mark.parametrize("call", TRADING + ADMIN, ids=lambda one: f"{one.method} {one.path}")
def test_the_target_is_sent_as_it_is_signed(call: Call[Any]) -> None:
    sent = httpx2.Client(base_url="http://test").build_request(call.method, call.target)
    assert sent.url.raw_path.decode() == call.target


async def test_health_is_told_also_by_a_server_that_is_down(server: Server) -> None:
    """A 503 of this route is an answer, and any other 503 is an error."""
    async with TrioClient(server.url) as client:
        assert (await client.send(calls.health())).status == "UP"


async def test_an_order_in_flight_is_asked_for_until_it_is_decided(server: Server) -> None:
    patient, hasty = Patience(), Patience(attempts_max=2, pause_s_min=0.01)
    async with (
        TrioClient(server.url, Bearer(ALICE_KEY), patience=patient) as client,
        TrioClient(server.url, Bearer(ALICE_KEY), patience=hasty) as other,
    ):
        server.store.stall()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.send, calls.place(limit("slow")))
            await server.arrived()
            with pytest.raises(Unanswered, match="not decided yet"):
                await other.send(calls.order("slow"))
            nursery.start_soon(server.move_on_after, 0.1)
            assert (await client.send(calls.order("slow"))).status == "OPEN"

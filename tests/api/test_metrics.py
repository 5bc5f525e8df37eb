"""What a server tells of itself: to whom, in which state, and that the numbers are true."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import pytest
import trio
from prometheus_client.parser import text_string_to_metric_families
from quart import Response
from quart_trio import QuartTrio
from trio.testing import MockClock, wait_all_tasks_blocked

from api.app import all_routes, app_of, create_app
from api.edge import Edge
from api.keys.auth import bearer_key
from api.metrics.engine import ENGINE_METRICS, LINE_METRICS
from api.metrics.loop_lag import LoopLag
from api.metrics.server import SERVER_METRICS
from api.metrics.traffic import RouteClass, class_of
from api.rates import RateSettings
from api.settings import ApiSettings
from engine.accounts.messages import CreateOwner, OpenAccount, Permission
from engine.errors import StorageError
from engine.gateways.custody import SimulatedCustody
from engine.journal.snapshots import take
from engine.ports import Watermark
from engine.service import Service
from engine.settings import EngineSettings
from engine.storage.memory import MemoryJournalStore
from engine.storage.memory_history import FollowingHistory
from engine.units import AccountId, OwnerId
from engine.wiring import Engine
from tests.api.sockets.private_venue import order, private_venue

HERE, ELSEWHERE = "127.0.0.1", "203.0.113.9"
SECRETS = {"admin": "ock_admin", "trader": "ock_trader"}
PROXY_HERE = ("127.0.0.0/8",)


class MoodyHistory(FollowingHistory):
    """A history that can be made to say nothing, or to fail."""

    mood = "well"

    async def watermark(self) -> Watermark:
        """How far it has come, if it is in the mood."""
        if self.mood == "silent":
            await trio.sleep_forever()
        if self.mood == "failing":
            raise StorageError("planned")
        return await super().watermark()


class Site(NamedTuple):
    """An engine and the app in front of it."""

    service: Service
    history: MoodyHistory
    store: MemoryJournalStore
    engine: Engine
    app: QuartTrio

    async def ask(
        self, path: str = "/metrics", peer: str = HERE, who: str = "", **more: Any
    ) -> Response:
        """The answer to a request from an address."""
        headers = more.pop("headers", {})
        if who:
            headers["Authorization"] = f"Bearer {SECRETS[who]}"
        client: Any = self.app.test_client()
        scope = {"client": (peer, 5_000)}
        answered = await client.open(path, headers=headers, scope_base=scope, **more)
        assert isinstance(answered, Response)
        return answered

    async def told(self) -> dict[tuple[Any, ...], float]:
        """Every number by its name and the values of its labels."""
        answered = await self.ask()
        assert answered.status_code == 200
        return numbers(await answered.get_data(as_text=True))


def numbers(text: str) -> dict[tuple[Any, ...], float]:
    """What a scraper reads."""
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


@asynccontextmanager
async def site(settings: ApiSettings | None = None, runs: bool = True) -> AsyncIterator[Site]:
    """A site with an admin's and a trader's key."""
    store = MemoryJournalStore()
    history = MoodyHistory(store)
    engine = Engine(store, SimulatedCustody(), EngineSettings())
    service = Service(engine, history)
    app = create_app(service, settings)
    async with trio.open_nursery() as nursery:
        if runs:
            await nursery.start(engine.run)
            for command in (
                CreateOwner("Founders"),
                OpenAccount(OwnerId(1), "Alice"),
                bearer_key(SECRETS["admin"], Permission.ADMIN),
                bearer_key(SECRETS["trader"], Permission.TRADE, account_id=AccountId(100)),
            ):
                await service.submit(command)
        yield Site(service, history, store, engine, app)
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("peer", "who", "forwarded_for", "status"),
    [
        (HERE, "", "", 200),
        ("::1", "", "", 200),
        ("::ffff:127.0.0.1", "", "", 200),
        (ELSEWHERE, "", "", 401),
        (ELSEWHERE, "trader", "", 403),
        (ELSEWHERE, "admin", "", 200),
        (ELSEWHERE, "", HERE, 401),
        (HERE, "", ELSEWHERE, 401),
        (HERE, "", HERE, 401),  # whose proxy is that?
        ("<local>", "", "", 401),
    ],
)
async def test_this_machine_needs_no_key_and_all_others_an_admins(
    peer: str, who: str, forwarded_for: str, status: int
) -> None:
    async with site() as one:
        headers = {"X-Forwarded-For": forwarded_for} if forwarded_for else {}
        answered = await one.ask(peer=peer, who=who, headers=headers)
        assert answered.status_code == status
        if status != 200:
            assert answered.content_type == "application/json"
            assert (await answered.get_json())["error"]["request_id"]


@pytest.mark.parametrize(
    ("forwarded_for", "status"),
    [("", 200), (HERE, 200), (ELSEWHERE, 401), (f"{HERE}, {ELSEWHERE}", 401)],
)
async def test_behind_a_proxy_of_ours_the_clients_address_counts(
    forwarded_for: str, status: int
) -> None:
    async with site(ApiSettings(proxies=PROXY_HERE)) as one:
        headers = {"X-Forwarded-For": forwarded_for} if forwarded_for else {}
        assert (await one.ask(headers=headers)).status_code == status


async def test_networks_of_scrapers_can_be_chosen() -> None:
    async with site(ApiSettings(metrics_networks=("203.0.113.0/24",))) as one:
        assert (await one.ask(peer=ELSEWHERE)).status_code == 200
        assert (await one.ask(peer=HERE)).status_code == 401
    with pytest.raises(ValueError, match="203"):
        ApiSettings(metrics_networks=("203.0.113.0/99",))


async def test_scrapes_from_this_machine_count_for_no_rate() -> None:
    rates = RateSettings(ip_per_second=1, ip_burst=1)
    async with site(ApiSettings(rates=rates)) as one:
        answers = [await one.ask() for _ in range(5)]
        assert [answered.status_code for answered in answers] == [200] * 5
        assert "RateLimit" not in answers[0].headers
        elsewhere = [(await one.ask(peer=ELSEWHERE)).status_code for _ in range(2)]
        assert elsewhere == [401, 429]


async def test_it_takes_no_parameters_and_no_other_method() -> None:
    async with site() as one:
        assert (await one.ask("/metrics?name=outcry_health")).status_code == 400
        assert (await one.ask(method="POST")).status_code == 405


async def test_everything_in_the_tables_is_told_by_its_type() -> None:
    async with site() as one:
        text = await (await one.ask()).get_data(as_text=True)
        for metric in (*ENGINE_METRICS, *LINE_METRICS, *SERVER_METRICS):
            assert f"# TYPE {metric.name} {metric.kind}\n" in text
            assert f"# HELP {metric.name} {metric.about}\n" in text
        told = numbers(text)
        assert told["process_resident_memory_bytes",] > 1_000_000
        assert ("python_gc_collections_total", "2") in told


async def test_what_the_engine_tells_is_so() -> None:
    async with site() as one:
        told = await one.told()
        sequence = one.service.released.sequence
        assert told["outcry_records_total",] == sequence == 4
        assert told["outcry_health", "UP"] == 1
        assert told["outcry_health", "DOWN"] == 0
        assert told["outcry_engine_lives_total",] == 1
        assert told["outcry_slots_free", "orders"] == told["outcry_slots_max", "orders"] == 8_192
        assert told["outcry_commands_admitted_total", "orders"] == 4
        assert told["outcry_desks", "LIVE"] == 2
        assert told["outcry_actor_running", "journal"] == 1
        assert told["outcry_actor_messages_total", "journal"] == 4
        assert (told["outcry_history_reachable",], told["outcry_history_lag_records",]) == (1, 0)


async def test_the_age_of_the_newest_snapshot_is_told_in_records() -> None:
    async with site() as one:
        assert (await one.told())["outcry_snapshot_lag_records",] == 4
        block = await one.store.read_block_of(3)
        assert block is not None
        await one.store.write_snapshot(take(block.head, b"state"))
        assert (await one.told())["outcry_snapshot_lag_records",] == 1


async def test_without_an_engine_the_rest_is_told() -> None:
    async with site(runs=False) as one:
        told = await one.told()
        assert told["outcry_health", "DOWN"] == 1
        assert told["outcry_connections_open",] == 0
        names = {name for name, *_ in told}
        assert not names & {metric.name for metric in LINE_METRICS}
        assert "outcry_history_lag_records" not in names


@pytest.mark.parametrize("mood", ["silent", "failing"])
async def test_a_store_that_says_nothing_costs_a_scrape_no_more_than_a_second(
    mood: str, autojump_clock: MockClock
) -> None:
    async with site() as one:
        one.history.mood = mood
        began_s = trio.current_time()
        told = await one.told()
        assert trio.current_time() - began_s <= 1.0
        assert told["outcry_history_reachable",] == 0
        assert ("outcry_history_lag_records",) not in told
        assert told["outcry_records_total",] == 4


async def test_requests_are_counted_by_route_and_status_and_timed_by_class() -> None:
    async with site() as one:
        await one.ask("/v1/time")
        await one.ask("/nowhere")
        await one.ask("/v1/time", method="DELETE")
        await one.ask("/v1/orders", method="POST", who="trader", json={})
        told = await one.told()
        requests = {key[1:]: count for key, count in told.items() if "_requests_total" in key[0]}
        assert requests["GET /v1/time", "200"] == 1
        assert requests["", "404"] == 1
        assert requests["", "405"] == 1
        assert requests["POST /v1/orders", "400"] == 1
        assert told["outcry_request_duration_seconds_count", "order"] == 1
        assert told["outcry_request_duration_seconds_bucket", "order", "+Inf"] == 1
        assert told["outcry_request_duration_seconds_sum", "order"] > 0
        assert told["outcry_refusals_total", "METHOD_NOT_ALLOWED"] == 1


async def test_what_was_turned_away_at_the_door_is_counted_and_not_timed() -> None:
    rates = RateSettings(ip_per_second=1, ip_burst=2, failure_weight=0)
    async with site(ApiSettings(rates=rates)) as one:
        statuses = [
            (await one.ask("/v1/orders", method="POST", who=who)).status_code
            for who in ("", "", "trader")
        ]
        assert statuses == [401, 401, 429]
        told = await one.told()
        assert told["outcry_http_requests_total", "POST /v1/orders", "401"] == 2
        assert told["outcry_http_requests_total", "POST /v1/orders", "429"] == 1
        assert told["outcry_request_duration_seconds_count", "order"] == 0
        assert told["outcry_rate_limited_total", "ip"] == 1
        assert told["outcry_refusals_total", "RATE_LIMITED"] == 1


async def test_each_refused_item_of_a_batch_counts() -> None:
    async with site() as one:
        orders = {"orders": [{"client_order_id": "one"}, {"client_order_id": "two"}]}
        answered = await one.ask("/v1/orders/batch", method="POST", who="trader", json=orders)
        assert answered.status_code == 200
        told = await one.told()
        assert told["outcry_refusals_total", "INVALID_FIELD"] == 2
        assert told["outcry_request_duration_seconds_count", "batch"] == 1


async def test_commands_of_a_private_stream_are_counted_and_timed() -> None:
    async with private_venue() as venue, venue.client("alice") as alice:
        await alice.place("one")
        refused = await alice.ask("place", order={"client_order_id": "two"})
        broke = await alice.ask("place", order=order("three", quantity="1000000000"))
        app = app_of(venue.door.edge, venue.door)
        client: Any = app.test_client()
        scraped = await client.open("/metrics", scope_base={"client": (HERE, 1)})
        told = numbers(await scraped.get_data(as_text=True))
    code = broke["error"]["code"]
    assert (refused["status"], broke["status"]) == (400, 422)
    assert told["outcry_socket_commands_total", "201"] == 1
    assert told["outcry_socket_commands_total", "422"] == 1
    assert told["outcry_refusals_total", "INVALID_FIELD"] == 1
    assert told["outcry_refusals_total", code] == 1
    assert told["outcry_request_duration_seconds_count", "socket"] == 2
    assert 0 < told["outcry_request_duration_seconds_sum", "socket"] < 1
    assert told["outcry_orders_open",] == 1
    assert told["outcry_socket_encodings_total", "outcry.json"] > 2


def test_every_route_is_timed_in_the_class_of_its_kind() -> None:
    store = MemoryJournalStore()
    service = Service(Engine(store, SimulatedCustody(), EngineSettings()), FollowingHistory(store))
    found = {
        f"{one.method} {one.path}": class_of(one)
        for one in all_routes(Edge(service, ApiSettings()))
    }
    assert found["POST /v1/orders"] is RouteClass.ORDER
    assert found["DELETE /v1/orders/<order_id>"] is RouteClass.ORDER
    assert found["POST /v1/orders/batch-cancel"] is RouteClass.BATCH
    assert found["POST /v1/orders/validate"] is RouteClass.READ
    assert found["POST /v1/admin/deposits"] is RouteClass.ADMIN
    for name, of_class in found.items():
        if name.startswith("GET "):
            assert of_class is RouteClass.READ
        if "/admin/" in name:
            assert of_class in (RouteClass.READ, RouteClass.ADMIN)


async def test_what_blocks_the_loop_shows_in_its_lag(mock_clock: MockClock) -> None:
    lag = LoopLag()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lag.watch)
        await wait_all_tasks_blocked()
        mock_clock.jump(0.1)
        await wait_all_tasks_blocked()
        assert lag.late.buckets[0][1] == 1
        mock_clock.jump(0.4)
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert lag.late.buckets[-1] == ("+Inf", 2)
    assert lag.late.sum == pytest.approx(0.3)

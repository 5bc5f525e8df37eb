"""Who sends too much waits, is told for how long, and harms nobody else."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio
from quart_trio import QuartTrio
from werkzeug.datastructures import Headers

from api.app import create_app
from api.door import FORWARDED_HEADER
from api.keys.auth import bearer_key
from api.rates import NO_RATES, Limit, Rates, RateSettings, network_of
from api.settings import ApiSettings
from api.web.nesting import is_too_deep
from engine.accounts.messages import CreateOwner, OpenAccount, Permission
from engine.gateways.custody import SimulatedCustody
from engine.service import Service
from engine.storage.memory import MemoryJournalStore
from engine.storage.memory_history import FollowingHistory
from engine.units import OwnerId
from engine.wiring import Engine

SECOND_NS = 1_000_000_000
MS_NS = 1_000_000
TRADES = {"Authorization": "Bearer ock_trader"}
READS = {"Authorization": "Bearer ock_reader"}


def limit(per_second: int = 10, burst: int = 5, buckets_max: int = 100) -> Limit:
    return Limit("key", per_second, burst, buckets_max)


def passes(one: Limit, who: str, now_ns: int, weight: int = 1) -> bool:
    return one.take(who, weight, now_ns, always=False) <= one.window_ns


def test_a_burst_passes_and_the_next_one_waits_for_its_turn() -> None:
    one = limit()
    assert [passes(one, "bot", 0) for _ in range(6)] == [True] * 5 + [False]
    assert not passes(one, "bot", 99 * MS_NS)
    assert passes(one, "bot", 100 * MS_NS)
    assert not passes(one, "bot", 100 * MS_NS)


def test_in_the_long_run_exactly_the_rate_passes() -> None:
    one = limit(per_second=50, burst=10)
    passed = sum(passes(one, "bot", ms * MS_NS) for ms in range(10_000))
    assert passed == 10 + 50 * 10 - 1


def test_a_refused_request_takes_nothing() -> None:
    one = limit()
    for _ in range(100):
        passes(one, "bot", 0)
    assert passes(one, "bot", 100 * MS_NS)


def test_what_always_passes_counts_but_owes_no_more_than_a_whole_bucket() -> None:
    one = limit()
    for _ in range(100):
        assert one.take("bot", 1, 0, always=True) <= one.window_ns
    assert not passes(one, "bot", 99 * MS_NS)
    assert passes(one, "bot", 100 * MS_NS)


def test_a_weight_beyond_the_burst_passes_a_full_bucket_alone() -> None:
    one = limit()
    assert passes(one, "bot", 0, weight=50)
    assert not passes(one, "bot", 499 * MS_NS, weight=50)
    assert passes(one, "bot", 500 * MS_NS, weight=50)


def test_callers_do_not_share_a_bucket() -> None:
    one = limit()
    while passes(one, "bot", 0):
        pass
    assert passes(one, "other", 0)


def test_who_rests_is_forgotten() -> None:
    one = limit()
    for number in range(50):
        passes(one, f"bot-{number}", 0)
    for number in range(60):
        passes(one, f"new-{number}", SECOND_NS)
    assert one.buckets == 60


def test_a_flood_of_addresses_does_not_grow_the_table() -> None:
    one = limit(buckets_max=100)
    for number in range(10_000):
        passes(one, str(number), number)
    assert one.buckets == 100


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", True),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
        ("192.0.2.1", "::ffff:192.0.2.1", True),
        ("192.0.2.1", "192.0.2.2", False),
        ("fe80::1%eth0", "fe80::2%eth0", True),
    ],
)
def test_a_network_of_64_bits_counts_as_one_address(one: str, other: str, *, same: bool) -> None:
    assert (network_of(one) == network_of(other)) is same


def test_what_is_no_address_counts_as_itself() -> None:
    assert network_of("<local>") == "<local>"
    assert network_of("::nonsense::") == "::nonsense::"


def test_without_limits_nothing_is_counted() -> None:
    rates = Rates(NO_RATES)
    assert rates.policy == ""
    assert rates.of_address("192.0.2.1", 1, 0) is None
    assert rates.of_caller(1, 100, 1, 0) is None


def test_the_limit_that_binds_most_is_told() -> None:
    rates = Rates(RateSettings(key_per_second=100, key_burst=100, account_burst=10))
    standing = rates.of_caller(1, 100, 1, 0)
    assert standing is not None
    assert standing.header == '"account";r=9;t=1'


@pytest.mark.parametrize("nested", [b"[" * 33, b'{"a":' * 33, b'[{"a":' * 17, b'["]",' * 33])
def test_json_nested_too_deep_is_seen(nested: bytes) -> None:
    assert is_too_deep(nested)


@pytest.mark.parametrize(
    "flat",
    [
        b"[" * 32 + b"]" * 32,
        b"[" + b"[]," * 5_000 + b"[]]",
        b'"' + b"[" * 100 + b'"',
        b'["' + b"\\" * 2 + b'", "' + b"[" * 100 + b'"]',
        b'["' + b'\\"[' * 100 + b'"]',
        b"]" * 100,
    ],
)
def test_json_that_is_wide_or_full_of_brackets_is_not_deep(flat: bytes) -> None:
    assert not is_too_deep(flat)


class Site:
    """An app with its own rates, and a key that trades and one that reads."""

    def __init__(self, app: QuartTrio) -> None:
        self._app = app

    async def ask(
        self,
        method: str,
        path: str,
        headers: dict[str, str] | None = None,
        peer: str = "192.0.2.1",
        **fields: Any,
    ) -> tuple[int, Any]:
        """The status and headers of an answer."""
        client: Any = self._app.test_client()
        response = await client.open(
            path, method=method, headers=headers, scope_base={"client": (peer, 1)}, **fields
        )
        self.content = await response.get_json()
        return response.status_code, response.headers


@pytest.fixture
async def opened(nursery: trio.Nursery) -> Callable[..., Awaitable[Site]]:
    async def start(**settings: Any) -> Site:
        store = MemoryJournalStore()
        engine = Engine(store, SimulatedCustody())
        await nursery.start(engine.run)
        service = Service(engine, FollowingHistory(store))
        for command in (
            CreateOwner("Founders"),
            OpenAccount(OwnerId(1), "Alice"),
            bearer_key("ock_trader", Permission.READ, Permission.TRADE, account_id=100),
            bearer_key("ock_reader", Permission.READ, account_id=100),
            bearer_key("ock_admin", Permission.ADMIN),
        ):
            assert (await service.submit(command)).refusal is None
        proxies = settings.pop("proxies", ())
        rates = RateSettings(**settings)
        return Site(create_app(service, ApiSettings(rates=rates, proxies=proxies)))

    return start


def test_what_weighs_nothing_is_let_in_and_not_remembered() -> None:
    limit = Limit("ip", 10, 2, 9)
    assert limit.take("who", 0, 10, always=True) == 0
    assert limit.buckets == 0


async def test_every_answer_tells_how_its_caller_stands(opened: Any) -> None:
    site = await opened()
    for number, (headers, path, status, name) in enumerate(
        (
            (None, "/v1/time", 200, "ip"),
            (None, "/v1/nothing", 404, "ip"),
            (None, "/v1/balances", 401, "ip"),
            (READS, "/v1/balances", 200, "key"),
            (READS, "/v1/admin/keys", 403, "ip"),
        )
    ):
        got, told = await site.ask("GET", path, headers, peer=f"192.0.2.{number}")
        assert got == status, path
        assert told["RateLimit"].startswith(f'"{name}";r='), path
        assert told["RateLimit-Policy"].startswith('"ip";q=2000;w=2, "key";q=1000;w=2'), path


async def test_too_many_requests_of_one_key_wait_and_are_told_how_long(opened: Any) -> None:
    site = await opened(key_per_second=1, key_burst=3)
    assert [(await site.ask("GET", "/v1/balances", READS))[0] for _ in range(4)] == [200] * 3 + [
        429
    ]
    status, headers = await site.ask("GET", "/v1/balances", READS)
    error = site.content["error"]
    assert (status, error["code"]) == (429, "RATE_LIMITED")
    assert 0 < error["retry_after_s"] <= 1
    assert headers["Retry-After"] == "1"
    assert headers["RateLimit"].startswith('"key";r=0;t=')
    assert (await site.ask("GET", "/v1/depth", TRADES))[0] == 400, "another key goes on"


async def test_two_keys_of_one_account_share_its_limit(opened: Any) -> None:
    site = await opened(account_per_second=1, account_burst=2)
    await site.ask("GET", "/v1/balances", READS)
    await site.ask("GET", "/v1/balances", TRADES)
    assert (await site.ask("GET", "/v1/balances", READS))[0] == 429
    assert site.content["error"]["message"].startswith("Too many requests by this account")
    admin = {"Authorization": "Bearer ock_admin"}
    assert [(await site.ask("GET", "/v1/admin/keys", admin))[0] for _ in range(5)] == [200] * 5


async def test_cancels_and_kills_are_never_throttled(opened: Any) -> None:
    site = await opened(ip_per_second=1, ip_burst=2, key_per_second=1, key_burst=1)
    halt = {"scope": "everything", "halted": True, "reason": "flood"}
    while (await site.ask("GET", "/v1/balances", TRADES))[0] != 429:
        pass
    for _ in range(20):
        assert (await site.ask("DELETE", "/v1/orders", TRADES))[0] == 200
    admin = {"Authorization": "Bearer ock_admin"}
    for _ in range(5):
        assert (await site.ask("POST", "/v1/admin/halts", admin, json=halt))[0] == 200
    assert (await site.ask("GET", "/v1/balances", TRADES))[0] == 429


@pytest.mark.parametrize("path", ["/v1/time", "/v1/nothing", "/v1/balances"])
async def test_too_many_requests_of_one_address_wait_whatever_they_ask(
    path: str, opened: Any
) -> None:
    site = await opened(ip_per_second=1, ip_burst=3, failure_weight=0)
    statuses = [(await site.ask("GET", path))[0] for _ in range(5)]
    assert statuses[3:] == [429, 429]
    assert 429 not in statuses[:3]
    assert (await site.ask("GET", path, peer="192.0.2.2"))[0] != 429


async def test_a_request_without_a_good_key_weighs_more(opened: Any) -> None:
    site = await opened(ip_per_second=1, ip_burst=100, failure_weight=49)
    statuses = [(await site.ask("GET", "/v1/balances"))[0] for _ in range(4)]
    assert statuses == [401, 401, 429, 429]


async def test_behind_a_proxy_of_ours_each_client_counts_by_itself(opened: Any) -> None:
    site = await opened(ip_per_second=1, ip_burst=1, proxies=("192.0.2.0/24",))

    async def status(client: str, peer: str = "192.0.2.1") -> int:
        return int((await site.ask("GET", "/v1/time", {"X-Forwarded-For": client}, peer))[0])

    assert await status("198.51.100.1") == 200
    assert await status("198.51.100.2") == 200
    assert await status("198.51.100.1") == 429
    assert await status("198.51.100.3", peer="203.0.113.1") == 200
    assert await status("198.51.100.4", peer="203.0.113.1") == 429, "not a proxy of ours"


async def test_a_proxy_that_adds_a_line_of_its_own_is_believed_before_its_client(
    opened: Any,
) -> None:
    site = await opened(ip_per_second=1, ip_burst=1, proxies=("192.0.2.0/24",))
    statuses = []
    for number in range(3):  # the client's own line stands first
        lines = Headers([(FORWARDED_HEADER, f"203.0.113.{number}"), (FORWARDED_HEADER, "10.1.1.1")])
        statuses.append((await site.ask("GET", "/v1/time", lines))[0])
    assert statuses == [200, 429, 429]


async def test_json_nested_too_deep_is_refused_before_it_is_read(opened: Any) -> None:
    site = await opened()
    headers = {**TRADES, "Content-Type": "application/json"}
    for body in (b"[" * 20_000, b'{"legs":' * 40 + b"1" + b"}" * 40):
        assert (await site.ask("POST", "/v1/orders", headers, data=body))[0] == 400
        assert site.content["error"]["code"] == "MALFORMED_JSON"
        assert "nested" in site.content["error"]["message"]

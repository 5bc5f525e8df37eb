"""One request can be followed by its id, from the edge to the journal and into the log."""

import io
import json
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
import trio
from structlog.contextvars import clear_contextvars

from api import logs
from api.commands.journal import _print_records
from api.problems import REQUEST_ID_CHARACTERS_MAX, accepted_request_id, message_request_id
from api.web.limits import ServerLimits
from config import LogSettings
from engine.accounts.desk import AccountsDesk
from engine.journal.records import Record
from engine.orderbook.messages import PlaceOrder
from engine.settings import EngineSettings
from engine.units import DeskId
from tests.api.routes.venue import Venue, until
from tests.api.sockets.private_venue import order, private_venue

Lines = Callable[[], list[dict[str, Any]]]
ID = "bot-7:001"


@pytest.fixture(params=["debug"])
def lines(request: pytest.FixtureRequest) -> Iterator[Lines]:
    """What was logged from the level of the parameter on."""
    stream = io.StringIO()
    logs.configure(LogSettings(format="json", level=request.param), stream)
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    clear_contextvars()


@pytest.fixture
async def venue(nursery: trio.Nursery) -> AsyncIterator[Venue]:
    """An open venue."""
    one = Venue(EngineSettings())
    await one.open(nursery, ServerLimits())
    yield one
    await one.close()


class Stumbling:
    """A desk's machine that raises at every order."""

    def __init__(self, machine: Any) -> None:
        self._machine = machine

    def __getattr__(self, name: str) -> Any:
        return getattr(self._machine, name)

    def decide(self, sequence: int, now_ns: int, command: Any, reserved: Any) -> Any:
        if isinstance(command, PlaceOrder):
            raise ValueError("planned")
        return self._machine.decide(sequence, now_ns, command, reserved)


class StumblingAccounts:
    """An accounts desk that raises where it would set money aside for an order."""

    def __init__(self, desk: AccountsDesk) -> None:
        self._desk = desk

    def __getattr__(self, name: str) -> Any:
        return getattr(self._desk, name)

    def reserve(self, sequence: Any, command: Any) -> Any:
        if isinstance(command, PlaceOrder):
            raise ValueError("planned")
        return self._desk.reserve(sequence, command)


async def record_of(venue: Any, sequence: int) -> Record:
    """A record as it is in the journal."""
    record = await venue.service.record(sequence)
    assert isinstance(record, Record)
    return record


async def test_an_act_is_followed_from_its_header_to_the_audit_log(
    venue: Venue, lines: Lines, capsys: pytest.CaptureFixture[str]
) -> None:
    body = {"account": 100, "asset": "USD", "amount": "5", "reference": "bank 1"}
    answered = await venue.admin.ask(
        "POST", "/v1/admin/deposits", body, key="d-1", **{"X-Request-Id": ID}
    )
    assert (answered.status_code, answered.headers["x-request-id"]) == (201, ID)
    sequence = venue.service.released.sequence

    origin = (await record_of(venue, sequence)).origin
    assert origin is not None
    assert origin.request_id == ID
    await _print_records(venue.store, sequence, 1)
    assert json.loads(capsys.readouterr().out)[-1] == [origin.key_id, ID, 0, ""]

    page = await venue.admin.get(f"/v1/admin/audit?min_sequence={sequence}&limit=1")
    assert (page["acts"][0]["sequence"], page["acts"][0]["request_id"]) == (sequence, ID)

    [line] = [one for one in lines() if one["logger"] == "access" and one["request_id"] == ID]
    assert line["latency_ms"] > 0
    assert {**line, "latency_ms": 0, "timestamp": ""} == {
        "event": "request",
        "level": "debug",
        "logger": "access",
        "method": "POST",
        "path": "/v1/admin/deposits",
        "status": 201,
        "latency_ms": 0,
        "request_id": ID,
        "key_id": origin.key_id,
        "timestamp": "",
    }


async def test_an_id_that_is_no_good_is_replaced_in_all_places_alike(
    venue: Venue, lines: Lines
) -> None:
    answered = await venue.alice.ask(
        "POST", "/v1/orders", order("one"), **{"X-Request-Id": "two words"}
    )
    given = answered.headers["x-request-id"]
    assert given.startswith("req-")
    record = await record_of(venue, int(answered.json()["order_id"]))
    assert record.origin is not None
    assert record.origin.request_id == given
    assert given in [one.get("request_id") for one in lines() if one["logger"] == "access"]


async def test_the_line_of_a_desk_that_falls_names_the_request(venue: Venue, lines: Lines) -> None:
    await venue.alice.place("zero")
    desk = venue.engine.line.desks.desks[DeskId(1)]
    desk.machine = Stumbling(desk.machine)
    answered = await venue.alice.ask("POST", "/v1/orders", order("one"), **{"X-Request-Id": ID})
    assert answered.json()["error"]["code"] == "DESK_FAULT"
    assert answered.json()["error"]["request_id"] == ID
    [fell] = [one for one in lines() if one["event"] == "desk fell"]
    assert (fell["request_id"], fell["desk"]) == (ID, 1)
    assert "planned" in fell["exception"]
    failed = [one for one in lines() if one["logger"] == "access"][-1]
    assert (failed["level"], failed["status"], failed["request_id"]) == ("info", 503, ID)


async def test_the_line_of_an_abandoned_command_names_the_request(
    venue: Venue, lines: Lines
) -> None:
    accounts: Any = venue.engine.line.accounts
    accounts._desk = StumblingAccounts(accounts._desk)
    await venue.alice.ask("POST", "/v1/orders", order("one"), **{"X-Request-Id": ID})
    [abandoned] = [one for one in lines() if one["event"] == "abandoned"]
    assert (abandoned["request_id"], abandoned["command"]) == (ID, "PlaceOrder")


@pytest.mark.parametrize("lines", ["info"], indirect=True)
async def test_above_debug_only_failures_of_ours_have_a_line(venue: Venue, lines: Lines) -> None:
    await venue.alice.ask("POST", "/v1/orders", order("one"))
    await venue.nobody.ask("GET", "/nowhere")
    assert [one for one in lines() if one["logger"] == "access"] == []
    venue.engine.gate.stop_admitting()
    await venue.alice.ask("POST", "/v1/orders", order("two"), **{"X-Request-Id": ID})
    [line] = [one for one in lines() if one["logger"] == "access"]
    assert (line["level"], line["status"], line["request_id"]) == ("info", 503, ID)


async def test_requests_that_meet_no_route_have_a_line_too(venue: Venue, lines: Lines) -> None:
    answered = await venue.nobody.ask("GET", "/no%0Awhere")
    [line] = [one for one in lines() if one["logger"] == "access"]
    assert (line["path"], line["status"], line["key_id"]) == ("/no%0Awhere", 404, 0)
    assert line["request_id"] == answered.headers["x-request-id"]


async def test_lines_that_say_nothing_of_a_request_carry_its_id_all_the_same(
    venue: Venue, lines: Lines
) -> None:
    def fail() -> None:
        raise ZeroDivisionError

    venue.service.health = fail  # type: ignore[assignment,method-assign]
    await venue.nobody.ask("GET", "/v1/health", **{"X-Request-Id": ID})
    [failed] = [one for one in lines() if one["logger"] == "api.problems"]
    assert failed["request_id"] == ID


async def test_requests_beside_each_other_keep_their_ids_apart(venue: Venue, lines: Lines) -> None:
    async def place(number: int) -> None:
        name = f"r-{number}"
        await venue.alice.ask("POST", "/v1/orders", order(name), **{"X-Request-Id": name})

    async with trio.open_nursery() as nursery:
        for number in range(5):
            nursery.start_soon(place, number)
    released = venue.service.released
    found = {}
    for sequence in range(released.sequence - 4, released.sequence + 1):
        record = await record_of(venue, sequence)
        assert record.origin is not None
        found[record.key] = record.origin.request_id
    assert found == {f"r-{number}": f"r-{number}" for number in range(5)}
    logged = [one["request_id"] for one in lines() if one["logger"] == "access"]
    assert sorted(logged) == sorted(found)


async def test_a_message_on_a_stream_is_followed_by_its_socket_and_its_own_id(
    lines: Lines,
) -> None:
    async with private_venue() as venue, venue.client("alice", f"X-Request-Id: {ID}") as alice:
        placed = await alice.place("one")
        await alice.caller.say({"id": "m-2", "op": "place", "order": order("two", side="up")})
        refused = await alice.answer("m-2")
        desk = venue.engine.line.desks.desks[DeskId(1)]
        desk.machine = Stumbling(desk.machine)
        await alice.caller.say({"id": "m-3", "op": "place", "order": order("three")})
        fallen = await alice.answer("m-3")
        record = await record_of(venue, int(placed["order_id"]))
        await until(lambda: any(one["event"] == "desk rebuilt" for one in lines()))
    assert record.origin is not None
    assert record.origin.request_id == f"{ID}:1000000"
    assert refused["error"]["request_id"] == f"{ID}:m-2"
    assert fallen["error"]["request_id"] == f"{ID}:m-3"
    [fell] = [one for one in lines() if one["event"] == "desk fell"]
    assert fell["request_id"] == f"{ID}:m-3"


@pytest.mark.parametrize("connection", ["c", "c" * 64, "req-0123456789abcdef"])
@pytest.mark.parametrize("message", [7, -(2**63 - 1), "m", "m" * 63 + "z"])
def test_the_id_of_a_message_is_bounded_and_keeps_what_tells_messages_apart(
    connection: str, message: int | str
) -> None:
    made = message_request_id(connection, message)
    assert len(made) <= REQUEST_ID_CHARACTERS_MAX
    assert accepted_request_id(made) == made
    assert made.endswith(str(message)[-43:])
    assert made.startswith(connection[:20])
    assert message_request_id(connection, None) == connection

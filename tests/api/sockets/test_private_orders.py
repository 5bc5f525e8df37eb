"""Order entry on the private stream: the same orders, keys and answers as over HTTP, pipelined."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
import trio
from trio.testing import wait_all_tasks_blocked
from websockets.frames import Opcode

from api.sockets import key_session
from engine.journal.blocks import Block
from engine.storage.memory import MemoryJournal
from tests.api.sockets.private_venue import PATH, order, private_venue


async def test_an_order_is_answered_by_its_id_and_told_before_its_answer() -> None:
    async with private_venue() as venue, venue.client("alice") as alice:
        snapshot = await alice.subscribe()
        assert snapshot["orders"] == []
        placed = await alice.place("a-1")
        assert (placed["status"], placed["client_order_id"]) == ("OPEN", "a-1")
        told = [event["type"] for event in alice.events]
        assert told == ["order", "balance"]
        assert alice.events[0]["order"]["order_id"] == placed["order_id"]
        assert alice.events[0]["previous"] == snapshot["number"]
        assert alice.events[1]["previous"] == alice.events[0]["number"]


async def test_a_place_and_its_cancel_and_a_replace_may_be_pipelined_in_one_write() -> None:
    async with private_venue() as venue, venue.client("alice") as alice:
        await alice.caller.say(
            {"id": "p", "op": "place", "order": order("a-1")},
            {"id": "r", "op": "replace", "client_order_id": "a-1", "price": "90", "quantity": "2"},
            {"id": "c", "op": "cancel", "client_order_id": "a-1"},
        )
        placed, replaced, cancelled = [await alice.answer(one) for one in "prc"]
        assert [one["status"] for one in (placed, replaced, cancelled)] == [201, 200, 200]
        assert replaced["result"]["price"] == "90.00"
        assert cancelled["result"]["remaining"] == "2.000"


async def test_answers_come_in_the_order_of_the_commands() -> None:
    async with private_venue() as venue, venue.client("alice") as alice:
        count = 300
        sent = [{"id": n, "op": "place", "order": order(f"a-{n}")} for n in range(count)]
        await alice.caller.say(*sent)
        heard = [await alice.hear() for _ in range(count)]
        assert [one["id"] for one in heard] == list(range(count))
        assert {one["status"] for one in heard} == {201}


async def test_a_repeated_key_gets_the_first_answer_in_flight_and_long_after() -> None:
    journal = MemoryJournal()
    async with private_venue(journal) as venue, venue.client("alice") as alice:
        await alice.caller.say(*({"id": n, "op": "place", "order": order("a-1")} for n in (1, 2)))
        first, second = await alice.answer(1), await alice.answer(2)
        assert (first.get("replayed"), second["replayed"]) == (None, True)
        assert first["result"] == second["result"]
    async with private_venue(journal) as venue, venue.client("alice") as alice:
        again = await alice.ask("place", order=order("a-1"))
        assert (again["replayed"], again["result"]) == (True, first["result"])
        other = await alice.ask("place", order=order("a-1", price="99.00"))
        assert (other["status"], other["error"]["code"]) == (409, "KEY_CONFLICT")


async def test_a_replace_with_a_key_is_done_once() -> None:
    async with private_venue() as venue, venue.client("alice") as alice:
        await alice.place("a-1")
        terms = {"client_order_id": "a-1", "price": "90.00", "quantity": "1.000", "key": "r-1"}
        first, again = await alice.ask("replace", **terms), await alice.ask("replace", **terms)
        assert (first["result"], again["replayed"]) == (again["result"], True)
        other = await alice.ask("replace", **{**terms, "price": "91.00"})
        assert other["error"]["code"] == "KEY_CONFLICT"


async def test_a_refusal_is_answered_as_over_http() -> None:
    async with private_venue() as venue, venue.client("alice") as alice:
        answer = await alice.ask("place", order=order("a-1", quantity="100000000000.000"))
        assert (answer["status"], answer["error"]["code"]) == (422, "INSUFFICIENT_FUNDS")
        assert answer["error"]["field"] == "quantity"
        assert answer["error"]["request_id"].endswith(f":{answer['id']}")


@pytest.mark.parametrize(
    ("message", "answered", "code", "field"),
    [
        ({"id": 1, "op": "place", "order": order("a", side="up")}, 1, "INVALID_FIELD", "side"),
        ({"id": 1, "op": "place", "order": {}}, 1, "INVALID_FIELD", "type"),
        ({"id": 1, "op": "place", "order": 7}, 1, "INVALID_FIELD", None),
        ({"id": 1, "op": "place"}, 1, "INVALID_FIELD", "order"),
        ({"id": 1, "op": "dance"}, 1, "INVALID_FIELD", "op"),
        ({"id": 1, "op": "ping", "more": 1}, 1, "INVALID_FIELD", "more"),
        ({"id": 1, "op": "cancel"}, 1, "INVALID_FIELD", "order_id"),
        ({"id": 1, "op": "cancel", "order_id": "x"}, 1, "NOT_FOUND", None),
        ({"id": 1, "op": "cancel", "client_order_id": "none"}, 1, "NOT_FOUND", None),
        ({"id": 1, "op": "subscribe", "account": 101}, 1, "FORBIDDEN", None),
        ({"id": "no good", "op": "ping"}, "no good", "INVALID_FIELD", "id"),
        ({"id": 1.5, "op": "ping"}, None, "INVALID_FIELD", "id"),
        ({"op": "ping"}, None, "INVALID_FIELD", "id"),
        ([], None, "INVALID_FIELD", None),
        ("nothing", None, "INVALID_FIELD", None),
        ({"id": 1, "op": "dead_man", "timeout_ms": 3_600_001}, 1, "INVALID_FIELD", "timeout_ms"),
        ({"id": 1, "op": "dead_man", "timeout_ms": 999}, 1, "INVALID_VALUE", "timeout_ms"),
        ({"id": 1, "op": "login", "secret": "x"}, 1, "INVALID_FIELD", "op"),
    ],
)
async def test_what_is_wrong_with_a_message_is_that_messages_answer(
    message: Any, answered: Any, code: str, field: str | None
) -> None:
    async with private_venue() as venue, venue.client("alice") as alice:
        await alice.caller.say(message)
        answer = await alice.hear()
        assert answer["id"] == answered
        assert (answer["error"]["code"], answer["error"].get("field")) == (code, field)
        assert (await alice.ask("ping"))["result"] == {"pong": True}


async def test_bytes_that_are_no_message_are_answered_without_an_id() -> None:
    async with private_venue() as venue, venue.client("alice") as alice:
        deep = b'{"id": 1, "op": "place", "order": ' + b"[" * 20_000 + b"]" * 20_000 + b"}"
        for payload in (b"{", b"\xc3\xa9", deep):
            await alice.caller.frame(Opcode.TEXT, payload)
            answer = await alice.hear()
            assert (answer["id"], answer["error"]["code"]) == (None, "MALFORMED_JSON")
        await alice.place("a-1")


async def test_validate_says_what_placing_would_and_places_nothing() -> None:
    async with private_venue() as venue, venue.client("alice") as alice:
        assert await alice.result("validate", order=order("a-1")) == {
            "holds": {"asset": "USD", "amount": "100.00000"},
            "valid": True,
        }
        refused = await alice.ask("validate", order=order("a-1", quantity="100000000000.000"))
        assert refused["error"]["code"] == "INSUFFICIENT_FUNDS"
        assert venue.service.released.orders.open_count == 0


async def test_cancel_all_ends_the_accounts_orders_or_those_of_the_key() -> None:
    async with (
        private_venue() as venue,
        venue.client("alice") as alice,
        venue.client("alice2") as other,
    ):
        await alice.subscribe()
        for number in range(3):
            await alice.place(f"a-{number}")
            await other.place(f"o-{number}")
        answer = await alice.result("cancel_all", scope="key")
        assert answer["open_instruments"] == 1
        await alice.hear_event(lambda event: event.get("order", {}).get("status") == "CANCELLED")
        open_orders = venue.service.released.orders
        left = [o.terms.client_order_id for o in open_orders.open_of(100).values()]  # type: ignore[arg-type]
        assert left == ["o-0", "o-1", "o-2"]
        await alice.result("cancel_all", instrument="BTC-USD")
        await wait_all_tasks_blocked()
        assert open_orders.open_count == 0


async def test_an_admin_states_the_account_everywhere() -> None:
    async with private_venue() as venue, venue.client("admin") as admin:
        answer = await admin.ask("place", order=order("x-1"))
        assert answer["error"]["field"] == "account"
        placed = await admin.place("x-1", account=101)
        assert placed["account"] == 101
        beside = await admin.result("place", account=100, order=order("x-1"))
        assert beside["account"] == 100
        await admin.subscribe(account=101)
        await admin.result("cancel", account=101, client_order_id="x-1")
        assert admin.events[-1]["account"] == 101


async def test_a_key_that_may_only_read_places_nothing() -> None:
    async with private_venue() as venue, venue.client("reader") as reader:
        assert (await reader.subscribe())["orders"] == []
        for op, fields in (
            ("place", {"order": order("a")}),
            ("cancel", {"client_order_id": "a"}),
            ("cancel_all", {}),
            ("validate", {"order": order("a")}),
            ("dead_man", {"timeout_ms": 1_000}),
            ("cancel_on_disconnect", {"enabled": True}),
        ):
            answer = await reader.ask(op, **fields)
            assert (answer["status"], answer["error"]["code"]) == (403, "FORBIDDEN")


async def test_commands_have_a_rate_and_cancels_none() -> None:
    async with private_venue(rates=True) as venue, venue.client("alice") as alice:
        sent = [{"id": n, "op": "place", "order": order(f"a-{n}")} for n in range(1_100)]
        await alice.caller.say(*sent)
        answers = [await alice.answer(n) for n in range(1_100)]
        limited = [one for one in answers if one["status"] == 429]
        assert limited
        assert limited[0]["error"]["retry_after_s"] > 0
        for number in range(20):
            assert (await alice.ask("cancel", client_order_id=f"a-{number}"))["status"] == 200


async def test_what_is_stamped_after_its_own_time_is_refused() -> None:
    async with private_venue() as venue, venue.client("alice") as alice:
        late = await alice.ask("place", order=order("a-1"), not_after_ns=1)
        assert late["error"]["code"] == "REQUEST_EXPIRED"
        soon = venue.service.now_ns() + 10**12
        assert (await alice.ask("place", order=order("a-2"), not_after_ns=soon))["status"] == 201


async def test_a_socket_has_a_bounded_number_of_commands_under_way(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(key_session, "UNDER_WAY_MAX", 3)
    async with private_venue() as venue, venue.client("alice") as alice:
        moving, append = trio.Event(), venue.store.append

        async def stall(block: Block) -> None:
            await moving.wait()
            await append(block)

        monkeypatch.setattr(venue.store, "append", stall)
        sent = [{"id": n, "op": "place", "order": order(f"a-{n}")} for n in range(5)]
        await alice.caller.say(*sent)
        for number in (3, 4):
            answer = await alice.hear()
            assert (answer["id"], answer["error"]["code"]) == (number, "OVERLOADED")
        moving.set()
        assert [(await alice.hear())["status"] for _ in range(3)] == [201] * 3
        await alice.place("a-3")


async def test_a_command_without_an_answer_in_time_is_unknown_and_its_key_tells_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with private_venue(edge_deadline_s=0.05) as venue, venue.client("alice") as alice:
        moving, append = trio.Event(), venue.store.append

        async def stall(block: Block) -> None:
            await moving.wait()
            await append(block)

        monkeypatch.setattr(venue.store, "append", stall)
        answer = await alice.ask("place", order=order("a-1"))
        assert (answer["status"], answer["error"]["code"]) == (504, "OUTCOME_UNKNOWN")
        moving.set()
        await wait_all_tasks_blocked()
        again = await alice.ask("place", order=order("a-1"))
        assert (again["status"], again["replayed"]) == (201, True)


async def test_messagepack_says_the_same() -> None:
    async with (
        private_venue() as venue,
        venue.hall.socket(
            PATH,
            "Authorization: Bearer ock_alice",
            "Sec-WebSocket-Protocol: outcry.msgpack",
        ) as caller,
        venue.client("alice") as alice,
    ):
        message = {"id": 1, "op": "place", "order": order("a-1")}
        await caller.frame(Opcode.BINARY, msgspec.msgpack.encode(message))
        frame = await caller.hear_frame()
        assert frame is not None
        answer = msgspec.msgpack.decode(bytes(frame.data))
        again = await alice.ask("place", order=order("a-1"))
        assert again == {**answer, "id": again["id"], "replayed": True}
        assert type(answer["result"]["order_id"]) is str

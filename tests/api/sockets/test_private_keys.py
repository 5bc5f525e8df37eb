"""Who is let onto the private stream, for how long, and what happens to orders when they go."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from api.sockets import private
from engine.accounts.messages import RevokeKey
from engine.errors import InvariantViolated
from engine.journal.blocks import Block
from engine.journal.keys import Answered
from engine.storage.memory import MemoryJournal
from tests.api.sockets.private_venue import Client, PrivateVenue, order, private_venue, until


def open_orders(venue: PrivateVenue) -> list[str]:
    """What is open of Alice's, by client order id."""
    orders = venue.service.released.orders.open_of(100)  # type: ignore[arg-type]
    return [one.terms.client_order_id for one in orders.values()]


# -- who is let in


async def test_a_client_logs_in_with_its_first_message_and_goes_on_at_once() -> None:
    async with private_venue() as venue, venue.client("") as nobody:
        await nobody.caller.say(
            {"id": 1, "op": "login", "secret": "ock_alice"},
            {"id": 2, "op": "place", "order": order("a-1")},
        )
        assert (await nobody.answer(1))["result"] == {"key_id": 2, "account": 100}
        assert (await nobody.answer(2))["status"] == 201


async def test_before_a_login_there_are_pings_alone() -> None:
    async with private_venue() as venue, venue.client("") as nobody:
        assert (await nobody.ask("ping"))["result"] == {"pong": True}
        answer = await nobody.ask("place", order=order("a-1"))
        assert (answer["status"], answer["error"]["code"]) == (401, "UNAUTHORIZED")
        await nobody.result("login", secret="ock_alice")
        await nobody.place("a-1")


async def test_a_login_that_proves_nothing_ends_the_socket() -> None:
    async with private_venue() as venue, venue.client("") as nobody:
        answer = await nobody.ask("login", secret="ock_mallory")
        assert (answer["status"], answer["error"]["code"]) == (401, "UNAUTHORIZED")
        assert await nobody.caller.hear_end() == 4001


async def test_a_handshake_that_proves_nothing_is_told_why_and_ends() -> None:
    async with private_venue() as venue, venue.client("mallory") as mallory:
        answer = await mallory.hear()
        assert (answer["id"], answer["status"]) == (None, 401)
        assert await mallory.caller.hear_end() == 4001


@pytest.mark.slow
async def test_who_does_not_log_in_in_time_is_shown_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(private, "LOGIN_S_MAX", 0.05)
    monkeypatch.setattr(private, "RECHECK_S", 0.01)
    async with private_venue() as venue, venue.client("") as nobody:
        assert await nobody.caller.hear_end() == 4001
        await until(lambda: venue.hall.counts.sockets_closed == {4001: 1})


@pytest.mark.slow
async def test_a_key_that_is_revoked_is_out_within_a_second() -> None:
    async with private_venue() as venue, venue.client("alice") as alice:
        await alice.place("a-1")
        await venue.service.submit(RevokeKey(2))
        with trio.fail_after(1.0):
            assert await alice.caller.hear_end() == 4001
        assert open_orders(venue) == ["a-1"]


async def test_what_a_revoked_key_still_sends_is_not_done() -> None:
    async with private_venue() as venue, venue.client("alice") as alice:
        await venue.service.submit(RevokeKey(2))
        await alice.caller.say({"id": 1, "op": "place", "order": order("a-1")})
        assert await alice.caller.hear_end() == 4001
        assert open_orders(venue) == []


# -- how a session ends


async def test_what_is_in_flight_when_the_server_stops_is_answered() -> None:
    async with private_venue() as venue, venue.client("alice") as alice:
        moving, append = trio.Event(), venue.store.append

        async def stall(block: Block) -> None:
            await moving.wait()
            await append(block)

        venue.store.append = stall  # type: ignore[method-assign]
        await alice.tell("place", order=order("a-1"))
        await until(lambda: venue.engine.gate.under_way_count == 1)
        venue.hall.stopping.set()
        assert (await alice.hear())["type"] == "closing"
        moving.set()
        assert (await alice.hear())["status"] == 201
        assert await alice.caller.hear_end() == 1001


async def test_a_logout_is_answered_after_everything_before_it() -> None:
    async with private_venue() as venue, venue.client("alice") as alice:
        await alice.result("cancel_on_disconnect", enabled=True)
        await alice.caller.say(
            {"id": 1, "op": "place", "order": order("a-1")},
            {"id": 2, "op": "logout"},
            {"id": 3, "op": "place", "order": order("a-2")},
        )
        assert [(await alice.hear())["id"] for _ in range(2)] == [1, 2]
        assert await alice.caller.hear_end() == 1000
        await wait_all_tasks_blocked()
        assert open_orders(venue) == ["a-1"]
        assert venue.service.released.sessions.armed == {}


async def test_a_logout_does_not_promise_what_was_lost_on_its_way() -> None:
    async with private_venue() as venue:
        append, tried = venue.store.append, []

        async def fall_once(block: Block) -> None:
            tried.append(block)
            if len(tried) == 1:
                raise InvariantViolated("fallen before it was stored")
            await append(block)

        async with venue.client("alice") as alice:
            await alice.result("cancel_on_disconnect", enabled=True)
            await alice.place("a-1")
            venue.store.append = fall_once  # type: ignore[method-assign]
            assert (await alice.ask("logout"))["error"]["code"] == "OUTCOME_UNKNOWN"
        await until(lambda: venue.lives == 2 and open_orders(venue) == [])


async def armed_with_orders(venue: PrivateVenue, alice: Client) -> None:
    """Alice has two orders by an armed session, one by another key, Bob one."""
    answer = await alice.result("cancel_on_disconnect", enabled=True)
    assert answer == {"account": 100, "enabled": True}
    await alice.place("a-1")
    await alice.place("a-2")
    async with venue.client("alice2") as other, venue.client("bob") as bob:
        await other.place("other")
        await bob.place("bobs")


async def test_a_lost_connection_takes_its_own_keys_orders_along() -> None:
    async with private_venue() as venue:
        async with venue.client("alice") as alice:
            await armed_with_orders(venue, alice)
            assert open_orders(venue) == ["a-1", "a-2", "other"]
        await until(lambda: open_orders(venue) == ["other"])
        assert venue.service.released.orders.open_count == 2


async def test_without_being_armed_a_lost_connection_leaves_its_orders() -> None:
    async with private_venue() as venue:
        async with venue.client("alice") as alice:
            assert (await alice.result("cancel_on_disconnect", enabled=False))["enabled"] is False
            await alice.result("cancel_on_disconnect", enabled=True)
            await alice.result("cancel_on_disconnect", enabled=False)
            await alice.place("a-1")
        await until(lambda: venue.hall.counts.sockets_open == 0)
        await wait_all_tasks_blocked()
        assert open_orders(venue) == ["a-1"]


async def test_a_connection_lost_while_it_is_being_armed_counts() -> None:
    async with private_venue() as venue:
        async with venue.client("alice") as alice:
            await alice.caller.say(
                {"id": 1, "op": "place", "order": order("a-1")},
                {"id": 2, "op": "cancel_on_disconnect", "enabled": True},
            )
        await until(lambda: venue.hall.counts.sockets_accepted > venue.hall.counts.sockets_open)
        await until(lambda: venue.service.released.sequence > 20)
        await until(lambda: open_orders(venue) == [])


async def test_an_order_that_waits_at_the_gate_goes_with_its_connection_too() -> None:
    asked, answering = trio.Event(), trio.Event()
    async with private_venue() as venue:
        read = venue.history.answered

        async def answered(scope: int, keys: list[str]) -> dict[str, Answered]:
            asked.set()
            await answering.wait()
            return await read(scope, keys)

        venue.history.answered = answered  # type: ignore[method-assign]
        async with venue.client("alice") as alice:
            await alice.result("cancel_on_disconnect", enabled=True)
            await alice.place("forgotten")
            released = venue.service.released
            released.keys.forget(released.sequence, 0, 1, lambda _: False)
            await alice.tell("place", order=order("forgotten"))
            await alice.tell("place", order=order("behind-it"))
            await asked.wait()
        await until(lambda: venue.hall.counts.sockets_open == 0)
        answering.set()
        await until(lambda: not venue.service.released.sessions.armed)
        await wait_all_tasks_blocked()
        assert open_orders(venue) == []


async def test_a_server_that_is_killed_ends_its_armed_sessions_when_it_is_back() -> None:
    journal = MemoryJournal()
    async with private_venue(journal) as venue, venue.client("alice") as alice:
        await armed_with_orders(venue, alice)
    async with private_venue(journal) as venue:
        await until(lambda: open_orders(venue) == ["other"])
        assert venue.service.released.sessions.armed == {}


@pytest.mark.slow
async def test_a_dead_mans_orders_are_cancelled_and_told() -> None:
    async with (
        private_venue() as venue,
        venue.client("alice") as alice,
        venue.client("alice2") as other,
    ):
        await other.subscribe()
        timer: dict[str, Any] = await alice.result("dead_man", timeout_ms=1_000)
        assert (timer["key_id"], timer["timeout_ms"]) == (2, 1_000)
        await alice.place("a-1")
        await other.place("other")
        ended = await other.hear_event(
            lambda event: event.get("order", {}).get("reason") == "CANCEL_ALL"
        )
        assert ended["order"]["client_order_id"] == "a-1"
        assert ended["time_ns"] >= timer["deadline_ns"]
        assert open_orders(venue) == ["other"]


async def test_a_disarmed_dead_man_has_no_deadline() -> None:
    async with private_venue() as venue, venue.client("alice") as alice:
        await alice.result("dead_man", timeout_ms=5_000)
        timer = await alice.result("dead_man", timeout_ms=0)
        assert (timer["timeout_ms"], timer["deadline_ns"]) == (0, None)
        assert venue.service.released.sessions.timers == []


async def test_a_key_has_a_bounded_number_of_sockets_and_of_accounts() -> None:
    async with private_venue() as venue, trio.open_nursery() as nursery:
        parked: list[Client] = []

        async def park() -> None:
            async with venue.client("alice") as alice:
                await alice.result("ping")
                parked.append(alice)
                await trio.sleep_forever()

        most = venue.limits.websockets_per_key_max
        for _ in range(most):
            nursery.start_soon(park)
        await until(lambda: len(parked) == most)
        async with venue.client("alice") as alice:
            assert (await alice.hear())["error"]["code"] == "RATE_LIMITED"
            assert await alice.caller.hear_end() == 4009
        async with venue.client("bob") as bob:
            await bob.result("ping")
        nursery.cancel_scope.cancel()

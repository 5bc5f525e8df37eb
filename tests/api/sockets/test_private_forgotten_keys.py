"""On a socket, a key that memory forgot holds up its own account's commands and no others."""

import pytest
import trio

from engine.actors.keys_forgetting import forget
from engine.storage.memory_history import FollowingHistory
from tests.api.sockets.private_venue import PrivateVenue, order, private_venue


async def forgetting(venue: PrivateVenue) -> None:
    line = venue.engine.line
    await forget(line._state, through=line.released.sequence)


async def test_a_repeat_of_a_forgotten_key_gets_the_first_answer() -> None:
    async with private_venue(keys_exact_max=1) as venue, venue.client("alice") as alice:
        first = await alice.ask("place", order=order("a-1", time_in_force="IOC"))
        await alice.ask("place", order=order("a-2"))
        await forgetting(venue)
        assert venue.service.released.keys.get(100, "a-1") is None
        again = await alice.ask("place", order=order("a-1", time_in_force="IOC"))
        assert (again["status"], again["replayed"]) == (201, True)
        assert again["result"] == first["result"]
        other = await alice.ask("place", order=order("a-1", price="99.00"))
        assert (other["status"], other["error"]["code"]) == (409, "KEY_CONFLICT")


async def test_what_is_pipelined_behind_a_forgotten_key_keeps_its_order(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with private_venue(keys_exact_max=1) as venue, venue.client("alice") as alice:
        await alice.ask("place", order=order("a-1", time_in_force="IOC"))
        await alice.ask("place", order=order("a-2"))
        await forgetting(venue)
        going, answered = trio.Event(), FollowingHistory.answered

        async def stall(history: FollowingHistory, scope: int, keys: list[str]) -> object:
            await going.wait()
            return await answered(history, scope, keys)

        monkeypatch.setattr(FollowingHistory, "answered", stall)
        await alice.caller.say(
            {"id": 1, "op": "place", "order": order("a-1", time_in_force="IOC")},
            {"id": 2, "op": "place", "order": order("a-3")},
            {"id": 3, "op": "cancel", "client_order_id": "a-3"},
            {"id": 4, "op": "cancel_on_disconnect", "enabled": True},
            {"id": 5, "op": "logout"},
        )
        async with venue.client("bob") as bob:
            sold = await bob.ask("place", order=order("b-1", side="sell", price="200.00"))
            assert sold["status"] == 201
        going.set()
        heard = [await alice.hear() for _ in range(5)]
        assert [one["id"] for one in heard] == [1, 2, 3, 4, 5]
        assert [one["status"] for one in heard] == [201, 201, 200, 200, 200]
        assert [one.get("replayed", False) for one in heard[:3]] == [True, False, False]
        assert not venue.service.released.sessions.armed

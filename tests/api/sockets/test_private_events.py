"""What happens to an account is told once and in order, whatever breaks in between."""

from __future__ import annotations

from itertools import pairwise
from random import Random
from typing import Any

import pytest
import trio

from api.rates import RateSettings
from api.sockets import key_session, stream_events, subscription
from api.web.limits import ServerLimits
from engine.actors import watching
from engine.actors.envelope import Envelope
from engine.errors import InvariantViolated
from engine.history.rows import EffectsRow
from engine.storage.memory import MemoryJournal
from tests.api.sockets.private_venue import (
    ALICE,
    Client,
    PrivateVenue,
    order,
    private_venue,
    until,
)

LAST = 65_535


def numbers(events: list[dict[str, Any]]) -> list[list[int]]:
    """The numbers of events, after proving that each names the one before it."""
    for before, event in pairwise(events):
        assert event["previous"] == before["number"]
        assert event["number"] > before["number"]
    return [event["number"] for event in events]


async def every_number(venue: PrivateVenue) -> list[list[int]]:
    """Where each event of Alice's stands, from the journal alone."""
    through = venue.service.released.sequence
    rows: list[EffectsRow] = await venue.history.effects(ALICE, 0, through, 100_000)
    return [[row.sequence, index] for row in rows for index in range(len(row.effects))]


async def hear_through(client: Client, sequence: int) -> None:
    """Hear events until one of this record is told."""
    await client.hear_event(lambda event: event["number"][0] >= sequence)


async def trade(alice: Client, bob: Client, name: str) -> int:
    """Let Alice make and Bob take; the record's sequence."""
    await alice.place(f"{name}-buy")
    taken = await bob.place(f"{name}-sell", side="sell", quantity="0.500")
    return int(taken["sequence"])


async def test_a_fill_tells_order_fill_and_balances_with_one_record_number() -> None:
    async with (
        private_venue() as venue,
        venue.client("alice") as alice,
        venue.client("bob") as bob,
    ):
        await alice.subscribe()
        await bob.subscribe()
        sequence = await trade(alice, bob, "t")
        await hear_through(alice, sequence)
        await hear_through(alice, sequence)
        while len(alice.events) < 6:
            await alice.hear()
        filled = alice.events[2:]
        assert [event["type"] for event in filled] == ["order", "fill", "balance", "balance"]
        assert numbers(alice.events)[2:] == [[sequence, index] for index in range(4)]
        fill = filled[1]
        assert (fill["price"], fill["quantity"], fill["liquidity"]) == ("100.00", "0.500", "maker")
        assert (fill["fee"], fill["fee_asset"]) == ("0.00050000", "BTC")
        assert filled[0]["order"]["filled"] == "0.500"
        assert {event["time_ns"] for event in filled} == {filled[0]["time_ns"]}
        theirs = next(event for event in bob.events if event["type"] == "fill")
        assert (theirs["trade"], theirs["liquidity"]) == (fill["trade"], "taker")
        assert [event["asset"] for event in filled[2:]] == ["BTC", "USD"]
        total = await alice.subscribe()
        last = {event["asset"]: event["total"] for event in filled[2:]}
        assert {row["asset"]: row["total"] for row in total["balances"]} == last


async def test_two_sessions_of_one_account_hear_the_same() -> None:
    async with (
        private_venue() as venue,
        venue.client("alice") as one,
        venue.client("alice2") as two,
        venue.client("bob") as bob,
    ):
        await one.subscribe()
        await two.subscribe()
        for number in range(5):
            sequence = await trade(one, bob, str(number))
        await hear_through(one, sequence)
        await hear_through(two, sequence)
        shorter = min(len(one.events), len(two.events))
        assert shorter >= 27
        assert one.events[:shorter] == two.events[:shorter]


async def test_a_snapshot_is_the_account_at_its_number_in_parts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(stream_events, "ORDERS_PER_PART_MAX", 3)
    async with private_venue() as venue, venue.client("alice") as alice:
        for number in range(7):
            await alice.place(f"a-{number}")
        snapshot = await alice.subscribe()
        assert [o["client_order_id"] for o in snapshot["orders"]] == [f"a-{n}" for n in range(7)]
        assert [len(part["orders"]) for part in alice.snapshots] == [3, 3, 1]
        assert {tuple(part["number"]) for part in alice.snapshots} == {
            (venue.service.released.sequence, LAST)
        }
        assert [row["held"] for row in snapshot["balances"]] == ["0.00000000", "700.00000"]


async def test_who_unsubscribes_hears_no_more() -> None:
    async with private_venue() as venue, venue.client("alice") as alice:
        await alice.subscribe()
        await alice.result("unsubscribe")
        await alice.place("a-1")
        await alice.result("ping")
        assert alice.events == []
        assert not venue.service.watching.is_anybody_here


async def test_a_resume_tells_exactly_what_was_missed_then_what_happens() -> None:
    async with private_venue() as venue, venue.client("bob") as bob:
        async with venue.client("alice") as alice:
            await alice.subscribe()
            sequence = await trade(alice, bob, "first")
            await hear_through(alice, sequence)
            seen = alice.events
        async with venue.client("alice2") as meanwhile:
            await trade(meanwhile, bob, "missed")
        async with venue.client("alice") as again:
            after = seen[-1]["number"]
            answer = await again.ask("resume", after=after)
            assert answer["result"] == {"account": ALICE, "after": after}
            sequence = await trade(again, bob, "live")
            await hear_through(again, sequence)
            assert again.events[0]["previous"] == after
            heard = numbers(seen + again.events)
        expected = [one for one in await every_number(venue) if one > seen[0]["previous"]]
        assert heard == expected[: len(heard)]
        assert heard[-1][0] == sequence


@pytest.mark.slow
async def test_a_lot_at_once_makes_no_slow_client(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subscription, "PENDING_BYTES_MAX", 2_000)
    limits = ServerLimits(websocket_pending_bytes_max=8_000)
    async with private_venue(limits=limits) as venue:
        async with venue.client("alice") as alice, venue.client("bob") as bob:
            snapshot = await bob.subscribe()
            for sweep in range(2):
                for number in range(40):
                    await alice.place(f"m{sweep}-{number}", side="sell", quantity="0.001")
                await bob.place(f"t{sweep}", quantity="0.040")
            live = numbers(bob.events)
            assert len(live) == 2 * 43, "told before the answers"
        async with venue.client("bob") as again:
            await again.result("resume", after=snapshot["number"])
            await again.hear_event(lambda event: event["number"] == live[-1])
            assert numbers(again.events) == live


async def test_a_resume_that_another_message_replaces_is_answered() -> None:
    async with private_venue() as venue, venue.client("alice") as alice:
        await alice.caller.say(
            {"id": 1, "op": "resume", "after": [0, 0]}, {"id": 2, "op": "subscribe"}
        )
        assert (await alice.answer(1))["error"]["code"] == "CONFLICT"
        assert (await alice.answer(2))["status"] == 200


async def test_a_snapshot_counts_more_the_longer_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(key_session, "ORDERS_PER_PART_MAX", 1)
    rates = RateSettings(key_per_second=1, key_burst=20)

    async def subscriptions(venue: PrivateVenue) -> int:
        async with venue.client("alice") as alice:
            say = [{"id": number, "op": "subscribe"} for number in range(10)]
            await alice.caller.say(*say)
            return sum([(await alice.answer(n))["status"] == 200 for n in range(10)])

    async with private_venue(rates=rates) as venue:
        assert await subscriptions(venue) == 4
    async with private_venue(rates=rates) as venue:
        async with venue.client("alice2") as other:
            for number in range(15):
                await other.place(f"o-{number}", quantity="0.001")
        assert await subscriptions(venue) == 1


@pytest.mark.parametrize("after", [[0, 0], [0, LAST]])
async def test_a_resume_from_the_beginning_tells_everything(after: list[int]) -> None:
    async with private_venue() as venue, venue.client("alice") as alice:
        await alice.place("a-1")
        expected = await every_number(venue)
        await alice.result("resume", after=after)
        while len(alice.events) < len(expected):
            await alice.hear()
        assert numbers(alice.events) == expected


async def test_a_resume_from_an_event_that_has_not_happened_is_refused() -> None:
    async with private_venue() as venue, venue.client("alice") as alice:
        answer = await alice.ask("resume", after=[10**6, 0])
        assert (answer["status"], answer["error"]["field"]) == (400, "after")
        assert not venue.service.watching.is_anybody_here
        await alice.subscribe()


async def test_a_resume_from_what_is_not_kept_gets_a_snapshot() -> None:
    async with private_venue(rows_kept_max=2) as venue, venue.client("alice") as alice:
        for number in range(8):
            await alice.place(f"a-{number}")
        kept_after = await venue.history.effects_kept_after()
        assert kept_after
        answer = await alice.ask("resume", after=[kept_after - 1, LAST])
        assert (answer["status"], answer["error"]["code"]) == (410, "RESUME_TOO_OLD")
        while not alice.snapshots:
            await alice.hear()
        assert len(alice.snapshots[0]["orders"]) == 8
        await alice.place("a-8")
        assert alice.events[0]["previous"] == alice.snapshots[0]["number"]


async def test_events_beside_a_resume_wait_for_what_was_missed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(subscription, "ROWS_PER_READ_MAX", 3)
    async with private_venue() as venue, venue.client("alice") as alice:
        for number in range(10):
            await alice.place(f"a-{number}")
        reading, read = trio.Event(), venue.history.effects

        async def slowly(*page: Any) -> list[EffectsRow]:
            await reading.wait()
            return await read(*page)

        monkeypatch.setattr(venue.history, "effects", slowly)
        await alice.result("resume", after=[0, LAST])
        for number in range(10, 20):
            await alice.place(f"a-{number}")
        assert alice.events == []
        reading.set()
        expected = await every_number(venue)
        while len(alice.events) < len(expected):
            await alice.hear()
        assert numbers(alice.events) == expected


def fall_at(venue: PrivateVenue, client_order_id: str) -> None:
    """Let the engine fall in the release of one order, after it was folded and answered."""
    falls = [InvariantViolated("planned")]

    def fall(block: list[Envelope]) -> None:
        if falls and any(envelope.key == client_order_id for envelope in block):
            raise falls.pop()

    venue.engine.observe(fall)


@pytest.mark.slow
async def test_a_stream_goes_on_by_itself_when_the_engine_falls() -> None:
    async with private_venue() as venue, venue.client("alice") as alice:
        snapshot = await alice.subscribe()
        for number in range(3):
            fall_at(venue, f"a-{number}")
            await alice.place(f"a-{number}")
            await until(lambda lives=number + 2: venue.lives == lives)  # type: ignore[misc]
        last = await alice.place("last")
        await hear_through(alice, int(last["sequence"]))
        expected = [one for one in await every_number(venue) if one > snapshot["number"]]
        while len(alice.events) < len(expected):
            await alice.hear()
        assert numbers(alice.events) == expected
        assert venue.engine.lives == 4


async def test_a_watcher_that_does_not_take_its_events_is_closed_and_delays_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(watching, "ROWS_MAX", 3)
    async with (
        private_venue() as venue,
        venue.client("alice") as alice,
        venue.client("alice2") as other,
    ):
        reading, read = trio.Event(), venue.history.effects

        async def never(*page: Any) -> list[EffectsRow]:
            await reading.wait()
            return await read(*page)

        monkeypatch.setattr(venue.history, "effects", never)
        await alice.result("resume", after=[0, LAST])
        for number in range(5):
            await other.place(f"a-{number}")
        reading.set()
        assert await alice.caller.hear_end() == 4008
        await other.place("a-5")


@pytest.mark.slow
async def test_a_client_that_reads_nothing_is_closed_and_delays_nobody() -> None:
    async with (
        private_venue() as venue,
        venue.client("alice", receive_bytes=4_096) as alice,
        venue.client("alice2") as other,
    ):
        await alice.subscribe()
        message = [{"id": n, "op": "place", "order": order(f"a-{n}")} for n in range(900)]
        with trio.fail_after(20):
            for start in range(5):
                for one in message:
                    one["order"] = order(f"a-{start}-{one['id']}")
                await other.caller.say(*message)
                for one in message:
                    assert (await other.answer(one["id"]))["status"] == 201
        await until(lambda: venue.hall.counts.sockets_open == 1)
        assert venue.hall.counts.sockets_closed == {4008: 1}
        await other.place("still")


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
async def test_a_client_that_comes_and_goes_hears_every_event_once(seed: int) -> None:
    """Reconnects, falls of the engine and restarts of the process, at random places."""
    random, journal = Random(seed), MemoryJournal()
    last, heard, placed = [0, LAST], [], 0
    for process in range(3):
        async with private_venue(journal) as venue:
            for _visit in range(4):
                await until(lambda: venue.lives > 0)
                async with venue.client("alice") as alice, venue.client("bob") as bob:
                    await alice.result("resume", after=last)
                    for _ in range(random.randrange(6)):
                        placed += 1
                        if random.random() < 0.1 and venue.engine.lives < 3:
                            fall_at(venue, f"n{placed}-sell")
                        await ask_until_answered(alice, order(f"n{placed}-buy"))
                        terms = order(f"n{placed}-sell", side="sell", quantity="0.400")
                        await ask_until_answered(bob, terms)
                    for _ in range(random.randrange(10)):
                        with trio.move_on_after(0.02):
                            await alice.hear()
                if alice.events:
                    assert alice.events[0]["previous"] == last
                    last = alice.events[-1]["number"]
                    heard += alice.events
            await until(lambda: venue.lives > 0)
            if process == 2:
                async with venue.client("alice") as alice:
                    await alice.result("resume", after=last)
                    expected = await every_number(venue)
                    while len(heard) + len(alice.events) < len(expected):
                        await alice.hear()
                    assert numbers(heard + alice.events) == expected


async def ask_until_answered(client: Client, terms: dict[str, Any]) -> None:
    """Place an order, as often as it takes."""
    while (await client.ask("place", order=terms))["status"] != 201:  # noqa: ASYNC110
        await trio.sleep(0.02)

"""Keys that memory forgot are still permanent, and nobody else waits for them."""

from random import Random
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from engine.actors.envelope import Envelope, Ticket
from engine.actors.keys_recall import Held
from engine.errors import (
    EngineError,
    Halted,
    HistoryBehind,
    KeyConflict,
    NotFound,
    Overloaded,
    StorageError,
)
from engine.journal.key_filter import KeyFilter
from engine.journal.keys import Answered, KeyIndex
from engine.journal.records import Record
from engine.journal.snapshots import take
from engine.journal.state import EngineState
from engine.orderbook.messages import CancelOrder
from engine.ports import Watermark
from engine.products.exchange.orders import OrderStatus
from engine.products.sessions.messages import ArmSession
from engine.storage.memory import MemoryJournal, MemoryJournalStore
from engine.storage.memory_history import FollowingHistory
from engine.units import OrderId
from tests.flows.house import ANN, BOB, ONE, House, buy, cancel, house, records_of, same, sell

#: Long enough for the engine to look at its history and forget.
FORGET_S = 1.1


class History(FollowingHistory):
    """A history that can be slow, lost or broken, and that counts what it is asked."""

    def __init__(self, store: MemoryJournalStore) -> None:
        super().__init__(store)
        self.asked: list[tuple[int, list[str]]] = []
        self.going = trio.Event()
        self.going.set()
        self.lost = False
        self.error: EngineError | None = None

    def stall(self) -> None:
        self.going = trio.Event()

    async def watermark(self) -> Watermark:
        return Watermark() if self.lost else await super().watermark()

    async def answered(self, scope: int, keys: list[str]) -> dict[str, Answered]:
        self.asked.append((scope, sorted(keys)))
        found = await super().answered(scope, keys)
        await self.going.wait()
        if self.error is not None:
            raise self.error
        return {} if self.lost else found


class WrongHits(KeyFilter):
    """A filter that takes every key for forgotten, until it is set right."""

    def has(self, scope: int, key: str) -> bool:
        return True


async def with_wrong_hits(one: House) -> None:
    """Have one order resting, and every new key taken for forgotten."""
    await one.founded()
    await one.submit(buy(1, 50), key="first")
    keys = await forgetting(one)
    keys.forgotten_through = 1
    keys._filter = WrongHits.restore(keys._filter.snapshot())


def opening(journal: MemoryJournal, **settings: Any) -> tuple[History, Any]:
    store = MemoryJournalStore(journal)
    history = History(store)
    settings = {"keys_exact_max": 1, **settings}
    return history, house(store=store, history=history, **settings)


def cancel_by(client_order_id: str) -> CancelOrder:
    return CancelOrder(ANN, ONE, OrderId(0), client_order_id)


async def forgetting(one: House) -> KeyIndex:
    """Let the engine forget what it may."""
    await wait_all_tasks_blocked()
    await trio.sleep(FORGET_S)
    return one.service.released.keys


async def test_a_forgotten_key_gets_its_first_answer(autojump_clock: MockClock) -> None:
    history, opened = opening(MemoryJournal())
    async with opened as one:
        await one.founded()
        first = await one.submit(buy(1, 50), key="mine", digest=7)
        await one.submit(cancel(first.sequence), key="its-end")
        await one.submit(buy(1, 50), key="other", digest=7)
        keys = await forgetting(one)
        assert keys.get(ANN, "mine") is None
        before = one.service.released.sequence
        assert same(await one.submit(buy(1, 50), key="mine", digest=7), first)
        with pytest.raises(KeyConflict):
            await one.submit(buy(1, 50), key="mine", digest=8)
        assert one.service.released.sequence == before
        assert await one.service.answered(ANN, "mine") == Answered(first.sequence, 7)
        assert await one.service.answered(ANN, "never") is None
        assert history.asked == [(ANN, ["mine"])] * 3


async def test_keys_of_open_orders_stay_exact_and_cancel_them(autojump_clock: MockClock) -> None:
    _, opened = opening(MemoryJournal())
    async with opened as one:
        await one.founded()
        for number in range(5):
            await one.submit(buy(1, 50), key=f"open-{number}")
            ended = await one.submit(buy(1, 50), key=f"ended-{number}")
            await one.submit(cancel(ended.sequence))
        for _ in range(3):
            keys = await forgetting(one)
        assert keys.forgotten_count == 5 == len(keys)
        for number in range(5):
            order = one.service.order_by_client_id(ANN, f"open-{number}")
            assert order is not None
            answer = await one.submit(cancel_by(f"open-{number}"))
            assert answer.refusal is None
            assert one.service.order(order.order_id).status is OrderStatus.CANCELLED
        await forgetting(one)
        assert keys.forgotten_count == 9
        with pytest.raises(NotFound):
            one.service.order_by_client_id(ANN, "open-0")


async def test_an_account_waits_in_order_behind_its_key_and_no_other_does(
    autojump_clock: MockClock,
) -> None:
    history, opened = opening(MemoryJournal())
    async with opened as one:
        await with_wrong_hits(one)
        history.stall()
        service = one.service
        commands = [
            (buy(2, 50), ANN, "new", 0),  # a wrong hit
            (cancel_by("new"), ANN, "", 0),  # behind it, by its client id
            (sell(3, 70), BOB, "", 0),
            (buy(2, 50), ANN, "new", 0),
            (buy(2, 50), ANN, "new", 1),
            (buy(4, 40), ANN, "last", 0),
        ]
        admitted = [service.admit(*command) for command in commands]
        assert [type(one) for one in admitted] == [Held, Held, Envelope, Held, Held, Held]
        service.send([one for one in admitted if type(one) is Envelope])
        await trio.sleep(0.1)
        assert service.released.orders.open_of(BOB)
        assert service.order_by_client_id(ANN, "new") is None
        assert service.order_instrument(ANN, "new") == 1
        assert len(service.released.orders.open_of(ANN)) == 1
        history.going.set()
        await forgetting(one)
        at_gate = [one.admitted for one in admitted if type(one) is Held]
        assert [type(one) for one in at_gate] == [Envelope, Envelope, Ticket, KeyConflict, Envelope]
        placed, cancelled = at_gate[0], at_gate[1]
        assert isinstance(placed, Envelope)
        assert isinstance(cancelled, Envelope)
        assert placed.sequence < cancelled.sequence
        assert cancelled.record is not None
        assert cancelled.record.refusal is None
        assert placed.ticket is at_gate[2]
        assert history.asked == [(ANN, ["last", "new"])]


async def test_two_requests_with_a_forgotten_key_are_one(autojump_clock: MockClock) -> None:
    _, opened = opening(MemoryJournal())
    async with opened as one:
        await with_wrong_hits(one)
        answers: list[Record] = []

        async def ask() -> None:
            answers.append(await one.submit(buy(1, 50), key="twice", digest=3))

        async with trio.open_nursery() as nursery:
            for _ in range(10):
                nursery.start_soon(ask)
        assert len({answer.sequence for answer in answers}) == 1


@pytest.mark.parametrize("trouble", ["behind", "broken", "slow", "none"])
async def test_without_the_history_a_perhaps_forgotten_key_is_not_accepted(
    trouble: str, autojump_clock: MockClock
) -> None:
    journal = MemoryJournal()
    history, opened = opening(journal)
    async with opened as one:
        await one.founded()
        placed = await one.submit(buy(1, 50), key="mine")
        await one.submit(cancel(placed.sequence))
        for number in range(3):
            await one.submit(sell(1, 90), key=f"{number}")
        keys = await forgetting(one)
        assert keys.get(ANN, "mine") is None
        before = one.service.released.sequence
        expected: type[EngineError] = StorageError
        match trouble:
            case "behind":
                history.lost, expected = True, HistoryBehind
            case "broken":
                history.error = StorageError("gone")
            case "slow":
                history.stall()
            case "none":
                one.engine.line.recall._history, expected = None, HistoryBehind
        later = (buy(1, 40), ANN, "", 0)
        batch = [(buy(1, 50), ANN, "mine", 0), later, (sell(1, 95), BOB, "", 0)]
        began_s = trio.current_time()
        answers = await one.service.submit_batch(batch)
        assert [type(answer) for answer in answers] == [expected, Record, Record]
        assert trio.current_time() - began_s < 3
        with pytest.raises(expected):
            await one.submit(buy(1, 50), key="mine")
        assert one.service.released.sequence == before + 2
        assert one.engine.line.recall.held_count == 0
        history.lost, history.error = False, None
        history.going.set()
        one.engine.line.recall._history = history
        assert same(await one.submit(buy(1, 50), key="mine"), placed)


async def test_what_is_held_when_the_engine_falls_was_not_accepted(
    autojump_clock: MockClock,
) -> None:
    history, opened = opening(MemoryJournal())
    async with opened as one:
        await with_wrong_hits(one)
        history.stall()
        attendance = one.service.attendance
        attendance.arrive(11)
        held = [
            one.service.admit(buy(1, 50), ANN, "held"),
            one.service.admit(ArmSession(ANN, 1, 11), ANN),
        ]
        assert isinstance(held[1], Held)
        attendance.leave(11, held[1])
        one.engine.line.accounts._desk = None
        one.service.send([Envelope(buy(1, 50))])
        await trio.sleep(1)
        for each in held:
            assert isinstance(each, Held)
            with pytest.raises(Halted):
                await each.wait()
        assert one.engine.lives == 2
        assert not one.service.released.sessions.armed
        history.going.set()
        answer = await one.submit(buy(1, 50), key="held")
        assert answer.refusal is None


async def test_no_more_commands_are_held_than_there_are_slots(autojump_clock: MockClock) -> None:
    history, opened = opening(MemoryJournal(), order_slots_max=20, cancel_slots_max=5)
    async with opened as one:
        await with_wrong_hits(one)
        history.stall()
        held = [one.service.admit(buy(1, 50), ANN, f"{number}") for number in range(25)]
        with pytest.raises(Overloaded):
            one.service.admit(buy(1, 50), ANN, "more")
        history.going.set()
        await wait_all_tasks_blocked()
        kinds = [type(each.admitted) for each in held if isinstance(each, Held)]
        assert kinds == [Envelope] * 20 + [Overloaded] * 5


async def test_a_snapshot_that_forgot_is_gone_on_from(autojump_clock: MockClock) -> None:
    journal = MemoryJournal()
    _, opened = opening(journal)
    async with opened as one:
        await one.founded()
        first = await one.submit(buy(1, 50), key="mine", digest=7)
        await one.submit(cancel(first.sequence))
        for number in range(10):
            await one.submit(sell(1, 90), key=f"s-{number}")
    state = EngineState(keys_exact_max=2)
    state.apply_all(records_of(journal))
    state.forget_keys(through=state.released.sequence)
    journal.snapshots[journal.head.number] = take(journal.head, state.snapshot())
    history, opened = opening(journal)
    async with opened as one:
        keys = one.service.released.keys
        assert (keys.forgotten_count, len(keys)) == (1, 10)
        assert same(await one.submit(buy(1, 50), key="mine", digest=7), first)
        assert history.asked == [(ANN, ["mine"])]


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
async def test_random_repeats_are_answered_as_a_dict_would(
    seed: int, autojump_clock: MockClock
) -> None:
    random, journal = Random(seed), MemoryJournal()
    answers: dict[tuple[int, str], tuple[int, int]] = {}
    for _ in range(3):
        history, opened = opening(journal, keys_exact_max=random.randint(1, 20))
        async with opened as one:
            if not one.service.released.sequence:
                await one.founded()
            for _ in range(60):
                await _random_batch(one, random, answers)
                if random.random() < 0.2:
                    await trio.sleep(FORGET_S)
        assert history.asked
        state = EngineState(keys_exact_max=random.randint(1, 30))
        state.apply_all(records_of(journal))
        state.forget_keys(random.randint(0, state.released.sequence), keys_max=10_000)
        journal.snapshots[journal.head.number] = take(journal.head, state.snapshot())
    keyed = [(one.scope, one.key) for one in records_of(journal) if one.key]
    assert len(keyed) == len(set(keyed)) == len(answers)


async def _random_batch(
    one: House, random: Random, answers: dict[tuple[int, str], tuple[int, int]]
) -> None:
    batch = []
    for _ in range(random.randint(1, 12)):
        scope, key = random.choice((ANN, BOB)), f"k{random.randrange(400)}"
        lots = random.randint(1, 3)
        command = buy(lots, 50, by=scope) if scope == ANN else sell(lots, 50, by=scope)
        batch.append((command, scope, key, lots))
    found = await one.service.submit_batch(batch)
    for (command, scope, key, lots), answer in zip(batch, found, strict=True):
        first = answers.get((scope, key))
        if first is None:
            assert isinstance(answer, Record)
            answers[scope, key] = (answer.sequence, lots)
        elif first[1] != lots:
            assert isinstance(answer, KeyConflict)
        else:
            assert isinstance(answer, Record)
            assert answer.sequence == first[0]
            assert answer.command == command

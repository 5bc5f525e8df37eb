"""What an engine knows survives the engine: restarts, falls, and answers by key."""

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from engine.accounts.messages import Transfer
from engine.actors.envelope import Envelope
from engine.errors import Halted, InvalidCommand, InvariantViolated, OutcomeUnknown
from engine.journal.blocks import Block
from engine.journal.records import Record
from engine.orderbook.messages import OrderKind
from engine.products.exchange.messages import Leg, PlaceConditional, TriggerWhen
from engine.products.exchange.orders import OrderStatus
from engine.products.withdrawals.messages import RequestWithdrawal
from engine.refusals import Reason
from engine.storage.memory import MemoryJournal, MemoryJournalStore
from engine.units import AmountMinor, PriceTicks, QuantityLots, Side, TimeNs
from tests.flows.house import (
    ANN,
    BASE,
    BOB,
    FUNDS,
    ONE,
    QUOTE,
    House,
    buy,
    buy_until,
    cancel,
    folded,
    house,
    same,
    sell,
)


async def test_a_restarted_engine_shows_exactly_what_was_answered(
    autojump_clock: MockClock,
) -> None:
    journal = MemoryJournal()
    async with house(journal) as first:
        await first.founded()
        resting = (await first.submit(sell(10, 50))).sequence
        await first.submit(buy(4, 50))
        before = (first.balance(ANN, QUOTE), first.balance(BOB, BASE))
    async with house(journal) as second:
        assert (second.balance(ANN, QUOTE), second.balance(BOB, BASE)) == before
        assert before == ((FUNDS - 200, 0), (FUNDS - 4, 6))
        assert second.service.order(resting).remaining_lots == 6
        await second.submit(buy(6, 50))
        assert second.service.order(resting).status is OrderStatus.FILLED


async def test_what_a_journal_could_not_give_back_never_gets_near_one(
    autojump_clock: MockClock,
) -> None:
    async with house(MemoryJournal()) as engine:
        await engine.founded()
        before = engine.service.released.sequence
        for lots in (2**64, True, "1"):
            with pytest.raises(InvalidCommand):
                await engine.submit(buy(lots, 50))  # type: ignore[arg-type]
        assert engine.service.released.sequence == before


async def test_an_answer_outlives_the_engine_that_gave_it(autojump_clock: MockClock) -> None:
    journal = MemoryJournal()
    async with house(journal) as first:
        await first.founded()
        answer = await first.submit(buy(1, 50), key="mine", digest=7)
    async with house(journal) as second:
        assert same(await second.submit(buy(1, 50), key="mine", digest=7), answer)
        assert second.service.released.orders.open_count == 1


async def test_a_refusal_stays_the_answer_even_after_a_deposit_and_a_restart(
    autojump_clock: MockClock,
) -> None:
    journal = MemoryJournal()
    too_much = Transfer(ANN, BOB, QUOTE, AmountMinor(FUNDS + 1))
    async with house(journal) as first:
        await first.founded()
        refused = await first.submit(too_much, key="k")
        assert refused.refusal is not None
        assert refused.refusal.reason is Reason.INSUFFICIENT_FUNDS
        await first.submit(Transfer(BOB, ANN, QUOTE, AmountMinor(10)))
        assert same(await first.submit(too_much, key="k"), refused)
    async with house(journal) as second:
        assert same(await second.submit(too_much, key="k"), refused)


async def test_a_follow_up_that_a_crash_left_behind_is_done_once_after_it(
    autojump_clock: MockClock,
) -> None:
    journal = MemoryJournal()
    async with house(journal) as first:
        await first.founded()
        leg = Leg(TriggerWhen.AT_OR_ABOVE, PriceTicks(60), OrderKind.LIMIT, PriceTicks(55))
        stop = await first.submit(PlaceConditional(ANN, ONE, Side.BUY, QuantityLots(3), (leg,)))
        await first.submit(sell(1, 60))
        first.engine.observe(lambda _block: first.kill() if _triggers(first) else None)
        with trio.move_on_after(1):
            await first.submit(buy(1, 60))
            await trio.sleep_forever()
    state = folded(journal)
    assert [command.order_id for command in state.released.outstanding.values()] == [stop.sequence]
    async with house(journal) as second:
        await wait_all_tasks_blocked()
        assert second.service.released.outstanding == {}
        order = second.service.order(stop.sequence)
        assert (order.status, order.remaining_lots) == (OrderStatus.OPEN, 3)
        assert second.service.released.depth(ONE).top[0] == (55, 3)


def _triggers(one: House) -> bool:
    return bool(one.service.released.outstanding)


async def test_time_goes_on_from_the_journal_when_the_wall_clock_was_set_back(
    autojump_clock: MockClock,
) -> None:
    journal = MemoryJournal()
    async with house(journal) as first:
        await first.founded()
        await trio.sleep(3_600)  # virtual time runs ahead of the wall clock, as a reset would
        ahead = await first.submit(buy_until(first.service.now_ns() + 10**9, 1, 50))
    async with house(journal) as second:
        assert second.service.now_ns() >= ahead.now_ns
        later = await second.submit(buy(1, 49))
        assert later.now_ns >= ahead.now_ns
        await trio.sleep(1.1)
        assert second.service.order(ahead.sequence).status is OrderStatus.CANCELLED


async def test_an_order_until_a_time_ends_when_it_comes(autojump_clock: MockClock) -> None:
    async with house() as one:
        await one.founded()
        record = await one.submit(buy_until(one.service.now_ns() + 5 * 10**9, 2, 50))
        await trio.sleep(4.9)
        assert one.service.order(record.sequence).status is OrderStatus.OPEN
        await trio.sleep(0.2)
        order = one.service.order(record.sequence)
        assert (order.status, order.ended_because) == (OrderStatus.CANCELLED, "EXPIRED")
        assert one.balance(ANN, QUOTE) == (FUNDS, 0)


async def test_a_deadline_set_before_a_restart_is_kept_after_it(autojump_clock: MockClock) -> None:
    journal = MemoryJournal()
    async with house(journal) as first:
        await first.founded()
        record = await first.submit(buy_until(first.service.now_ns() + 5 * 10**9, 2, 50))
        withdrawal = RequestWithdrawal(ANN, BASE, AmountMinor(5), "away", TimeNs(6 * 10**9))
        await first.submit(withdrawal)
    async with house(journal) as second:
        await trio.sleep(7)
        assert second.service.order(record.sequence).status is OrderStatus.CANCELLED
        assert second.balance(ANN, BASE) == (FUNDS - 5, 0)


class FallsOnce(MemoryJournalStore):
    """A store after whose next commit, once armed, the journal's actor falls."""

    armed = False

    async def append(self, block: Block) -> None:
        await super().append(block)
        if self.armed:
            self.armed = False
            raise InvariantViolated("planned")


async def test_after_a_fall_the_same_key_gives_a_definite_answer(autojump_clock: MockClock) -> None:
    store = FallsOnce()
    async with house(store=store) as one:
        await one.founded()
        store.armed = True
        with pytest.raises(OutcomeUnknown):
            await one.submit(buy(1, 50), key="k")
        with pytest.raises(Halted):
            await one.submit(buy(1, 50), key="k")
        await trio.sleep(1)
        assert one.engine.lives == 2
        answer = await one.submit(buy(1, 50), key="k")
        assert answer.refusal is None
        assert one.service.released.orders.open_count == 1


async def test_a_fall_in_the_release_step_loses_nothing_that_was_committed(
    autojump_clock: MockClock,
) -> None:
    async with house(block_records_max=2) as one:
        await one.founded()
        falls = [InvariantViolated("planned")]

        def fall(_block: list[Envelope]) -> None:
            if falls:
                raise falls.pop()

        one.engine.observe(fall)
        batch = [(buy(1, 50), int(ANN), str(number), 0) for number in range(6)]
        answers = await one.service.submit_batch(batch)
        kinds = [type(answer) for answer in answers]
        assert kinds == [Record] * 2 + [OutcomeUnknown] * 4  # the first block was answered
        await trio.sleep(1)
        again = await one.service.submit_batch(batch)
        assert all(isinstance(answer, Record) for answer in again)
        assert one.service.released.orders.open_count == 6
        assert one.engine.lives == 2


async def test_an_engine_that_falls_too_often_gives_up(autojump_clock: MockClock) -> None:
    store = FallsOnce()
    with pytest.RaisesGroup(Exception, flatten_subgroups=True):
        async with house(store=store, engine_restarts_max=2) as one:
            await one.founded()
            for _ in range(5):
                store.armed = True
                with pytest.raises((OutcomeUnknown, Halted)):
                    await one.submit(buy(1, 50))
                await trio.sleep(2)


async def test_an_orderly_drain_answers_what_is_under_way_and_lets_nothing_in(
    autojump_clock: MockClock,
) -> None:
    async with house() as one:
        await one.founded()
        answers: list[Record | Exception] = []

        async def ask() -> None:
            batch = [(buy(1, 50), 0, "", 0)] * 10
            answers.extend(await one.service.submit_batch(batch))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            while not one.engine.gate.under_way_count:
                await trio.lowlevel.checkpoint()
            began = trio.current_time()
            await one.engine.drain()
            assert trio.current_time() == began
            with pytest.raises(Halted):
                await one.submit(cancel(1))
        assert [type(answer) for answer in answers] == [Record] * 10

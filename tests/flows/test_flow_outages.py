"""A journal that fails: nothing is lost, nothing doubled, and a late answer is never a failure."""

from random import Random

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from engine.errors import Fenced, OutcomeUnknown, Overloaded, StorageError
from engine.journal.blocks import Block, Head, seal
from engine.journal.records import Record, encode
from engine.orderbook.messages import PlaceOrder
from engine.storage.memory import AppendFault, MemoryJournal, MemoryJournalStore
from tests.flows.house import ANN, FUNDS, QUOTE, buy, cancel, house, records_of, sell


class Unplugged(MemoryJournalStore):
    """A store whose cable can be pulled."""

    down = False

    async def open(self) -> Head:
        if self.down:
            raise StorageError("planned")
        return await super().open()

    async def append(self, block: Block) -> None:
        if self.down:
            self.journal.cut_writer()
            raise StorageError("planned")
        await super().append(block)


def orders_of(journal: MemoryJournal) -> list[PlaceOrder]:
    commands = [record.command for record in records_of(journal)]
    return [command for command in commands if isinstance(command, PlaceOrder)]


@pytest.mark.parametrize("fault", AppendFault)
async def test_a_commit_in_doubt_is_resolved_and_its_caller_answered(
    fault: AppendFault, autojump_clock: MockClock
) -> None:
    async with house() as one:
        await one.founded()
        one.journal.faults.append(fault)
        record = await one.submit(buy(1, 50))
        assert record.refusal is None
        assert orders_of(one.journal) == [buy(1, 50)]
        assert one.engine.lives == 1


@pytest.mark.parametrize("seed", range(5))
async def test_no_order_is_lost_or_doubled_while_commits_keep_failing(
    seed: int, autojump_clock: MockClock
) -> None:
    random = Random(seed)
    async with house(block_records_max=3) as one:
        await one.founded()
        sent = [buy(random.randint(1, 9), random.randint(40, 60)) for _ in range(30)]
        sent += [sell(random.randint(1, 9), random.randint(40, 60)) for _ in range(30)]
        one.journal.faults.extend(random.choices(tuple(AppendFault), k=25))
        answers: list[Record | Exception] = []

        async def ask(some: list[PlaceOrder]) -> None:
            answers.extend(await one.service.submit_batch([(order, 0, "", 0) for order in some]))

        async with trio.open_nursery() as nursery:
            for start in range(0, 60, 6):
                nursery.start_soon(ask, sent[start : start + 6])
        assert all(isinstance(answer, Record) for answer in answers)
        assert sorted(map(repr, orders_of(one.journal))) == sorted(map(repr, sent))
        assert not one.journal.faults
        assert one.engine.lives == 1


async def test_an_outage_makes_outcomes_unknown_then_overload_and_heals_by_itself(
    autojump_clock: MockClock,
) -> None:
    store = Unplugged()
    async with house(store=store, order_slots_max=3, edge_deadline_s=5.0) as one:
        await one.founded()
        store.down = True
        began = trio.current_time()
        async with trio.open_nursery() as nursery:

            async def ask(key: str) -> None:
                with pytest.raises(OutcomeUnknown):
                    await one.submit(buy(1, 50), key=key)

            for key in "abc":
                nursery.start_soon(ask, key)
        assert trio.current_time() - began == pytest.approx(5)
        with pytest.raises(Overloaded):
            await one.submit(buy(1, 50), key="d")
        with pytest.raises(OutcomeUnknown):  # cancels have slots of their own
            await one.submit(cancel(1))
        assert one.engine.line.journal.outage_since_s is not None
        store.down = False
        await trio.sleep(3)
        for key in "abc":
            assert (await one.submit(buy(1, 50), key=key)).refusal is None
        assert len(orders_of(one.journal)) == 3
        assert one.engine.gate.slots_free["orders"] == 3
        assert one.balance(ANN, QUOTE) == (FUNDS, 150)
        assert one.engine.lives == 1


async def test_a_store_that_is_down_at_the_start_is_waited_for(autojump_clock: MockClock) -> None:
    store = Unplugged()
    store.down = True
    async with trio.open_nursery() as nursery:

        async def repair() -> None:
            await trio.sleep(60)
            store.down = False

        nursery.start_soon(repair)
        async with house(store=store) as one:
            assert trio.current_time() >= 60
            await one.founded()


async def test_a_second_engine_waits_for_the_journal_and_goes_on_from_it(
    autojump_clock: MockClock,
) -> None:
    journal = MemoryJournal()
    async with trio.open_nursery() as nursery:

        async def second() -> None:
            async with house(journal) as one:
                assert trio.current_time() - began >= 5
                await one.submit(sell(1, 50))
                assert one.service.released.last_prices == {1: 50}

        async with house(journal) as first:
            await first.founded()
            await first.submit(buy(1, 50))
            began = trio.current_time()
            nursery.start_soon(second)
            await trio.sleep(5)


async def test_a_second_engine_that_waits_in_vain_is_fenced(autojump_clock: MockClock) -> None:
    journal = MemoryJournal()
    async with house(journal) as first:
        await first.founded()
        with pytest.RaisesGroup(Fenced, flatten_subgroups=True):
            async with house(journal):
                pass
        assert (await first.submit(buy(1, 50))).refusal is None


async def test_an_engine_that_lost_its_journal_commits_nothing_more_and_ends(
    autojump_clock: MockClock,
) -> None:
    journal, ready, taken = MemoryJournal(), trio.Event(), trio.Event()

    async def first() -> None:
        with pytest.RaisesGroup(Fenced, flatten_subgroups=True):
            async with house(journal) as one:
                await one.founded()
                ready.set()
                await taken.wait()
                with pytest.raises(OutcomeUnknown):
                    await one.submit(buy(1, 50), key="k")
                await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(first)
        await ready.wait()
        journal.cut_writer()
        async with house(journal) as second:
            taken.set()
            await trio.sleep(30)
            assert (await second.submit(buy(2, 50), key="k")).refusal is None
            assert orders_of(journal) == [buy(2, 50)]
            assert {block.epoch for block in journal.blocks} == {1, 2}


class Rewritten(Unplugged):
    """A store that comes back with a block that nobody of ours has sealed."""

    async def open(self) -> Head:
        head = await super().open()
        if self.journal.blocks and not self.journal.faults:
            self.journal.blocks.append(seal(head, head.sequence + 1, encode([])))
        return self.journal.head


async def test_an_engine_whose_journal_went_on_without_it_ends(autojump_clock: MockClock) -> None:
    store = Rewritten()
    with pytest.RaisesGroup(Fenced, flatten_subgroups=True):
        async with house(store=store) as one:
            await one.founded()
            one.journal.faults.append(AppendFault.NOT_COMMITTED)
            with pytest.raises(OutcomeUnknown):
                await one.submit(buy(1, 50))
    assert orders_of(store.journal) == []


async def test_what_happens_while_the_store_is_down_needs_no_memory_beyond_the_gate(
    autojump_clock: MockClock,
) -> None:
    store = Unplugged()
    async with house(store=store, order_slots_max=10, cancel_slots_max=5) as one:
        await one.founded()
        store.down = True
        refused = 0
        for number in range(50):
            try:
                with trio.move_on_after(0.01):
                    await one.submit(buy(1, 50) if number % 2 else cancel(1))
            except Overloaded:
                refused += 1
        assert refused == 50 - 15
        assert one.engine.gate.under_way_count == 15
        store.down = False
        await trio.sleep(3)
        await wait_all_tasks_blocked()
        assert one.engine.gate.under_way_count == 0

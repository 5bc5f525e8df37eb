"""Everything fails at once, from a seed: no key is answered twice, and the books close."""

from collections import Counter
from random import Random
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from engine.accounts.messages import CancelAll, Transfer
from engine.actors.desks import DeskHealth
from engine.errors import EngineError, InvariantViolated
from engine.gateways.custody import CustodyFault, SimulatedCustody
from engine.journal.blocks import Block
from engine.journal.records import Record
from engine.orderbook.messages import OrderKind, PlaceOrder, SelfTradePrevention
from engine.products.exchange.messages import Leg, PlaceConditional, TriggerWhen
from engine.products.withdrawals.desk import WithdrawalStatus
from engine.products.withdrawals.messages import RequestWithdrawal
from engine.storage.memory import AppendFault, MemoryJournal, MemoryJournalStore
from engine.units import (
    AmountMinor,
    InstrumentId,
    PriceTicks,
    QuantityLots,
    Side,
    TimeNs,
)
from tests.flows.house import (
    ANN,
    BASE,
    BOB,
    ONE,
    QUOTE,
    TWO,
    House,
    cancel,
    folded,
    house,
    records_of,
    same,
)
from tests.flows.test_flow_desk_faults import stumble


class Shaky(MemoryJournalStore):
    """A store at which the whole engine falls now and then, before or after a commit."""

    def __init__(self, journal: MemoryJournal, random: Random) -> None:
        super().__init__(journal)
        self._random = random
        self.steady = True

    async def append(self, block: Block) -> None:
        falls = not self.steady and self._random.random() < 0.01
        if falls and self._random.random() < 0.5:
            raise InvariantViolated("planned, before the commit")
        await super().append(block)
        if falls:
            raise InvariantViolated("planned, after the commit")


class Trader:
    """Sends seeded commands under keys, and asks again by key until the answer is definite."""

    def __init__(self, one: House, random: Random, name: str) -> None:
        self._one = one
        self._random = random
        self._name = name
        self.answers: dict[tuple[int, str], Record] = {}

    async def trade(self, commands: int) -> None:
        for number in range(commands):
            command, key = self._command(), f"{self._name}-{number}"
            record = await self._definite(command, key)
            self.answers[command.account_id, key] = record
            if self._random.random() < 0.3:
                await trio.sleep(self._random.random())

    async def _definite(self, command: Any, key: str) -> Record:
        while True:
            try:
                return await self._one.submit(command, key)
            except EngineError:  # overloaded, halted or unknown: ask again by key
                await trio.sleep(self._random.random())

    def _command(self) -> Any:
        random = self._random
        who, where = random.choice((ANN, BOB)), random.choice((ONE, TWO))
        side, lots = random.choice(tuple(Side)), QuantityLots(random.randint(1, 9))
        price = PriceTicks(random.randint(45, 55))
        kind = random.randrange(20)
        if kind == 0:
            return RequestWithdrawal(
                who, BASE, AmountMinor(10), "x", TimeNs(random.choice((0, 10**9)))
            )
        if kind == 1:
            return CancelAll(who, random.choice((InstrumentId(0), where)), random.randrange(3))
        if kind == 2:
            other = ANN if who == BOB else BOB
            return Transfer(who, other, QUOTE, AmountMinor(random.randint(1, 500)))
        if kind < 7:
            above = random.random() < 0.5
            when = TriggerWhen.AT_OR_ABOVE if above else TriggerWhen.AT_OR_BELOW
            trigger = PriceTicks(random.randint(50, 56) if above else random.randint(44, 50))
            leg = Leg(when, trigger, OrderKind.LIMIT, price)
            return PlaceConditional(who, where, side, lots, (leg,))
        if kind < 9:
            return cancel(random.randint(12, 200), by=who, on=where)
        mode = random.choice(tuple(SelfTradePrevention))
        return PlaceOrder(who, where, side, OrderKind.LIMIT, price, lots, self_trade=mode)


async def break_things(one: House, store: Shaky, random: Random) -> None:
    """Let desks stumble and commits fail, in virtual time, for ever."""
    store.steady = False
    while True:
        await trio.sleep(random.random() * 2)
        if random.random() < 0.5:
            one.journal.faults.append(random.choice(tuple(AppendFault)))
        try:
            desks = list(one.desks.desks)
        except EngineError:
            continue
        if desks and random.random() < 0.5:
            stumble(one, random.choice(desks), lambda _command: True)


async def settle(one: House, store: Shaky) -> None:
    """Let the last faults pass, and whatever is left be done."""
    store.steady = True
    one.journal.faults.clear()
    await trio.sleep(300)
    await wait_all_tasks_blocked()


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10))
async def test_no_key_is_answered_twice_and_the_books_close(
    seed: int, autojump_clock: MockClock
) -> None:
    random = Random(seed)
    journal = MemoryJournal()
    custody = SimulatedCustody(random.choices(tuple(CustodyFault), k=20))
    answers: dict[tuple[int, str], Record] = {}
    for life in range(2):
        store = Shaky(journal, random)
        async with house(
            store=store,
            custody=custody,
            block_records_max=5,
            engine_restarts_max=1_000,
            desk_restarts_max=1_000,
        ) as one:
            if not life:
                await one.founded()
            traders = [Trader(one, random, f"{life}-{name}") for name in "abcd"]
            async with trio.open_nursery() as breaking:
                breaking.start_soon(break_things, one, store, random)
                async with trio.open_nursery() as trading:
                    for trader in traders:
                        trading.start_soon(trader.trade, 40)
                breaking.cancel_scope.cancel()
            await settle(one, store)
            healths = [desk.health for desk in one.desks.desks.values()]
            assert DeskHealth.HALTED in healths or one.service.released.outstanding == {}
            for trader in traders:
                answers.update(trader.answers)
    check_answers(journal, answers)
    check_custody(journal, custody)


def check_answers(journal: MemoryJournal, answers: dict[tuple[int, str], Record]) -> None:
    """Every key has one record, which is what its caller was told; follow-ups are done once."""
    records = records_of(journal)
    keyed = {(record.scope, record.key): record for record in records if record.key}
    assert max(Counter((r.scope, r.key) for r in records if r.key).values()) == 1
    assert set(keyed) == set(answers)
    assert all(same(keyed[key], answer) for key, answer in answers.items())
    done = Counter(
        (r.answers_sequence, r.answers_index)
        for r in records
        if r.answers_sequence and not r.is_deferred
    )
    assert not done or max(done.values()) == 1


def check_custody(journal: MemoryJournal, custody: SimulatedCustody) -> None:
    """What custody paid is what our books say has left."""
    state = folded(journal)
    settled = [w for w in state.released.withdrawals.all() if w.status == WithdrawalStatus.SETTLED]
    paid = {f"withdrawal-{w.withdrawal_id}": int(w.terms.amount_minor) for w in settled}
    assert custody.paid == paid
    assert not custody.requests or max(custody.requests.values()) == 1

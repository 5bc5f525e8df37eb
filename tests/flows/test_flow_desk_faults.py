"""A desk that raises costs only what it had in hand; it comes back, or halts for all to see."""

from collections.abc import Callable
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from engine.accounts.messages import CancelAll
from engine.actors.desks import DeskHealth
from engine.gateways.custody import CustodyFault, SimulatedCustody
from engine.journal.records import Record
from engine.messages import Deferred, Wake
from engine.orderbook.messages import ChangeInstrumentState, InstrumentState, OrderKind, PlaceOrder
from engine.products.exchange.messages import (
    CancelChunk,
    EnterTriggered,
    Leg,
    PlaceConditional,
    TriggerWhen,
)
from engine.products.exchange.orders import OrderStatus
from engine.products.withdrawals.desk import WithdrawalStatus
from engine.products.withdrawals.messages import RecordCustodyFinding, RequestWithdrawal
from engine.refusals import Reason
from engine.storage.memory import MemoryJournal
from engine.units import (
    SESSIONS_DESK,
    WITHDRAWALS_DESK,
    AmountMinor,
    DeskId,
    InstrumentId,
    OrderId,
    PriceTicks,
    QuantityLots,
    Side,
    TimeNs,
)
from tests.flows.house import (
    ANN,
    BASE,
    BOB,
    FUNDS,
    ONE,
    QUOTE,
    TWO,
    House,
    buy,
    cancel,
    house,
    records_of,
    sell,
)

At = Callable[[Any], bool]


class Stumbling:
    """A desk's machine that raises so many more times at chosen commands."""

    def __init__(self, machine: Any, at: At, times: list[int]) -> None:
        self._machine = machine
        self._at = at
        self._times = times

    def __getattr__(self, name: str) -> Any:
        return getattr(self._machine, name)

    def decide(self, sequence: int, now_ns: int, command: Any, reserved: Any) -> Any:
        if self._times[0] and self._at(command):
            self._times[0] -= 1
            raise ValueError("planned")
        return self._machine.decide(sequence, now_ns, command, reserved)


def stumble(one: House, desk_id: DeskId, at: At, times: int = 1) -> None:
    """Let a desk and what is rebuilt in its place raise, all in all so many times."""
    actor, left = one.desks, [times]
    hosted, rebuild = actor.desks[desk_id], actor._rebuild

    async def stumbling_rebuild(rebuilt_id: DeskId, through: int) -> Any:
        machine = await rebuild(rebuilt_id, through)
        return Stumbling(machine, at, left) if rebuilt_id == desk_id else machine

    hosted.machine = Stumbling(hosted.machine, at, left)
    actor._rebuild = stumbling_rebuild


def of_price(price: int) -> At:
    return lambda command: isinstance(command, PlaceOrder) and command.price_ticks == price


def entering(command: Any) -> bool:
    return isinstance(command, EnterTriggered)


def reason(answer: Record | Exception) -> Reason | None:
    assert isinstance(answer, Record)
    return answer.refusal.reason if answer.refusal else None


async def placed_stop(one: House) -> OrderId:
    """A buy stop of ANN that a trade at 60 sets off."""
    leg = Leg(TriggerWhen.AT_OR_ABOVE, PriceTicks(60), OrderKind.LIMIT, PriceTicks(55))
    record = await one.submit(PlaceConditional(ANN, ONE, Side.BUY, QuantityLots(3), (leg,)))
    return record.sequence


async def trade_at_60(one: House) -> None:
    await one.submit(sell(1, 60))
    await one.submit(buy(1, 60))


async def test_only_the_command_that_broke_the_desk_is_refused(autojump_clock: MockClock) -> None:
    async with house() as one:
        await one.founded()
        resting = await one.submit(sell(5, 50))
        stumble(one, ONE, of_price(13))
        assert reason(await one.submit(buy(1, 13))) is Reason.DESK_FAULT
        await wait_all_tasks_blocked()
        await one.submit(buy(2, 50))
        assert one.service.order(resting.sequence).remaining_lots == 3
        assert one.engine.lives == 1


async def test_what_queues_at_a_fallen_desk_is_refused_and_other_desks_trade_on(
    autojump_clock: MockClock,
) -> None:
    async with house() as one:
        await one.founded()
        await one.submit(buy(1, 50, on=TWO))
        await one.submit(buy(1, 11))
        stumble(one, ONE, of_price(13))
        commands = [buy(1, 12), buy(1, 13), buy(1, 14), cancel(1), sell(1, 50, on=TWO)]
        answers = await one.service.submit_batch([(command, 0, "", 0) for command in commands])
        fault = Reason.DESK_FAULT
        assert [reason(answer) for answer in answers] == [None, fault, fault, fault, None]
        assert one.service.released.last_prices == {TWO: 50}
        await wait_all_tasks_blocked()
        assert reason(await one.submit(buy(1, 14))) is None


async def test_a_fault_is_the_answer_to_its_key(autojump_clock: MockClock) -> None:
    async with house() as one:
        await one.founded()
        await one.submit(buy(1, 11))
        stumble(one, ONE, of_price(13))
        assert reason(await one.submit(buy(1, 13), key="k")) is Reason.DESK_FAULT
        await wait_all_tasks_blocked()
        assert reason(await one.submit(buy(1, 13), key="k")) is Reason.DESK_FAULT
        assert reason(await one.submit(buy(1, 13), key="l")) is None


async def test_a_follow_up_that_met_a_fault_is_deferred_and_done_once_later(
    autojump_clock: MockClock,
) -> None:
    async with house() as one:
        await one.founded()
        stop = await placed_stop(one)
        stumble(one, ONE, entering)
        await trade_at_60(one)
        await wait_all_tasks_blocked()
        entries = [r for r in records_of(one.journal) if isinstance(r.command, EnterTriggered)]
        assert [record.is_deferred for record in entries] == [True, False]
        order = one.service.order(stop)
        assert (order.status, order.remaining_lots) == (OrderStatus.OPEN, 3)
        assert one.balance(ANN, QUOTE) == (FUNDS - 60, 165)


async def test_a_desk_that_falls_twice_on_one_follow_up_halts_and_loses_nothing(
    autojump_clock: MockClock,
) -> None:
    journal = MemoryJournal()
    async with house(journal) as one:
        await one.founded()
        stop = await placed_stop(one)
        stumble(one, ONE, entering, times=2)
        await trade_at_60(one)
        await wait_all_tasks_blocked()
        assert one.desks.desks[ONE].health is DeskHealth.HALTED
        assert one.service.order(stop).status is OrderStatus.TRIGGERED
        assert one.balance(ANN, QUOTE) == (FUNDS - 60, 165)
        assert reason(await one.submit(buy(1, 50))) is Reason.DESK_HALTED
        assert reason(await one.submit(buy(1, 50, on=TWO))) is None
    async with house(journal) as repaired:
        await wait_all_tasks_blocked()
        assert repaired.service.order(stop).status is OrderStatus.OPEN
        assert repaired.service.released.outstanding == {}


async def test_a_desk_that_falls_too_often_halts_and_the_rest_trades_on(
    autojump_clock: MockClock,
) -> None:
    async with house(desk_restarts_max=2) as one:
        await one.founded()
        await one.submit(buy(1, 10))
        stumble(one, ONE, of_price(13), times=3)
        for answer in (Reason.DESK_FAULT, Reason.DESK_FAULT, Reason.DESK_HALTED):
            assert one.desks.desks[ONE].health is DeskHealth.LIVE
            assert reason(await one.submit(buy(1, 13))) is answer
            await wait_all_tasks_blocked()
        assert one.desks.desks[ONE].health is DeskHealth.HALTED
        assert reason(await one.submit(buy(1, 14))) is Reason.DESK_HALTED
        assert reason(await one.submit(buy(1, 14, on=TWO))) is None


async def test_falls_spread_over_time_never_halt_a_desk(autojump_clock: MockClock) -> None:
    async with house(desk_restarts_max=2, desk_restart_period_s=10) as one:
        await one.founded()
        await one.submit(buy(1, 10))
        stumble(one, ONE, of_price(13), times=9)
        for _ in range(9):
            assert reason(await one.submit(buy(1, 13))) is Reason.DESK_FAULT
            await trio.sleep(5.1)
        assert one.desks.desks[ONE].health is DeskHealth.LIVE


async def test_a_cancel_all_does_not_wait_for_a_halted_desk(autojump_clock: MockClock) -> None:
    async with house(desk_restarts_max=1) as one:
        await one.founded()
        for instrument_id in (ONE, TWO):
            await one.submit(buy(1, 10, on=instrument_id))
        stumble(one, ONE, of_price(13), times=2)
        for _ in range(2):
            await one.submit(buy(1, 13))
            await wait_all_tasks_blocked()
        header = await one.submit(CancelAll(ANN))
        await wait_all_tasks_blocked()
        progress = one.service.released.cancel_alls[header.sequence]
        assert progress == (0, 1, 1)  # none open, one order cancelled, one desk refused
        assert one.balance(ANN, QUOTE) == (FUNDS, 10)


async def test_a_cancel_all_waits_for_a_desk_that_is_coming_back(
    autojump_clock: MockClock,
) -> None:
    async with house() as one:
        await one.founded()
        await one.submit(buy(1, 10))
        stumble(one, ONE, lambda command: isinstance(command, CancelChunk))
        header = await one.submit(CancelAll(ANN))
        await wait_all_tasks_blocked()
        assert one.service.released.cancel_alls[header.sequence] == (0, 1, 0)
        assert one.balance(ANN, QUOTE) == (FUNDS, 0)


async def test_closing_an_instrument_waits_for_its_desk_to_come_back(
    autojump_clock: MockClock,
) -> None:
    async with house() as one:
        await one.founded()
        await one.submit(buy(1, 10))
        stumble(one, ONE, lambda command: isinstance(command, CancelChunk))
        await one.submit(ChangeInstrumentState(ONE, InstrumentState.CLOSED))
        await wait_all_tasks_blocked()
        assert one.balance(ANN, QUOTE) == (FUNDS, 0)
        assert any(type(r.events[-1]) is Deferred for r in records_of(one.journal) if r.events)


async def test_a_fact_from_outside_that_met_a_fallen_desk_is_not_lost(
    autojump_clock: MockClock,
) -> None:
    async with house(custody=SimulatedCustody([CustodyFault.REFUSED])) as one:
        await one.founded()
        stumble(one, WITHDRAWALS_DESK, lambda command: isinstance(command, RecordCustodyFinding))
        record = await one.submit(RequestWithdrawal(ANN, BASE, AmountMinor(9), "x", TimeNs(0)))
        await trio.sleep(1)
        withdrawal = one.service.released.withdrawals.get(record.sequence)
        assert withdrawal is not None
        assert withdrawal.status is WithdrawalStatus.REFUSED
        assert one.balance(ANN, BASE) == (FUNDS, 0)


async def test_a_deadline_that_met_a_fallen_desk_comes_again(autojump_clock: MockClock) -> None:
    async with house() as one:
        await one.founded()
        stumble(one, WITHDRAWALS_DESK, lambda command: isinstance(command, Wake))
        await one.submit(RequestWithdrawal(ANN, BASE, AmountMinor(9), "x", TimeNs(10**9)))
        await trio.sleep(3)
        assert one.balance(ANN, BASE) == (FUNDS - 9, 0)


@pytest.mark.parametrize("instrument", [-1, 0, 99])
async def test_an_unknown_instrument_is_refused_and_breaks_nothing(
    instrument: int, autojump_clock: MockClock
) -> None:
    async with house() as one:
        await one.founded()
        nowhere = InstrumentId(instrument)
        for command in (
            buy(1, 1, on=nowhere),
            cancel(1, on=nowhere),
            ChangeInstrumentState(nowhere, InstrumentState.HALTED),
        ):
            assert reason(await one.submit(command)) is Reason.UNKNOWN_INSTRUMENT
        await wait_all_tasks_blocked()
        assert one.service.released.depths == {}
        assert (one.engine.lives, set(one.desks.desks)) == (1, {WITHDRAWALS_DESK, SESSIONS_DESK})
        assert all(desk.falls == 0 for desk in one.desks.desks.values())
        assert reason(await one.submit(sell(1, 1, by=BOB))) is None

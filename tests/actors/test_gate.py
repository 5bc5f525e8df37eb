"""What the gate promises: bounded room, one answer per key, and nobody left waiting."""

from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from engine.accounts.messages import CancelAll, HaltScope, SetHalt
from engine.actors.envelope import Envelope, Ticket
from engine.actors.gate import Gate
from engine.errors import Halted, KeyConflict, OutcomeUnknown, Overloaded
from engine.journal.keys import Answered, KeyIndex
from engine.journal.records import Record
from engine.orderbook.messages import (
    CancelOrder,
    ChangeInstrumentState,
    InstrumentState,
    OrderKind,
    PlaceOrder,
)
from engine.products.withdrawals.messages import CancelWithdrawal
from engine.units import (
    AccountId,
    GroupId,
    InstrumentId,
    OrderId,
    PriceTicks,
    QuantityLots,
    Sequence,
    Side,
    TimeNs,
)

ME = AccountId(100)
ORDER = PlaceOrder(ME, InstrumentId(1), Side.BUY, OrderKind.LIMIT, PriceTicks(1), QuantityLots(1))
CANCEL = CancelOrder(ME, InstrumentId(1), OrderId(1))


def opened(orders: int = 2, cancels: int = 2, keys: KeyIndex | None = None) -> Gate:
    gate = Gate(orders, cancels)
    gate.open(keys or KeyIndex())
    return gate


def admitted(gate: Gate, command: Any = ORDER, key: str = "", digest: int = 0) -> Envelope:
    envelope = gate.admit(command, 100, key, digest)
    assert isinstance(envelope, Envelope)
    return envelope


def recorded(gate: Gate, envelope: Envelope, sequence: int = 1) -> Record:
    """Do what the release step does with a command's record."""
    envelope.record = Record(Sequence(sequence), TimeNs(0), Sequence(0), envelope.command, ())
    gate.release(envelope)
    return envelope.record


def test_no_more_commands_are_under_way_than_there_are_slots() -> None:
    gate = opened(orders=2)
    first = admitted(gate)
    admitted(gate)
    with pytest.raises(Overloaded):
        gate.admit(ORDER)
    assert gate.under_way_count == 2
    recorded(gate, first)
    admitted(gate)


@pytest.mark.parametrize(
    "command",
    [
        CANCEL,
        CancelAll(ME),
        CancelWithdrawal(ME, GroupId(1)),
        SetHalt(HaltScope.EVERYTHING, 0, halted=True, reason="flood"),
        ChangeInstrumentState(InstrumentId(1), InstrumentState.HALTED),
    ],
    ids=lambda command: type(command).__name__,
)
def test_what_makes_things_safer_gets_in_when_all_order_slots_are_taken(command: Any) -> None:
    gate = opened(orders=1, cancels=1)
    admitted(gate)
    admitted(gate, command)
    with pytest.raises(Overloaded):
        gate.admit(command)
    assert gate.slots_free == {"orders": 0, "cancels": 0}


def test_overload_accepts_nothing_and_spends_no_key() -> None:
    gate = opened(orders=1)
    first = admitted(gate, key="a")
    with pytest.raises(Overloaded):
        gate.admit(ORDER, 100, "b", 1)
    recorded(gate, first)
    admitted(gate, key="b", digest=2)


async def test_a_repeat_in_flight_joins_those_who_wait_for_the_first() -> None:
    gate, answers = opened(orders=1), list[Record]()
    envelope = admitted(gate, key="k", digest=7)
    repeat = gate.admit(ORDER, 100, "k", 7)
    assert isinstance(repeat, Ticket)
    assert repeat is envelope.ticket

    async def wait() -> None:
        answers.append(await repeat.wait())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        nursery.start_soon(wait)
        await wait_all_tasks_blocked()
        record = recorded(gate, envelope)
    assert answers == [record, record]


def test_a_key_in_flight_with_another_body_is_a_conflict() -> None:
    gate = opened()
    admitted(gate, key="k", digest=7)
    with pytest.raises(KeyConflict):
        gate.admit(ORDER, 100, "k", 8)
    assert gate.under_way_count == 1


def test_a_used_key_names_its_answer_and_conflicts_with_another_body() -> None:
    keys = KeyIndex()
    keys.add(100, "k", Sequence(42), 7)
    gate = opened(keys=keys)
    assert gate.admit(ORDER, 100, "k", 7) == Answered(Sequence(42), 7)
    with pytest.raises(KeyConflict):
        gate.admit(ORDER, 100, "k", 8)
    assert gate.under_way_count == 0


def test_the_same_key_of_another_account_is_another_key() -> None:
    gate = opened()
    admitted(gate, key="k", digest=7)
    assert isinstance(gate.admit(ORDER, 101, "k", 8), Envelope)


async def test_a_slot_returns_at_the_record_and_not_when_the_caller_leaves() -> None:
    gate = opened(orders=1)
    envelope = admitted(gate)
    assert envelope.ticket is not None
    with trio.move_on_after(0):
        await envelope.ticket.wait()
    with pytest.raises(Overloaded):
        gate.admit(ORDER)
    recorded(gate, envelope)
    admitted(gate)


async def test_closing_fails_everybody_under_way_and_frees_every_slot() -> None:
    gate = opened(orders=2, cancels=2)
    tickets = [admitted(gate, key="k").ticket, admitted(gate).ticket, admitted(gate, CANCEL).ticket]

    async def wait(ticket: Ticket) -> None:
        with pytest.raises(OutcomeUnknown):
            await ticket.wait()

    async with trio.open_nursery() as nursery:
        for ticket in tickets:
            assert ticket is not None
            nursery.start_soon(wait, ticket)
        await wait_all_tasks_blocked()
        gate.close(OutcomeUnknown("the engine fell"))
    assert (gate.slots_free, gate.under_way_count) == ({"orders": 2, "cancels": 2}, 0)
    with pytest.raises(Halted):
        gate.admit(ORDER)


def test_a_ticket_settles_once() -> None:
    ticket = Ticket()
    record = Record(Sequence(1), TimeNs(0), Sequence(0), ORDER, ())
    ticket.settle(record)
    ticket.fail(OutcomeUnknown("too late"))
    ticket.settle(Record(Sequence(2), TimeNs(0), Sequence(0), ORDER, ()))
    assert (ticket.record, ticket.error) == (record, None)


async def test_a_failed_ticket_stays_failed() -> None:
    ticket = Ticket()
    ticket.fail(OutcomeUnknown("fell"))
    ticket.settle(Record(Sequence(1), TimeNs(0), Sequence(0), ORDER, ()))
    with pytest.raises(OutcomeUnknown, match="fell"):
        await ticket.wait()


async def test_a_stopping_gate_is_drained_when_the_last_record_is_there() -> None:
    gate = opened()
    envelope = admitted(gate)
    gate.stop_admitting()
    with pytest.raises(Halted):
        gate.admit(CANCEL)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(gate.drained)
        await wait_all_tasks_blocked()
        assert nursery.child_tasks
        recorded(gate, envelope)


async def test_a_stopping_gate_is_drained_when_the_engine_behind_it_falls(
    autojump_clock: MockClock,
) -> None:
    gate = opened()
    admitted(gate)
    gate.stop_admitting()
    gate.close(OutcomeUnknown("fell"))
    with trio.fail_after(1):
        await gate.drained()

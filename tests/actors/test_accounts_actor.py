"""The one order that counts: what a batch takes first, and that nothing is drawn twice."""

from typing import Any

from engine.accounts.messages import CreateOwner, OpenAccount
from engine.actors.accounts import AccountsActor, AccountsMessage, DeskReady
from engine.actors.actor import Vitals
from engine.actors.envelope import Envelope, Lane
from engine.actors.gate import Gate
from engine.actors.mailbox import Mailbox
from engine.journal.records import Record
from engine.journal.state import EngineState
from engine.messages import Deferred, Wake
from engine.orderbook.messages import CancelReason, OrderKind, PlaceOrder
from engine.products.exchange.messages import CancelChunk, EnterTriggered, ReportChunks
from engine.products.withdrawals.messages import CustodyFinding, RecordCustodyFinding
from engine.units import (
    WITHDRAWALS_DESK,
    AccountId,
    GroupId,
    InstrumentId,
    OrderId,
    OwnerId,
    PriceTicks,
    QuantityLots,
    Sequence,
    Side,
    TimeNs,
)

HERE = InstrumentId(1)
ENTER = EnterTriggered(
    OrderId(1),
    PlaceOrder(AccountId(100), HERE, Side.BUY, OrderKind.LIMIT, PriceTicks(1), QuantityLots(1)),
)


class Noon:
    """A clock that stands still."""

    def now_ns(self) -> TimeNs:
        return TimeNs(12)


class Station:
    """The accounts actor between mailboxes that the test reads."""

    def __init__(self, follow_ups_per_batch_max: int = 10) -> None:
        self.state = EngineState()
        self.desks = Mailbox[list[Envelope]]("desks", 100)
        self.journal = Mailbox[list[Envelope]]("journal", 100)
        self.actor = AccountsActor(
            Mailbox[AccountsMessage]("accounts", 100),
            Vitals("accounts"),
            desk=self.state.accounts,
            released=self.state.released,
            gate=Gate(10, 10),
            clock=Noon(),
            desks=self.desks,
            journal=self.journal,
            follow_ups_per_batch_max=follow_ups_per_batch_max,
        )

    async def take(self, *messages: AccountsMessage) -> list[Envelope]:
        """Let the actor have a batch; returns what it sent on, in sequence."""
        await self.actor.receive(list(messages))
        sent = [*self.desks.take_nowait(), *self.journal.take_nowait()]
        return sorted((e for message in sent for e in message), key=lambda e: e.sequence)

    def release(self, command: Any, *follow_ups: Any, answers: tuple[int, int] = (0, 0)) -> None:
        """Let a record with these follow-ups be released, or one that answers by deferring."""
        sequence = Sequence(self.state.released.sequence + 1)
        events = (Deferred(),) if answers != (0, 0) else ()
        self.state.released.apply(
            Record(sequence, TimeNs(0), Sequence(0), command, events, (), (), follow_ups, *answers)
        )


def outside(command: Any) -> Envelope:
    return Envelope(command)


async def test_a_batch_takes_results_wakes_follow_ups_and_then_callers() -> None:
    station = Station()
    station.release(CreateOwner("x"), ENTER)
    finding = RecordCustodyFinding(GroupId(1), CustodyFinding.SETTLED, "")
    first, second = CreateOwner("first"), OpenAccount(OwnerId(9), "second")
    sent = await station.take(
        [outside(first), outside(second)],
        [Envelope(Wake(WITHDRAWALS_DESK), Lane.WAKE)],
        [Envelope(finding, Lane.RESULT)],
    )
    wanted = [finding, Wake(WITHDRAWALS_DESK), ENTER, first, second]
    assert [envelope.command for envelope in sent] == wanted
    assert [envelope.now_ns for envelope in sent] == [12] * 5


async def test_sequences_have_no_gaps_whoever_decides() -> None:
    station = Station()
    commands = [CreateOwner("a"), ENTER.order, Wake(WITHDRAWALS_DESK), CreateOwner("")]
    sent = await station.take([outside(command) for command in commands])
    sent += await station.take([outside(command) for command in commands])
    assert [envelope.sequence for envelope in sent] == list(range(1, 9))


async def test_a_batch_draws_a_bounded_number_of_follow_ups_in_key_order() -> None:
    station = Station(follow_ups_per_batch_max=3)
    reports = [ReportChunks(Sequence(1), HERE, n) for n in range(5)]
    station.release(CreateOwner("x"), *reports[:2])
    station.release(CreateOwner("y"), *reports[2:])
    drawn = [await station.take([]), await station.take([]), await station.take([])]
    assert [[e.command for e in batch] for batch in drawn] == [reports[:3], reports[3:], []]
    assert [e.answers for batch in drawn for e in batch] == [(1, 0), (1, 1), (2, 0), (2, 1), (2, 2)]


async def test_a_follow_up_on_its_way_is_not_drawn_again_when_its_desk_comes_back() -> None:
    station = Station()
    station.release(CreateOwner("x"), ENTER)
    assert len(await station.take([])) == 1
    assert await station.take(DeskReady(HERE, [])) == []


async def test_a_deferred_follow_up_is_drawn_again_when_its_desk_comes_back() -> None:
    station = Station()
    station.release(CreateOwner("x"), ENTER)
    assert len(await station.take([])) == 1
    station.release(ENTER, answers=(1, 0))
    assert await station.take([]) == []
    again = await station.take(DeskReady(HERE, [(1, 0)]))
    assert [(e.command, e.answers) for e in again] == [(ENTER, (1, 0))]


async def test_a_result_that_was_deferred_is_drawn_as_its_own_follow_up() -> None:
    station = Station()
    finding = RecordCustodyFinding(GroupId(1), CustodyFinding.SETTLED, "")
    station.release(finding, finding)
    drawn = await station.take([])
    assert [(e.command, e.answers, e.lane) for e in drawn] == [(finding, (1, 0), Lane.FOLLOW_UP)]


async def test_work_for_a_desk_waits_for_nobody_at_another_desk() -> None:
    station = Station(follow_ups_per_batch_max=2)
    chunk = CancelChunk(HERE, AccountId(100), OrderId(9), CancelReason.CANCEL_ALL, Sequence(1))
    station.release(CreateOwner("x"), ENTER, ENTER, chunk)
    assert [e.command for e in await station.take([])] == [ENTER, ENTER]
    station.release(ENTER, answers=(1, 0))
    station.release(ENTER, answers=(1, 1))
    assert [e.command for e in await station.take([])] == [chunk]

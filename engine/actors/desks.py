"""The desks' actor: hosts every machine but accounts', each with its own failures.

A machine that raises is dropped and rebuilt from the journal while the others go on. What it had in
hand is closed at once: callers' commands as refused, internal ones as deferred, so that no sequence
stays open. A machine that falls more often than its limit is halted, visibly.
"""

from collections.abc import Awaitable, Callable
from enum import StrEnum
from typing import Any, Final

import structlog
import trio

from engine.actors.accounts import AccountsMessage, DeskReady
from engine.actors.actor import Actor, Vitals
from engine.actors.deadlines import Deadlines
from engine.actors.envelope import Envelope, Lane
from engine.actors.mailbox import Mailbox
from engine.actors.supervisor import RestartHistory, RestartLimit
from engine.errors import InvariantViolated
from engine.journal.records import desk_of
from engine.journal.released import FollowUpKey
from engine.messages import Deferred, Refused
from engine.orderbook.messages import CancelReason
from engine.products.exchange.messages import CancelChunk, ReportChunks
from engine.refusals import Reason
from engine.units import DeskId

_log = structlog.get_logger("desks")
#: After so many decisions the journal gets what there is, and other actors get a turn.
DECISIONS_PER_TURN_MAX: Final = 512


class DeskHealth(StrEnum):
    """Whether a desk decides."""

    LIVE = "LIVE"
    REBUILDING = "REBUILDING"
    HALTED = "HALTED"


class HostedDesk:
    """One machine and how it fares."""

    __slots__ = ("deferred", "falls", "fell_on", "health", "history", "last_sequence", "machine")

    def __init__(self, machine: Any, limit: RestartLimit) -> None:
        self.machine = machine
        self.health = DeskHealth.LIVE
        self.history = RestartHistory(limit)
        self.falls = 0
        self.fell_on: tuple[int, int] = (0, 0)  # the follow-up it last fell on
        self.last_sequence = 0
        self.deferred: list[FollowUpKey] = []  # closed undecided since it fell


class DesksActor(Actor[list[Envelope]]):
    """Lets each command's desk decide it and tells the journal once per turn."""

    def __init__(
        self,
        mailbox: Mailbox[list[Envelope]],
        vitals: Vitals,
        *,
        machine_of: Callable[[DeskId], Any],
        rebuild: Callable[[DeskId, int], Awaitable[Any]],
        journal: Mailbox[list[Envelope]],
        accounts: Mailbox[AccountsMessage],
        deadlines: Deadlines,
        limit: RestartLimit,
    ) -> None:
        super().__init__(mailbox, vitals)
        self._machine_of = machine_of
        self._rebuild = rebuild
        self._journal = journal
        self._accounts = accounts
        self._deadlines = deadlines
        self._limit = limit
        self.desks: dict[DeskId, HostedDesk] = {}
        self._nursery: trio.Nursery | None = None

    async def run(self, *, task_status: "trio.TaskStatus[None]" = trio.TASK_STATUS_IGNORED) -> None:
        """Live; rebuilds of single desks run beside."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            await super().run(task_status=task_status)

    def host(self, desk_id: DeskId, machine: Any) -> None:
        """Take in a recovered machine."""
        self.desks[desk_id] = HostedDesk(machine, self._limit)
        self._deadlines.set(desk_id, machine.next_deadline_ns)

    async def receive(self, batch: list[list[Envelope]]) -> None:
        """Decide everything in order. Yields after a bounded number of decisions."""
        envelopes = [envelope for message in batch for envelope in message]
        for start in range(0, len(envelopes), DECISIONS_PER_TURN_MAX):
            if start:
                await trio.lowlevel.checkpoint()
            self._decide_turn(envelopes[start : start + DECISIONS_PER_TURN_MAX])

    def _decide_turn(self, envelopes: list[Envelope]) -> None:
        touched: dict[DeskId, HostedDesk] = {}
        for envelope in envelopes:
            desk_id = desk_of(envelope.command)
            desk = self.desks.get(desk_id)
            if desk is None:
                desk = self.desks[desk_id] = HostedDesk(self._machine_of(desk_id), self._limit)
            touched[desk_id] = desk
            if desk.health is DeskHealth.LIVE:
                self._decide(desk_id, desk, envelope)
            else:
                _close_undecided(desk, envelope)
            desk.last_sequence = envelope.sequence
        self._journal.tell(envelopes)
        for desk_id, desk in touched.items():
            if desk.health is DeskHealth.LIVE:
                self._deadlines.set(desk_id, desk.machine.next_deadline_ns)

    def _decide(self, desk_id: DeskId, desk: HostedDesk, envelope: Envelope) -> None:
        machine = desk.machine
        try:
            decision = machine.decide(
                envelope.sequence, envelope.now_ns, envelope.command, envelope.reserved
            )
            envelope.decided(decision.events, decision.entries, decision.holds, decision.follow_ups)
            if not machine.DECIDING_CHANGES:
                machine.apply(envelope.record)
        except Exception as error:
            self._fall(desk_id, desk, envelope, error)

    def _fall(
        self, desk_id: DeskId, desk: HostedDesk, envelope: Envelope, error: Exception
    ) -> None:
        """A machine raised: close what it had in hand, and rebuild or halt it."""
        desk.falls += 1
        again = envelope.answers != (0, 0) and envelope.answers == desk.fell_on
        desk.fell_on = envelope.answers
        halted = again or not desk.history.allows(trio.current_time())
        desk.health = DeskHealth.HALTED if halted else DeskHealth.REBUILDING
        _log.error(
            "desk fell",
            desk=desk_id,
            sequence=envelope.sequence,
            request_id=envelope.request_id,
            health=desk.health,
            exc_info=error,
        )
        _close_undecided(desk, envelope)
        self._deadlines.set(desk_id, None)
        if not halted:
            if self._nursery is None:
                raise InvariantViolated("a desk fell outside a life of its actor")
            self._nursery.start_soon(self._bring_back, desk_id, desk)

    async def _bring_back(self, desk_id: DeskId, desk: HostedDesk) -> None:
        """Rebuild one machine once all that it decided is released; closings change nothing."""
        through = desk.last_sequence
        machine = await self._rebuild(desk_id, through)
        desk.machine = machine
        desk.health = DeskHealth.LIVE
        self._deadlines.set(desk_id, machine.next_deadline_ns)
        deferred, desk.deferred = desk.deferred, []
        self._accounts.tell(DeskReady(desk_id, deferred))
        _log.info("desk rebuilt", desk=desk_id, through=through)


def _close_undecided(desk: HostedDesk, envelope: Envelope) -> None:
    """Close a sequence that its desk cannot decide now, or never will.

    Callers are refused; internal work stays outstanding, a result from outside by becoming a
    follow-up of its own record. Only a cancel-all does not wait for a halted desk.
    """
    command, halted = envelope.command, desk.health is DeskHealth.HALTED
    refused = Refused(Reason.DESK_HALTED if halted else Reason.DESK_FAULT)
    if envelope.lane is Lane.OUTSIDE:
        envelope.decided((refused,))
    elif halted and type(command) is CancelChunk and command.reason == CancelReason.CANCEL_ALL:
        report = ReportChunks(
            command.header_sequence, command.instrument_id, command.cancelled_orders, refused=True
        )
        envelope.decided((refused,), (), (), (report,))
    else:
        envelope.decided((Deferred(),), (), (), (command,) if envelope.lane is Lane.RESULT else ())
        desk.deferred.append(envelope.answers)

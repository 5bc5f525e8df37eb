"""The accounts actor: gives every command its sequence and time, and sets its money aside.

Here is the one order that counts. A batch takes results first, then wakes, follow-ups, and what
callers sent; what the batch leads to is told once to each neighbour.
"""

from typing import Any, Final, get_args

import structlog

from engine.accounts.desk import AccountsDesk
from engine.accounts.messages import AccountsCommand
from engine.actors.actor import Actor, Vitals
from engine.actors.crash_points import CrashPoint, passing
from engine.actors.envelope import Envelope, Lane
from engine.actors.gate import Gate
from engine.actors.mailbox import Mailbox
from engine.errors import InvariantViolated
from engine.journal.records import EXPIRED
from engine.journal.released import FollowUpKey, Released
from engine.messages import Refused
from engine.orderbook.messages import CancelOrder, ReplaceOrder
from engine.ports import Clock
from engine.refusals import Reason
from engine.units import DeskId, OrderId, Sequence

_log = structlog.get_logger("accounts")
_OWN: Final = frozenset(get_args(AccountsCommand))
_BY_CLIENT_ID: Final = frozenset((CancelOrder, ReplaceOrder))


class DeskReady:
    """A desk was rebuilt; what it deferred may be drawn again."""

    __slots__ = ("deferred", "desk_id")

    def __init__(self, desk_id: DeskId, deferred: list[FollowUpKey]) -> None:
        self.desk_id = desk_id
        self.deferred = deferred


#: Envelopes (perhaps none: look at what is outstanding), or news of a desk.
AccountsMessage = list[Envelope] | DeskReady


class AccountsActor(Actor[AccountsMessage]):
    """Reserves for every command and decides those of its own desk."""

    def __init__(
        self,
        mailbox: Mailbox[AccountsMessage],
        vitals: Vitals,
        *,
        desk: AccountsDesk,
        released: Released,
        gate: Gate,
        clock: Clock,
        desks: Mailbox[list[Envelope]],
        journal: Mailbox[list[Envelope]],
        follow_ups_per_batch_max: int,
    ) -> None:
        super().__init__(mailbox, vitals)
        self._desk = desk
        self._released = released
        self._gate = gate
        self._clock = clock
        self._desks = desks
        self._journal = journal
        self._follow_ups_per_batch_max = follow_ups_per_batch_max
        self._sequence = released.sequence
        self._drawn: set[FollowUpKey] = set()

    async def receive(self, batch: list[AccountsMessage]) -> None:
        """Stamp, reserve, and send on. Never waits."""
        passing(CrashPoint.IN_MAILBOX)
        envelopes = self._in_order(batch)
        self._desk.release_through(self._released.sequence)
        to_desks: list[Envelope] = []
        to_journal: list[Envelope] = []
        now_ns, released_through = self._clock.now_ns(), self._released.sequence
        for envelope in envelopes:
            self._sequence = Sequence(self._sequence + 1)
            envelope.sequence = self._sequence
            envelope.now_ns = now_ns
            envelope.released_through = released_through
            self._reserve(envelope)
            (to_desks if envelope.record is None else to_journal).append(envelope)
        if to_desks:
            self._desks.tell(to_desks)
        if to_journal:
            self._journal.tell(to_journal)

    def _in_order(self, batch: list[AccountsMessage]) -> list[Envelope]:
        envelopes: list[Envelope] = []
        inner = False
        for message in batch:
            if isinstance(message, DeskReady):
                self._drawn.difference_update(message.deferred)
            elif message:
                envelopes.extend(message)
                inner = inner or message[0].lane != Lane.OUTSIDE  # one message, one lane
        if self._released.outstanding:
            drawn = self._draw()
            envelopes.extend(drawn)
            inner = inner or bool(drawn)
        if inner:
            envelopes.sort(key=_lane)
        return envelopes

    def _draw(self) -> list[Envelope]:
        """A bounded number of follow-ups that have no record and are not on their way."""
        drawn, outstanding = self._drawn, self._released.outstanding
        drawn.intersection_update(outstanding)
        fresh: list[Envelope] = []
        for key, command in outstanding.items():
            if len(fresh) == self._follow_ups_per_batch_max:
                break
            if key not in drawn:
                drawn.add(key)
                fresh.append(Envelope(command, Lane.FOLLOW_UP, answers=key))
        return fresh

    def _reserve(self, envelope: Envelope) -> None:
        """Set money aside; a refusal or a decision of accounts itself closes the sequence here."""
        command, sequence, origin = envelope.command, envelope.sequence, envelope.origin
        if origin is not None and 0 < origin.not_after_ns < envelope.now_ns:
            envelope.decided((EXPIRED,))
            return
        kind = type(command)
        if kind in _BY_CLIENT_ID and not command.order_id:
            command = envelope.command = self._with_order_id(command)
        try:
            reserved = self._desk.reserve(sequence, command)
            if reserved is None:
                if kind in _OWN:
                    self._decide(envelope, sequence)
            elif type(reserved) is Refused:
                envelope.decided((reserved,))
            else:
                envelope.reserved = reserved  # type: ignore[assignment]
        except InvariantViolated:
            raise
        except Exception:
            _log.exception(
                "abandoned",
                sequence=sequence,
                command=type(command).__name__,
                request_id=envelope.request_id,
            )
            envelope.decided((Refused(Reason.DESK_FAULT),))

    def _decide(self, envelope: Envelope, sequence: Sequence) -> None:
        decision = self._desk.decide(sequence, envelope.now_ns, envelope.command)
        self._desk.apply(sequence, envelope.command, decision)
        envelope.decided(decision.events, decision.entries, decision.holds, decision.follow_ups)

    def _with_order_id(self, command: Any) -> Any:
        """Resolve a client order id to the placing command's sequence, even if it is unreleased."""
        scope, key = command.account_id, command.client_order_id
        under_way = self._gate.under_way(scope, key)
        answered = self._released.keys.get(scope, key)
        if under_way is not None and under_way.sequence:
            order_id = under_way.sequence
        else:
            order_id = OrderId(0 if answered is None else answered.sequence)
        if type(command) is CancelOrder:
            return CancelOrder(scope, command.instrument_id, order_id, key)
        return ReplaceOrder(
            scope,
            command.instrument_id,
            order_id,
            command.price_ticks,
            command.quantity_lots,
            key,
        )


def _lane(envelope: Envelope) -> Lane:
    return envelope.lane

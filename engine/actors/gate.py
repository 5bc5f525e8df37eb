"""Admission: one slot of a bounded gate per command, one answer per idempotency key."""

from typing import Any, Final

import trio

from engine.accounts.messages import CancelAll, SetHalt
from engine.actors.crash_points import CrashPoint, passing
from engine.actors.envelope import Envelope, Ticket
from engine.errors import EngineError, Halted, KeyConflict, Overloaded
from engine.journal.keys import NOTHING_RECALLED, Answered, KeyIndex, Recalled
from engine.messages import Origin
from engine.orderbook.messages import CancelOrder, ChangeInstrumentState
from engine.products.withdrawals.messages import CancelWithdrawal

#: Commands that make things safer have slots of their own, so that load cannot keep them out.
_CALMING: Final = frozenset(
    (CancelOrder, CancelAll, CancelWithdrawal, ChangeInstrumentState, SetHalt)
)


class Slots:
    """How many commands of one kind may be under way; `admitted` counts them since the start."""

    __slots__ = ("admitted", "free", "name", "total_max")

    def __init__(self, name: str, total_max: int) -> None:
        self.name = name
        self.total_max = total_max
        self.free = total_max
        self.admitted = 0


class Gate:
    """Where commands from outside enter, and where their waiters are answered.

    It outlives the engine behind it: `open` and `close` say whether there is one. A slot returns at
    the command's first record, not when its caller leaves.
    """

    def __init__(self, order_slots_max: int, cancel_slots_max: int) -> None:
        self._orders = Slots("orders", order_slots_max)
        self._cancels = Slots("cancels", cancel_slots_max)
        self._keys: KeyIndex | None = None
        self._by_key: dict[tuple[int, str], Envelope] = {}
        self._unkeyed: dict[int, Envelope] = {}
        self._stopping = False
        self._empty = trio.Event()

    def __repr__(self) -> str:
        state = "closed" if self._keys is None else "open"
        return f"<Gate {state}: {self._orders.free} order slots free, {len(self._by_key)} keys>"

    @property
    def slots_max(self) -> int:
        """Every slot there is: the most commands from outside under way."""
        return self._orders.total_max + self._cancels.total_max

    @property
    def slots_free(self) -> dict[str, int]:
        """Free slots by kind."""
        return {slots.name: slots.free for slots in (self._orders, self._cancels)}

    @property
    def admitted(self) -> dict[str, int]:
        """How many commands of each kind were taken in since the start."""
        return {slots.name: slots.admitted for slots in (self._orders, self._cancels)}

    def open(self, keys: KeyIndex) -> None:
        """Let commands in; `keys` are those already answered."""
        self._keys = keys

    def close(self, error: EngineError) -> None:
        """Let nothing in; everybody under way learns `error`."""
        self._keys = None
        under_way = [*self._by_key.values(), *self._unkeyed.values()]
        self._by_key.clear()
        self._unkeyed.clear()
        for slots in (self._orders, self._cancels):
            slots.free = slots.total_max
        for envelope in under_way:
            if envelope.ticket is not None:
                envelope.ticket.fail(error)
        self._note_if_empty()

    def admit(
        self,
        command: Any,
        scope: int = 0,
        key: str = "",
        body_digest: int = 0,
        origin: Origin | None = None,
        recalled: Recalled = NOTHING_RECALLED,
    ) -> Envelope | Ticket | Answered:
        """Take a command in.

        Returns an envelope to send on its way; or the ticket of the same command already under way,
        to be waited for; or the sequence that answered the key before. Of keys forgotten here,
        `recalled` is what the history says.
        Raises: KeyForgotten when that does not say enough, Halted without an engine, KeyConflict
        for a used key with another body, Overloaded when no slot is free; nothing was accepted.
        """
        passing(CrashPoint.DECODED)
        if self._keys is None or self._stopping:
            raise Halted("the engine is not running, or is stopping")
        if key:
            under_way = self._by_key.get((scope, key))
            used = under_way if under_way is not None else self._keys.answer(scope, key, recalled)
            if used is not None:
                if used.body_digest != body_digest:
                    raise KeyConflict(f"key {key} was used before with another body")
                return used if under_way is None else under_way.ticket  # type: ignore[return-value]
        slots = self._cancels if type(command) in _CALMING else self._orders
        if not slots.free:
            raise Overloaded(f"all {slots.total_max} slots for {slots.name} are taken")
        slots.free -= 1
        slots.admitted += 1
        envelope = Envelope(
            command,
            scope=scope,
            key=key,
            body_digest=body_digest,
            ticket=Ticket(),
            origin=origin,
            slots=slots,
        )
        if key:
            self._by_key[scope, key] = envelope
        else:
            self._unkeyed[id(envelope)] = envelope
        return envelope

    def stop_admitting(self) -> None:
        """Let nothing new in, for good; what is under way goes on."""
        self._stopping = True
        self._note_if_empty()

    async def drained(self) -> None:
        """Wait until everything under way is answered after `stop_admitting`."""
        await self._empty.wait()

    def _note_if_empty(self) -> None:
        if self._stopping and not self.under_way_count:
            self._empty.set()

    @property
    def under_way_count(self) -> int:
        """How many commands have no record yet."""
        return len(self._by_key) + len(self._unkeyed)

    def under_way(self, scope: int, key: str) -> Envelope | None:
        """The command under way with a key."""
        return self._by_key.get((scope, key))

    def release(self, envelope: Envelope) -> None:
        """A command's record is released: give its slot back and answer its waiters."""
        envelope.slots.free += 1
        if envelope.key:
            del self._by_key[envelope.scope, envelope.key]
        else:
            del self._unkeyed[id(envelope)]
        self._note_if_empty()
        envelope.ticket.settle(envelope.record)  # type: ignore[union-attr,arg-type]

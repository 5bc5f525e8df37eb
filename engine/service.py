"""The facade the api calls: one short method per use case.

Commands go through the gate and wait for their record; reads look at the released state. Nothing
here decides anything.
"""

from collections.abc import Sequence
from enum import StrEnum
from typing import Any

import msgspec
import trio

from engine.actors.envelope import Envelope, Ticket
from engine.errors import Halted, NotFound
from engine.journal.keys import Answered
from engine.journal.records import Record, check_command, decode
from engine.journal.released import CancelAllProgress, Released
from engine.messages import Origin
from engine.orderbook.messages import PlaceOrder
from engine.products.exchange.messages import PlaceConditional
from engine.products.exchange.orders import Order
from engine.settings import EngineSettings
from engine.units import AccountId, InstrumentId, OrderId
from engine.wiring import Engine, Line


class HealthStatus(StrEnum):
    """How an engine fares."""

    UP = "UP"
    OUTAGE = "OUTAGE"  # its store does not answer; what was accepted waits
    DOWN = "DOWN"  # stopping, rebuilding or not started: nothing is accepted


class Health(msgspec.Struct, frozen=True):
    """What a probe asks; `outage_s` is how long the store has not answered."""

    status: HealthStatus
    sequence: int
    outage_s: float | None
    slots_free: dict[str, int]


class Service:
    """Use cases of a running engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @property
    def released(self) -> Released:
        """What may be seen.

        Raises: Halted while there is no engine.
        """
        return self._engine.line.released

    def now_ns(self) -> int:
        """The engine's time."""
        return self._engine.line.clock.now_ns()

    # -- commands

    async def submit(
        self,
        command: Any,
        *,
        scope: int = 0,
        key: str = "",
        body_digest: int = 0,
        origin: Origin | None = None,
    ) -> Record:
        """Have a command decided. Waits for its released record.

        A repeated key gets the first answer again, from the journal if need be.
        Raises: InvalidCommand, Overloaded, Halted, KeyConflict: nothing was accepted.
        OutcomeUnknown: no answer before the deadline; the same key asks again.
        """
        check_command(command)
        admitted = self._engine.gate.admit(command, scope, key, body_digest, origin)
        if type(admitted) is Envelope:
            self._engine.line.tell([admitted])
        return await self._answer(admitted)

    async def submit_batch(
        self, commands: Sequence[tuple[Any, int, str, int]], origin: Origin | None = None
    ) -> list[Record | Exception]:
        """Have (command, scope, key, digest) decided in order, each answered by itself."""
        admitted: list[Any] = []
        envelopes: list[Envelope] = []
        for command, scope, key, body_digest in commands:
            try:
                check_command(command)
                one = self._engine.gate.admit(command, scope, key, body_digest, origin)
            except Exception as error:
                admitted.append(error)
                continue
            admitted.append(one)
            if type(one) is Envelope:
                envelopes.append(one)
        if envelopes:
            self._engine.line.tell(envelopes)
        answers: list[Record | Exception] = []
        for one in admitted:
            ticket = one.ticket if type(one) is Envelope else None
            if ticket is not None and ticket.record is not None:
                answers.append(ticket.record)  # settled while we waited for one before it
            else:
                answers.append(await self._answer_or_error(one))
        return answers

    async def _answer_or_error(self, admitted: Any) -> Record | Exception:
        if isinstance(admitted, Exception):
            return admitted
        try:
            return await self._answer(admitted)
        except Exception as error:
            return error

    async def _answer(self, admitted: Envelope | Ticket | Answered) -> Record:
        if type(admitted) is Answered:
            return await self.record(admitted.sequence)
        ticket = admitted.ticket if type(admitted) is Envelope else admitted
        return await self._engine.patience.answer(ticket)  # type: ignore[arg-type]

    # -- reads

    async def record(self, sequence: int) -> Record:
        """One released record, from the journal.

        Raises: NotFound beyond the journal's end, StorageError.
        """
        block = await self._engine.store.read_block_of(sequence)
        if block is None:
            raise NotFound(f"no record {sequence}")
        return decode(block.payload)[sequence - block.first_sequence]

    def order(self, order_id: OrderId, account_id: AccountId | None = None) -> Order:
        """An open or recently closed order, of one account if stated.

        Raises: NotFound.
        """
        order = self.released.orders.get(order_id)
        if order is None or account_id not in (None, order.account_id):
            raise NotFound(f"no order {order_id}")
        return order

    def order_by_client_id(self, account_id: AccountId, client_order_id: str) -> Order | None:
        """The order an account placed under a client id; None while it is in flight.

        Raises: NotFound.
        """
        if self._engine.gate.under_way(account_id, client_order_id) is not None:
            return None
        answered = self.released.keys.get(account_id, client_order_id)
        if answered is None:
            raise NotFound(f"no order {client_order_id}")
        return self.order(OrderId(answered.sequence), account_id)

    def order_instrument(self, account_id: AccountId, client_order_id: str) -> InstrumentId:
        """What the order trades that an account placed under a client id, in flight or not.

        Raises: NotFound.
        """
        under_way = self._engine.gate.under_way(account_id, client_order_id)
        if under_way is not None and type(under_way.command) in (PlaceOrder, PlaceConditional):
            return InstrumentId(under_way.command.instrument_id)
        order = self.order_by_client_id(account_id, client_order_id)
        if order is None:  # under way, but no order
            raise NotFound(f"no order {client_order_id}")
        return order.instrument_id

    def knows_key(self, scope: int, key: str) -> bool:
        """Whether a command with this key is under way or answered."""
        if self._engine.gate.under_way(scope, key) is not None:
            return True
        return self.released.keys.get(scope, key) is not None

    async def cancel_all_done(self, header_sequence: int) -> CancelAllProgress:
        """How far a cancel-all came. Waits until it is complete, or for the edge deadline.

        Raises: NotFound for one that is not known (any more).
        """
        with trio.move_on_after(self.settings.edge_deadline_s):
            while self._cancel_all(header_sequence).open_instruments:
                line = self._engine.line
                await line.progress.reached(line.released.sequence + 1)
        return self._cancel_all(header_sequence)

    def _cancel_all(self, header_sequence: int) -> CancelAllProgress:
        progress = self.released.cancel_alls.get(header_sequence)
        if progress is None:
            raise NotFound(f"cancel-all {header_sequence} is not known any more")
        return progress

    # -- what an operator asks

    @property
    def settings(self) -> EngineSettings:
        """What the engine was told."""
        return self._engine.settings

    def health(self) -> Health:
        """Whether the engine takes commands, and whether its store answers. Never raises."""
        gate = self._engine.gate
        try:
            line = self._engine.line
        except Halted:
            return Health(HealthStatus.DOWN, 0, None, gate.slots_free)
        since_s = line.journal.outage_since_s
        outage_s = None if since_s is None else trio.current_time() - since_s
        status = HealthStatus.UP if outage_s is None else HealthStatus.OUTAGE
        return Health(status, line.released.sequence, outage_s, gate.slots_free)

    def line(self) -> Line:
        """The actors of the present life, for an operator's eyes.

        Raises: Halted between lives.
        """
        return self._engine.line

    @property
    def lives(self) -> int:
        """How often the engine began from its journal."""
        return self._engine.lives

"""The facade the api calls: one short method per use case.

Commands go through the gate and wait for their record; reads look at the released state. Nothing
here decides anything.
"""

from collections.abc import Sequence
from typing import Any

import trio

from engine.actors.envelope import Envelope, Ticket
from engine.errors import NotFound, OutcomeUnknown
from engine.journal.keys import Answered
from engine.journal.records import Record, decode
from engine.journal.released import Released
from engine.products.exchange.orders import Order
from engine.units import AccountId, OrderId
from engine.wiring import Engine

InFlight = Envelope


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
        self, command: Any, *, scope: int = 0, key: str = "", body_digest: int = 0
    ) -> Record:
        """Have a command decided. Waits for its released record.

        A repeated key gets the first answer again, from the journal if need be.
        Raises: Overloaded, Halted, KeyConflict: nothing was accepted. OutcomeUnknown: no answer
        before the deadline; the same key asks again.
        """
        admitted = self._engine.gate.admit(command, scope, key, body_digest)
        if type(admitted) is Envelope:
            self._engine.line.tell([admitted])
        return await self._answer(admitted)

    async def submit_batch(
        self, commands: Sequence[tuple[Any, int, str, int]]
    ) -> list[Record | Exception]:
        """Have (command, scope, key, digest) decided in order, each answered by itself."""
        admitted: list[Any] = []
        envelopes: list[Envelope] = []
        for command, scope, key, body_digest in commands:
            try:
                one = self._engine.gate.admit(command, scope, key, body_digest)
            except Exception as error:
                admitted.append(error)
                continue
            admitted.append(one)
            if type(one) is Envelope:
                envelopes.append(one)
        if envelopes:
            self._engine.line.tell(envelopes)
        return [await self._answer_or_error(one) for one in admitted]

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
        if ticket.record is not None:  # type: ignore[union-attr]
            return ticket.record  # type: ignore[union-attr]
        with trio.move_on_after(self._engine.settings.edge_deadline_s):
            return await ticket.wait()  # type: ignore[union-attr]
        raise OutcomeUnknown("no answer before the deadline; ask again with the same key")

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

"""The facade the api calls: one short method per use case.

Commands go through the gate and wait for their record; reads look at the released state. Nothing
here decides anything.
"""

from collections.abc import Sequence
from enum import StrEnum
from typing import Any, Final

import msgspec
import trio

from engine.actors.answering import Rereading, answers_to
from engine.actors.attendance import Attendance
from engine.actors.envelope import Envelope, Ticket
from engine.actors.feed import Feed
from engine.actors.keys_recall import Held
from engine.actors.waiting import HistoryProgress
from engine.actors.watching import Watching
from engine.errors import Halted, HistoryBehind, NotFound, StorageError
from engine.history.rows import OrderRow
from engine.journal.keys import Answered
from engine.journal.records import Record, check_command
from engine.journal.released import CancelAllProgress, Released
from engine.journal.validation import validate
from engine.marketdata.ticker import Ticker
from engine.messages import Origin, Refused
from engine.orderbook.messages import PlaceOrder
from engine.ports import History, Watermark
from engine.products.exchange.messages import PlaceConditional, Reserved
from engine.products.exchange.orders import Order
from engine.settings import EngineSettings
from engine.units import AccountId, InstrumentId, OrderId, TimeNs
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
    """Use cases of a running engine, and of the history that follows its journal."""

    def __init__(self, engine: Engine, history: History) -> None:
        self._engine = engine
        self.history: Final = history
        self._history_progress = HistoryProgress(history)

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
        Raises: InvalidCommand, Overloaded, Halted, KeyConflict, and StorageError or HistoryBehind
        when it could not be known whether the key was used: nothing was accepted.
        OutcomeUnknown: no answer before the deadline; the same key asks again.
        """
        admitted = self.admit(command, scope, key, body_digest, origin)
        if type(admitted) is Envelope:
            self.send([admitted])
        return await self._answer(admitted)

    def admit(
        self,
        command: Any,
        scope: int = 0,
        key: str = "",
        body_digest: int = 0,
        origin: Origin | None = None,
    ) -> Envelope | Ticket | Answered | Held:
        """Take a command in, for those who do not wait; see `KeyRecall.admit` for what is returned.

        An envelope must be sent before anything is awaited.
        Raises: InvalidCommand, Overloaded, Halted, KeyConflict.
        """
        check_command(command)
        return self._engine.line.recall.admit(command, scope, key, body_digest, origin)

    def send(self, envelopes: list[Envelope]) -> None:
        """Send what was admitted on its way, in order. Never waits."""
        self._engine.line.tell(envelopes)

    async def submit_batch(
        self, commands: Sequence[tuple[Any, int, str, int]], origin: Origin | None = None
    ) -> list[Record | Exception]:
        """Have (command, scope, key, digest) decided in order, each answered by itself.

        Waits for their released records, for all of them no longer than the edge deadline.
        """
        admitted: list[Any] = []
        envelopes: list[Envelope] = []
        for command, scope, key, body_digest in commands:
            try:
                one = self.admit(command, scope, key, body_digest, origin)
            except Exception as error:
                admitted.append(error)
                continue
            admitted.append(one)
            if type(one) is Envelope:
                envelopes.append(one)
        if envelopes:
            self.send(envelopes)
        return await answers_to(admitted, self._engine.store, self.settings.edge_deadline_s)

    async def _answer(self, admitted: Envelope | Ticket | Answered | Held) -> Record:
        if type(admitted) is Held:
            deadline_s = self.settings.edge_deadline_s
            [answer] = await answers_to([admitted], self._engine.store, deadline_s)
            if isinstance(answer, Exception):
                raise answer
            return answer
        if type(admitted) is Answered:
            return await self.record(admitted.sequence)
        ticket = admitted.ticket if type(admitted) is Envelope else admitted
        return await self._engine.patience.answer(ticket)  # type: ignore[arg-type]

    def validate(self, command: PlaceOrder | PlaceConditional) -> Reserved | Refused:
        """What would be set aside for an order, or why it would be refused. Records nothing.

        Raises: InvalidCommand, Halted.
        """
        check_command(command)
        return validate(self.released, command, TimeNs(self.now_ns()))

    # -- streams

    @property
    def watching(self) -> Watching:
        """Who is told live what records do to an account."""
        return self._engine.watching

    @property
    def attendance(self) -> Attendance:
        """Which sessions are still connected."""
        return self._engine.attendance

    # -- reads

    async def record(self, sequence: int) -> Record:
        """One released record, from the journal.

        Raises: NotFound beyond the journal's end, StorageError.
        """
        return await self.rereading().record(sequence)

    def rereading(self) -> Rereading:
        """For whoever reads several records of one time: those of one block cost one read."""
        return Rereading(self._engine.store)

    def order(self, order_id: OrderId, account_id: AccountId | None = None) -> Order:
        """An open or recently closed order, of one account if stated.

        Raises: NotFound.
        """
        order = self.released.orders.get(order_id)
        if order is None or account_id not in (None, order.account_id):
            raise NotFound(f"no order {order_id}")
        return order

    async def order_ever(self, order_id: OrderId, account_id: AccountId | None = None) -> OrderRow:
        """An order, however long ago it ended, of one account if stated.

        Raises: NotFound, StorageError, HistoryBehind while it is not known yet how it ended.
        """
        released = self.released
        order = released.orders.get(order_id)
        if order is not None:
            return OrderRow(released.sequence, self.order(order_id, account_id))
        if order_id > released.sequence:
            raise NotFound(f"no order {order_id}")
        seen = await self.history.watermark()
        row = await self.history.order(order_id)
        if row is None and seen.sequence < order_id:
            raise HistoryBehind(f"the history has come to {seen.sequence}, not to {order_id}")
        if row is None or account_id not in (None, row.order.account_id):
            raise NotFound(f"no order {order_id}")
        if not row.order.has_ended:
            raise HistoryBehind(f"order {order_id} ended after {seen.sequence}")
        return row

    async def history_through(self, sequence: int) -> Watermark:
        """How far the history has come: to `sequence` at least. Waits, up to the edge deadline.

        Raises: HistoryBehind, StorageError.
        """
        if not sequence:
            return await self.history.watermark()
        with trio.move_on_after(self.settings.edge_deadline_s):
            return await self._history_progress.reached(sequence)
        raise HistoryBehind(f"the history has not come to {sequence} in time")

    def order_by_client_id(self, account_id: AccountId, client_order_id: str) -> Order | None:
        """The order an account placed under a client id; None while it is in flight.

        Raises: NotFound, also when it ended so long ago that only the history may know it.
        """
        if self._under_way(account_id, client_order_id) is not None:
            return None
        answered = self.released.keys.get(account_id, client_order_id)
        if answered is None:
            raise NotFound(f"no order {client_order_id}")
        return self.order(OrderId(answered.sequence), account_id)

    def order_instrument(self, account_id: AccountId, client_order_id: str) -> InstrumentId:
        """What the order trades that an account placed under a client id, in flight or not.

        Raises: NotFound.
        """
        under_way = self._under_way(account_id, client_order_id)
        if under_way is not None and type(under_way.command) in (PlaceOrder, PlaceConditional):
            return InstrumentId(under_way.command.instrument_id)
        order = self.order_by_client_id(account_id, client_order_id)
        if order is None:  # under way, but no order
            raise NotFound(f"no order {client_order_id}")
        return order.instrument_id

    def _under_way(self, scope: int, key: str) -> Envelope | Held | None:
        under_way = self._engine.gate.under_way(scope, key)
        return self._engine.line.recall.held(scope, key) if under_way is None else under_way

    async def answered(self, scope: int, key: str) -> Answered | None:
        """Which record answered a key, however long ago; None if none did.

        Raises: Halted, StorageError, HistoryBehind.
        """
        with trio.move_on_after(self.settings.edge_deadline_s):
            return await self._engine.line.recall.answered(scope, key)
        raise StorageError("the history did not answer in time")

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

    async def tickers(self, instrument_ids: Sequence[InstrumentId]) -> list[Ticker]:
        """The last 24 hours of instruments. Waits until they count everything released.

        Raises: Halted.
        """
        feed, _ = self.feed, self.released
        with trio.move_on_after(self.settings.edge_deadline_s):
            await feed.caught_up()
        return [feed.ticker(one) for one in instrument_ids]

    # -- what an operator asks

    @property
    def settings(self) -> EngineSettings:
        """What the engine was told."""
        return self._engine.settings

    async def snapshot_sequence(self) -> int:
        """Through which record the newest snapshot goes; 0 without one.

        Raises: StorageError.
        """
        return await self._engine.store.read_snapshot_sequence()

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

    @property
    def admitted(self) -> dict[str, int]:
        """How many commands were taken in since the process began, by kind of slot."""
        return self._engine.gate.admitted

    def line(self) -> Line:
        """The actors of the present life, for an operator's eyes.

        Raises: Halted between lives.
        """
        return self._engine.line

    @property
    def feed(self) -> Feed:
        """What tells of the markets as they move."""
        return self._engine.feed

    @property
    def lives(self) -> int:
        """How often the engine began from its journal."""
        return self._engine.lives

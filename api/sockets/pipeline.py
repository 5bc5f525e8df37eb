"""Commands of one socket on their way: admitted in order, answered in order, many at a time.

Records are released in the order in which commands were admitted, so the commands under way are a
queue, and one task waits for its head: a block wakes it once, however many it answers. Nothing here
costs a task per message.
"""

from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, Final

import msgspec
import trio

from api.metrics.traffic import Traffic
from api.problems import error_object
from api.rejected import problem_of, refused
from api.sockets.outbox import Outbox
from api.sockets.stream_messages import Answer
from engine.actors.envelope import Envelope, Ticket
from engine.actors.keys_recall import Held
from engine.errors import EngineError, OutcomeUnknown, Overloaded
from engine.journal.keys import Answered
from engine.journal.records import Record
from engine.messages import Origin
from engine.service import Service

#: After so many answers others get a turn: some milliseconds.
ANSWERS_PER_TURN_MAX: Final = 128

#: What an accepted command's record comes to, for its caller.
Answering = Callable[[Record], Any]


class Request(msgspec.Struct, frozen=True, gc=False):
    """A command that is fit to be admitted, and how it is answered.

    `message_id` None: nobody is told.
    """

    message_id: int | str | None
    command: Any
    scope: int
    answering: Answering
    origin: Origin
    key: str = ""
    body_digest: int = 0
    status: int = 200


class _Pending(msgspec.Struct, gc=False):
    """A command under way, answered long ago (`sequence`), or held, until it is told."""

    request: Request
    due_s: float
    ticket: Ticket | None = None
    sequence: int = 0
    held: Held | None = None
    replayed: bool = False

    def take(self, admitted: Envelope | Ticket | Answered | Held) -> None:
        """What became of it at the gate."""
        if type(admitted) is Envelope:
            self.ticket = admitted.ticket
        elif type(admitted) is Held:
            self.held = admitted
        else:
            self.replayed = True
            if type(admitted) is Answered:
                self.sequence = admitted.sequence
            else:
                self.ticket = admitted  # type: ignore[assignment]


class Pipeline:
    """Takes commands in with `enter`, sends them on with `send`, answers them in `answer_all`."""

    def __init__(
        self,
        service: Service,
        outbox: Outbox,
        *,
        now_ns: Callable[[], int],
        before_answers: Callable[[], Awaitable[None]],
        under_way_max: int,
        traffic: Traffic,
    ) -> None:
        """`before_answers` is called before the answers of a block, to tell its events first."""
        self._service = service
        self._outbox = outbox
        self._now_ns = now_ns
        self._before_answers = before_answers
        self._under_way_max = under_way_max
        self._traffic = traffic
        self._edge_deadline_s = service.settings.edge_deadline_s
        self._before = service.rereading()
        self._under_way: deque[_Pending] = deque()
        self._admitted: list[Envelope] = []
        self._news = trio.Event()
        self._idle = trio.Event()

    def __len__(self) -> int:
        return len(self._under_way)

    def enter(self, request: Request) -> Ticket | Held | None:
        """Admit a command; it is on its way after `send`. Returns its way to its answer, if any.

        Raises: EngineError when nothing was accepted; Overloaded also when this socket has as many
        under way as it may.
        """
        if len(self._under_way) >= self._under_way_max:
            raise Overloaded(f"all {self._under_way_max} commands of this socket are under way")
        service = self._service
        admitted = service.admit(
            request.command, request.scope, request.key, request.body_digest, request.origin
        )
        due_s = trio.current_time() + self._edge_deadline_s
        pending = _Pending(request, due_s)
        pending.take(admitted)
        if type(admitted) is Envelope:
            self._admitted.append(admitted)
        self._under_way.append(pending)
        return pending.ticket or pending.held

    def send(self) -> None:
        """Send on what was admitted since the last time. Never waits."""
        if self._admitted:
            admitted, self._admitted = self._admitted, []
            self._service.send(admitted)
        if self._under_way:
            self._news.set()

    async def answer_all(self) -> None:
        """Answer commands as their records are released. Waits for ever."""
        under_way = self._under_way
        while True:
            if not under_way:
                self._idle.set()
                self._news = trio.Event()
                await self._news.wait()
            record = await self._head(under_way[0])
            await self._before_answers()
            now_s = trio.current_time()
            self._tell(under_way.popleft(), record, now_s)
            told = 1
            while under_way:
                ticket = under_way[0].ticket
                if ticket is None or not ticket.is_settled:
                    break
                self._tell(under_way.popleft(), ticket.record or ticket.error, now_s)  # type: ignore[arg-type]
                told += 1
                if told % ANSWERS_PER_TURN_MAX == 0:
                    await trio.lowlevel.checkpoint()

    async def drained(self) -> None:
        """Wait until everything under way is answered."""
        while self._under_way:
            self._idle = trio.Event()
            await self._idle.wait()

    async def _head(self, pending: _Pending) -> Record | Exception:
        """The record of the oldest command, or why there is none. Waits up to its deadline."""
        try:
            with trio.move_on_at(pending.due_s):
                if pending.held is not None:
                    pending.take(await pending.held.at_gate())
                if pending.ticket is None:
                    return await self._before.record(pending.sequence)
                return await _record(pending.ticket)
        except EngineError as error:
            return error
        return OutcomeUnknown("no answer before the deadline; ask by key")

    def _tell(self, pending: _Pending, record: Record | Exception, now_s: float) -> None:
        request, latency_s = pending.request, now_s - pending.due_s + self._edge_deadline_s
        if request.message_id is None:
            return
        try:
            if not isinstance(record, Record):
                raise record
            refusal = record.refusal
            if refusal is not None:
                raise refused(refusal, record.command)
            result = request.answering(record)
        except Exception as error:
            status = self.refuse(
                request.message_id, request.origin.request_id, error, pending.replayed
            )
            self._traffic.command_answered(status, latency_s)
            return
        self._traffic.command_answered(request.status, latency_s)
        self._outbox.send(
            Answer(request.message_id, request.status, result, None, pending.replayed)
        )

    def refuse(
        self,
        message_id: int | str | None,
        request_id: str,
        error: Exception,
        replayed: bool = False,
    ) -> int:
        """Answer a message with what is wrong; returns the status of that."""
        problem = problem_of(error)
        self._traffic.refused(problem.code)
        told = error_object(problem, self._now_ns(), request_id)
        self._outbox.send(Answer(message_id, problem.status, None, told, replayed))
        return problem.status


async def _record(ticket: Ticket) -> Record:
    """A ticket's record. Waits for it, also when others who wait for it give up."""
    while not ticket.is_settled:
        try:
            return await ticket.wait()
        except OutcomeUnknown:
            continue
    return await ticket.wait()

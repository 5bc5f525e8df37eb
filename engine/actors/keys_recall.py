"""Commands whose keys memory has forgotten: they wait for the history, and their scope with them.

Everybody else goes straight through the gate. A key that the filter does not know is new, and needs
nobody; only one that it knows, rightly or wrongly, is asked for.
"""

from collections import deque
from collections.abc import Callable
from itertools import islice
from typing import Any, Final

import msgspec
import trio

from engine.actors.envelope import Envelope, Ticket
from engine.actors.gate import Gate
from engine.errors import EngineError, Halted, HistoryBehind, Overloaded, StorageError
from engine.journal.keys import NOTHING_RECALLED, Answered, KeyForgotten, KeyIndex, Recalled
from engine.journal.records import Record
from engine.messages import Origin
from engine.ports import History

#: Held commands of one scope that share a question, and then a turn at the gate.
HELD_PER_TURN_MAX: Final = 256
#: As many as a socket may have under way; one scope cannot take the room of all.
HELD_PER_SCOPE_MAX: Final = 1_000


class Held(msgspec.Struct, gc=False):
    """A command that is not accepted yet: it waits for the history, or behind one that does."""

    command: Any
    scope: int
    key: str
    body_digest: int
    origin: Origin | None
    due_s: float  # by when the history must have said, in trio's time
    admitted: Envelope | Ticket | Answered | Exception | None = None
    _decided: trio.Event | None = None

    @property
    def ticket(self) -> Ticket | None:
        """Its way to its record, once the gate has let it in."""
        admitted = self.admitted
        if isinstance(admitted, Envelope):
            return admitted.ticket
        return admitted if isinstance(admitted, Ticket) else None

    @property
    def record(self) -> Record | None:
        """Its record, once that is released."""
        return None if self.ticket is None else self.ticket.record

    @property
    def is_settled(self) -> bool:
        """Whether there is an answer."""
        ticket = self.ticket
        return self.admitted is not None if ticket is None else ticket.is_settled

    def decide(self, admitted: Envelope | Ticket | Answered | Exception) -> None:
        """The gate has spoken: as `Gate.admit` returns, or what it raises."""
        self.admitted = admitted
        if self._decided is not None:
            self._decided.set()

    async def at_gate(self) -> Envelope | Ticket | Answered:
        """What became of it at the gate. Waits for that.

        Raises: the error that kept it out; nothing was accepted then.
        """
        if self.admitted is None:
            if self._decided is None:
                self._decided = trio.Event()
            await self._decided.wait()
        if isinstance(self.admitted, Exception):
            raise self.admitted
        return self.admitted  # type: ignore[return-value]

    async def wait(self) -> None:
        """Wait until there is an answer. Raises: as `at_gate` and `Ticket.wait`."""
        await self.at_gate()
        if self.ticket is not None:
            await self.ticket.wait()


class KeyRecall:
    """The gate as callers meet it in one life of the engine: `admit`.

    Invariant: while commands of a scope are held, all later ones of that scope queue behind them,
    so each scope keeps its order. What was not decided when the life ends was not accepted.
    """

    def __init__(
        self,
        gate: Gate,
        keys: KeyIndex,
        history: History | None,
        tell: Callable[[list[Envelope]], None],
        *,
        lookup_s_max: float,
    ) -> None:
        """`tell` sends what is admitted late on its way.

        `lookup_s_max` is what a command may wait for the history before it is turned away.
        """
        self._gate = gate
        self._tell = tell
        self._keys = keys
        self._history = history
        self._lookup_s_max = lookup_s_max
        self._held_max = gate.slots_max
        self._held_count = 0
        self._queues: dict[int, deque[Held]] = {}
        self._nursery: trio.Nursery | None = None

    def __repr__(self) -> str:
        return f"<KeyRecall: {self._held_count} held, in {len(self._queues)} scopes>"

    @property
    def held_count(self) -> int:
        """How many commands are held now."""
        return self._held_count

    def admit(
        self,
        command: Any,
        scope: int = 0,
        key: str = "",
        body_digest: int = 0,
        origin: Origin | None = None,
    ) -> Envelope | Ticket | Answered | Held:
        """Take a command in as `Gate.admit` does, or hold it until the history has spoken.

        Raises: as `Gate.admit`, but for KeyForgotten. Overloaded also when too many are held.
        """
        if not self._queues or scope not in self._queues:
            try:
                return self._gate.admit(command, scope, key, body_digest, origin)
            except KeyForgotten:
                pass
        return self._hold(command, scope, key, body_digest, origin)

    def _hold(
        self, command: Any, scope: int, key: str, body_digest: int, origin: Origin | None
    ) -> Held:
        if self._nursery is None:
            raise Halted("the engine is starting or stopping")
        queue = self._queues.get(scope)
        if self._held_count >= self._held_max or (queue and len(queue) >= HELD_PER_SCOPE_MAX):
            raise Overloaded("too many commands wait for the history")
        due_s = trio.current_time() + self._lookup_s_max
        held = Held(command, scope, key, body_digest, origin, due_s)
        self._held_count += 1
        if queue is None:
            self._queues[scope] = deque((held,))
            self._nursery.start_soon(self._work_off, scope)
        else:
            queue.append(held)
        return held

    def held(self, scope: int, key: str) -> Held | None:
        """The first held command with a key. Complexity: O(held of that scope)."""
        return next((one for one in self._queues.get(scope, ()) if one.key == key), None)

    async def answered(self, scope: int, key: str) -> Answered | None:
        """Who answered a key, however long ago; None if it was never used. Waits for the history.

        Raises: StorageError, HistoryBehind.
        """
        recalled = NOTHING_RECALLED
        while True:
            try:
                return self._keys.answer(scope, key, recalled)
            except KeyForgotten:
                recalled = await self._recall(scope, [key])

    async def run(self, *, task_status: "trio.TaskStatus[None]" = trio.TASK_STATUS_IGNORED) -> None:
        """Ask the history for whoever is held. Waits for ever."""
        try:
            async with trio.open_nursery() as self._nursery:
                task_status.started()
                await trio.sleep_forever()
        finally:
            self._nursery = None
            for queue in self._queues.values():
                self._turn_away(queue)
            self._queues.clear()

    async def _work_off(self, scope: int) -> None:
        """Admit what is held of a scope, in order, as the history speaks."""
        queue = self._queues[scope]
        while queue:
            self._admit(queue, await self._recall_for(scope, queue))
        del self._queues[scope]

    async def _recall_for(self, scope: int, queue: deque[Held]) -> Recalled | EngineError:
        """What the history says of the keys held first, or why it says nothing."""
        is_perhaps_forgotten = self._keys.is_perhaps_forgotten
        first = {held.key: None for held in islice(queue, HELD_PER_TURN_MAX) if held.key}
        wanted = [key for key in first if is_perhaps_forgotten(scope, key)]
        try:
            with trio.move_on_at(queue[0].due_s):
                return await self._recall(scope, wanted)
        except EngineError as error:
            return error
        return StorageError("the history did not answer in time")

    async def _recall(self, scope: int, keys: list[str]) -> Recalled:
        """What the history says, if it has come as far as is forgotten here.

        A key that it does not know then was never used, unless it is exact here or under way.
        Raises: StorageError, HistoryBehind.
        """
        history = self._history
        if history is None:
            raise HistoryBehind("there is no history to ask")
        before = (await history.watermark()).sequence
        if before < self._keys.forgotten_through:
            through = self._keys.forgotten_through
            raise HistoryBehind(
                f"the history has come to {before}, keys are forgotten to {through}"
            )
        found = await history.answered(scope, keys)
        if (await history.watermark()).sequence < before:
            raise HistoryBehind("the history was taken back")
        return Recalled(before, {key: found.get(key) for key in keys})

    def _admit(self, queue: deque[Held], recalled: Recalled | EngineError) -> None:
        known = recalled if isinstance(recalled, Recalled) else NOTHING_RECALLED
        envelopes: list[Envelope] = []
        for _ in range(min(len(queue), HELD_PER_TURN_MAX)):
            held = queue[0]
            admitted: Envelope | Ticket | Answered | Exception
            try:
                admitted = self._gate.admit(
                    held.command, held.scope, held.key, held.body_digest, held.origin, known
                )
            except KeyForgotten:
                if isinstance(recalled, Recalled):
                    break  # more was forgotten meanwhile than the history had come to: ask again
                admitted = recalled
            except Exception as error:
                admitted = error
            queue.popleft()
            self._held_count -= 1
            held.decide(admitted)
            if isinstance(admitted, Envelope):
                envelopes.append(admitted)
        if envelopes:
            self._tell(envelopes)

    def _turn_away(self, queue: deque[Held]) -> None:
        for held in queue:
            self._held_count -= 1
            held.decide(Halted("the engine fell, or is stopping"))
        queue.clear()

"""One class, one mailbox, one `receive` for a batch: what every actor is."""

from typing import Generic, TypeVar

import trio

from engine.actors.mailbox import Mailbox

M = TypeVar("M")


class Vitals:
    """What an operator asks of an actor: is it alive, behind, busy, failing?

    Units: `busy_s` is time spent in `receive`; `messages` counts what it was given.
    """

    __slots__ = ("batches", "busy_s", "lives", "messages", "name", "running", "waiting")

    def __init__(self, name: str) -> None:
        self.name = name
        self.running = False
        self.lives = 0
        self.batches = 0
        self.messages = 0
        self.busy_s = 0.0
        self.waiting: Mailbox[object] | None = None

    def as_dict(self) -> dict[str, object]:
        """For the health page."""
        return {
            "name": self.name,
            "running": self.running,
            "restarts": max(0, self.lives - 1),
            "batches": self.batches,
            "messages": self.messages,
            "busy_s": round(self.busy_s, 6),
            "mailbox_depth": 0 if self.waiting is None else self.waiting.depth,
        }


class Actor(Generic[M]):
    """One life of an actor: built fresh for every life, over a mailbox that outlives it.

    Subclasses rebuild their state in `started` (never in `__init__`, which does no I/O), handle
    messages in `receive`, and may hand over unfinished work in `fell`.
    """

    def __init__(self, mailbox: Mailbox[M], vitals: Vitals) -> None:
        self.mailbox = mailbox
        self.vitals = vitals
        vitals.waiting = mailbox  # type: ignore[assignment]

    async def started(self) -> None:
        """Rebuild state before the first message. May wait."""

    async def receive(self, batch: list[M]) -> None:
        """Handle everything that was waiting, in order."""
        raise NotImplementedError

    def fell(self, batch: list[M], error: BaseException) -> None:
        """Hand over what of `batch` is unfinished; the error goes on afterwards. Never waits."""

    async def run(self, *, task_status: "trio.TaskStatus[None]" = trio.TASK_STATUS_IGNORED) -> None:
        """Live until the mailbox is closed and empty, or until something raises."""
        vitals = self.vitals
        vitals.lives += 1
        await self.started()
        vitals.running = True
        task_status.started()
        try:
            while True:
                try:
                    batch = await self.mailbox.take()
                except trio.EndOfChannel:
                    return
                await self._receive_measured(batch)
        finally:
            vitals.running = False

    async def _receive_measured(self, batch: list[M]) -> None:
        vitals, began = self.vitals, trio.current_time()
        vitals.batches += 1
        vitals.messages += len(batch)
        try:
            await self.receive(batch)
        except BaseException as error:
            self.fell(batch, error)
            raise
        finally:
            vitals.busy_s += trio.current_time() - began

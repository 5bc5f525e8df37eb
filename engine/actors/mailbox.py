"""A named, bounded queue between actors: a trio memory channel that is drained in one go."""

from typing import Generic, TypeVar

import trio

from engine.errors import InvariantViolated

M = TypeVar("M")


class Mailbox(Generic[M]):
    """Where others leave messages for one actor.

    It outlives the actor, so addresses stay valid over restarts. Its bound covers every slot of the
    gate and every draw, so a full mailbox is a contradiction and not a reason to wait.
    """

    def __init__(self, name: str, messages_max: int) -> None:
        self.name = name
        self._send: trio.MemorySendChannel[M]
        self._receive: trio.MemoryReceiveChannel[M]
        self._send, self._receive = trio.open_memory_channel[M](messages_max)

    def __repr__(self) -> str:
        return f"<Mailbox {self.name}: {self.depth} waiting>"

    @property
    def depth(self) -> int:
        """How many messages wait."""
        return self._receive.statistics().current_buffer_used

    def tell(self, message: M) -> None:
        """Leave a message. Never waits.

        Raises: InvariantViolated when the mailbox is full.
        """
        try:
            self._send.send_nowait(message)
        except trio.WouldBlock:
            raise InvariantViolated(f"mailbox {self.name} is full") from None

    def close(self) -> None:
        """No more messages will come; what waits is still delivered."""
        self._send.close()

    async def take(self) -> list[M]:
        """Everything that waits, at least one message. Waits for the first.

        Raises: trio.EndOfChannel once the mailbox is closed and empty.
        """
        receive = self._receive
        try:
            messages = [receive.receive_nowait()]
        except trio.WouldBlock:
            messages = [await receive.receive()]
        try:
            while True:
                messages.append(receive.receive_nowait())
        except (trio.WouldBlock, trio.EndOfChannel):
            return messages

    def take_nowait(self) -> list[M]:
        """Everything that waits, perhaps nothing. Never waits."""
        messages: list[M] = []
        try:
            while True:
                messages.append(self._receive.receive_nowait())
        except (trio.WouldBlock, trio.EndOfChannel):
            return messages

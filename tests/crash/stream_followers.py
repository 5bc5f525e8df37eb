"""Clients of the private stream that lose their connections, by our will and by the server's death.

Half of them are the client package's `follow_account`, as a program would use it; the other half
resume by hand and judge every single message that the server sends.
"""

from random import Random
from typing import Any, Final

import trio

from api.client import Bearer, Patience, Refused, follow_account, open_socket
from api.client.errors import ClientError
from tests.crash.stream_log import StreamLog
from tests.crash.venue import Member

#: For as long as any campaign lasts.
TIRELESS: Final = Patience(attempts_max=1_000_000, pause_s_min=0.02, pause_s_max=0.2)
#: Answers to a resume that mean: in a moment.
_NOT_YET: Final = frozenset({"HISTORY_BEHIND", "HALTED", "OVERLOADED", "STORAGE_UNAVAILABLE"})
_PAUSE_S: Final = 0.05
_STAY_S_MAX: Final = 4.0


class Follower:
    """Follows one account for ever; what it was told is in `log`."""

    def __init__(self, member: Member, url: str, seed: int, *, msgpack: bool = False) -> None:
        self.member = member
        self.log = StreamLog(member.name)
        #: How often it left or resumed.
        self.begun = 0
        self._url = url
        self._credentials = Bearer(member.secret)
        self._msgpack = msgpack
        self._random = Random(f"{seed} follower {member.name}")

    async def run(self) -> None:
        """Listen, leave without a word at some moment, come back. Never returns."""
        while True:
            self.begun += 1
            with trio.move_on_after(self._random.uniform(0.05, _STAY_S_MAX)):
                await self.listen()

    async def listen(self) -> None:
        """Listen for as long as we are let."""
        await follow_account(
            self._url,
            self._credentials,
            self._hear,
            after=self.log.last,
            patience=TIRELESS,
            msgpack=self._msgpack,
        )

    async def _hear(self, message: Any) -> None:
        self.log.hear(message)


class StrictFollower(Follower):
    """Resumes by hand: nothing that the server sends twice is passed over."""

    def __init__(self, member: Member, url: str, seed: int, *, msgpack: bool = False) -> None:
        super().__init__(member, url, seed, msgpack=msgpack)
        self.too_old = 0
        self.not_yet = 0

    async def listen(self) -> None:
        """One connection after the other."""
        while True:
            try:
                await self._listen_once()
            except Refused as refused:
                if refused.code in _NOT_YET:
                    self.not_yet += 1
                else:
                    self.log.contradictions.append(f"resume of {self.log.name}: {refused}")
            except (ClientError, OSError):
                pass
            await trio.sleep(_PAUSE_S)

    async def _listen_once(self) -> None:
        opened = open_socket(self._url, "/v1/stream", self._credentials, msgpack=self._msgpack)
        async with opened as socket:
            if self.log.last is None:
                reply = await socket.tell("subscribe")
            else:
                reply = await socket.tell("resume", after=self.log.last)
            try:
                await reply.result()
            except Refused as refused:
                if refused.code != "RESUME_TOO_OLD":
                    raise
                self.too_old += 1
            async for message in socket:
                self.log.hear(message)

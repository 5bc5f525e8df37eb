"""Clients whose orders must not outlive them: dead-man timers, cancel-on-disconnect.

A sentinel arms its key, places orders far from the market and goes, or is left by a server that was
killed. Before it arms again nothing of the former time may be open.
"""

from random import Random
from typing import Any, Final

import msgspec
import trio

from api.client import Bearer, Patience, Refused, TrioClient, TrioSocket, calls, open_socket
from api.client.errors import ClientError
from tests.crash.history import Call, History
from tests.crash.http_client import AnswerLost, NotSent, Reply
from tests.crash.venue import INSTRUMENTS, Member, Venue

TIMEOUT_MS: Final = 1_000
#: For the engine to end what is due, once the server answers.
_LATE_S_MAX: Final = 5.0
_PAUSE_S: Final = 0.02
_ONCE: Final = Patience(attempts_max=1)


class _Gone(Exception):
    """It has left without a word."""


class Sentinel:
    """One armed key. While its `turn` is held by somebody else it does nothing."""

    def __init__(self, member: Member, venue: Venue, history: History, seed: int) -> None:
        self.member = member
        self.turn = trio.Lock()
        self.rounds = 0
        self.placed = 0
        self.latest_s = 0.0
        self.contradictions: list[str] = []
        self._venue = venue
        self._history = history
        self._random = Random(f"{seed} sentinel {member.name}")
        self._prefix = f"{member.name}-{seed}"
        self._count = 0
        self._due_s = 0.0
        #: Orders on their way when the connection ended.
        self._in_doubt: list[Call] = []
        self._url = f"http://127.0.0.1:{venue.port}"
        self._credentials = Bearer(member.secret)

    async def run(self) -> None:
        """Arm, place, leave, look. Never returns."""
        while True:
            async with self.turn:
                try:
                    await self.look()
                    await self._live()
                except (ClientError, OSError, NotSent, AnswerLost, _Gone):
                    pass
            await trio.sleep(self._random.uniform(_PAUSE_S, 0.2))

    async def look(self) -> None:
        """Nothing may be left open, once it is due and the server answers.

        Raises: ClientError, NotSent, AnswerLost when the server is gone.
        """
        await self._settle()
        began_s = max(trio.current_time(), self._due_s)
        async with TrioClient(self._url, self._credentials, patience=_ONCE) as client:
            while orders := (await client.send(calls.open_orders())).orders:
                late_s = trio.current_time() - began_s
                if late_s > _LATE_S_MAX:
                    left = [order.client_order_id for order in orders]
                    self.contradictions.append(f"{self.member.name} has left open: {left}")
                    return
                await trio.sleep(_PAUSE_S)
        self.latest_s = max(self.latest_s, trio.current_time() - began_s)

    async def arm(self, socket: TrioSocket) -> None:
        """Agree on what ends the orders. Raises: ClientError."""
        raise NotImplementedError

    async def _live(self) -> None:
        """One connection: arm, place, stay for a while, go."""
        async with open_socket(self._url, "/v1/stream", self._credentials) as socket:
            await self.arm(socket)
            self.rounds += 1
            replies = []
            for _ in range(self._random.randint(1, 5)):
                call = self._call()
                self._in_doubt.append(call)
                replies.append((call, await socket.tell("place", order=msgspec.Raw(call.body))))
            for call, reply in replies:
                self._learn(call, await _answered(reply.result()))
            await trio.sleep(self._random.choice((0.0, 0.3, 1.2)))
            if self._random.random() < 0.5:
                raise _Gone

    def _call(self) -> Call:
        self._count += 1
        key = f"{self._prefix}-{self._count}"
        form = {
            "client_order_id": key,
            "instrument": self._random.choice(INSTRUMENTS),
            "side": "buy",
            "type": "limit",
            "price": "80.00",
            "quantity": "0.0100",
        }
        body, name, account = msgspec.json.encode(form), self.member.name, self.member.account
        return Call(name, account, "POST", "/v1/orders", body, key, is_place=True)

    async def _settle(self) -> None:
        """What was in doubt is there or not, and from now on a call like any other.

        One that is not there is not repeated: it would rest unguarded. The journal must not have
        its key then.
        """
        client = self._venue.client(self.member.account)
        try:
            for call in list(self._in_doubt):
                found = await client.call("GET", f"/v1/orders/by-client-id/{call.key}")
                if found.status == 404:
                    self._in_doubt.remove(call)
                elif found.status == 200 and "order_id" in found.content:
                    self._learn(call, await client.call("POST", call.path, call.body))
        finally:
            client.close()

    def _learn(self, call: Call, reply: Reply) -> None:
        self._in_doubt.remove(call)
        self._history.learn(self._history.begin(call), reply)
        self.placed += reply.status == 201


class Disconnecting(Sentinel):
    """Its orders end with its connection."""

    async def arm(self, socket: TrioSocket) -> None:
        """Say so."""
        await socket.request("cancel_on_disconnect", enabled=True)


class Timed(Sentinel):
    """Its orders end a second after it was last heard."""

    async def arm(self, socket: TrioSocket) -> None:
        """Start the timer."""
        await socket.request("dead_man", timeout_ms=TIMEOUT_MS)
        self._due_s = trio.current_time() + TIMEOUT_MS / 1000


async def _answered(result: Any) -> Reply:
    """An answer of the socket as one of HTTP. Raises: Unanswered."""
    try:
        return Reply(201, {}, msgspec.json.encode(await result))
    except Refused as refused:
        return Reply(refused.status, {}, msgspec.json.encode({"error": refused.error}))

"""What `outcry top` looks at: one sample of a server over its public API."""

import msgspec
import trio

from api.client import Patience, Refused, TrioClient, Unanswered, admin_calls, calls
from api.client.credentials import Credentials
from api.routes.health import ActorsAnswer
from api.routes.markets import InstrumentAnswer
from api.routes.tickers import TickerAnswer
from engine.service import Health

#: The next sample asks again, so none waits for long.
_PATIENCE = Patience(attempts_max=1)
_TIMEOUT_S = 2.0


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """A server at one moment of our clock; empty is what it did not tell, or not to this key.

    `answered_s` is how long the server took to say how it fares, `trouble` why it did not tell all.
    """

    taken_s: float
    health: Health | None = None
    answered_s: float = 0.0
    instruments: tuple[InstrumentAnswer, ...] = ()
    tickers: tuple[TickerAnswer, ...] = ()
    actors: ActorsAnswer | None = None
    trouble: str = ""


class Sampler:
    """Takes samples with one key: an admin's sees everything, one with READ the markets."""

    def __init__(self, url: str, credentials: Credentials) -> None:
        self._client = TrioClient(url, credentials, patience=_PATIENCE, timeout_s=_TIMEOUT_S)
        self._is_admin = True

    async def __aenter__(self) -> "Sampler":
        """Nothing is asked yet."""
        await self._client.__aenter__()
        return self

    async def __aexit__(self, *failure: object) -> None:
        """Hang up."""
        await self._client.__aexit__(None, None, None)

    async def sample(self) -> Sample:
        """Ask the server everything. Never raises what the server or the way to it causes."""
        began_s = trio.current_time()
        sample = Sample(taken_s=began_s)
        try:
            health = await self._client.send(calls.health())
            sample = msgspec.structs.replace(
                sample, health=health, answered_s=trio.current_time() - began_s
            )
            return await self._with_the_rest(sample)
        except (Refused, Unanswered) as error:
            return msgspec.structs.replace(sample, trouble=str(error))

    async def _with_the_rest(self, sample: Sample) -> Sample:
        actors = await self._actors()
        listed = await self._client.send(calls.instruments())
        told = await self._client.send(calls.tickers())
        return msgspec.structs.replace(
            sample,
            actors=actors,
            instruments=tuple(listed.instruments),
            tickers=tuple(told.tickers),
        )

    async def _actors(self) -> ActorsAnswer | None:
        """The engine's inner life; None for keys that may not see it."""
        if not self._is_admin:
            return None
        try:
            return await self._client.send(admin_calls.actors())
        except Refused as refusal:
            if refusal.status != 403:
                raise
            self._is_admin = False
            return None

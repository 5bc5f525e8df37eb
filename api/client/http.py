"""The client over HTTP, for trio and for plain threads; both send what `api.client.calls` makes."""

import time
from collections.abc import AsyncIterator, Iterator
from types import TracebackType
from typing import Final, Self, TypeVar

import httpx2
import trio

from api.client.call import Call, PagedCall
from api.client.credentials import Anonymous, Credentials
from api.client.exchange import Exchange
from api.client.resending import Patience

T = TypeVar("T")
R = TypeVar("R")

#: Beyond the server's own deadline for an answer.
TIMEOUT_S: Final = 10.0
#: After these, not a byte of the request has left.
_NOT_SENT: Final = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout)


class Client:
    """The API for plain threads, who may share one. `send` any call; `each` row of a list.

    >>> from api.client import calls
    >>> with Client("http://127.0.0.1:8080") as outcry:  # doctest: +SKIP
    ...     print(outcry.send(calls.server_time()).server_time_ns)
    """

    def __init__(
        self,
        url: str,
        credentials: Credentials | None = None,
        *,
        patience: Patience | None = None,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        self._credentials = credentials or Anonymous()
        self._patience = patience or Patience()
        self._http = httpx2.Client(base_url=url, timeout=timeout_s, trust_env=False)

    def __enter__(self) -> Self:
        """Nothing is sent yet."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close every connection."""
        self._http.close()

    def send(self, call: Call[T]) -> T:
        """Have a call answered. Waits; repeats what may be repeated.

        Raises: Refused, Unanswered.
        """
        exchange = Exchange(call, self._credentials, self._patience)
        for headers in exchange.attempts():
            try:
                response = self._http.request(
                    call.method, call.target, content=call.body or None, headers=headers
                )
            except httpx2.RequestError as error:
                exchange.fail(repr(error), was_sent=not isinstance(error, _NOT_SENT))
            else:
                retry_after = response.headers.get("Retry-After", "")
                answer = exchange.take(response.status_code, response.content, retry_after)
                if answer is not None:
                    return answer
            time.sleep(exchange.pause_s)
        raise AssertionError("attempts end by raising")

    def each(self, call: PagedCall[T, R]) -> Iterator[R]:
        """Every row of a list, page by page as they are needed.

        Raises: what `send` raises.
        """
        following: PagedCall[T, R] | None = call
        while following is not None:
            answer = self.send(following)
            yield from following.rows_of(answer)
            following = following.behind(answer)


class TrioClient:
    """The API for trio; see `Client`."""

    def __init__(
        self,
        url: str,
        credentials: Credentials | None = None,
        *,
        patience: Patience | None = None,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        self._credentials = credentials or Anonymous()
        self._patience = patience or Patience()
        self._http = httpx2.AsyncClient(base_url=url, timeout=timeout_s, trust_env=False)

    async def __aenter__(self) -> Self:
        """Nothing is sent yet."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close every connection."""
        with trio.CancelScope(shield=True):
            await self._http.aclose()

    async def send(self, call: Call[T]) -> T:
        """Have a call answered. Waits; repeats what may be repeated.

        Cancelled, it may have happened: ask by its key.
        Raises: Refused, Unanswered.
        """
        exchange = Exchange(call, self._credentials, self._patience)
        for headers in exchange.attempts():
            try:
                response = await self._http.request(
                    call.method, call.target, content=call.body or None, headers=headers
                )
            except httpx2.RequestError as error:
                exchange.fail(repr(error), was_sent=not isinstance(error, _NOT_SENT))
            else:
                retry_after = response.headers.get("Retry-After", "")
                answer = exchange.take(response.status_code, response.content, retry_after)
                if answer is not None:
                    return answer
            await trio.sleep(exchange.pause_s)
        raise AssertionError("attempts end by raising")

    async def each(self, call: PagedCall[T, R]) -> AsyncIterator[R]:
        """Every row of a list, page by page as they are needed.

        Raises: what `send` raises.
        """
        following: PagedCall[T, R] | None = call
        while following is not None:
            answer = await self.send(following)
            for row in following.rows_of(answer):
                yield row
            following = following.behind(answer)

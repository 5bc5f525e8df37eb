"""Supervision in OTP's words: two combinators over trio's nurseries, no strategy flags.

    one_for_one    together(restarting("a", a, limit), restarting("b", b, limit))
    one_for_all    restarting("pair", together(a, b), limit)
    rest_for_one   restarting("engine", together(journal, restarting("books", books, limit)), limit)

A child is one life: an async function that reports ready through `task_status` once its state is
rebuilt, so order of start is order of dependency. Nested limits multiply: keep outer ones small.
"""

import random
from collections import deque
from collections.abc import Awaitable
from typing import Protocol

import msgspec
import structlog
import trio

_log = structlog.get_logger("supervisor")


class Child(Protocol):
    """One life of something supervised."""

    def __call__(
        self, *, task_status: "trio.TaskStatus[None]" = trio.TASK_STATUS_IGNORED
    ) -> Awaitable[None]:
        """Live; report ready; return when done, raise when it cannot go on."""
        ...


class GaveUp(Exception):
    """A child failed more often than its limit allows; its supervisor must decide."""


class RestartLimit(msgspec.Struct, frozen=True):
    """At most `count` restarts within `period_s` (OTP: restart intensity and period).

    Between a failure and the next life there is a pause that doubles from `pause_s_min` to
    `pause_s_max`, with jitter, so that many children do not come back at one instant.
    """

    count: int
    period_s: float
    pause_s_min: float = 0.0
    pause_s_max: float = 0.0


class RestartHistory:
    """The recent failures of one child, against its limit. Pure: time is an argument."""

    def __init__(self, limit: RestartLimit) -> None:
        self.limit = limit
        self._failures: deque[float] = deque()

    def allows(self, now_s: float) -> bool:
        """Count a failure; whether another life is within the limit."""
        self._failures.append(now_s)
        while self._failures and self._failures[0] <= now_s - self.limit.period_s:
            self._failures.popleft()
        return len(self._failures) <= self.limit.count

    def pause_s(self) -> float:
        """How long to wait before the next life, without jitter."""
        doubled = self.limit.pause_s_min * 2.0 ** (len(self._failures) - 1)
        return float(min(self.limit.pause_s_max, doubled))


def together(*children: Child) -> Child:
    """Start the children in order; when one falls, all fall; stop in reverse by cancellation."""

    async def life(*, task_status: "trio.TaskStatus[None]" = trio.TASK_STATUS_IGNORED) -> None:
        async with trio.open_nursery() as nursery:
            for child in children:
                await nursery.start(child)
            task_status.started()

    return life


def restarting(
    name: str,
    child: Child,
    limit: RestartLimit,
    *,
    last_resort: Child | None = None,
    fatal: tuple[type[Exception], ...] = (),
) -> Child:
    """Give the child another life after each failure, within its limit (OTP: transient).

    Beyond the limit the `last_resort` lives in its place, or `GaveUp` is raised to the parent.
    A normal return ends it. Cancellation passes through, and so does a failure that holds one of
    the `fatal` exceptions: no other life could help.
    """

    async def life(*, task_status: "trio.TaskStatus[None]" = trio.TASK_STATUS_IGNORED) -> None:
        """One life after another, as far as the limit goes."""
        history = RestartHistory(limit)
        ready = _Once(task_status)
        while True:
            try:
                await _live(child, ready)
                return
            except Exception as error:
                if fatal and _holds(error, fatal):
                    raise
                if not history.allows(trio.current_time()):
                    _log.error("gave up", child=name, exc_info=error)
                    if last_resort is None:
                        raise GaveUp(name) from error
                    break
                _log.error("restarting", child=name, exc_info=error)
            pause_s = history.pause_s()
            await trio.sleep(pause_s * random.uniform(0.5, 1.0) if pause_s else 0)
        await _live(last_resort, ready)

    return life


def _holds(error: BaseException, kinds: tuple[type[Exception], ...]) -> bool:
    if isinstance(error, BaseExceptionGroup):
        return any(_holds(inner, kinds) for inner in error.exceptions)
    return isinstance(error, kinds)


async def _live(child: Child, ready: "_Once") -> None:
    async with trio.open_nursery() as nursery:
        await nursery.start(child)
        ready.report()


class _Once:
    """Readiness is reported for the first life alone; the parent does not wait for later ones."""

    def __init__(self, task_status: "trio.TaskStatus[None]") -> None:
        self._task_status = task_status
        self._reported = False

    def report(self) -> None:
        if not self._reported:
            self._reported = True
            self._task_status.started()

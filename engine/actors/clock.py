"""The engine's clock: wall time at start plus trio's time, so virtual time drives it too."""

import time

import trio

from engine.units import TimeNs


class TrioClock:
    """Wall time that never goes back, whatever happens to the system's clock.

    `not_before_ns` is the newest time already journaled: a restart after the system clock was set
    back goes on from there.
    """

    def __init__(self, wall_ns: int | None = None, not_before_ns: int = 0) -> None:
        wall = time.time_ns() if wall_ns is None else wall_ns
        self._start_ns = max(wall, not_before_ns)
        self._start_s = trio.current_time()
        self._last_ns = self._start_ns

    def now_ns(self) -> TimeNs:
        """Nanoseconds since the Unix epoch, never less than an earlier answer."""
        elapsed_ns = int((trio.current_time() - self._start_s) * 1_000_000_000)
        self._last_ns = max(self._last_ns, self._start_ns + elapsed_ns)
        return TimeNs(self._last_ns)

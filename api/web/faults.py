"""A log of broken connections that a flood of them cannot fill."""

import logging
from typing import Final

import trio

log = logging.getLogger(__name__)

_MINUTE_S: Final = 60.0


class FaultLog:
    """Logs each broken connection once, at most so many a minute; what is left out is counted."""

    def __init__(
        self, lines_per_minute_max: int, harmless: tuple[type[BaseException], ...] = ()
    ) -> None:
        """Faults of the `harmless` types are a client's doing and need no traceback."""
        self._lines_max = lines_per_minute_max
        self._harmless = harmless
        self._lines = 0
        self._left_out = 0
        self._minute_ends_s = 0.0

    def note(self, peer: object, fault: BaseException) -> None:
        """Log `fault`; with its traceback unless the client merely broke the protocol."""
        now_s = trio.current_time()
        if now_s >= self._minute_ends_s:
            self._minute_ends_s = now_s + _MINUTE_S
            self._lines = 0
        if self._lines >= self._lines_max:
            self._left_out += 1
            return
        self._lines += 1
        left_out, self._left_out = self._left_out, 0
        trace = None if isinstance(fault, self._harmless) else fault
        log.warning(
            "connection of %s broken by %r (%d like it not logged)",
            peer,
            fault,
            left_out,
            exc_info=trace,
        )


def leaves(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    """The single errors of a group, however deep."""
    found: list[BaseException] = []
    for member in group.exceptions:
        found.extend(leaves(member) if isinstance(member, BaseExceptionGroup) else [member])
    return found

"""The time that answers carry: the engine's, or the system's while there is no engine."""

import time

from engine.errors import Halted
from engine.service import Service
from engine.units import TimeNs


class EdgeClock:
    """The engine's time, and the system's while there is no engine: an error always has one."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def now_ns(self) -> TimeNs:
        """Nanoseconds since the Unix epoch."""
        try:
            return TimeNs(self._service.now_ns())
        except Halted:
            return TimeNs(time.time_ns())

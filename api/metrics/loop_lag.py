"""How late the event loop is: whatever computes too long without giving way shows here."""

from typing import Final, NoReturn

import trio

from api.metrics.traffic import Histogram

_PERIOD_S: Final = 0.1
_BOUNDS_S: Final = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)


class LoopLag:
    """Sleeps for a tenth of a second, over and over, and counts how late it is woken."""

    def __init__(self) -> None:
        self.late: Final = Histogram(_BOUNDS_S)

    async def watch(self) -> NoReturn:
        """Measure for ever."""
        while True:
            due_s = trio.current_time() + _PERIOD_S
            await trio.sleep_until(due_s)
            self.late.observe(trio.current_time() - due_s)

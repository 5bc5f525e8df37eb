"""Named points at which a test may have the process killed, to prove what recovery does.

`OUTCRY_CRASH_AT="P5:3"` kills the process with SIGKILL the third time it passes P5. Without it a
point costs one comparison.
"""

import os
import signal
from enum import StrEnum


class CrashPoint(StrEnum):
    """Where a command may be when the power goes."""

    DECODED = "P1"
    IN_MAILBOX = "P2"
    BLOCK_SEALED = "P3"
    SENT_TO_JOURNAL = "P4"
    COMMITTED_UNSEEN = "P5"
    SEEN_NOT_APPLIED = "P6"
    APPLIED_NOT_REPLIED = "P7"
    REPLIED_NOT_PUBLISHED = "P8"
    SNAPSHOT_WRITING = "P9"
    SNAPSHOT_WRITTEN = "P10"
    SNAPSHOT_REGISTERED = "P11"
    INTENT_COMMITTED = "P12"
    EXTERNAL_SENT = "P13"
    EXTERNAL_ANSWERED = "P14"
    ROWS_WRITTEN = "P16"  # P15 belongs to leases
    ROWS_COMMITTED = "P17"
    READ_MODELS_REBUILT = "P18"
    READ_MODELS_PUBLISHED = "P19"


class CrashPlan:
    """Which point kills, and after how many passes."""

    def __init__(self, armed: str) -> None:
        point, _, count = armed.partition(":")
        self.point = CrashPoint(point) if point else None
        self.passes_left = int(count or 1)

    def passing(self, point: CrashPoint) -> None:
        """Die here if that is the plan."""
        if point is self.point:
            self.passes_left -= 1
            if self.passes_left <= 0:
                os.kill(os.getpid(), signal.SIGKILL)


_plan = CrashPlan(os.environ.get("OUTCRY_CRASH_AT", ""))
passing = _plan.passing

"""How the interpreter is set up for an engine: the garbage collector and the thread switch.

Messages are structs the collector never visits, so few objects can form cycles; letting it look
rarely costs little memory and saves long pauses (`docs/benchmarks.md`).
"""

import gc
import sys
from typing import Final

#: Young objects between two collections, and how many of those before the older generations.
GC_THRESHOLDS: Final = (50_000, 20, 100)
#: The storage thread must get its turn while the engine's is busy.
SWITCH_INTERVAL_S: Final = 0.0001


def tune() -> None:
    """Set the process up. Call once, before the engine starts."""
    gc.set_threshold(*GC_THRESHOLDS)
    sys.setswitchinterval(SWITCH_INTERVAL_S)


def freeze() -> None:
    """Put what was loaded out of the collector's sight. Call once recovery is done."""
    gc.collect()
    gc.freeze()

"""The projector's process, as it is kept running beside an engine."""

from functools import partial
from typing import Final

from engine.actors.process import Companion, keep_running
from engine.projector.projector import EXIT_CORRUPT

PROJECTOR: Final = Companion(
    "projector",
    "no projector: recovery will take longer with every record",
    frozenset((EXIT_CORRUPT,)),
)

#: See `keep_running`. On a journal that contradicts itself there is no second life.
keep_projecting: Final = partial(keep_running, PROJECTOR)

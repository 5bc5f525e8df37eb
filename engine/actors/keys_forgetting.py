"""Forgetting: what the history has of old keys need not stay in memory."""

from typing import Final

import structlog
import trio

from engine.errors import StorageError
from engine.journal.state import KEYS_PER_TURN_MAX, EngineState
from engine.ports import History

_log = structlog.get_logger("keys")
FORGET_EVERY_S: Final = 1.0
#: Turns of one look: more keys a second than any engine answers, and still a bounded part of it.
_TURNS_MAX: Final = 400


async def keep_forgetting(
    state: EngineState,
    history: History,
    *,
    task_status: "trio.TaskStatus[None]" = trio.TASK_STATUS_IGNORED,
) -> None:
    """Let an engine's state forget keys behind the history, a few at a time. Waits for ever."""
    task_status.started()
    while True:
        await trio.sleep(FORGET_EVERY_S)
        if len(state.released.keys) > state.keys_exact_max:
            try:
                through = (await history.watermark()).sequence
            except StorageError as error:
                _log.warning("no key forgotten", error=str(error))
            else:
                await forget(state, through)


async def forget(state: EngineState, through: int, turns_max: int = _TURNS_MAX) -> None:
    """Forget keys that were answered `through`; others get their turns meanwhile."""
    # Keys of open orders come round again, so no more than there are.
    turns = min(turns_max, len(state.released.keys) // KEYS_PER_TURN_MAX + 1)
    for _ in range(turns):
        if not state.forget_keys(through):
            return
        await trio.lowlevel.checkpoint()

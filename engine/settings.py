"""What an operator can set about the engine; `config` fills it in, the engine only reads it."""

from typing import Final

import msgspec

#: More than anybody wants of anything here; what no timer and no queue could take is beyond it.
_SANE_MAX: Final = 10**9


class EngineSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Limits and times of one engine process.

    Raises: ValueError for a limit or time that is not positive, or beyond all measure.
    """

    order_slots_max: int = 8_192
    cancel_slots_max: int = 2_048
    edge_deadline_s: float = 5.0
    block_records_max: int = 4_096
    follow_ups_per_batch_max: int = 256
    closed_orders_max: int = 100_000
    keys_exact_max: int = 1_000_000
    desk_restarts_max: int = 3
    desk_restart_period_s: float = 60.0
    engine_restarts_max: int = 3
    engine_restart_period_s: float = 60.0
    drain_s_max: float = 10.0
    withdrawal_cooling_off_s: float = 30.0
    feed_interval_s: float = 0.01
    feed_summary_interval_s: float = 0.25
    feed_inbox_records_max: int = 100_000

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            if name != "withdrawal_cooling_off_s":
                _check_sane(name, getattr(self, name))
        if self.withdrawal_cooling_off_s:
            _check_sane("withdrawal_cooling_off_s", self.withdrawal_cooling_off_s)


class ProjectorSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """When the projector looks, writes and speaks.

    A snapshot is due after so many records, or after so long if there were any at all. Effects are
    what private streams are resumed from.
    Raises: ValueError for a number or time that is not positive, or beyond all measure.
    """

    snapshot_every_records: int = 100_000
    snapshot_every_s: float = 60.0
    batch_records_max: int = 8_192
    effects_kept_records: int = 5_000_000
    poll_s: float = 0.1
    report_every_s: float = 10.0
    retry_s_max: float = 5.0

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            _check_sane(name, getattr(self, name))


def _check_sane(name: str, value: float) -> None:
    if not 0 < value <= _SANE_MAX:  # so written that "not a number" does not pass
        raise ValueError(f"{name} must be above 0 and at most {_SANE_MAX}")

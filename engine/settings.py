"""What an operator can set about the engine; `config` fills it in, the engine only reads it."""

import msgspec


class EngineSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Limits and times of one engine process.

    Raises: ValueError for a limit or time that is not positive.
    """

    order_slots_max: int = 8_192
    cancel_slots_max: int = 2_048
    edge_deadline_s: float = 5.0
    block_records_max: int = 4_096
    follow_ups_per_batch_max: int = 256
    closed_orders_max: int = 100_000
    desk_restarts_max: int = 3
    desk_restart_period_s: float = 60.0
    engine_restarts_max: int = 3
    engine_restart_period_s: float = 60.0
    drain_s_max: float = 10.0
    withdrawal_cooling_off_s: float = 30.0

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            if name != "withdrawal_cooling_off_s" and getattr(self, name) <= 0:
                raise ValueError(f"{name} must be positive")
        if self.withdrawal_cooling_off_s < 0:
            raise ValueError("withdrawal_cooling_off_s must not be negative")


class ProjectorSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """When the projector looks, writes and speaks.

    A snapshot is due after so many records, or after so long if there were any at all.
    Raises: ValueError for a number or time that is not positive.
    """

    snapshot_every_records: int = 100_000
    snapshot_every_s: float = 60.0
    poll_s: float = 0.25
    report_every_s: float = 10.0
    retry_s_max: float = 5.0

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be positive")

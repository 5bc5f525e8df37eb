"""Which fault rows there are, and how large each is in the test suite and by hand."""

from collections.abc import Awaitable, Callable
from typing import Any, Final, NamedTuple

from tests.faults.crowd import crowd
from tests.faults.malformed import malformed
from tests.faults.overload import overload
from tests.faults.slow_readers import slow_readers
from tests.faults.storm import storm

#: What a server grants unless told otherwise.
_HOUSE: Final = {"per_address_max": 2_500, "connections_max": 4_096}
#: So that nonsense is answered, not just cut off as too much.
_TALKATIVE: Final = {
    "websocket_messages_per_s": 1_000_000.0,
    "websocket_messages_burst_max": 1_000_000,
}

Act = Callable[..., Awaitable[dict[str, Any]]]


class Row(NamedTuple):
    """What is done, under which limits, at which size."""

    act: Act
    #: `server.limits` of the full size, and of the small one.
    limits: dict[str, Any]
    small_limits: dict[str, Any]
    full: dict[str, Any]
    small: dict[str, Any]


ROWS: Final[dict[str, Row]] = {
    "F20": Row(
        slow_readers,
        limits={},
        small_limits={"websocket_pending_s_max": 1.0, "websocket_buffer_bytes": 4_096},
        full={"good": 450, "bad": 50, "rate": 20, "seconds": 20.0},
        small={"good": 60, "bad": 10, "rate": 25, "seconds": 2.0},
    ),
    "F21": Row(
        crowd,
        limits={"connections_per_address_max": 1_500},
        small_limits={"connections_max": 500, "connections_per_address_max": 50},
        full={
            **_HOUSE,
            "per_address_max": 1_500,
            "idle": 2_000,
            "busy": 200,
            "rate": 20,
            "seconds": 8.0,
        },
        small={
            "idle": 300,
            "busy": 30,
            "per_address_max": 50,
            "connections_max": 500,
            "rate": 40,
            "seconds": 0.7,
        },
    ),
    "F21-10000": Row(
        crowd,
        limits={"connections_max": 14_000},
        small_limits={},
        full={
            **_HOUSE,
            "connections_max": 14_000,
            "idle": 10_000,
            "busy": 500,
            "rate": 5,
            "seconds": 8.0,
        },
        small={},
    ),
    "F22": Row(
        storm,
        limits={"connections_per_address_max": 300},
        small_limits={"connections_per_address_max": 40, "head_read_s_max": 1.0},
        full={"per_second": 1_000, "rate": 50, "seconds": 10.0},
        small={"per_second": 300, "rate": 50, "seconds": 1.5},
    ),
    "F23": Row(
        malformed,
        limits=_TALKATIVE,
        small_limits=_TALKATIVE,
        full={"inputs": 25_000},
        small={"inputs": 800},
    ),
    "F25": Row(
        overload,
        limits={},
        small_limits={},
        full={"wires": 600, "peak_s": 5.0, "seconds": 10.0, "halted_s": 2.0},
        small={"wires": 300, "peak_s": 1.0, "seconds": 1.0, "halted_s": 0.5},
    ),
}

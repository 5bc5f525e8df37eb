"""The metrics of the engine: its line, its actors, its history. docs/operating.md explains them."""

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, Final

from api.metrics.metric import Kind, Metric, Scene
from api.sockets.codec import CODECS
from engine.actors.actor import Vitals
from engine.actors.desks import DeskHealth
from engine.orderbook.messages import InstrumentState
from engine.ports import Lag
from engine.service import HealthStatus
from engine.wiring import Line

_SECOND_NS: Final = 1_000_000_000


def _health(scene: Scene) -> Mapping[str, int]:
    return {one: one is scene.health.status for one in HealthStatus}


def _slots_max(scene: Scene) -> Mapping[str, int]:
    settings = scene.service.settings
    return {"orders": settings.order_slots_max, "cancels": settings.cancel_slots_max}


def _of_actors(read: Callable[[Vitals], float]) -> Callable[[Scene], Mapping[str, float]]:
    def readings(scene: Scene) -> Mapping[str, float]:
        vitals = [scene.service.feed.vitals]
        if scene.line is not None:
            vitals += scene.line.vitals.values()
        return {one.name: read(one) for one in vitals}

    return readings


def _depth(vitals: Vitals) -> int:
    return 0 if vitals.waiting is None else vitals.waiting.depth


def _history_lag(scene: Scene) -> Lag | None:
    if scene.watermark is None or scene.line is None:
        return None
    return scene.watermark.behind(scene.line.released.sequence, scene.line.clock.now_ns())


def _history_lag_records(scene: Scene) -> int | None:
    lag = _history_lag(scene)
    return None if lag is None else lag.records


def _history_lag_s(scene: Scene) -> float | None:
    lag = _history_lag(scene)
    return None if lag is None else lag.seconds


def _snapshot_lag_records(scene: Scene) -> int | None:
    if scene.snapshot_sequence is None or scene.line is None:
        return None
    return max(0, scene.line.released.sequence - scene.snapshot_sequence)


def _feed_lag_records(scene: Scene) -> int | None:
    if scene.line is None:
        return None
    return max(0, scene.line.released.sequence - scene.service.feed.sequence)


def _desks(line: Line) -> Mapping[str, int]:
    found = Counter(desk.health for desk in line.desks.desks.values())
    return {health: found[health] for health in DeskHealth}


def _instruments(line: Line) -> Mapping[str, int]:
    states, known = line.released.states, line.released.rules.directory.instruments
    found = Counter(states.get(one, InstrumentState.OPEN) for one in known)
    return {state.name: found[state] for state in InstrumentState}


def _next_deadline_s(line: Line) -> float | None:
    due_ns = line.deadlines.next_ns
    return None if due_ns is None else (due_ns - line.clock.now_ns()) / _SECOND_NS


def _encodings(_: Any) -> Mapping[str, int]:
    return {codec.subprotocol: codec.encodings for codec in CODECS}


#: Read from a scene; told whether there is an engine or not.
ENGINE_METRICS: Final = (
    Metric(
        Kind.GAUGE,
        "outcry_health",
        "1 for the health status that holds, as GET /v1/health tells it.",
        _health,
        ("status",),
    ),
    Metric(
        Kind.GAUGE,
        "outcry_store_outage_seconds",
        "How long the database has not answered; 0 while it does.",
        lambda scene: scene.health.outage_s or 0.0,
    ),
    Metric(
        Kind.COUNTER,
        "outcry_engine_lives_total",
        "How often the engine was built from its journal; 1 is a start.",
        lambda scene: scene.service.lives,
    ),
    Metric(
        Kind.GAUGE,
        "outcry_slots_free",
        "Commands of a kind that could still be accepted now.",
        lambda scene: scene.health.slots_free,
        ("kind",),
    ),
    Metric(
        Kind.GAUGE,
        "outcry_slots_max",
        "Commands of a kind that may be under way at once.",
        _slots_max,
        ("kind",),
    ),
    Metric(
        Kind.COUNTER,
        "outcry_commands_admitted_total",
        "Commands of a kind that were taken in, since the process began.",
        lambda scene: scene.service.admitted,
        ("kind",),
    ),
    Metric(
        Kind.GAUGE,
        "outcry_actor_running",
        "1 while an actor lives.",
        _of_actors(lambda vitals: vitals.running),
        ("actor",),
    ),
    Metric(
        Kind.GAUGE,
        "outcry_mailbox_depth",
        "Messages that wait for an actor.",
        _of_actors(_depth),
        ("actor",),
    ),
    Metric(
        Kind.COUNTER,
        "outcry_actor_restarts_total",
        "Lives of an actor after its first, within one life of the engine.",
        _of_actors(lambda vitals: max(0, vitals.lives - 1)),
        ("actor",),
    ),
    Metric(
        Kind.COUNTER,
        "outcry_actor_batches_total",
        "Batches that an actor took from its mailbox.",
        _of_actors(lambda vitals: vitals.batches),
        ("actor",),
    ),
    Metric(
        Kind.COUNTER,
        "outcry_actor_messages_total",
        "Messages in them; of the feed, publications.",
        _of_actors(lambda vitals: vitals.messages),
        ("actor",),
    ),
    Metric(
        Kind.COUNTER,
        "outcry_actor_busy_seconds_total",
        "Time that an actor spent on them; of the journal, waiting for the database included.",
        _of_actors(lambda vitals: vitals.busy_s),
        ("actor",),
    ),
    Metric(
        Kind.GAUGE,
        "outcry_history_reachable",
        "1 if the history said in time how far it has come.",
        lambda scene: scene.watermark is not None,
    ),
    Metric(
        Kind.GAUGE,
        "outcry_history_lag_records",
        "Records that the history does not know yet.",
        _history_lag_records,
    ),
    Metric(
        Kind.GAUGE,
        "outcry_history_lag_seconds",
        "Age of what the history knows last, while it is behind.",
        _history_lag_s,
    ),
    Metric(
        Kind.GAUGE,
        "outcry_snapshot_lag_records",
        "Records that a restart would have to fold after the newest snapshot.",
        _snapshot_lag_records,
    ),
    Metric(
        Kind.GAUGE,
        "outcry_feed_lag_records",
        "Records that the feed has not counted yet.",
        _feed_lag_records,
    ),
    Metric(
        Kind.GAUGE,
        "outcry_feed_channels",
        "Channels of instruments that somebody follows.",
        lambda scene: len(scene.service.feed.followed),
    ),
    Metric(
        Kind.COUNTER,
        "outcry_socket_encodings_total",
        "Messages encoded for websockets, each once for all that hear it.",
        _encodings,
        ("codec",),
    ),
)

#: Read from the line of the present life; not told while there is none.
LINE_METRICS: Final = (
    Metric(
        Kind.COUNTER,
        "outcry_records_total",
        "Records released: the sequence, which goes on over restarts.",
        lambda line: line.released.sequence,
    ),
    Metric(
        Kind.COUNTER,
        "outcry_blocks_total",
        "Blocks committed to the journal, over restarts too.",
        lambda line: line.journal.head.number,
    ),
    Metric(
        Kind.COUNTER,
        "outcry_trades_total",
        "Trades released since this life of the engine began.",
        lambda line: line.released.trades,
    ),
    Metric(
        Kind.GAUGE,
        "outcry_orders_open",
        "Orders that rest, wait for their trigger or were triggered.",
        lambda line: line.released.orders.open_count,
    ),
    Metric(
        Kind.GAUGE,
        "outcry_instruments",
        "Instruments by the state of their book.",
        _instruments,
        ("state",),
    ),
    Metric(
        Kind.GAUGE,
        "outcry_desks",
        "Desks by how they fare; an instrument has one from its first command on.",
        _desks,
        ("health",),
    ),
    Metric(
        Kind.COUNTER,
        "outcry_desk_falls_total",
        "How often a desk fell; the log names which, and the request it fell on.",
        lambda line: sum(desk.falls for desk in line.desks.desks.values()),
    ),
    Metric(
        Kind.GAUGE,
        "outcry_follow_ups_outstanding",
        "Work that records caused and that has no record of its own yet.",
        lambda line: len(line.released.outstanding),
    ),
    Metric(
        Kind.GAUGE,
        "outcry_next_deadline_seconds",
        "Until the next deadline of any desk; below 0 it is overdue.",
        _next_deadline_s,
    ),
)

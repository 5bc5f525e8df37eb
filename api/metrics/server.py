"""The metrics of the server: connections, requests, limits. docs/operating.md explains them."""

from collections.abc import Mapping
from typing import Final

from api.metrics.metric import Kind, Metric, Scene
from api.rates import Limit
from api.web.limits import ServerCounts


def _requests(scene: Scene) -> Mapping[tuple[str, int], int]:
    return {
        (route.name, status): count
        for route in scene.traffic.routes.values()
        for status, count in route.by_status.items()
    }


def _cut(counts: ServerCounts) -> Mapping[str, int]:
    return {
        "head too slow": counts.heads_too_slow,
        "body too slow": counts.bodies_too_slow,
        "body too large": counts.bodies_too_large,
        "reader too slow": counts.readers_too_slow,
    }


def _limits(scene: Scene) -> list[Limit]:
    rates = scene.rates
    return [one for one in (rates.by_address, rates.by_key, rates.by_account) if one is not None]


SERVER_METRICS: Final = (
    Metric(
        Kind.COUNTER,
        "outcry_http_requests_total",
        "Requests answered, by route and status; the route is empty where there is none.",
        _requests,
        ("route", "status"),
    ),
    Metric(
        Kind.HISTOGRAM,
        "outcry_request_duration_seconds",
        "From a request's body being here to its answer; of the class socket, from a command's "
        "admission to its answer. Without what was turned away at the door.",
        lambda scene: scene.traffic.latencies,
        ("class",),
    ),
    Metric(
        Kind.COUNTER,
        "outcry_socket_commands_total",
        "Commands over private streams, by the status of their answer.",
        lambda scene: scene.traffic.commands,
        ("status",),
    ),
    Metric(
        Kind.COUNTER,
        "outcry_refusals_total",
        "Errors that callers were told, by code: of requests, items of batches, messages.",
        lambda scene: scene.traffic.refusals,
        ("code",),
    ),
    Metric(
        Kind.COUNTER,
        "outcry_rate_limited_total",
        "Requests and messages that had to wait, by the limit that was reached.",
        lambda scene: {limit.name: limit.refused for limit in _limits(scene)},
        ("limit",),
    ),
    Metric(
        Kind.GAUGE,
        "outcry_rate_callers",
        "Addresses, keys and accounts whose rate is remembered.",
        lambda scene: {limit.name: limit.buckets for limit in _limits(scene)},
        ("limit",),
    ),
    Metric(
        Kind.GAUGE,
        "outcry_connections_open",
        "Connections open now, websockets included.",
        lambda scene: scene.counts.connections_open,
    ),
    Metric(
        Kind.COUNTER,
        "outcry_connections_accepted_total",
        "Connections that were served.",
        lambda scene: scene.counts.connections_accepted,
    ),
    Metric(
        Kind.COUNTER,
        "outcry_connections_refused_total",
        "Connections that were closed at once because there were too many.",
        lambda scene: scene.counts.connections_refused,
    ),
    Metric(
        Kind.COUNTER,
        "outcry_connection_faults_total",
        "Connections that broke by a fault, the client's or ours; the log tells which.",
        lambda scene: scene.counts.connection_faults,
    ),
    Metric(
        Kind.COUNTER,
        "outcry_requests_cut_total",
        "Requests ended by a limit of the server before any route saw them, or while answered.",
        lambda scene: _cut(scene.counts),
        ("cause",),
    ),
    Metric(
        Kind.GAUGE,
        "outcry_sockets_open",
        "Websockets open now.",
        lambda scene: scene.counts.sockets_open,
    ),
    Metric(
        Kind.COUNTER,
        "outcry_sockets_accepted_total",
        "Websockets accepted.",
        lambda scene: scene.counts.sockets_accepted,
    ),
    Metric(
        Kind.COUNTER,
        "outcry_sockets_refused_total",
        "Handshakes answered with an error.",
        lambda scene: scene.counts.sockets_refused,
    ),
    Metric(
        Kind.COUNTER,
        "outcry_sockets_closed_total",
        "Websockets closed, by close code; 1006 are clients that left without a word.",
        lambda scene: scene.counts.sockets_closed,
        ("code",),
    ),
    Metric(
        Kind.COUNTER,
        "outcry_socket_messages_received_total",
        "Messages from websocket clients.",
        lambda scene: scene.counts.socket_messages_in,
    ),
    Metric(
        Kind.COUNTER,
        "outcry_socket_sent_bytes_total",
        "Bytes handed to the system for websocket clients.",
        lambda scene: scene.counts.socket_bytes_out,
    ),
    Metric(
        Kind.COUNTER,
        "outcry_updates_conflated_total",
        "Updates of market data left out for slow clients, and covered by a later message.",
        lambda scene: scene.counts.updates_conflated,
    ),
    Metric(
        Kind.HISTOGRAM,
        "outcry_event_loop_lag_seconds",
        "How late a task is woken that sleeps for a tenth of a second.",
        lambda scene: scene.lag.late,
    ),
)

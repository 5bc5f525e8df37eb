"""What one server grants to whom it does not know: its address, its limits, its counts.

Nothing here does anything; `connection`, `body` and `server` keep these limits.
"""

from typing import Annotated, Final

import msgspec

#: Files of a server that are no connections: the journal's, logs, listeners.
FILES_BESIDE_CONNECTIONS: Final = 200

PositiveInt = Annotated[int, msgspec.Meta(ge=1)]
Seconds = Annotated[float, msgspec.Meta(gt=0, le=86_400)]


class Bind(msgspec.Struct, frozen=True):
    """Where a server listens; port 0 lets the system choose one."""

    host: str = "127.0.0.1"
    port: Annotated[int, msgspec.Meta(ge=0, le=65_535)] = 8_080

    @property
    def url(self) -> str:
        """The address as a client writes it.

        >>> Bind("::1", 80).url
        'http://[::1]:80'
        """
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"


class ServerLimits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Bounds of one server; what exceeds one of them is refused or closed, and counted."""

    #: Open connections; the next one is answered 503 and closed at once.
    connections_max: PositiveInt = 4_096
    #: Of one address, of IPv6 a network of 64 bits; the next one is answered 429. 0: no limit.
    connections_per_address_max: Annotated[int, msgspec.Meta(ge=0)] = 2_500
    #: Connections that the system holds for us before we accept them.
    backlog_max: PositiveInt = 1_024
    #: Request line and headers together.
    head_bytes_max: PositiveInt = 16_384
    #: From the first byte of a request to the last of its headers.
    head_read_s_max: Seconds = 10.0
    #: A request's body; a larger one is answered 413.
    body_bytes_max: PositiveInt = 65_536
    #: From the last header to the last byte of the body; a slower one is answered 408.
    body_read_s_max: Seconds = 10.0
    #: One write to a client, waiting for its turn included; a slower reader is cut off.
    write_s_max: Seconds = 5.0
    #: Between two requests on one connection.
    idle_s_max: Seconds = 75.0
    #: Bots hold their connections, so this is a backstop and no policy.
    requests_per_connection_max: PositiveInt = 1_000_000
    #: One websocket message from a client.
    websocket_message_bytes_max: PositiveInt = 65_536
    #: Between two pings to a websocket client.
    websocket_ping_s: Seconds = 20.0
    #: From a ping to its pong.
    websocket_pong_s_max: Seconds = 60.0
    #: For a client that has neither subscribed nor logged in to say something.
    websocket_idle_s_max: Seconds = 60.0
    #: Then a client has to connect again; it is told ten seconds before.
    websocket_lifetime_s_max: Seconds = 86_400.0
    #: Messages from one client, pings included, where its session does not say otherwise.
    websocket_messages_per_s: Annotated[float, msgspec.Meta(gt=0)] = 5.0
    #: Of them at once.
    websocket_messages_burst_max: PositiveInt = 50
    #: Waiting to be sent; with more of them private data closes the websocket.
    websocket_pending_bytes_max: PositiveInt = 1_048_576
    #: Age of private data waiting to be sent, and time in which a slow client must take something.
    websocket_pending_s_max: Seconds = 5.0
    #: Waiting to be sent; beyond them market data is conflated.
    websocket_conflate_bytes: PositiveInt = 65_536
    #: Held by the system for one client, each way; Linux doubles it.
    websocket_buffer_bytes: PositiveInt = 65_536
    #: Of one key.
    websockets_per_key_max: PositiveInt = 20
    #: Pages of these origins may open websockets in a browser, beside the server's own.
    websocket_origins: tuple[str, ...] = ()
    #: Sent but not acknowledged by the client's system; then the client counts as gone.
    peer_silence_s_max: Seconds = 60.0
    #: From the order to stop until requests in flight are cut off.
    shutdown_s_max: Seconds = 10.0
    #: Lines about broken connections; more of them are counted only.
    fault_logs_per_minute_max: PositiveInt = 30


class ServerCounts(msgspec.Struct):
    """What happened at one server since it started; for metrics and tests."""

    connections_open: int = 0
    connections_accepted: int = 0
    connections_refused: int = 0
    connection_faults: int = 0
    heads_too_slow: int = 0
    bodies_too_large: int = 0
    bodies_too_slow: int = 0
    readers_too_slow: int = 0
    sockets_open: int = 0
    sockets_accepted: int = 0
    #: Handshakes answered with an error.
    sockets_refused: int = 0
    #: By close code; 1006 are clients that left without a word.
    sockets_closed: dict[int, int] = {}
    socket_messages_in: int = 0
    socket_bytes_out: int = 0
    #: Updates of market data left out for slow clients, and covered by a later message.
    updates_conflated: int = 0

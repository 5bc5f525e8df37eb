"""How quickly does the feed tell two hundred subscribers of every change, and at what cost?

A server in a process of its own trades at a fixed rate; this process holds the subscribers, reads
what comes and notes when. Both read the same monotonic clock, so the delay of an update is counted
from the moment its order was due to the moment a subscriber has read it: line, journal in memory,
feed, encoding, socket and reader included. Each subscriber keeps no book; it checks that updates
follow each other.
"""

import logging
import multiprocessing
import resource
import selectors
import socket
import time
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from random import Random
from typing import Any, Final

import msgspec
import structlog
import trio
from quart_trio import QuartTrio

from api.settings import ApiSettings
from api.sockets.codec import JSON
from api.sockets.feed import feed_session
from api.web.limits import Bind, ServerCounts, ServerLimits
from api.web.server import serve
from bench.engine import open_store, running, seed_market
from bench.machine import lookup_ns, machine_line, percentiles_ms
from engine.orderbook.messages import OrderKind, PlaceOrder
from engine.runtime import freeze, tune
from engine.service import Service
from engine.units import AccountId, InstrumentId, PriceTicks, QuantityLots, Side

PATH: Final = "/v1/feed"
#: Price levels of each side, all standing before anything is measured.
LEVELS: Final = 500
MIDDLE_TICKS: Final = 10_000
#: Before the first order that counts.
SETTLE_S: Final = 1.0
_REQUEST: Final = (
    f"GET {PATH} HTTP/1.1\r\nHost: bench\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
).encode()
_WISH: Final = b'{"id":1,"op":"subscribe","channels":["depth"],"instruments":["B0"]}'


class Served(msgspec.Struct):
    """What the server's process says at the end."""

    due_ns: dict[int, int]  # by sequence: when the order was due
    cpu_s: float
    wall_s: float
    encodings: int
    conflated: int
    peak_rss_mib: float


def feed_report(
    *, subscribers: int = 200, rate: int = 100, seconds: float = 10.0, seed: int = 1
) -> dict[str, Any]:
    """Delivery delay, processor time and memory; beside it the same trading without subscribers."""
    alone, _, _ = _measure(0, rate, min(seconds, 5.0), seed)
    served, readers, reading_s = _measure(subscribers, rate, seconds, seed)
    delays = [delay for reader in readers for delay in reader.delays_s(served.due_ns)]
    messages = sum(reader.messages for reader in readers)
    return {
        "machine": machine_line(),
        "lookup_ns": round(lookup_ns(), 1),
        "subscribers": subscribers,
        "updates_per_second": rate,
        "levels": 2 * LEVELS,
        "seconds": round(served.wall_s, 1),
        "messages_delivered": messages,
        "messages_per_second": round(messages / served.wall_s),
        "encodings": served.encodings,
        "messages_per_encoding": round(messages / max(1, served.encodings), 1),
        "updates_conflated": served.conflated,
        "updates_missed": sum(reader.missed for reader in readers),
        "delivery_ms": percentiles_ms(delays) if delays else {},
        "server_cpu_percent": round(100 * served.cpu_s / served.wall_s, 1),
        "server_cpu_percent_alone": round(100 * alone.cpu_s / alone.wall_s, 1),
        "readers_cpu_percent": round(100 * reading_s / served.wall_s, 1),
        "server_cpu_us_per_message": _per_message_us(served, alone, messages),
        "server_peak_rss_mib": round(served.peak_rss_mib, 1),
        "server_peak_rss_mib_alone": round(alone.peak_rss_mib, 1),
    }


def _per_message_us(served: Served, alone: Served, messages: int) -> float:
    extra = served.cpu_s / served.wall_s - alone.cpu_s / alone.wall_s
    return round(extra * served.wall_s / max(1, messages) * 1e6, 1)


def _measure(
    subscribers: int, rate: int, seconds: float, seed: int
) -> tuple[Served, "list[Reader]", float]:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    server = context.Process(target=_serve, args=(theirs, rate, seconds, seed), daemon=True)
    server.start()
    port = ours.recv()
    readers = [Reader(port) for _ in range(subscribers)]
    cpu_began = time.process_time()
    ours.send("go")
    _read_until(readers, ours)
    cpu_s = time.process_time() - cpu_began
    served = msgspec.msgpack.decode(ours.recv(), type=Served, strict=False)
    for reader in readers:
        reader.socket.close()
    server.join()
    return served, readers, cpu_s


class _Told(msgspec.Struct):
    """What a subscriber looks at."""

    type: str
    sequence: int = 0
    first_update_id: int = 0
    update_id: int = 0


_decode: Final = msgspec.json.Decoder(_Told).decode


class Reader:
    """One subscriber: a plain socket, and the times at which it had read what."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.messages = 0
        self.missed = 0
        self._buffer = b""
        self._update_id = 0
        self._heard: list[tuple[int, int]] = []  # sequence, and when it was read
        self._upgrade()

    def _upgrade(self) -> None:
        mask, wish = bytes(4), _WISH  # a mask of zeros leaves the payload as it is
        self.socket.sendall(_REQUEST)
        while b"\r\n\r\n" not in self._buffer:
            self._buffer += self.socket.recv(65_536)
        self._buffer = self._buffer.partition(b"\r\n\r\n")[2]
        self.socket.sendall(bytes([0x81, 0x80 | len(wish)]) + mask + wish)
        while not self._update_id:
            self.read()
        self.messages = 0
        self.socket.setblocking(False)

    def read(self) -> None:
        """Take in what has arrived."""
        self._buffer += self.socket.recv(262_144)
        now_ns = time.monotonic_ns()
        while (frame := _frame(self._buffer)) is not None:
            opcode, begins, ends = frame
            if opcode == 1:
                self._hear(_decode(self._buffer[begins:ends]), now_ns)
            self._buffer = self._buffer[ends:]

    def _hear(self, told: _Told, now_ns: int) -> None:
        if not told.type.startswith("depth"):
            return
        self.messages += 1
        if told.type == "depth":
            self.missed += told.first_update_id != self._update_id + 1
        self._update_id = told.update_id
        self._heard.append((told.sequence, now_ns))

    def delays_s(self, due_ns: dict[int, int]) -> list[float]:
        """From when each order was due to when a message that covers it was read."""
        delays: list[float] = []
        heard = iter(self._heard)
        sequence, now_ns = next(heard, (0, 0))
        for number, due in due_ns.items():
            while sequence < number:
                following = next(heard, None)
                if following is None:
                    return delays
                sequence, now_ns = following
            delays.append((now_ns - due) / 1e9)
        return delays


def _frame(buffer: bytes) -> tuple[int, int, int] | None:
    """Opcode, beginning and end of the first whole frame of a server, which masks nothing."""
    if len(buffer) < 2:
        return None
    length, begins = buffer[1] & 0x7F, 2
    if length >= 126:
        begins = 4 if length == 126 else 10
        if len(buffer) < begins:
            return None
        length = int.from_bytes(buffer[2:begins], "big")
    ends = begins + length
    return None if len(buffer) < ends else (buffer[0] & 0x0F, begins, ends)


def _read_until(readers: list[Reader], done: "Connection[Any, Any]") -> None:
    selector = selectors.DefaultSelector()
    for reader in readers:
        selector.register(reader.socket, selectors.EVENT_READ, reader)
    selector.register(done.fileno(), selectors.EVENT_READ, None)
    while True:
        for key, _ in selector.select():
            if key.data is None:
                return
            key.data.read()


def _serve(parent: "Connection[Any, Any]", rate: int, seconds: float, seed: int) -> None:
    """The server's process."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    tune()
    trio.run(_trade_and_tell, parent, rate, seconds, seed)


async def _trade_and_tell(
    parent: "Connection[Any, Any]", rate: int, seconds: float, seed: int
) -> None:
    async with open_store("memory", Path()) as store, running(store) as (_, service):
        accounts, [instrument] = await seed_market(service, 1)
        random = Random(seed)
        for ticks in range(1, LEVELS + 1):
            for side in Side:
                await service.submit(_order(random, accounts, instrument, side, ticks))
        counts = ServerCounts()
        session = feed_session(service, ApiSettings())
        async with trio.open_nursery() as nursery:
            [bind] = await nursery.start(
                partial(
                    serve,
                    QuartTrio("bench"),
                    Bind(port=0),
                    ServerLimits(),
                    sessions={PATH: session},
                    counts=counts,
                )
            )
            parent.send(bind.port)
            await trio.to_thread.run_sync(parent.recv)
            freeze()
            await trio.sleep(SETTLE_S)
            served = await _trade(service, accounts, instrument, rate, seconds, random, counts)
            parent.send(msgspec.msgpack.encode(served))
            nursery.cancel_scope.cancel()


async def _trade(
    service: Service,
    accounts: list[AccountId],
    instrument: InstrumentId,
    rate: int,
    seconds: float,
    random: Random,
    counts: ServerCounts,
) -> Served:
    """Place orders that rest, each when it is due, however late the server is."""
    due_ns: dict[int, int] = {}

    async def one(due: float) -> None:
        side, ticks = Side(random.random() < 0.5), random.randint(1, LEVELS)
        record = await service.submit(_order(random, accounts, instrument, side, ticks))
        due_ns[record.sequence] = int(due * 1e9)

    encodings = JSON.encodings
    began, cpu_began = time.monotonic(), time.process_time()
    async with trio.open_nursery() as nursery:
        for number in range(int(rate * seconds)):
            due = began + number / rate
            await trio.sleep(max(0.0, due - time.monotonic()))
            nursery.start_soon(one, due)
    cpu_s, wall_s = time.process_time() - cpu_began, time.monotonic() - began
    await trio.sleep(SETTLE_S)
    return Served(
        due_ns,
        cpu_s,
        wall_s,
        JSON.encodings - encodings,
        counts.updates_conflated,
        resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    )


def _order(
    random: Random,
    accounts: list[AccountId],
    instrument: InstrumentId,
    side: Side,
    ticks_away: int,
) -> PlaceOrder:
    price = MIDDLE_TICKS - ticks_away if side == Side.BUY else MIDDLE_TICKS + ticks_away
    return PlaceOrder(
        random.choice(accounts),
        instrument,
        side,
        OrderKind.LIMIT,
        PriceTicks(price),
        QuantityLots(random.randint(1, 100)),
    )

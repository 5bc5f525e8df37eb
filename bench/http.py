"""How fast is the door: single orders, batches of 50, pipelined sockets; beside empty handlers?

`outcry serve` runs as it would for an operator, database, projector and all; this process drives
it with prepared bytes. The measures take turns within each repeat, so that a machine that drifts
drifts for all of them. At the end the journal must hold every order that was accepted, and no
other.
"""

import os
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from random import Random
from statistics import median
from typing import Any, Final

import msgspec
import trio

from api.client import Bearer, Client, Signed, admin_calls, calls
from api.client.credentials import Credentials
from api.commands.journal_store import reading
from api.keys.signing import WINDOW_MS_MAX
from bench.machine import fsync_ms, lookup_ns, machine_line, percentiles_ms, spread
from bench.served import (
    EMPTY_PATH,
    EmptyServer,
    OutcryServer,
    ProcessorTimes,
    cores,
    driving_on,
    keep_on,
)
from bench.wires import Driven, HttpWire, SocketWire, drive
from config.settings import DatabaseSettings
from engine.accounts.messages import KeyScheme, Permission
from engine.errors import InvariantViolated
from engine.journal.records import decode
from engine.ledger.amounts import AssetKind
from engine.orderbook.messages import PlaceOrder

BATCH: Final = 50
WINDOW: Final = 256
ORDERS_PATH: Final = "/v1/orders"
BATCH_PATH: Final = "/v1/orders/batch"
TRADERS: Final = 16
_INSTRUMENT: Final = "BTC-USD"
_FUNDS: Final = "1000000000"
_MIDDLE_CENTS: Final = 6_000_000
#: Orders stand up to so many ticks behind the middle, and reach so many beyond it.
_BEHIND_TICKS, _BEYOND_TICKS = 500, 50
_WARM_UP_REQUESTS: Final = 200
_BLOCKS_PER_READ: Final = 256


class Measure(msgspec.Struct, frozen=True):
    """One thing that is measured, over and over. `share` is of the requests asked for."""

    name: str
    connections: int
    share: float = 1.0
    orders_per_request: int = 1


_EMPTY: Final = ("bare", "stock", "empty")
_SINGLES: Final = (*_EMPTY, "order_bearer", "order_hmac")
MEASURES: Final = (
    *(Measure(name, number) for number in (1, 4, 16) for name in _SINGLES),
    *(Measure("batches_of_50", number, 0.1, BATCH) for number in (1, 4, 16)),
    *(Measure("socket", number, 5.0) for number in (1, 4)),
)


class Trader(msgspec.Struct, frozen=True):
    """An account that either buys or sells, and its two keys."""

    side: str
    bearer: Credentials
    hmac: Credentials


class Run(msgspec.Struct, frozen=True):
    """One measure, once."""

    driven: Driven
    count: int
    processor: ProcessorTimes

    @property
    def per_second(self) -> float:
        """Requests, or orders where they are."""
        return self.count / self.driven.wall_s


def http_report(
    *, store: str = "postgres", requests: int = 2_000, repeats: int = 3, seed: int = 1
) -> dict[str, Any]:
    """Rates, latencies and processor time of each measure, and the ratios to the empty handler.

    Raises: InvariantViolated when an order was not accepted, or the journal says otherwise.
    """
    placed, runs = cores(), defaultdict[Measure, list[Run]](list)
    with tempfile.TemporaryDirectory(prefix="outcry-bench-") as name:
        folder = Path(name)
        folder.chmod(0o755)  # started by root, the database runs under another account
        report: dict[str, Any] = {
            "machine": machine_line(),
            "lookup_ns": round(lookup_ns(), 1),
            "fsync_ms": fsync_ms(folder),
            "load_average": os.getloadavg()[0],
            "store": store,
            "cores": None if placed is None else placed._asdict(),
            "seed": seed,
        }
        with OutcryServer(folder, store) as server, EmptyServer() as empty, driving_on(placed):
            bench = Bench(server, empty, seed)
            keep_on(server.pid, placed)
            keep_on(empty.pid, placed)
            for measure in MEASURES:
                bench.run(measure, _WARM_UP_REQUESTS)
            for _ in range(repeats):
                for measure in MEASURES:
                    runs[measure].append(bench.run(measure, requests))
            report["load_average_after"] = os.getloadavg()[0]
            report |= _summaries(runs)
            report["accepted"] = bench.accepted
            report["in_journal"] = bench.check_journal(store)
    return report


class Bench:
    """The servers, the traders, and every order so far."""

    def __init__(self, server: OutcryServer, empty: EmptyServer, seed: int) -> None:
        self.accepted = 0
        self._server = server
        self._empty = empty
        self._random = Random(seed)
        self._ids: list[str] = []
        with Client(f"http://127.0.0.1:{server.port}", Bearer(server.admin_secret)) as client:
            self._traders = open_market(client)
            self._sequence = client.send(calls.health()).sequence

    def run(self, measure: Measure, requests: int) -> Run:
        """Measure once."""
        each = max(1, int(requests * measure.share / measure.connections))
        wires = [self._wire(measure, number, each) for number in range(measure.connections)]
        pid = self._empty.pid if measure.name in _EMPTY else self._server.pid
        before = ProcessorTimes.of(pid)
        driven = drive(wires)
        spent = ProcessorTimes.of(pid).since(before)
        self.accepted += driven.accepted
        total = each * measure.connections * measure.orders_per_request
        return Run(driven, total, spent)

    def _wire(self, measure: Measure, number: int, requests: int) -> HttpWire | SocketWire:
        trader, server, empty = self._traders[number % TRADERS], self._server, self._empty
        match measure.name:
            case "socket":
                ops = [
                    b'{"id":%d,"op":"place","order":%b}' % (at, self._order(trader))
                    for at in range(requests)
                ]
                authorization = trader.bearer.headers("GET", "", b"")["Authorization"]
                return SocketWire(server.port, authorization, ops, WINDOW)
            case "batches_of_50":
                bodies = [self._batch(trader) for _ in range(requests)]
                sent = _requests(BATCH_PATH, bodies, trader.bearer)
                return HttpWire(server.port, sent, BATCH)
            case "order_bearer" | "order_hmac":
                by = trader.hmac if measure.name == "order_hmac" else trader.bearer
                bodies = [self._order(trader) for _ in range(requests)]
                return HttpWire(server.port, _requests(ORDERS_PATH, bodies, by), 1)
            case _:
                body = b" " * len(_order_body("o0", trader.side, 0, 1))
                sent = _requests(EMPTY_PATH, [body] * requests, trader.bearer)
                ports = {"bare": empty.bare_port, "stock": empty.stock_port, "empty": empty.port}
                return HttpWire(ports[measure.name], sent, 0)

    def _order(self, trader: Trader) -> bytes:
        self._ids.append(f"o{len(self._ids)}")
        ahead_ticks = self._random.randint(-_BEHIND_TICKS, _BEYOND_TICKS)
        return _order_body(self._ids[-1], trader.side, ahead_ticks, self._random.randint(1, 100))

    def _batch(self, trader: Trader) -> bytes:
        return b'{"orders":[%b]}' % b",".join(self._order(trader) for _ in range(BATCH))

    def check_journal(self, store: str) -> int:
        """How many orders the journal has: those that were accepted.

        Raises: InvariantViolated when it is otherwise.
        """
        with Client(f"http://127.0.0.1:{self._server.port}") as client:
            recorded = client.send(calls.health()).sequence - self._sequence
        if store == "postgres":
            placed = trio.run(_placed_ids, self._server.data_folder)
            if sorted(placed) != sorted(self._ids):
                raise InvariantViolated("the journal holds other orders than were accepted")
            recorded = len(placed)
        if recorded != self.accepted:
            raise InvariantViolated(f"{self.accepted} accepted, {recorded} recorded")
        return recorded


def open_market(client: Client) -> list[Trader]:
    """One instrument, and funded accounts whose keys may trade."""
    for code, kind, scale in (("USD", AssetKind.CURRENCY, 6), ("BTC", AssetKind.COIN, 8)):
        client.send(
            admin_calls.create_asset(admin_calls.AssetForm(code=code, kind=kind, scale=scale))
        )
    form = admin_calls.InstrumentForm(
        symbol=_INSTRUMENT, base="BTC", quote="USD", tick_size="0.01", lot_size="0.0001"
    )
    client.send(admin_calls.create_instrument(form))
    fees = admin_calls.FeesForm(tier="", maker_ppm=500, taker_ppm=1_000)
    client.send(admin_calls.set_fees(fees))
    owner = client.send(admin_calls.create_owner("bench")).owner
    return [_trader(client, owner, ("buy", "sell")[number % 2]) for number in range(TRADERS)]


def _trader(client: Client, owner: int, side: str) -> Trader:
    opened = client.send(admin_calls.open_account(admin_calls.AccountForm(owner=owner, name=side)))
    for asset in ("USD", "BTC"):
        form = admin_calls.DepositForm(
            account=opened.account, asset=asset, amount=_FUNDS, reference="bench"
        )
        client.send(admin_calls.deposit(form))
    made = [
        client.send(
            admin_calls.create_key(
                admin_calls.KeyForm(
                    permissions=(Permission.READ, Permission.TRADE),
                    account=opened.account,
                    scheme=scheme,
                )
            )
        )
        for scheme in (KeyScheme.BEARER, KeyScheme.HMAC)
    ]
    bearer, hmac = made
    signed = Signed.hmac(hmac.key_id, hmac.secret or "", window_ms=WINDOW_MS_MAX)
    return Trader(side, Bearer(bearer.secret or ""), signed)


def _order_body(order_id: str, side: str, ahead_ticks: int, lots: int) -> bytes:
    cents = _MIDDLE_CENTS + (ahead_ticks if side == "buy" else -ahead_ticks)
    return (
        f'{{"client_order_id":"{order_id}","instrument":"{_INSTRUMENT}","side":"{side}",'
        f'"type":"limit","price":"{cents // 100}.{cents % 100:02}","quantity":"0.{lots:04}"}}'
    ).encode()


def _requests(path: str, bodies: Sequence[bytes], by: Credentials) -> list[bytes]:
    """Whole requests, signed now: what signs them is not measured, and they do not keep."""
    made = []
    for body in bodies:
        proof = "".join(f"{n}: {text}\r\n" for n, text in by.headers("POST", path, body).items())
        head = (
            f"POST {path} HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n{proof}\r\n"
        )
        made.append(head.encode() + body)
    return made


async def _placed_ids(data_folder: Path) -> list[str]:
    """The client ids of every order in the journal, while its engine still runs."""
    ids: list[str] = []
    async with reading(DatabaseSettings(data_folder=str(data_folder))) as store:
        number = 1
        while blocks := await store.read_blocks(number, _BLOCKS_PER_READ):
            number = blocks[-1].number + 1
            records = [record for block in blocks for record in decode(block.payload)]
            ids += [
                record.command.client_order_id
                for record in records
                if type(record.command) is PlaceOrder and record.refusal is None
            ]
    return ids


def _summaries(runs: dict[Measure, list[Run]]) -> dict[str, Any]:
    named: dict[str, dict[str, Any]] = defaultdict(dict)
    for measure, made in runs.items():
        named[measure.name][str(measure.connections)] = _summary(made)
    for measure, made in runs.items():
        if measure.name.startswith("order_"):
            empty = runs[Measure("empty", measure.connections)]
            ratios = [
                one.per_second / other.per_second for one, other in zip(made, empty, strict=True)
            ]
            shares = {name: round(value, 3) for name, value in spread(ratios).items()}
            named[measure.name][str(measure.connections)]["of_empty"] = shares
    return dict(named)


def _summary(runs: list[Run]) -> dict[str, Any]:
    latencies = [one for run in runs for one in run.driven.latencies_s]

    def processor_us(at: int) -> float:
        return round(median(run.processor[at] / run.count for run in runs) * 1e6, 1)

    return {
        "per_second": spread([round(run.per_second) for run in runs]),
        "latency_ms": percentiles_ms(latencies),
        "processor_us": {
            "server": processor_us(0),
            "projector": processor_us(1),
            "database": processor_us(2),
        },
    }

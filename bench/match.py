"""How fast is matching? Our book, the textbook's, and the whole machine, on one workload.

All are measured interleaved in one process with the garbage collector off, on operations that were
decoded beforehand, and each repeat starts from an empty book.
"""

import gc
import platform
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import chain
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Final, TypeVar

from bench.textbook import TextbookBook, TextbookTrade
from bench.workloads import book_sha256, mixed, read, resting, tape_sha256
from engine.orderbook.book import PLACE, REPLACE, Book, Operation
from engine.orderbook.instrument import Instrument
from engine.orderbook.matching import OrderBook
from engine.orderbook.messages import (
    BookEvent,
    CancelOrder,
    OrderKind,
    PlaceOrder,
    ReplaceOrder,
    Trade,
)
from engine.units import (
    AccountId,
    AmountMinor,
    AssetId,
    GroupId,
    InstrumentId,
    OrderId,
    PriceTicks,
    QuantityLots,
    Side,
    TimeNs,
)

Result = TypeVar("Result")
Command = PlaceOrder | CancelOrder | ReplaceOrder

IMPLEMENTATION: Final = "engine.orderbook.book.Book.run (pure Python)"
INSTRUMENT: Final = Instrument(
    instrument_id=InstrumentId(1),
    symbol="BENCH",
    base_asset_id=AssetId(1),
    quote_asset_id=AssetId(2),
    lot_minor=AmountMinor(1),
    tick_lot_minor=AmountMinor(1),
    tick_size="1",
    lot_size="1",
)


def match_report(workload: Path, repeats: int = 3) -> dict[str, object]:
    """Measure a workload file and return figures that can go out as JSON.

    Digests are as the workload's own reference states them. Speeds are medians over `repeats`, with
    the slowest and the fastest beside them.
    """
    return _report(read(workload), repeats)


def run(workload: Path, repeats: int = 3) -> dict[str, object]:
    """`match_report`, printed a figure per line."""
    report = match_report(workload, repeats)
    for name, figure in report.items():
        print(f"{name:32} {figure}")
    return report


def scaling_report(
    resting_counts: Iterable[int] = (1_000, 100_000, 1_000_000), count: int = 100_000
) -> dict[str, object]:
    """Nanoseconds per operation of one stationary flow over books of several sizes.

    The baseline is there to tell the book's own growth from that of the processor's cache misses,
    which every book pays once its orders no longer fit.
    """
    ours: dict[str, int] = {}
    baseline: dict[str, int] = {}
    for resting_count in resting_counts:
        standing = resting(resting_count, seed=1)
        operations = mixed(count, seed=1, resting_count=resting_count)
        book, textbook = Book(), TextbookBook()
        for target, costs in ((book, ours), (textbook, baseline)):
            run_all = partial(book.run, trades=[]) if target is book else textbook.run
            run_all(standing)
            with _Quiet():
                seconds, _ = _timed(partial(run_all, operations))
            costs[str(resting_count)] = round(seconds / count * 1e9)
    return {
        "operations": count,
        "ns_per_operation_by_resting_orders": ours,
        "baseline_ns_per_operation_by_resting_orders": baseline,
    }


class _Quiet:
    """No garbage collection meanwhile, for every implementation alike."""

    def __enter__(self) -> None:
        gc.collect()
        gc.disable()

    def __exit__(self, *_: object) -> None:
        gc.enable()


def _report(operations: list[Operation], repeats: int) -> dict[str, object]:
    commands = _commands(operations)
    spent: dict[str, list[float]] = {"ours": [], "baseline": [], "machine": []}
    for _ in range(repeats):
        with _Quiet():
            seconds, (book, tape, refused) = _timed(lambda: _run_ours(operations))
            spent["ours"].append(seconds)
            seconds, (textbook, textbook_trades) = _timed(lambda: _run_textbook(operations))
            spent["baseline"].append(seconds)
            seconds, (machine, events) = _timed(lambda: _run_machine(commands))
            spent["machine"].append(seconds)
    if refused or tape_of(textbook_trades) != tape or _trades_of(events) != tape:
        raise ValueError("the implementations disagree about this workload")
    book_digest = book_sha256(_standing(book))
    if machine.digest() != book_digest or book_sha256(textbook.resting()) != book_digest:
        raise ValueError("the implementations end with different books")
    count = len(operations)
    ratios = [base / ours for base, ours in zip(spent["baseline"], spent["ours"], strict=True)]
    return {
        "implementation": IMPLEMENTATION,
        "python": platform.python_version(),
        "machine": platform.machine(),
        "repeats": repeats,
        "ops": count,
        "trades": len(tape) // 4,
        "volume_lots": sum(tape[3::4]),
        "tape_sha256": tape_sha256(tape),
        "book_sha256": book_digest,
        "seconds": median(spent["ours"]),
        **_speeds("ops_per_second", count, spent["ours"]),
        **_speeds("baseline_ops_per_second", count, spent["baseline"]),
        "ratio_to_baseline": round(median(ratios), 2),
        "ratio_to_baseline_min": round(min(ratios), 2),
        "ratio_to_baseline_max": round(max(ratios), 2),
        **_speeds("machine_ops_per_second", len(commands), spent["machine"]),
    }


def _speeds(name: str, count: int, seconds: list[float]) -> dict[str, int]:
    return {
        name: round(count / median(seconds)),
        f"{name}_min": round(count / max(seconds)),
        f"{name}_max": round(count / min(seconds)),
    }


def _timed(act: Callable[[], Result]) -> tuple[float, Result]:
    begun = perf_counter()
    result = act()
    return perf_counter() - begun, result


def _run_ours(operations: list[Operation]) -> tuple[Book, list[int], list[Operation]]:
    book, trades = Book(), list[int]()
    return book, trades, book.run(operations, trades)


def _run_textbook(operations: list[Operation]) -> tuple[TextbookBook, list[TextbookTrade]]:
    book = TextbookBook()
    return book, book.run(operations)


def _run_machine(
    commands: list[tuple[OrderId, Command]],
) -> tuple[OrderBook, list[list[BookEvent]]]:
    book, events = OrderBook(INSTRUMENT), list[list[BookEvent]]()
    place, cancel, replace, keep = book.place, book.cancel, book.replace, events.append
    now_ns = TimeNs(1)
    for order_id, command in commands:
        if isinstance(command, PlaceOrder):
            keep(place(order_id, command, now_ns))
        elif isinstance(command, CancelOrder):
            keep(cancel(command))
        else:
            keep(replace(command, now_ns))
    return book, events


def _commands(operations: list[Operation]) -> list[tuple[OrderId, Command]]:
    """The workload as commands that leave the machine with the very same trades and book.

    Makers belong to a thousand accounts, every taker to one of its own. A replace that would keep
    its place as a pure reduction becomes a cancel and a place, since the workload's never does.
    """
    shadow, ordered, owner = TextbookBook(), dict[int, int](), dict[int, AccountId]()
    commands: list[tuple[OrderId, Command]] = []

    def enter(side: int, order_id: int, price: int, quantity: int) -> None:
        traded = shadow.place(side, order_id, price, quantity)
        owner[order_id] = AccountId(1_000_000 + order_id if traded else order_id % 1_000)
        ordered[order_id] = quantity
        commands.append((_order_id(order_id), _place(owner[order_id], side, price, quantity)))

    def leave(order_id: int) -> None:
        shadow.cancel(order_id)
        command = CancelOrder(owner[order_id], INSTRUMENT.instrument_id, _order_id(order_id))
        commands.append((_order_id(order_id), command))

    for kind, side, order_id, price, quantity in operations:
        if kind == PLACE:
            enter(side, order_id, price, quantity)
            continue
        _, old_price, standing = shadow.standing(order_id)
        if kind == REPLACE and (price != old_price or quantity > standing):
            ordered[order_id] += quantity - standing
            shadow.replace(side, order_id, price, quantity)
            terms = PriceTicks(price), QuantityLots(ordered[order_id])
            number = _order_id(order_id)
            replace = ReplaceOrder(owner[order_id], INSTRUMENT.instrument_id, number, *terms)
            commands.append((number, replace))
            continue
        leave(order_id)
        if kind == REPLACE:
            enter(side, order_id, price, quantity)
    return commands


def _order_id(number: int) -> OrderId:
    return OrderId(GroupId(number))


def _place(account_id: AccountId, side: int, price: int, quantity: int) -> PlaceOrder:
    return PlaceOrder(
        account_id,
        INSTRUMENT.instrument_id,
        Side(side),
        OrderKind.LIMIT,
        PriceTicks(price),
        QuantityLots(quantity),
    )


def tape_of(trades: list[TextbookTrade]) -> list[int]:
    """Trades as a flat tape."""
    return [number for trade in trades for number in trade]


def _trades_of(events: list[list[BookEvent]]) -> list[int]:
    flat: list[int] = []
    for event in chain.from_iterable(events):
        if isinstance(event, Trade):
            flat += [event.maker_order_id, event.taker_order_id]
            flat += [event.price_ticks, event.quantity_lots]
    return flat


def _standing(book: Book) -> Iterator[tuple[int, int, int, int]]:
    for side in (0, 1):
        for handle in book.handles(side):
            price = abs(book.key_of[handle])
            yield side, book.order_id_of[handle], price, book.remaining_of[handle]

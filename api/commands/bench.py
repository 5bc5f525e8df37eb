"""`outcry bench`: measure this machine; every figure names what it was measured on."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from cyclopts import App, Parameter

from api import logs
from bench.engine import engine_report
from bench.feed import feed_report
from bench.http import http_report
from bench.match import match_report, scaling_report
from bench.projector import projector_report
from bench.recover import recover_report
from bench.workloads import mixed, resting, write
from config.settings import LogSettings

app = App(name="bench", help="Measure this machine.")

AsJson = Annotated[bool, Parameter(name="--json", help="Print one JSON object.")]
Workload = Annotated[Path | None, Parameter(help="A workload file; else one is made up.")]


@app.command
def match(
    *,
    workload: Workload = None,
    operations: int = 200_000,
    repeats: int = 3,
    as_json: AsJson = False,
) -> None:
    """How fast is matching, beside a textbook's book on the same orders?"""
    if workload is not None:
        _print(match_report(workload, repeats), as_json)
        return
    with tempfile.TemporaryDirectory(prefix="outcry-bench-") as folder:
        made_up = Path(folder) / "workload"
        standing = min(operations // 10, 100_000)
        flow = [*resting(standing, seed=1), *mixed(operations, seed=1, resting_count=standing)]
        write(made_up, flow)
        _print(match_report(made_up, repeats), as_json)


@app.command
def engine(
    *,
    store: Literal["memory", "postgres"] = "memory",
    orders: int = 100_000,
    instruments: int = 1,
    repeats: int = 3,
    as_json: AsJson = False,
) -> None:
    """How fast is the whole line: accounts, book, journal, release?"""
    logs.configure(LogSettings(level="warning"))
    report = engine_report(store=store, orders=orders, instruments=instruments, repeats=repeats)
    _print(report, as_json)


@app.command
def projector(
    *, orders: int = 100_000, instruments: int = 1, repeats: int = 3, as_json: AsJson = False
) -> None:
    """How fast does the projector drain a journal into the read models?"""
    logs.configure(LogSettings(level="warning"))
    _print(projector_report(orders=orders, instruments=instruments, repeats=repeats), as_json)


@app.command
def recover(*, orders: int = 200_000, repeats: int = 3, as_json: AsJson = False) -> None:
    """How long does a restart take, and what does a resting order weigh?"""
    logs.configure(LogSettings(level="warning"))
    _print(recover_report(orders=orders, repeats=repeats), as_json)


@app.command
def feed(
    *,
    subscribers: int = 200,
    rate: int = 100,
    seconds: float = 10.0,
    as_json: AsJson = False,
) -> None:
    """How quickly do subscribers of the feed hear of every change, and at what cost?"""
    logs.configure(LogSettings(level="warning"))
    _print(feed_report(subscribers=subscribers, rate=rate, seconds=seconds), as_json)


@app.command
def http(
    *,
    in_memory: Annotated[bool, Parameter(name="--memory", help="Without a database.")] = False,
    requests: int = 2_000,
    repeats: int = 3,
    as_json: AsJson = False,
) -> None:
    """How fast is the door, beside a handler that does nothing: requests, batches, sockets?"""
    logs.configure(LogSettings(level="warning"))
    store = "memory" if in_memory else "postgres"
    _print(http_report(store=store, requests=requests, repeats=repeats), as_json)


@app.command
def scaling(*, as_json: AsJson = False) -> None:
    """What does one operation cost with a thousand, a hundred thousand, a million resting?"""
    _print(scaling_report(), as_json)


def _print(report: Mapping[str, object], as_json: bool) -> None:
    if as_json:
        print(msgspec.json.encode(report).decode())
        return
    for name, figure in report.items():
        print(f"{name:32} {figure}")

"""`outcry verify`: does the journal hold together, and are the read models what it says?"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Final, Protocol

import msgspec
import trio
from cyclopts import Parameter
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from api.commands.journal_store import reachable
from api.commands.settings import ConfigPath, settings_of
from engine.errors import EngineError
from engine.history.figures import Figures, HistoryProof
from engine.journal.records import decode
from engine.journal.verify import Contradiction, Report, Verifier
from engine.ports import JournalStore
from engine.storage.bridge import AsyncioThread
from engine.storage.history_figures import read_figures
from engine.storage.postgres import PostgresJournalStore

CLEAN: Final = 0
CONTRADICTED: Final = 1
UNREADABLE: Final = 2
_BLOCKS_PER_READ_MAX: Final = 64

AsJson = Annotated[bool, Parameter(name="--json", help="Print JSON in place of a summary.")]
Quickly = Annotated[bool, Parameter(name="--fold-only", help="Do not decide anything again.")]
WithHistory = Annotated[bool, Parameter(help="Compare the read models too, where there are any.")]


class Reached(Protocol):
    """Told how far the reading has come."""

    def __call__(self, sequence: int, through: int) -> None: ...


async def verify(
    path: ConfigPath = None,
    *,
    as_json: AsJson = False,
    fold_only: Quickly = False,
    history: WithHistory = True,
) -> int:
    """Read the whole journal and prove it: chain, books, snapshots, every decision made again.

    What the read models add up to is compared with it as well.

    Takes no lock, so an engine may be running. The exit code is 0 if everything holds, 1 if
    something contradicts itself, 2 if the journal could not be read.
    """
    settings = settings_of(path)
    try:
        async with reachable(settings.database) as url, AsyncioThread() as bridge:
            # Before the journal's head is read, so that they are not beyond it.
            figures = await read_figures(bridge, url) if history else None
            store = PostgresJournalStore(bridge, url)
            with _progress(shown=not as_json) as reached:
                report = await verify_store(
                    store,
                    redeciding=not fold_only,
                    closed_orders_max=settings.engine.closed_orders_max,
                    reached=reached,
                    figures=figures,
                )
            await store.aclose()
    except EngineError as error:
        print(f"the journal cannot be read: {error}", file=sys.stderr)
        return UNREADABLE
    if as_json:
        print(msgspec.json.encode(report).decode())
    else:
        _tell(report)
    return CLEAN if report.is_clean else CONTRADICTED


async def verify_store(
    store: JournalStore,
    *,
    redeciding: bool = True,
    closed_orders_max: int = 100_000,
    reached: Reached | None = None,
    figures: Figures | None = None,
) -> Report:
    """Judge everything up to the head as it is now, and read models by their figures.

    Waits for the store.

    Raises: StorageError.
    """
    snapshots = await store.read_snapshots()  # before the head, which is at none of them older
    head = await store.read_head()
    verifier = Verifier(snapshots, redeciding=redeciding, closed_orders_max=closed_orders_max)
    proof = HistoryProof(figures or Figures())
    number = 1
    while number <= head.number and not verifier.has_stopped:
        wanted = min(_BLOCKS_PER_READ_MAX, head.number + 1 - number)
        blocks = await store.read_blocks(number, wanted)
        if not blocks:
            break
        for block in blocks:
            verifier.take(block)
            if not (proof.is_done or verifier.has_stopped):
                proof.take(block, decode(block.payload), verifier.ledger)
            if reached is not None:
                reached(verifier.sequence, head.sequence)
            await trio.lowlevel.checkpoint()
        number += len(blocks)
    if not verifier.has_stopped:
        proof.finish()
    report = verifier.finish(head)
    return msgspec.structs.replace(
        report,
        contradictions=[*report.contradictions, *proof.contradictions],
        history_through=figures.sequence if figures is not None and proof.is_done else 0,
    )


@contextmanager
def _progress(*, shown: bool) -> Iterator[Reached | None]:
    if not shown:
        yield None
        return
    columns = (TextColumn("records"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("records", total=None)

        def reached(sequence: int, through: int) -> None:
            bar.update(task, completed=sequence, total=through)

        yield reached


def _tell(report: Report) -> None:
    console = Console(highlight=False)
    console.print(
        f"{report.blocks:,} blocks, {report.records:,} records read; {report.redecided:,} decided"
        f" again, {report.not_redecided:,} not; {report.snapshots} snapshots compared."
    )
    if report.history_through:
        console.print(f"Read models compared through {report.history_through:,}.")
    for number, contradiction in enumerate(report.contradictions):
        console.print(
            _described(contradiction), markup=False, style="bold red" if not number else ""
        )
    if not report.finished:
        console.print("Stopped there: what follows cannot be judged.")
    console.print(
        "The journal holds together." if report.is_clean else "The journal does NOT hold."
    )


def _described(one: Contradiction) -> str:
    place = f"block {one.block}" + (f", sequence {one.sequence}" if one.sequence else "")
    return f"{one.check} at {place}\n  expected: {one.expected}\n  found:    {one.found}"

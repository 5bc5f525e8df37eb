"""`outcry verify` finds read models that do not say what the journal says."""

from collections import Counter
from typing import Any

import msgspec
import pytest

from api.commands.verify import verify_store
from engine.history.figures import Figures
from engine.history.fold import HistoryFold
from engine.journal.records import decode
from engine.journal.released import Released
from engine.journal.verify import Check, Report
from engine.storage.memory import MemoryJournal, MemoryJournalStore


def figures_of(journal: MemoryJournal, blocks: int) -> Figures:
    """What the tables hold after so many blocks, added up from the rows themselves."""
    history = HistoryFold(Released())
    for block in journal.blocks[:blocks]:
        history.apply_all(decode(block.payload))
    rows, amounts = history.take(), Counter[int]()
    for entry in rows.entries:
        amounts[entry.asset_id] += entry.amount_minor
    return Figures(
        blocks,
        history.released.sequence,
        len(rows.trades),
        sum(trade.quantity_lots for trade in rows.trades),
        len(rows.entries),
        dict(amounts),
        len(rows.orders),
        len(rows.keys),
        {
            (row.account_id, row.asset_id): (row.balance_minor, row.held_minor)
            for row in rows.balances
            if row.balance_minor or row.held_minor
        },
    )


async def verified(journal: MemoryJournal, figures: Figures) -> Report:
    return await verify_store(MemoryJournalStore(journal), redeciding=False, figures=figures)


@pytest.mark.parametrize("share", [0.6, 1.0])
async def test_what_the_fold_makes_adds_up_to_what_the_journal_says(
    journal: MemoryJournal, share: float
) -> None:
    figures = figures_of(journal, int(len(journal.blocks) * share))
    assert min(figures.trades, figures.orders, figures.keys, len(figures.balances)) > 0
    report = await verified(journal, figures)
    assert report.contradictions == []
    assert report.history_through == figures.sequence


async def test_without_read_models_nothing_is_compared(journal: MemoryJournal) -> None:
    report = await verify_store(MemoryJournalStore(journal), redeciding=False)
    assert report.is_clean
    assert report.history_through == 0


@pytest.mark.parametrize("name", ["trades", "traded_lots", "entries", "orders", "keys", "sequence"])
async def test_a_total_that_differs_is_found(journal: MemoryJournal, name: str) -> None:
    figures = figures_of(journal, 40)
    expected = getattr(figures, name)
    setattr(figures, name, expected + 1)
    [contradiction] = (await verified(journal, figures)).contradictions
    assert contradiction.check is Check.HISTORY
    assert contradiction.block == 40
    assert contradiction.expected == f"{name}: {expected}"
    assert contradiction.found == str(expected + 1)


@pytest.mark.parametrize("name", ["amounts_minor", "balances"])
async def test_an_amount_that_differs_is_found_by_its_owner(
    journal: MemoryJournal, name: str
) -> None:
    figures = figures_of(journal, 40)
    table: dict[Any, Any] = getattr(figures, name)
    key = next(iter(table))
    missing = table.pop(key)
    [contradiction] = (await verified(journal, figures)).contradictions
    assert contradiction.expected == f"{name} of {key}: {missing}"
    assert contradiction.found == "None"


async def test_read_models_beyond_the_journal_are_found(journal: MemoryJournal) -> None:
    figures = msgspec.structs.replace(figures_of(journal, 40), block_number=10**6)
    report = await verified(journal, figures)
    assert [one.check for one in report.contradictions] == [Check.HISTORY]
    assert report.history_through == 0

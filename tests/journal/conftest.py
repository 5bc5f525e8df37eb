"""Journals that several tests look at; made once, never changed."""

import pytest

from engine.storage.memory import MemoryJournal
from tests.journal.flow import journal_of


@pytest.fixture(scope="session")
def journal() -> MemoryJournal:
    """Two lives of a market, some 500 records; its second life came from a snapshot."""
    # Tasks run in no fixed order, so a seed does not fix whether a life begins with a snapshot.
    return next(made for seed in range(4, 24) if (made := journal_of(seed)).snapshots)

"""Journals that several tests look at; made once, never changed."""

import pytest

from engine.storage.memory import MemoryJournal
from tests.journal.flow import journal_of


@pytest.fixture(scope="session")
def journal() -> MemoryJournal:
    """Two lives of a market, some 500 records; its second life came from a snapshot."""
    made = journal_of(seed=4)
    assert made.snapshots
    return made

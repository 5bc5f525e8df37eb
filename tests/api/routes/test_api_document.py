"""docs/api.md says what the app does."""

import re
from pathlib import Path

from api.app import create_app
from engine.gateways.custody import SimulatedCustody
from engine.service import Service
from engine.storage.memory import MemoryJournalStore
from engine.storage.memory_history import FollowingHistory
from engine.wiring import Engine

DOCUMENT = Path(__file__).parents[3] / "docs" / "api.md"


def documented() -> set[str]:
    """Every `METHOD /path` of the document, ids and symbols as in the app's rules."""
    return set(re.findall(r"`([A-Z]+ /v1/[\w/.-]+)`", DOCUMENT.read_text("utf-8")))


async def test_the_document_names_every_route_and_no_other() -> None:
    store = MemoryJournalStore()
    service = Service(Engine(store, SimulatedCustody()), FollowingHistory(store))
    routes = {
        f"{method} {re.sub('<[^>]*symbol>', 'SYMBOL', re.sub('<[a-z_]*id>', 'ID', rule.rule))}"
        for rule in create_app(service).url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
        if rule.rule.startswith("/v1/")  # beside these: the overview, and what operators scrape
    }
    assert documented() == routes

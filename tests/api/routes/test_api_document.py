"""docs/api.md says what the app does."""

import re
from pathlib import Path

from api.app import create_app
from engine.gateways.custody import SimulatedCustody
from engine.service import Service
from engine.storage.memory import MemoryJournalStore
from engine.wiring import Engine

DOCUMENT = Path(__file__).parents[3] / "docs" / "api.md"


def documented() -> set[str]:
    """Every `METHOD /path` of the document's tables, ids and symbols as in the app's rules."""
    rows = re.findall(r"^\| (.+?) \|", DOCUMENT.read_text("utf-8"), re.MULTILINE)
    return {route for cell in rows for route in re.findall(r"`([A-Z]+ /v1/[\w/-]+)`", cell)}


async def test_the_document_names_every_route_and_no_other() -> None:
    service = Service(Engine(MemoryJournalStore(), SimulatedCustody()))
    routes = {
        f"{method} {re.sub('<[^>]*symbol>', 'SYMBOL', re.sub('<[a-z_]*id>', 'ID', rule.rule))}"
        for rule in create_app(service).url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
        if rule.rule != "/v1"
    }
    assert documented() == routes

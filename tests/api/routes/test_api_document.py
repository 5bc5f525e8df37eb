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
    found = set()
    for cell in re.findall(r"^\| (.+?) \|", DOCUMENT.read_text("utf-8"), re.MULTILINE):
        paths = re.findall(r"/v1/[\w/-]+", cell)
        methods = re.findall(r"GET|POST|PUT|DELETE", cell)
        if len(paths) == 1:
            found |= {f"{method} {paths[0]}" for method in methods}
        else:
            found |= {f"{method} {path}" for method, path in zip(methods, paths, strict=True)}
    return found


async def test_the_document_names_every_route_and_no_other() -> None:
    service = Service(Engine(MemoryJournalStore(), SimulatedCustody()))
    routes = {
        f"{method} {re.sub('<[^>]*symbol>', 'SYMBOL', re.sub('<[a-z_]*id>', 'ID', rule.rule))}"
        for rule in create_app(service).url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
        if rule.rule != "/v1"
    }
    assert documented() == routes

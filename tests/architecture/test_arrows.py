"""Who may import whom: the arrows of the house, read from the source itself."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
PURE = ["orderbook", "ledger", "risk", "products", "accounts", "journal", "history", "marketdata"]
IMPURE_LIBRARIES = {
    *("trio", "asyncio", "asyncpg", "quart", "quart_trio", "hypercorn", "structlog"),
    *("time", "random", "secrets", "logging", "os", "socket", "threading"),
}

#: Each part of the engine and what it may import of the engine beside itself.
VOCABULARY = {"units", "refusals", "errors", "messages"}
BELOW_PRODUCTS = VOCABULARY | {"orderbook", "ledger", "risk"}
BELOW_ACCOUNTS = BELOW_PRODUCTS | {"products"}
BELOW_JOURNAL = BELOW_ACCOUNTS | {"accounts"}
BELOW_PORTS = BELOW_JOURNAL | {"journal", "history", "marketdata"}
BELOW_ACTORS = BELOW_PORTS | {"ports", "settings"}
ADAPTER = {"ports", "units", "errors", "journal", "history"}
ALLOWED: dict[str, set[str]] = {
    "units": set(),
    "settings": set(),
    "runtime": set(),
    "refusals": set(),
    "errors": set(),
    "messages": {"units", "refusals"},
    "orderbook": VOCABULARY,
    "ledger": VOCABULARY,
    "risk": VOCABULARY | {"orderbook", "ledger"},
    "products": BELOW_PRODUCTS,
    "accounts": BELOW_ACCOUNTS,
    "journal": BELOW_JOURNAL,
    "history": BELOW_JOURNAL | {"journal", "marketdata"},
    "marketdata": BELOW_PRODUCTS | {"products"},
    "ports": {"units", "errors", "journal", "history"},
    "actors": BELOW_ACTORS,
    "service": BELOW_ACTORS | {"actors", "wiring"},  # a facade over the tree, adapters unseen
    "gateways": ADAPTER,
    "storage": ADAPTER,
    "projector": BELOW_ACTORS | {"actors"},  # a process of its own over any store
    "wiring": BELOW_ACTORS | {"actors", "runtime", "gateways", "storage"},
}


def sources(*folders: str) -> list[Path]:
    """Every Python file below these folders of the house, relative to it."""
    return [
        path.relative_to(ROOT)
        for folder in folders
        for path in sorted((ROOT / folder).rglob("*.py"))
    ]


def imports(path: Path) -> Iterator[str]:
    """The full name of every module and of every name taken from one."""
    for node in ast.walk(ast.parse((ROOT / path).read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def part_of(module: str) -> str | None:
    """The part of the engine that a module belongs to: `engine.journal.blocks` to `journal`."""
    names = module.split(".")
    return names[1] if names[0] == "engine" and len(names) > 1 else None


def guilty(banned: set[str], *folders: str) -> dict[str, set[str]]:
    """The files below `folders` that import a banned library, and which."""
    found = {
        str(path): {name.split(".")[0] for name in imports(path)} & banned
        for path in sources(*folders)
    }
    return {path: names for path, names in found.items() if names}


def test_a_part_of_the_engine_imports_only_what_lies_below_it() -> None:
    upwards = {}
    for path in sources("engine"):
        part = path.parts[1].removesuffix(".py")
        if part == "__init__":
            continue
        assert part in ALLOWED, f"say in ALLOWED where {part} stands"
        used = {found for found in map(part_of, imports(path)) if found}
        if used - {part} - ALLOWED[part]:
            upwards[str(path)] = used - {part} - ALLOWED[part]
    assert upwards == {}


def test_every_part_that_is_allowed_something_exists() -> None:
    assert set(ALLOWED) <= {path.parts[1].removesuffix(".py") for path in sources("engine")}


def test_the_pure_packages_know_neither_io_nor_time_nor_chance() -> None:
    assert guilty(IMPURE_LIBRARIES, *(f"engine/{part}" for part in PURE)) == {}


def test_the_engine_knows_nothing_of_what_stands_around_it() -> None:
    around = {"api", "config", "bench", "tests", "quart", "quart_trio", "hypercorn"}
    assert guilty(around, "engine") == {}


def test_settings_can_be_loaded_without_a_server_or_an_engine() -> None:
    assert guilty({"quart", "trio", "hypercorn", "asyncpg"}, "config") == {}
    ours = {name for path in sources("config") for name in imports(path)}
    consumers = {name for name in ours if name.split(".")[0] in {"api", "engine", "bench"}}
    read = {name.rpartition(".")[0] for name in consumers}
    assert read <= {"api.settings", "api.web.limits", "engine.settings"}


def test_only_storage_knows_asyncio() -> None:
    found = guilty({"asyncio", "asyncpg"}, "engine", "api", "config", "bench")
    assert [path for path in found if not path.startswith("engine/storage/")] == []


def test_nobody_imports_trio_asyncio_which_changes_the_whole_process() -> None:
    assert guilty({"trio_asyncio", "triopg"}, "engine", "api", "config", "bench", "tests") == {}

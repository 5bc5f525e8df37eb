"""What stands beside the engine names only what there is: metrics, files, settings."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import api
from api.app import door_of
from api.metrics.engine import ENGINE_METRICS, LINE_METRICS
from api.metrics.metric import Kind
from api.metrics.scrape import Metrics
from api.metrics.server import SERVER_METRICS
from config.loading import load
from engine.gateways.custody import SimulatedCustody
from engine.service import Service
from engine.settings import EngineSettings
from engine.storage.memory import MemoryJournalStore
from engine.storage.memory_history import FollowingHistory
from engine.wiring import Engine

DOCS = Path(api.__file__).parents[1] / "docs"
FILES = DOCS / "operating"
METRICS = (*ENGINE_METRICS, *LINE_METRICS, *SERVER_METRICS)
#: Written by the scraper itself, or by the rules.
FOREIGN = {"up"}
_WORD = re.compile(r"\b(?:outcry|process|python)_\w+\b")


def names_told() -> set[str]:
    """Every series that a scrape of a server can show, as queries name them."""
    told = set()
    for metric in METRICS:
        suffixes = ("_bucket", "_sum", "_count") if metric.kind is Kind.HISTOGRAM else ("",)
        told |= {metric.name + suffix for suffix in suffixes}
    return told | names_of_the_process()


def names_of_the_process() -> set[str]:
    """What the client library tells of the process."""
    store = MemoryJournalStore()
    service = Service(Engine(store, SimulatedCustody(), EngineSettings()), FollowingHistory(store))
    registry = Metrics(door_of(service)).process_registry
    return {sample.name for family in registry.collect() for sample in family.samples}


def queries() -> Iterator[str]:
    """Every query of the dashboard and of the alerts."""
    board = json.loads((FILES / "grafana" / "outcry.json").read_text("utf-8"))
    for panel in board["panels"]:
        yield from (target["expr"] for target in panel.get("targets", ()))
    yield from re.findall(
        r"^ +expr: (.+)$", (FILES / "alerts.yml").read_text("utf-8"), re.MULTILINE
    )


def yaml_files() -> list[Path]:
    """Every YAML file."""
    return sorted((*FILES.rglob("*.yml"), *FILES.rglob("*.yaml")))


def test_every_metric_of_the_dashboard_and_the_alerts_is_told() -> None:
    asked, told = set(), names_told()
    for query in queries():
        found = set(_WORD.findall(query))
        assert found or query.startswith("up{"), query
        asked |= found
    assert len(asked) > 30
    assert asked - told == set()


def test_every_label_asked_for_is_one_of_its_metric() -> None:
    labels = {metric.name: set(metric.labels) for metric in METRICS}
    for query in queries():
        for name, condition in re.findall(r"(outcry_\w+?)(?:_bucket)?\{([^}]*)\}", query):
            asked = set(re.findall(r"(\w+)\s*(?:=|!=)", condition))
            assert asked <= labels[name], query
        for listed in re.findall(r"by \(([^)]*)\)", query):
            [name] = {found.removesuffix("_bucket") for found in _WORD.findall(query)}
            assert set(listed.replace(" ", "").split(",")) - {"le"} <= labels[name], query


def test_the_dashboard_is_whole() -> None:
    board = json.loads((FILES / "grafana" / "outcry.json").read_text("utf-8"))
    panels = board["panels"]
    ids = [panel["id"] for panel in panels]
    assert len(ids) == len(set(ids))
    cells: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        own = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not own & cells, panel["title"]
        cells |= own
    titles = " ".join(panel["title"].lower() for panel in panels)
    for subject in ("order rate", "p99", "queue", "history lag", "websockets", "conflation"):
        assert subject in titles
    for subject in ("refusals by code", "restarts", "books open"):
        assert subject in titles


def test_the_page_explains_every_metric_in_the_same_words() -> None:
    page = (DOCS / "operating.md").read_text("utf-8")
    rows = re.findall(r"^\| `(outcry_\w+)` \| (\w+) \| (.*?) ?\| (.+) \|$", page, re.MULTILINE)
    labels = {name: tuple(re.findall(r"`(\w+)`", cell)) for name, _, cell, _ in rows}
    stated = {(name, kind, labels[name], about) for name, kind, _, about in rows}
    assert stated == {(one.name, one.kind.value, one.labels, one.about) for one in METRICS}
    assert len(rows) == len(stated)


def test_names_follow_the_conventions_of_prometheus() -> None:
    names = [metric.name for metric in METRICS]
    assert len(names) == len(set(names))
    for metric in METRICS:
        assert re.fullmatch(r"outcry_[a-z_]+", metric.name)
        assert metric.name.endswith("_total") is (metric.kind is Kind.COUNTER), metric.name
        assert not re.search(r"_(ms|ns|s|bytes_sent)$", metric.name)
        assert metric.about.endswith(".")


def test_every_file_that_is_named_exists() -> None:
    page = (DOCS / "operating.md").read_text("utf-8")
    for link in re.findall(r"\]\((?!#)([^)]+)\)", page):
        assert (DOCS / link).exists(), link
    compose = (FILES / "compose.yaml").read_text("utf-8")
    for mounted in re.findall(r"- \./(\S+?):", compose):
        assert (FILES / mounted).is_file(), mounted
    assert "alerts.yml" in (FILES / "prometheus.yml").read_text("utf-8")
    for copied in re.findall(
        r"^COPY (.+) \S+$", (FILES / "Dockerfile").read_text("utf-8"), re.MULTILINE
    ):
        for one in copied.split():
            assert (DOCS.parent / one).exists(), one


def test_the_settings_of_the_container_are_settings() -> None:
    settings = load(FILES / "outcry.toml", {})
    [prometheus] = re.findall(
        r"prometheus:\n(?:.+\n)*? +ipv4_address: (\S+)", (FILES / "compose.yaml").read_text("utf-8")
    )
    assert f"{prometheus}/32" in settings.api.metrics_networks
    assert settings.server.host == "0.0.0.0"


def test_the_compose_file_has_services_volumes_and_a_probe() -> None:
    compose = outline((FILES / "compose.yaml").read_text("utf-8"))
    services = compose["services"]
    assert {"outcry", "postgres", "prometheus", "grafana"} == set(services)
    assert set(services["outcry"]) >= {"build", "healthcheck", "volumes", "restart"}
    for service in services.values():
        for volume in service.get("volumes", {}):
            source = volume.removeprefix("- ").partition(":")[0]
            assert source.startswith("./") or source in compose["volumes"], volume
        assert set(service["networks"]) <= {"house", "- house"}
    text = (FILES / "compose.yaml").read_text("utf-8")
    assert "/v1/health'" in text
    for image in re.findall(r"image: (\S+)", text):
        assert re.fullmatch(r"[a-z]+(/[a-z]+)?:[a-z0-9.]+", image), image
    for port in re.findall(r'- "(\S+:\d+)"', text):
        assert port.startswith("127.0.0.1:"), port


def test_yaml_is_indented_by_two_and_has_no_key_twice() -> None:
    for path in yaml_files():
        text = path.read_text("utf-8")
        assert "\t" not in text
        outline(text)


def outline(text: str) -> dict[str, Any]:
    """The keys and items of plain YAML, nested by indentation; values are left out."""
    root: dict[str, Any] = {}
    stack = [(-1, root)]
    for line in text.splitlines():
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        indent = len(line) - len(line.lstrip())
        assert indent % 2 == 0, line
        while stack[-1][0] >= indent:
            stack.pop()
        inner: dict[str, Any] = {}
        key = line.strip()
        found = re.fullmatch(r"([\w.-]+):(?: .+)?", key)
        name = found[1] if found else key
        above = stack[-1][1]
        assert name not in above, line
        above[name] = inner
        stack.append((indent, inner))
    return root


def test_the_unit_keeps_its_limits() -> None:
    unit = (FILES / "outcry.service").read_text("utf-8")
    said = dict(re.findall(r"^(\w+)=(.*)$", unit, re.MULTILINE))
    assert said["KillSignal"] == "SIGTERM"
    assert said["KillMode"] == "mixed"  # the database is ours to stop
    settings = load(None, {})
    limits, engine = settings.server.limits, settings.engine
    assert int(said["LimitNOFILE"]) > limits.connections_max + 200
    assert int(said["TimeoutStopSec"]) > limits.shutdown_s_max + engine.drain_s_max


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd here")
def test_systemd_finds_no_fault_with_the_unit(tmp_path: Path) -> None:
    unit = (FILES / "outcry.service").read_text("utf-8")
    here = tmp_path / "outcry.service"
    here.write_text(
        re.sub(r"^ExecStart=.*$", "ExecStart=/bin/true", unit, flags=re.MULTILINE), "utf-8"
    )
    command = ["systemd-analyze", "verify", "--man=no", str(here)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    complaints = [line for line in done.stderr.splitlines() if "outcry.service" in line]
    assert (done.returncode, complaints) == (0, [])

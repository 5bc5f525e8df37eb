"""What `outcry doctor` finds, and what it advises."""

from __future__ import annotations

import json
import os
import socket
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from api import diagnosis
from api.cli import main
from api.diagnosis import Verdict
from api.web.limits import ServerLimits
from config import DatabaseSettings, ServerSettings
from engine.storage.bridge import AsyncioThread
from engine.storage.embedded import EmbeddedPostgres
from engine.storage.migrate import migrate

if TYPE_CHECKING:
    from tests.conftest import NewDatabase

YEAR_2026_NS = 1_780_000_000 * 10**9


def test_a_port_in_use_fails_and_a_free_one_does_not() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        finding = diagnosis.check_port(ServerSettings(port=port))
        assert (finding.verdict, finding.name) == (Verdict.FAIL, f"port {port}")
        assert finding.advice
    assert diagnosis.check_port(ServerSettings(port=port)).verdict is Verdict.OK


def test_a_host_that_is_not_ours_fails() -> None:
    assert diagnosis.check_port(ServerSettings(host="192.0.2.1")).verdict is Verdict.FAIL


@pytest.mark.parametrize(
    ("start_ns", "step_ns", "verdict"),
    [
        (YEAR_2026_NS, 0, Verdict.OK),
        (YEAR_2026_NS, 10**9, Verdict.WARN),
        (0, 0, Verdict.FAIL),
        (5_000_000_000 * 10**9, 0, Verdict.FAIL),
    ],
)
def test_a_clock_is_judged_by_its_year_and_its_pace(
    start_ns: int, step_ns: int, verdict: Verdict
) -> None:
    wall = count(start_ns, step_ns)
    assert diagnosis.check_clock(lambda: next(wall), lambda: 0, 0).verdict is verdict


def test_too_few_open_files_are_a_warning_with_the_number_needed() -> None:
    server = ServerSettings(limits=ServerLimits(connections_max=10**9))
    finding = diagnosis.check_open_files(server)
    assert finding.verdict is Verdict.WARN
    assert "1000000200" in finding.advice


def test_a_data_folder_is_looked_at_without_being_made(tmp_path: Path) -> None:
    folder = tmp_path / "not" / "yet"
    assert diagnosis.check_data_folder(folder).verdict in {Verdict.OK, Verdict.WARN}
    assert not folder.parent.exists()
    (tmp_path / "not").write_text("a file in the way")
    assert diagnosis.check_data_folder(folder).verdict is Verdict.FAIL


def test_a_full_disk_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diagnosis, "FREE_BYTES_MIN", 10**30)
    assert diagnosis.check_data_folder(tmp_path).verdict is Verdict.FAIL


@pytest.mark.skipif(os.geteuid() != 0, reason="only root is stood in for")
def test_a_folder_that_the_database_user_cannot_reach_fails_for_root(tmp_path: Path) -> None:
    folder = tmp_path / "closed" / "data"
    folder.parent.mkdir(mode=0o700)
    assert diagnosis.check_embedded(folder).verdict is Verdict.FAIL


def test_another_release_of_the_web_server_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(diagnosis, "version", lambda _: "0.19.0")
    verdicts = {finding.name: finding.verdict for finding in diagnosis.check_libraries()}
    assert verdicts["hypercorn"] is Verdict.FAIL


async def test_a_server_that_does_not_answer_fails() -> None:
    settings = DatabaseSettings(url="postgresql://nobody@127.0.0.1:1/none")
    assert (await diagnosis.check_database(settings)).verdict is Verdict.FAIL


@pytest.mark.slow
@pytest.mark.database
async def test_a_server_that_could_lose_money_fails(new_database: NewDatabase) -> None:
    async with AsyncioThread() as bridge:
        url = await new_database(bridge)
    finding = await diagnosis.check_database(DatabaseSettings(url=url))
    assert finding.verdict is Verdict.FAIL
    assert "fsync=off" in finding.found


@pytest.mark.slow
@pytest.mark.database
async def test_a_fresh_database_is_examined_without_being_changed(shared_folder: Path) -> None:
    async with EmbeddedPostgres(shared_folder / "doctor") as server:
        settings = DatabaseSettings(url=server.dsn())
        for _ in range(2):
            finding = await diagnosis.check_database(settings)
            assert finding.verdict is Verdict.OK
            assert "migrations will run" in finding.found
        async with AsyncioThread() as bridge:
            await migrate(bridge, server.dsn())
        assert "migrations" not in (await diagnosis.check_database(settings)).found


def test_the_doctor_ends_with_one_when_anything_fails(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("OUTCRY__DATABASE__DATA_FOLDER", str(tmp_path))
    monkeypatch.setenv("OUTCRY__SERVER__HOST", "192.0.2.1")
    assert main(["doctor", "--json"]) == 1
    findings = json.loads(capsys.readouterr().out)
    assert {"python", "clock", "port 8080", "data folder"} <= {f["name"] for f in findings}
    assert main(["doctor"]) == 1
    assert "fail" in capsys.readouterr().out

"""`outcry keys`, as an operator types it, against a running server."""

import json
import re
from pathlib import Path

import pytest
import trio

from api.cli import main
from tests.api.routes.test_key_routes import pem
from tests.api.routes.venue import KEYS, Venue


@pytest.fixture
async def operators_venue(
    venue: Venue, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Venue:
    """A venue that this process's environment names."""
    monkeypatch.setenv("OUTCRY_URL", venue.bind.url + "/")
    monkeypatch.setenv("OUTCRY_KEY", KEYS["admin"])
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    capsys.readouterr()  # what the engine logged
    return venue


async def run(*arguments: str) -> int:
    """The command's exit code; the server goes on meanwhile."""
    return await trio.to_thread.run_sync(main, ["keys", *arguments])


async def test_a_key_is_made_replaced_and_revoked(
    operators_venue: Venue, capsys: pytest.CaptureFixture[str]
) -> None:
    made = ("--permission", "READ", "--permission", "TRADE", "--account", "100", "--label", "[/b]")
    assert await run("create", *made, "--network", "127.0.0.0/8") == 0
    shown = capsys.readouterr().out
    [secret] = re.findall(r"^    (ock_\S+)$", shown, re.MULTILINE)
    assert (await operators_venue.caller(secret).get("/v1/balances"))["account"] == 100
    assert "never" in shown
    assert await run("rotate", "5", "--scheme", "hmac", "--json") == 0
    [rotated] = json.loads(capsys.readouterr().out)
    assert (rotated["key_id"], rotated["label"], rotated["scheme"]) == (6, "[/b]", "HMAC-SHA256")
    assert rotated["secret"].startswith("ocs_")
    assert await run("list") == 0
    assert "(over)" in capsys.readouterr().out
    assert await run("revoke", "6") == 0
    assert "shut out" in capsys.readouterr().out
    assert await run("list", "--json") == 0
    listed = json.loads(capsys.readouterr().out)
    assert [key["key_id"] for key in listed] == [1, 2, 3, 4, 5]


async def test_a_public_key_comes_from_a_file(
    operators_venue: Venue, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = tmp_path / "key.pem"
    path.write_text(pem())
    terms = ("--permission", "READ", "--account", "101", "--public-key", str(path))
    assert await run("create", *terms, "--expires-in-days", "0", "--json") == 0
    [key] = json.loads(capsys.readouterr().out)
    assert (key["scheme"], key["secret"], key["expires_at_ns"]) == ("ED25519", None, 0)
    assert await run("create", *terms[:-1], str(tmp_path / "none")) == 1
    assert "No such file" in capsys.readouterr().err


async def test_what_fails_is_told_in_one_line(
    operators_venue: Venue,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert await run("revoke", "99") == 1
    assert capsys.readouterr().err == "outcry: UNKNOWN_KEY: Refused: unknown key. (key_id)\n"
    monkeypatch.setenv("OUTCRY_KEY", KEYS["alice"])
    assert await run("list") == 1
    assert capsys.readouterr().err.startswith("outcry: FORBIDDEN: ")
    monkeypatch.delenv("OUTCRY_KEY")
    assert await run("list") == 1
    assert "--new-admin-key" in capsys.readouterr().err
    monkeypatch.setenv("OUTCRY_KEY", KEYS["admin"])
    monkeypatch.setenv("OUTCRY_URL", "http://127.0.0.1:9")
    assert await run("revoke", "1") == 1
    told = capsys.readouterr().err
    assert "no answer" in told
    assert "may have happened" not in told  # nothing was sent


async def test_an_admin_key_that_signs_is_let_in(
    operators_venue: Venue,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert await run("create", "--permission", "ADMIN", "--scheme", "hmac", "--json") == 0
    [key] = json.loads(capsys.readouterr().out)
    monkeypatch.delenv("OUTCRY_KEY")
    monkeypatch.setenv("OUTCRY_KEY_ID", str(key["key_id"]))
    monkeypatch.setenv("OUTCRY_SECRET", key["secret"])
    assert await run("list", "--json") == 0
    assert key["key_id"] in [one["key_id"] for one in json.loads(capsys.readouterr().out)]
    assert await run("revoke", str(key["key_id"])) == 0
    assert await run("list") == 1
    assert "UNAUTHORIZED" in capsys.readouterr().err
    monkeypatch.setenv("OUTCRY_SECRET", "ock_wrong")
    assert await run("list") == 1
    assert "ock_wrong" not in capsys.readouterr().err


async def test_a_lifetime_that_no_key_may_have_is_told_in_one_line(
    operators_venue: Venue, capsys: pytest.CaptureFixture[str]
) -> None:
    terms = ("--permission", "READ", "--account", "100", "--expires-in-days", "99999")
    assert await run("create", *terms) == 1
    [line] = capsys.readouterr().err.splitlines()
    assert "expires_in_days" in line

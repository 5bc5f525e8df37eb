"""The commands of `outcry`, run as a person runs them."""

import json
from pathlib import Path

import pytest

from api.cli import COMMANDS, build, main


def test_every_command_can_be_loaded_and_is_explained(capsys: pytest.CaptureFixture[str]) -> None:
    for name, _, help_line in COMMANDS:
        build()[name]
        assert main([name, "--help"]) == 0
        assert capsys.readouterr().out
        assert help_line.endswith(".")


def test_the_overview_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    main([])
    overview = capsys.readouterr().out
    assert all(name in overview and help_line in overview for name, _, help_line in COMMANDS)


def test_an_unknown_command_ends_with_an_error_code(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["nonsense"])
    assert left.value.code not in (0, None)
    assert "nonsense" in capsys.readouterr().err


def test_version_names_the_release_and_python(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["version"]) == 0
    assert capsys.readouterr().out.startswith("outcry ")


def test_config_check_prints_what_applies_and_hides_secrets(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "my.toml"
    path.write_text("[server]\nport = 1234\n")
    monkeypatch.setenv("OUTCRY__DATABASE__URL", "postgresql://me:hush@db/outcry")
    assert main(["config", "check", "--config", str(path)]) == 0
    shown = capsys.readouterr().out
    assert "server.port = 1234" in shown
    assert "database.url = (set)" in shown
    assert "hush" not in shown


def test_config_check_names_mistakes_and_ends_with_two(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "my.toml"
    path.write_text("[server]\nprot = 1234\n")
    with pytest.raises(SystemExit) as left:
        main(["config", "check", "--config", str(path)])
    assert left.value.code == 2
    assert "server.prot" in capsys.readouterr().err


def test_bench_match_measures_a_workload_it_made_up(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "match", "--operations", "500", "--repeats", "1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["ops"] == 550


def test_a_port_that_cannot_be_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["serve", "--memory", "--port", "99999"])
    assert left.value.code not in (0, None)
    assert "65535" in capsys.readouterr().err

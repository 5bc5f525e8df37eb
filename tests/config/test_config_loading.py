"""Settings come from a file and the environment, and every mistake is named with its place."""

import tomllib
from itertools import pairwise
from pathlib import Path

import pytest

import config
from config import ConfigError, Settings
from config.loading import SECRETS, flat, leaves

DEFAULT_TOML = Path(config.__file__).with_name("default.toml")


def write(folder: Path, text: str) -> Path:
    """A configuration file with this text."""
    path = folder / "my.toml"
    path.write_text(text)
    return path


def mistakes_of(path: Path | None, **environ: str) -> list[str]:
    """What is said about settings that cannot be used."""
    with pytest.raises(ConfigError) as refused:
        config.load(path, environ)
    return str(refused.value).split("\n")


def test_the_default_file_is_the_defaults_and_names_every_key() -> None:
    assert config.load(DEFAULT_TOML, {}) == Settings() == config.load(None, {})
    documented = {path for path, _ in flat(tomllib.loads(DEFAULT_TOML.read_text()))}
    assert documented == set(leaves())


def test_every_key_of_the_default_file_is_explained_above_it() -> None:
    lines = DEFAULT_TOML.read_text().splitlines()
    for above, line in pairwise(lines):
        assert "=" not in line or line.startswith("#") or above.startswith("# "), line


def test_the_master_secrets_file_is_a_setting_and_its_text_a_secret(tmp_path: Path) -> None:
    path = str(tmp_path / "not made yet")
    settings = config.load(None, {"OUTCRY__API__MASTER_SECRET_FILE": path}).api
    assert (settings.master_secret, settings.master_secret_file) == ("", path)
    assert config.load(None, {"OUTCRY__API__MASTER_SECRET": "hush"}).api.master_secret == "hush"
    assert ("api", "master_secret") in SECRETS


def test_the_environment_wins_over_the_file_and_both_over_the_default(tmp_path: Path) -> None:
    path = write(tmp_path, "[server]\nhost = '::1'\nport = 1\n[server.limits]\nidle_s_max = 5\n")
    environ = {"OUTCRY__SERVER__PORT": "2", "OUTCRY__SERVER__LIMITS__WRITE_S_MAX": "1.5"}
    server = config.load(path, {**environ, "PATH": "/bin"}).server
    assert (server.host, server.port) == ("::1", 2)
    assert (server.limits.idle_s_max, server.limits.write_s_max) == (5.0, 1.5)
    assert server.limits.connections_max == 4_096
    assert server.bind.url == "http://[::1]:2"


def test_each_mistake_is_named_with_its_file_and_key_or_its_variable(tmp_path: Path) -> None:
    path = write(tmp_path, "[server]\nprot = 1\n[engine]\norder_slots_max = '9'\n[log]\nlevel='no'")
    assert mistakes_of(path, OUTCRY__SERVER__PORT="x", OUTCRY__NOWHERE="1") == [
        f"{path}: server.prot: no such key; did you mean server.port?",
        f"{path}: engine.order_slots_max: Expected `int`, got `str`",
        f"{path}: log.level: Invalid enum value 'no'",
        "OUTCRY__NOWHERE: no such key",
        "OUTCRY__SERVER__PORT: Expected `int`, got `str`",
    ]


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        ("server = 1", "server: this is a section, not a key"),
        ("[server]\nport = {a = 1}", "server.port.a: no such key; did you mean server.port?"),
        ("[server]\nport = 65536", "server.port: Expected `int` <= 65535"),
        ("[server]\nport = true", "server.port: Expected `int`, got `bool`"),
        ("[server.limits]\nwrite_s_max = 0.0", "server.limits.write_s_max: Expected `float` > 0.0"),
        (
            "[engine]\norder_slots_max = 0",
            "engine.order_slots_max: order_slots_max must be above 0",
        ),
    ],
)
def test_a_value_out_of_place_or_range_is_refused(text: str, mistake: str, tmp_path: Path) -> None:
    path = write(tmp_path, text)
    [line] = mistakes_of(path)
    assert line.startswith(f"{path}: {mistake}")


def test_a_file_that_is_missing_or_no_toml_is_named(tmp_path: Path) -> None:
    missing = tmp_path / "none.toml"
    assert str(missing) in mistakes_of(missing)[0]
    broken = write(tmp_path, "[server\n")
    assert mistakes_of(broken)[0].startswith(f"{broken}: ")


def test_the_database_url_may_come_from_a_file(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("postgresql://me:hush@db/outcry\n")
    settings = config.load(None, {"OUTCRY__DATABASE__URL_FILE": str(secret)})
    assert settings.database.url == "postgresql://me:hush@db/outcry"


def test_a_secret_given_twice_or_in_a_missing_file_is_refused(tmp_path: Path) -> None:
    file = str(tmp_path / "none")
    [line] = mistakes_of(None, OUTCRY__DATABASE__URL_FILE=file)
    assert line.startswith("OUTCRY__DATABASE__URL_FILE: ")
    [line] = mistakes_of(None, OUTCRY__DATABASE__URL_FILE=file, OUTCRY__DATABASE__URL="x")
    assert "without _FILE" in line


def test_only_secrets_are_read_from_files(tmp_path: Path) -> None:
    [line] = mistakes_of(None, OUTCRY__SERVER__HOST_FILE=str(tmp_path))
    assert line == "OUTCRY__SERVER__HOST_FILE: no such key; did you mean server.host?"


@pytest.mark.parametrize("number", ["nan", "inf", "1e300", "-1"])
@pytest.mark.parametrize("key", ["edge_deadline_s", "withdrawal_cooling_off_s"])
def test_times_that_no_timer_takes_are_refused(key: str, number: str) -> None:
    [mistake] = mistakes_of(None, **{f"OUTCRY__ENGINE__{key.upper()}": number})
    assert key in mistake

"""The master secret: made once, kept for one user alone, and refused where others can read it."""

import stat
from pathlib import Path

import pytest

from api.keys.master_secret import (
    FILE_NAME,
    MasterSecret,
    MasterSecretUnusable,
    master_secret,
    new_salt,
)
from api.settings import ApiSettings

SALT = "AAECAwQFBgcICQoLDA0ODw"
TEXT = "a master secret of forty characters or so"


def test_the_first_start_makes_a_file_and_the_next_ones_find_it(tmp_path: Path) -> None:
    folder = tmp_path / "new"
    first = master_secret(ApiSettings(), folder)
    path = folder / FILE_NAME
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [one.name for one in folder.iterdir()] == [FILE_NAME]
    again = master_secret(ApiSettings(), folder)
    assert again.secret_of(SALT) == first.secret_of(SALT)
    assert path.read_text().strip() not in repr(first)


def test_two_starts_at_once_agree_on_one_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / FILE_NAME
    first = MasterSecret.in_file(path)
    seen = iter([False])
    monkeypatch.setattr(Path, "exists", lambda _: next(seen))
    assert MasterSecret.in_file(path).secret_of(SALT) == first.secret_of(SALT)
    assert [one.name for one in tmp_path.iterdir()] == [FILE_NAME]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o610])
def test_a_file_that_others_can_read_is_refused_in_one_sentence(tmp_path: Path, mode: int) -> None:
    path = tmp_path / FILE_NAME
    MasterSecret.in_file(path)
    path.chmod(mode)
    with pytest.raises(MasterSecretUnusable) as refused:
        MasterSecret.in_file(path)
    assert str(refused.value) == f"{path} can be read by others: chmod 600 {path}"


@pytest.mark.parametrize("text", ["", "short", " " * 100])
def test_a_file_that_holds_no_secret_is_refused_and_left_as_it_is(
    tmp_path: Path, text: str
) -> None:
    path = tmp_path / FILE_NAME
    path.touch(0o600)
    path.write_text(text)
    with pytest.raises(MasterSecretUnusable, match="bring back the old file"):
        MasterSecret.in_file(path)
    assert path.read_text() == text


def test_the_settings_win_over_the_file_and_name_another_one(tmp_path: Path) -> None:
    stated = master_secret(ApiSettings(master_secret=TEXT), tmp_path)
    assert stated.secret_of(SALT) == MasterSecret(TEXT).secret_of(SALT)
    assert list(tmp_path.iterdir()) == []
    master_secret(ApiSettings(master_secret_file=str(tmp_path / "elsewhere")), None)
    assert [one.name for one in tmp_path.iterdir()] == ["elsewhere"]


def test_a_master_secret_that_can_be_guessed_is_refused() -> None:
    with pytest.raises(MasterSecretUnusable):
        MasterSecret("x" * 31)


def test_without_a_folder_it_lives_as_long_as_the_process() -> None:
    first, second = (master_secret(ApiSettings(), None) for _ in range(2))
    assert first.secret_of(SALT) != second.secret_of(SALT)


def test_each_salt_gives_another_secret_and_always_the_same() -> None:
    master = MasterSecret(TEXT)
    assert master.secret_of(SALT) == "ocs_E6oyqHUPZBs_cCWX0z4xNeZeIBoFL4ng0S642jhw664"
    assert len({master.secret_of(new_salt()) for _ in range(100)}) == 100


def test_a_secret_knows_whether_it_was_made_just_now(tmp_path: Path) -> None:
    made, found = (MasterSecret.in_file(tmp_path / FILE_NAME) for _ in range(2))
    assert (made.is_new, found.is_new, MasterSecret(TEXT).is_new) == (True, False, False)

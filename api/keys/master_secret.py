"""The secret that HMAC keys' secrets are derived from: never in the database, so never in a dump.

It is a file beside the data, readable by the server's user alone. Whoever restores the database
elsewhere must bring it along, or every HMAC key is void.
"""

import os
import secrets
import stat
from hmac import digest as hmac_digest
from pathlib import Path
from typing import Final

from api.keys.signing import base64url, bytes_of_base64url
from api.settings import ApiSettings

SIGNING_PREFIX: Final = "ocs_"
FILE_NAME: Final = "master-secret"
CHARACTERS_MIN: Final = 32
_CHARACTERS_MAX: Final = 1_024
_RANDOM_BYTES: Final = 32
_SALT_BYTES: Final = 16


class MasterSecretUnusable(OSError):
    """The server cannot use its master secret, and does not start. Nothing was changed."""


class MasterSecret:
    """Derives the secret of a key from its salt; shows itself to nobody."""

    def __init__(self, text: str, *, is_new: bool = False) -> None:
        """From at least 32 characters, best random ones. Raises: MasterSecretUnusable."""
        if not CHARACTERS_MIN <= len(text) <= _CHARACTERS_MAX:
            raise MasterSecretUnusable(f"the master secret needs {CHARACTERS_MIN} characters")
        self._secret = text.encode()
        #: Whether no key can have been made under it yet.
        self.is_new = is_new

    def __repr__(self) -> str:
        return "<MasterSecret>"

    @classmethod
    def random(cls) -> "MasterSecret":
        """One for the life of this process."""
        return cls(_new_text(), is_new=True)

    @classmethod
    def in_file(cls, path: Path) -> "MasterSecret":
        """The one that a file holds, which is made if there is none.

        Raises: MasterSecretUnusable for a file that others can read, or that holds none; OSError.
        """
        is_new = not path.exists()
        if is_new:
            _make(path)
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode & 0o077:
            raise MasterSecretUnusable(f"{path} can be read by others: chmod 600 {path}")
        text = path.read_bytes()[: _CHARACTERS_MAX + 1].decode("utf-8", "replace").strip()
        if len(text) < CHARACTERS_MIN:
            raise MasterSecretUnusable(f"{path} holds no master secret; bring back the old file")
        return cls(text, is_new=is_new)

    def secret_of(self, salt: str) -> str:
        """The secret of the key with this salt."""
        derived = hmac_digest(self._secret, bytes_of_base64url(salt), "sha256")
        return SIGNING_PREFIX + base64url(derived)


def master_secret(settings: ApiSettings, folder: Path | None) -> MasterSecret:
    """The one that the settings give or name, else that of the data folder; without one, random.

    Raises: MasterSecretUnusable, OSError.
    """
    if settings.master_secret:
        return MasterSecret(settings.master_secret)
    if settings.master_secret_file:
        return MasterSecret.in_file(Path(settings.master_secret_file))
    return MasterSecret.random() if folder is None else MasterSecret.in_file(folder / FILE_NAME)


def new_salt() -> str:
    """What a new key's secret is derived by; no secret itself."""
    return base64url(secrets.token_bytes(_SALT_BYTES))


def _new_text() -> str:
    return base64url(secrets.token_bytes(_RANDOM_BYTES))


def _make(path: Path) -> None:
    """Write a new secret, whole or not at all, and never over one that is there."""
    path.parent.mkdir(mode=0o711, parents=True, exist_ok=True)
    unfinished = path.with_name(f"{path.name}.{os.getpid()}")
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(f"{_new_text()}\n")
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(unfinished, path)
        except FileExistsError:
            return  # another start was first; its secret counts
    finally:
        unfinished.unlink()
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

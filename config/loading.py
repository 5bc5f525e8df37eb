"""Settings from a TOML file and the environment, refused as a whole with every mistake named.

An environment variable `OUTCRY__SECTION__KEY` overrides the file. A secret may also be given as
the name of a file that holds it: `OUTCRY__SECTION__KEY_FILE`, unless there is a key of that name.
"""

import re
import tomllib
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final

import msgspec

from config.settings import Settings

PREFIX: Final = "OUTCRY__"
SECRETS: Final = frozenset({("database", "url"), ("api", "master_secret")})
_FILE_SUFFIX: Final = "_file"
_PLACE: Final = re.compile(r" - at `\$\.?(.*)`$")

KeyPath = tuple[str, ...]


class ConfigError(Exception):
    """The settings cannot be used; one line per mistake, each with its place."""


class Given(msgspec.Struct, frozen=True):
    """One value that somebody set, and where."""

    path: KeyPath
    value: Any
    place: str  # a file, or an environment variable's name
    from_text: bool  # the environment knows text only, TOML knows types

    @property
    def where(self) -> str:
        """The place as an operator looks for it."""
        return self.place if self.from_text else f"{self.place}: {'.'.join(self.path)}"


def load(path: Path | None, environ: Mapping[str, str]) -> Settings:
    """The settings of the TOML file at `path`, if any, overridden by `environ`.

    Raises: ConfigError naming each unknown key and bad value with its file and key, or with its
    environment variable.
    """
    mistakes: list[str] = []
    tree: dict[str, Any] = {}
    places: dict[KeyPath, str] = {}
    for given in (*_from_file(path), *_from_environment(environ)):
        try:
            _put(tree, given.path, _converted(given))
        except (ConfigError, msgspec.ValidationError) as mistake:
            mistakes.append(f"{given.where}: {_plain(mistake)}")
        places[given.path] = given.where
    if mistakes:
        raise ConfigError("\n".join(mistakes))
    return _settings(tree, places)


def leaves(kind: Any = Settings, above: KeyPath = ()) -> dict[KeyPath, Any]:
    """The type of every key that can be set, by its path.

    >>> ("server", "limits", "body_bytes_max") in leaves()
    True
    """
    found: dict[KeyPath, Any] = {}
    for field in msgspec.structs.fields(kind):
        path = (*above, field.name)
        is_section = isinstance(field.type, type) and issubclass(field.type, msgspec.Struct)
        found.update(leaves(field.type, path) if is_section else {path: field.type})
    return found


def flat(tree: Mapping[str, Any], above: KeyPath = ()) -> Iterator[tuple[KeyPath, Any]]:
    """The values of nested tables, each with its path.

    >>> list(flat({"a": {"b": 1}, "c": 2}))
    [(('a', 'b'), 1), (('c',), 2)]
    """
    for key, value in tree.items():
        path = (*above, key)
        if isinstance(value, dict):
            yield from flat(value, path)
        else:
            yield path, value


def _from_file(path: Path | None) -> Iterator[Given]:
    if path is None:
        return
    try:
        tree = tomllib.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: {error}") from error
    for keys, value in flat(tree):
        yield Given(keys, value, str(path), from_text=False)


def _from_environment(environ: Mapping[str, str]) -> Iterator[Given]:
    for name in sorted(environ):
        if not name.startswith(PREFIX):
            continue
        path = tuple(name.removeprefix(PREFIX).lower().split("__"))
        text = environ[name]
        secret = (*path[:-1], path[-1].removesuffix(_FILE_SUFFIX))
        if secret != path and secret in SECRETS and path not in leaves():
            if name.removesuffix(_FILE_SUFFIX.upper()) in environ:
                raise ConfigError(f"{name}: the same secret is also given without _FILE")
            path, text = secret, _read_secret(name, Path(text))
        yield Given(path, text, name, from_text=True)


def _read_secret(name: str, path: Path) -> str:
    try:
        return path.read_text("utf-8").strip()
    except (OSError, ValueError) as error:
        raise ConfigError(f"{name}: {error}") from error


def _converted(given: Given) -> Any:
    known = leaves()
    if given.path in known:
        return msgspec.convert(given.value, known[given.path], strict=not given.from_text)
    if any(path[: len(given.path)] == given.path for path in known):
        raise ConfigError("this is a section, not a key")
    names = {".".join(path): path for path in known}
    near = get_close_matches(".".join(given.path), names, n=1)
    raise ConfigError("no such key" + (f"; did you mean {near[0]}?" if near else ""))


def _put(tree: dict[str, Any], path: KeyPath, value: Any) -> None:
    for key in path[:-1]:
        tree = tree.setdefault(key, {})
    tree[path[-1]] = value


def _settings(tree: dict[str, Any], places: Mapping[KeyPath, str]) -> Settings:
    """The structs, whose own checks see several keys at once."""
    try:
        return msgspec.convert(tree, Settings)
    except msgspec.ValidationError as mistake:
        text = _plain(mistake)
        guilty = [where for path, where in places.items() if path[-1] in text]
        raise ConfigError(f"{', '.join(guilty) or 'settings'}: {text}") from mistake


def _plain(mistake: Exception) -> str:
    return _PLACE.sub("", str(mistake))

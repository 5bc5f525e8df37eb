"""The settings as a command sees them: the file it was given, and this process's environment."""

import os
import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

import config
from config import ConfigError, Settings

ConfigPath = Annotated[
    Path | None, Parameter(name=["--config", "-c"], help="A TOML file; see config/default.toml.")
]


def settings_of(path: Path | None) -> Settings:
    """The settings; what is wrong with them ends the command with code 2 and a line per mistake."""
    try:
        return config.load(path, os.environ)
    except ConfigError as mistakes:
        print(mistakes, file=sys.stderr)
        raise SystemExit(2) from None

"""`outcry config check`: are these settings usable, and what do they come to?"""

from typing import Any

import msgspec
from cyclopts import App

from api.commands.settings import ConfigPath, settings_of
from config.loading import SECRETS, flat

app = App(name="config", help="Look at the settings.")


@app.command
def check(path: ConfigPath = None) -> None:
    """Load the settings and print what applies, secrets hidden; exit code 2 names the mistakes."""
    tree: dict[str, Any] = msgspec.to_builtins(settings_of(path))
    for keys, value in flat(tree):
        shown = "(set)" if keys in SECRETS and value else msgspec.json.encode(value).decode()
        print(f"{'.'.join(keys)} = {shown}")

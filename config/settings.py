"""Everything an operator can set: one section per field, each struct living with its consumer.

The defaults are a whole, working engine with its own database on this machine's loopback address.
`default.toml` beside this file says what each key means; a test holds the two together.
"""

from typing import Annotated, Literal

import msgspec

from api.settings import ApiSettings
from api.web.limits import Bind, ServerLimits
from engine.settings import EngineSettings, ProjectorSettings


class ServerSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where the web server listens, and what it grants to whom it does not know."""

    host: str = "127.0.0.1"
    port: Annotated[int, msgspec.Meta(ge=0, le=65_535)] = 8_080
    limits: ServerLimits = ServerLimits()

    @property
    def bind(self) -> Bind:
        """The address to listen on."""
        return Bind(self.host, self.port)


class DatabaseSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which PostgreSQL server keeps the journal."""

    #: A secret: it may hold a password. Empty: a server of our own below `data_folder`.
    url: str = ""
    #: Empty: the usual place for this user.
    data_folder: str = ""
    #: For another engine to give up the journal.
    lock_wait_s: Annotated[float, msgspec.Meta(gt=0, le=3_600)] = 10.0


class LogSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the log tells and how."""

    #: `auto` is `console` on a terminal and `json` elsewhere.
    format: Literal["auto", "json", "console"] = "auto"
    level: Literal["debug", "info", "warning", "error"] = "info"


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All settings of one process; each part of it is handed to the one who reads it."""

    server: ServerSettings = ServerSettings()
    api: ApiSettings = ApiSettings()
    database: DatabaseSettings = DatabaseSettings()
    engine: EngineSettings = EngineSettings()
    projector: ProjectorSettings = ProjectorSettings()
    log: LogSettings = LogSettings()

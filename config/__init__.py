"""TOML and environment to frozen settings; the engine never imports it."""

from config.loading import ConfigError, load
from config.settings import DatabaseSettings, LogSettings, ServerSettings, Settings

__all__ = ["ConfigError", "DatabaseSettings", "LogSettings", "ServerSettings", "Settings", "load"]

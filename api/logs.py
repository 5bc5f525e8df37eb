"""One log for everything: ours through structlog, the libraries' through the standard library."""

import logging
import sys
from typing import Any, Final, TextIO

import structlog
from structlog.stdlib import ProcessorFormatter

from config.settings import LogSettings

_COMMON: Final[list[Any]] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.stdlib.ExtraAdder(),
    structlog.processors.TimeStamper(fmt="iso", utc=True),
]


def configure(settings: LogSettings, stream: TextIO = sys.stderr) -> None:
    """Send every line to `stream`: JSON objects, or colours where a person reads along.

    Call once, before anything logs.
    """
    for_people = settings.format == "console" or (settings.format == "auto" and stream.isatty())
    structlog.configure(
        processors=[*_COMMON[:3], _COMMON[4], ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
    )
    renderers: list[Any] = [ProcessorFormatter.remove_processors_meta]
    if for_people:
        renderers.append(structlog.dev.ConsoleRenderer(colors=stream.isatty()))
    else:
        renderers += [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    lines = logging.StreamHandler(stream)
    lines.setFormatter(ProcessorFormatter(foreign_pre_chain=_COMMON, processors=renderers))
    root = logging.getLogger()
    root.handlers = [lines]
    root.setLevel(settings.level.upper())

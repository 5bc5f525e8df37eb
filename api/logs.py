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


_access: Final = structlog.get_logger("access")
_is_enabled: Final = logging.getLogger("access").isEnabledFor


def wants_access(status: int) -> bool:
    """Whether a request so answered has a line: all at level debug, our failures at info."""
    return _is_enabled(logging.INFO if status >= 500 else logging.DEBUG)


def access(method: str, path: str, *, status: int, latency_s: float, **facts: Any) -> None:
    """One line for one request; ask `wants_access` first."""
    tell = _access.info if status >= 500 else _access.debug
    tell(
        "request",
        method=method,
        path=path,
        status=status,
        latency_ms=round(latency_s * 1_000, 3),
        **facts,
    )


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
        # The renderer's own tracebacks show local variables, and with them secrets.
        traces = structlog.dev.plain_traceback
        renderers.append(
            structlog.dev.ConsoleRenderer(colors=stream.isatty(), exception_formatter=traces)
        )
    else:
        renderers += [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    lines = logging.StreamHandler(stream)
    lines.setFormatter(ProcessorFormatter(foreign_pre_chain=_COMMON, processors=renderers))
    root = logging.getLogger()
    root.handlers = [lines]
    root.setLevel(settings.level.upper())

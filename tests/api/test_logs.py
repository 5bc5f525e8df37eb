"""Every line of the log has one shape, whoever wrote it."""

import io
import json
import logging
from typing import Literal

import pytest
import structlog

from api.logs import configure
from config import LogSettings


def test_our_lines_and_those_of_libraries_are_alike() -> None:
    stream = io.StringIO()
    configure(LogSettings(), stream)
    structlog.get_logger("engine").info("desk restarted", desk=7)
    logging.getLogger("library").warning("beware of %s", "dogs", extra={"desk": 7})
    ours, theirs = map(json.loads, stream.getvalue().splitlines())
    assert set(ours) == set(theirs) == {"event", "level", "logger", "timestamp", "desk"}
    assert (ours["event"], theirs["event"]) == ("desk restarted", "beware of dogs")


def test_lines_below_the_level_are_left_out_and_tracebacks_kept_in_one_line() -> None:
    stream = io.StringIO()
    configure(LogSettings(level="error"), stream)
    log = logging.getLogger("library")
    log.warning("not this")
    try:
        raise ZeroDivisionError
    except ZeroDivisionError:
        log.exception("this")
    [line] = stream.getvalue().splitlines()
    assert "ZeroDivisionError" in json.loads(line)["exception"]


@pytest.mark.parametrize("format_", ["json", "console"])
def test_no_traceback_shows_what_variables_hold(format_: Literal["json", "console"]) -> None:
    def check(secret: str) -> None:
        raise PermissionError(len(secret))

    stream = io.StringIO()
    configure(LogSettings(format=format_), stream)
    try:
        check("ock_" + "hidden")
    except PermissionError as error:
        logging.getLogger("library").error("this", exc_info=error)
    assert "PermissionError" in stream.getvalue()
    assert "ock_hidden" not in stream.getvalue()


def test_people_read_plain_words() -> None:
    stream = io.StringIO()
    configure(LogSettings(format="console"), stream)
    structlog.get_logger("engine").info("desk restarted", desk=7)
    assert "desk restarted" in stream.getvalue()
    assert "desk=7" in stream.getvalue()

"""The reference names every close code, and no other."""

import re
from pathlib import Path

import api
from api.sockets.codes import CloseCode
from api.web.limits import ServerLimits

PAGE = Path(api.__file__).parents[1] / "docs" / "api.md"


def section() -> str:
    """What the reference says of websockets in general."""
    return PAGE.read_text("utf-8").partition("\n## Websockets\n")[2].partition("\n## ")[0]


def test_every_close_code_is_in_the_reference_and_no_other() -> None:
    rows = re.findall(r"^\| (`\d.*?) \|", section(), re.MULTILINE)
    named = [int(code) for row in rows for code in re.findall(r"\d+", row)]
    assert sorted(named) == sorted(CloseCode)


def test_the_limits_in_the_reference_are_those_of_the_code() -> None:
    limits, text = ServerLimits(), section()
    assert f"over {limits.websocket_message_bytes_max:,} bytes" in text
    assert f"beyond {limits.websocket_conflate_bytes >> 10} KiB" in text
    assert f"{limits.websocket_pending_bytes_max >> 20} MiB of them" in text
    assert f"waited {limits.websocket_pending_s_max:g} s" in text
    assert f"ping every {limits.websocket_ping_s:g} s" in text
    assert f"within {limits.websocket_pong_s_max:g} s" in text
    assert f"After {limits.websocket_lifetime_s_max / 3_600:g} hours" in text
    assert f"at most {limits.websockets_per_key_max} websockets" in text

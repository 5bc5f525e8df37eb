"""How a request of a route is written, for those who copy it."""

import json
from typing import Any, Final

_PYTHON: Final = """import json, os, urllib.request

request = urllib.request.Request(
    os.environ["OUTCRY_URL"] + {target!r},{body}
    headers={headers},
    method={method!r},
)
with urllib.request.urlopen(request) as response:
    print(json.load(response))"""


def curl(method: str, target: str, body: Any, *, is_open: bool) -> str:
    """One line for a shell that knows OUTCRY_URL and OUTCRY_KEY.

    >>> print(curl("get", "/v1/time", None, is_open=True))
    curl -s "$OUTCRY_URL/v1/time"
    """
    parts = ["curl -s"]
    if method != "get":
        parts.append(f"-X {method.upper()}")
    parts.append(f'"$OUTCRY_URL{target}"')
    if not is_open:
        parts.append('-H "Authorization: Bearer $OUTCRY_KEY"')
    if body is not None:
        quoted = json.dumps(body).replace("'", "'\\''")
        parts.append(f"-H 'Content-Type: application/json' \\\n  -d '{quoted}'")
    return " ".join(parts)


def python(method: str, target: str, body: Any, *, is_open: bool) -> str:
    """A program that needs no library."""
    headers = []
    if not is_open:
        headers.append('"Authorization": "Bearer " + os.environ["OUTCRY_KEY"]')
    if body is not None:
        headers.append('"Content-Type": "application/json"')
    return _PYTHON.format(
        target=target,
        method=method.upper(),
        headers="{" + ", ".join(headers) + "}",
        body="" if body is None else f"\n    data=json.dumps({body!r}).encode(),",
    )

"""Sign requests with the standard library alone, in any language much the same.

Set OUTCRY_URL, OUTCRY_KEY_ID and OUTCRY_SECRET, those of a key with the scheme HMAC-SHA256.
"""

import hashlib
import hmac
import json
import os
import secrets
import time
import urllib.error
import urllib.request
from typing import Any

URL = os.environ.get("OUTCRY_URL", "http://127.0.0.1:8080")
KEY_ID, SECRET = os.environ["OUTCRY_KEY_ID"], os.environ["OUTCRY_SECRET"]
WINDOW_MS = "5000"
#: After these the same request is sent again, with the same key: it counts once.
INDEFINITE = {429, 500, 502, 503, 504}
ATTEMPTS_MAX = 5


def call(method: str, target: str, content: Any = None) -> Any:
    """Send a request that has a key, or reads, until its answer is definite."""
    body = b"" if content is None else json.dumps(content).encode()
    for attempt in range(ATTEMPTS_MAX):
        request = urllib.request.Request(URL + target, body or None, method=method)
        request.add_header("Content-Type", "application/json")
        for name, text in signature(method, target, body).items():  # anew for every attempt
            request.add_header(name, text)
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            told = json.load(error)["error"]
            if error.code not in INDEFINITE:
                raise SystemExit(f"{error.code} {told['code']}: {told['message']}") from error
        except OSError as error:  # it may have arrived, or not
            print(f"no answer: {error}")
        time.sleep(0.1 * 2**attempt)
    raise SystemExit("it may have happened: ask for it by its client_order_id")


def signature(method: str, target: str, body: bytes) -> dict[str, str]:
    """The headers that prove a request."""
    stamp, nonce = str(time.time_ns() // 1_000_000), secrets.token_hex(8)
    lines = (stamp, WINDOW_MS, nonce, method, target, hashlib.sha256(body).hexdigest())
    text = "\n".join(lines).encode()
    return {
        "Outcry-Key": KEY_ID,
        "Outcry-Timestamp": stamp,
        "Outcry-Window": WINDOW_MS,
        "Outcry-Nonce": nonce,
        "Outcry-Signature": hmac.new(SECRET.encode(), text, "sha256").hexdigest(),
    }


if __name__ == "__main__":
    key = call("GET", "/v1/key")
    print(f"key {key['key_id']} may {', '.join(key['permissions'])}")
    name = f"by-hand-{time.time_ns()}"
    terms = {"instrument": "BTC-USD", "side": "buy", "type": "limit"}
    order = {"client_order_id": name, **terms, "price": "0.01", "quantity": "1"}
    print(f"order {name} is {call('POST', '/v1/orders', order)['status']}")
    print(f"order {name} is {call('DELETE', f'/v1/orders/by-client-id/{name}')['status']}")

"""What `outcry demo` prints: lines that a newcomer pastes."""

import sys
from pathlib import Path
from typing import Final

import msgspec

_HEAD: Final = """
Outcry's demo listens on {url}. The API to read and to try: {url}/v1/docs
{market}

Paste this into another terminal, here:

    export OUTCRY_URL={url} OUTCRY_KEY={admin}
    export ALICE='Authorization: Bearer {alice}'
    export BOB='Authorization: Bearer {bob}'
    export ADMIN='Authorization: Bearer {admin}'
    export JSON='Content-Type: application/json'
"""
_MOVING: Final = """
Watch the market move:

    {outcry} top
    curl "{url}/v1/ticker?instrument=BTC-USD" -H "$BOB"
    curl "{url}/v1/depth?instrument=BTC-USD&limit=5" -H "$BOB"
    curl "{url}/v1/candles?instrument=BTC-USD&interval=1m&limit=3" -H "$BOB"
    {python} -c 'from api.client import Socket; {connect}; {subscribe}; {listen}'

Bob buys a fifth of a bitcoin at the market, Alice offers half of one and looks at her order:

    curl {url}/v1/orders -H "$BOB" -H "$JSON" -d '{{"client_order_id":"bob-{tag}",
      "instrument":"BTC-USD","side":"buy","type":"market","quantity":"0.2"}}'
    curl {url}/v1/orders -H "$ALICE" -H "$JSON" -d '{{"client_order_id":"alice-{tag}",
      "instrument":"BTC-USD","side":"sell","type":"limit","price":"{price}","quantity":"0.5"}}'
    curl {url}/v1/orders/by-client-id/alice-{tag} -H "$ALICE"
"""
_STILL: Final = """
Alice offers half a bitcoin, Bob buys a fifth of one, Alice looks at her order:

    curl {url}/v1/orders -H "$ALICE" -H "$JSON" -d '{{"client_order_id":"alice-{tag}",
      "instrument":"BTC-USD","side":"sell","type":"limit","price":"{price}","quantity":"0.5"}}'
    curl {url}/v1/orders -H "$BOB" -H "$JSON" -d '{{"client_order_id":"bob-{tag}",
      "instrument":"BTC-USD","side":"buy","type":"limit","price":"{price}","quantity":"0.2"}}'
    curl {url}/v1/orders/by-client-id/alice-{tag} -H "$ALICE"
    curl "{url}/v1/depth?instrument=BTC-USD" -H "$BOB"
    {outcry} top
"""
_FOOT: Final = """
A bot of Bob's own, in Python; what it is made of is in docs/client.md:

    OUTCRY_KEY={bob} {python} docs/examples/first_order.py
    OUTCRY_KEY={bob} {python} docs/examples/market_maker.py BTC-USD

Their money, her orders taken back, the engine's inner life:

    curl {url}/v1/balances -H "$ALICE"
    curl -X DELETE {url}/v1/orders -H "$ALICE"
    curl {url}/v1/admin/actors -H "$ADMIN"

Sending a line again does nothing twice. Ctrl-C stops.
"""
_CONNECT: Final = 'feed = Socket("{url}", "/v1/feed")'
_SUBSCRIBE: Final = (
    'feed.request("subscribe", channels=["trades", "ticker"], instruments=["BTC-USD"])'
)
_LISTEN: Final = "[print(event) for event in iter(feed.event, None)]"


class Lines(msgspec.Struct, frozen=True):
    """What the lines are about; `tag` makes names that no earlier start has used."""

    url: str
    admin: str
    alice: str
    bob: str
    tag: str
    price: str
    speed: float = 0.0

    def __str__(self) -> str:
        market = (
            f"Makers and takers trade {self.speed:g} times a second; --speed 0 for a still market."
            if self.speed
            else "Nobody trades but you."
        )
        text = _HEAD + (_MOVING if self.speed else _STILL) + _FOOT
        facts = msgspec.structs.asdict(self)
        connect = _CONNECT.format(url=self.url)
        feed = {
            "python": sys.executable,
            "connect": connect,
            "subscribe": _SUBSCRIBE,
            "listen": _LISTEN,
        }
        return text.format(market=market, outcry=_outcry(), **feed, **facts)


def _outcry() -> str:
    """How this command was called, so that the next one is found too."""
    return sys.argv[0] if Path(sys.argv[0]).name == "outcry" else f"{sys.executable} -m api"

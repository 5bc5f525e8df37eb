"""Tell every fill of an account once, over reconnections and restarts of this program.

    python follow_fills.py fills.place

The file remembers how far it came. It is written after a fill is told, so none is left out, and the
one being told when this program was killed is told again: go by `trade` if that is too often.
Set OUTCRY_URL and a key, see `first_order.py`.
"""

import json
import os
import sys
from pathlib import Path

import trio

from api.client import follow_account, server_of
from api.client.conversation import Message, Number


class Place:
    """How far the account's events have been told, in a file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> Number | None:
        """The number of the last event; None at the very first start."""
        if not self._path.exists():
            return None
        sequence, index = json.loads(self._path.read_text())
        return sequence, index

    def write(self, number: Number) -> None:
        """Remember it; a kill leaves the old number or the new one."""
        new = self._path.with_suffix(".new")
        new.write_text(json.dumps(number))
        os.replace(new, self._path)


async def main(path: Path) -> None:
    server, place = server_of(), Place(path)
    after = place.read()

    async def heard(message: Message) -> None:
        if message["type"] == "snapshot" and after is not None:
            print("away for too long: what is missing here is in GET /v1/fills")
        if message["type"] == "fill":
            print(
                f"trade {message['trade']}: {message['side']} {message['quantity']} "
                f"{message['instrument']} at {message['price']} as {message['liquidity']}"
            )
        place.write(message["number"])

    await follow_account(server.url, server.credentials, heard, after=after)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit("name a file that remembers how far it came: follow_fills.py fills.place")
    try:
        trio.run(main, Path(sys.argv[1]))
    except* KeyboardInterrupt:
        pass

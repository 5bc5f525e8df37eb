"""Quote both sides of one instrument, one request behind the other, without leaving orders behind.

    python market_maker.py BTC-USD

If the connection breaks, the server cancels what this key has; if this program hangs, the dead-man
timer does. Give it a key of its own, see `first_order.py`.
"""

import sys
import time
from decimal import Decimal
from typing import Literal

import trio

from api.client import (
    Book,
    Refused,
    SocketClosed,
    TrioClient,
    TrioSocket,
    Unanswered,
    calls,
    keep_books,
    open_socket,
    server_of,
)
from api.client.environment import Server
from api.routes.markets import InstrumentAnswer

BEAT_S = 0.5
#: Silent for so long, our orders are cancelled.
DEAD_AFTER_MS = 5_000
HALF_SPREAD = Decimal("0.001")


class Maker:
    """One bid and one offer around the middle of the book, renewed with every beat."""

    def __init__(self, terms: InstrumentAnswer, book: Book) -> None:
        self._terms = terms
        self._book = book
        self._tick = Decimal(terms.tick_size)
        self._resting: list[str] = []

    async def beat(self, socket: TrioSocket) -> None:
        """Cancel what we had, quote anew, and say that we live: one write, no waiting between."""
        replies = [await socket.tell("dead_man", timeout_ms=DEAD_AFTER_MS)]
        replies += [await socket.tell("cancel", client_order_id=name) for name in self._resting]
        orders = self._quotes()
        replies += [await socket.tell("place", order=order) for order in orders]
        self._resting = [order.client_order_id for order in orders]
        for reply in replies:
            try:
                await reply.result()
            except Refused as refusal:  # filled before we cancelled it, too little money, ...
                print(refusal.code)
        print(f"quoted {' / '.join(order.price for order in orders) or 'nothing'}")

    def _quotes(self) -> list[calls.LimitForm]:
        middle = self._middle()
        if middle is None:
            return []  # the book is not known: better no quotes than old ones
        name = f"mm-{time.time_ns()}"
        return [
            self._order(f"{name}-buy", "buy", middle * (1 - HALF_SPREAD)),
            self._order(f"{name}-sell", "sell", middle * (1 + HALF_SPREAD)),
        ]

    def _order(self, name: str, side: Literal["buy", "sell"], price: Decimal) -> calls.LimitForm:
        return calls.LimitForm(
            client_order_id=name,
            instrument=self._terms.symbol,
            side=side,
            price=str(max(1, round(price / self._tick)) * self._tick),
            quantity=self._terms.minimum_quantity,
            post_only=True,
        )

    def _middle(self) -> Decimal | None:
        if not self._book.is_ready:
            return None
        bid, ask = self._book.best
        if bid and ask:
            return (Decimal(bid[0]) + Decimal(ask[0])) / 2
        price = self._terms.last_price or self._terms.reference_price
        return None if price is None else Decimal(price)


async def make(server: Server, maker: Maker) -> None:
    """Quote, on one connection after the other."""
    while True:
        try:
            async with open_socket(server.url, "/v1/stream", server.credentials) as socket:
                await socket.request("cancel_all", scope="key")  # what an earlier life left
                await socket.request("cancel_on_disconnect", enabled=True)
                while True:
                    await maker.beat(socket)
                    await trio.sleep(BEAT_S)
        except (SocketClosed, Unanswered, OSError) as error:
            print(f"reconnecting: {error}")
            await trio.sleep(1)


async def main(symbol: str) -> None:
    server, book = server_of(), Book(symbol)
    async with TrioClient(server.url, server.credentials) as client:
        terms = await client.send(calls.instrument(symbol))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(keep_books, server.url, [book])
        nursery.start_soon(make, server, Maker(terms, book))


if __name__ == "__main__":
    try:
        trio.run(main, sys.argv[1] if sys.argv[1:] else "BTC-USD")
    except* KeyboardInterrupt:
        pass

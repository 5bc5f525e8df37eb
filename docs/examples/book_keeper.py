"""Keep the books of some instruments, and say what their best prices are.

    python book_keeper.py BTC-USD ETH-USD

The feed is open to all: set OUTCRY_URL, no key is needed.
"""

import os
import sys

import trio

from api.client import Book, keep_books


def show(book: Book) -> None:
    """Called after every change; also when a book is lost, until it is in step again."""
    if not book.is_ready:
        print(f"{book.instrument}: not known")
        return
    bid, ask = book.best
    print(f"{book.instrument}: {_told(bid)} bid, {_told(ask)} offered")


def _told(level: tuple[str, str] | None) -> str:
    return "none" if level is None else f"{level[1]} at {level[0]}"


if __name__ == "__main__":
    url = os.environ.get("OUTCRY_URL", "http://127.0.0.1:8080")
    books = [Book(symbol) for symbol in sys.argv[1:] or ["BTC-USD"]]
    try:
        trio.run(lambda: keep_books(url, books, changed=show))
    except* KeyboardInterrupt:
        pass

"""F22: clients that knock and run, that speak a byte at a time, that never speak at all.

They are a process of their own: python -m tests.faults.storm PORT PER_SECOND
"""

import itertools
import json
import selectors
import socket
import subprocess
import sys
import time
from collections import Counter
from typing import Any, Final

from tests.crash.process import ROOT
from tests.faults.market import Trader
from tests.faults.reactor import Loop, percentile_ms
from tests.faults.site import Site

#: One in so many knockers stays and says nothing, and one speaks a byte at a time.
_KINDS: Final = ("leaves", "leaves", "silent", "slow")
_HEAD: Final = b"GET /v1/time HTTP/1.1\r\nHost: faults\r\nX-Slow: "
#: A slow one's next byte; each has its own moment.
_BYTE_EVERY_S: Final = 0.2
_TURNS: Final = 20
#: The trader has an address of its own.
_SOURCES: Final = tuple(f"127.0.3.{number}" for number in range(1, 5))
_STAYING_MAX: Final = 3_000


class Stormer:
    """Opens so many connections a second, and counts what becomes of them."""

    def __init__(self, port: int) -> None:
        self.became: Counter[str] = Counter()
        self._port = port
        self._selector = selectors.DefaultSelector()
        self._slow: dict[socket.socket, int] = {}
        self._turn = 0
        self._numbers = itertools.count()

    def storm(self, per_second: int, told: Any) -> None:
        """Go on until standard input ends; the figures then are in `became`."""
        self._selector.register(told, selectors.EVENT_READ)
        began_s = slow_s = time.perf_counter()
        opened = 0
        while True:
            for key, _ in self._selector.select(0.001):
                if key.fileobj is told:
                    return
                self._hear(key.fileobj)
            now_s = time.perf_counter()
            while opened < (now_s - began_s) * per_second:
                opened += 1
                self._knock()
            if now_s - slow_s > _BYTE_EVERY_S / _TURNS:
                slow_s = now_s
                self._speak()

    def _knock(self) -> None:
        number = next(self._numbers)
        kind = _KINDS[number % len(_KINDS)]
        sock = socket.socket()
        sock.bind((_SOURCES[number % len(_SOURCES)], 0))
        sock.settimeout(1.0)
        try:
            sock.connect(("127.0.0.1", self._port))
        except OSError:
            self.became["not connected"] += 1
            return
        self.became["connected"] += 1
        sock.setblocking(False)
        if kind == "leaves" or len(self._selector.get_map()) > _STAYING_MAX:
            sock.close()
            return
        self._selector.register(sock, selectors.EVENT_READ)
        if kind == "slow":
            self._slow[sock] = 0

    def _speak(self) -> None:
        self._turn = (self._turn + 1) % _TURNS
        for sock, said in list(self._slow.items()):
            if sock.fileno() % _TURNS != self._turn:
                continue
            try:
                sock.send(_HEAD[said : said + 1] or b"x")
                self._slow[sock] = said + 1
            except OSError:
                self._drop(sock)

    def _hear(self, sock: Any) -> None:
        try:
            answer = sock.recv(4_096)
        except OSError:
            answer = b""
        if answer:
            self.became[f"answered {answer[9:12].decode()}"] += 1
        else:
            self.became["closed by the server"] += 1
            self._drop(sock)

    def _drop(self, sock: socket.socket) -> None:
        self._slow.pop(sock, None)
        if sock.fileno() in self._selector.get_map():
            self._selector.unregister(sock)
        sock.close()


async def storm(site: Site, *, per_second: int, rate: int, seconds: float) -> dict[str, Any]:
    """Trade alone, then in the storm, then alone again."""
    loop, trader = Loop(), Trader(site)
    trader.join(loop)
    await trader.furnish()
    loop.run(0.5, (1 / rate, trader.act))
    alone_s = _traded(loop, trader, rate, seconds)
    before_kib, before_s = site.resident_kib(), site.processor_s()
    with _storming(site.port, per_second) as stormer:
        loop.run(1.0, (1 / rate, trader.act))
        stormy_s = _traded(loop, trader, rate, seconds)
        peak_kib, peak_s = site.resident_kib(), site.processor_s()
        heard, _ = stormer.communicate()
    loop.run(0.5, (1 / rate, trader.act))
    after_s = _traded(loop, trader, rate, seconds)
    loop.close()
    return {
        "connects_per_second_asked": per_second,
        "storm": json.loads(heard),
        "orders": (len(alone_s), len(stormy_s), len(after_s)),
        "order_p50_ms": [percentile_ms(each, 0.5) for each in (alone_s, stormy_s, after_s)],
        "order_p99_ms": [percentile_ms(each, 0.99) for each in (alone_s, stormy_s, after_s)],
        "server_processor_s_in_the_storm": round(peak_s - before_s, 1),
        "resident_mib": [round(kib / 1024, 1) for kib in (before_kib, peak_kib)],
        "failures": len(site.failures()) + len(trader.failures),
    }


def _storming(port: int, per_second: int) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [sys.executable, "-m", "tests.faults.storm", str(port), str(per_second)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=ROOT,
    )


def _traded(loop: Loop, trader: Trader, rate: int, seconds: float) -> list[float]:
    trader.forget()
    loop.run(seconds, (1 / rate, trader.act))
    return trader.latencies_s


def main(port: int, per_second: int) -> None:
    """Storm, then print the figures."""
    stormer = Stormer(port)
    began_s = time.perf_counter()
    stormer.storm(per_second, sys.stdin)
    storming_s = time.perf_counter() - began_s
    reached = round(stormer.became["connected"] / storming_s)
    print(json.dumps({"connects_per_second": reached, **stormer.became}))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))

"""F25 and F26: three times as many orders as the engine can take, and the kill switch."""

import itertools
import re
import time
from collections import Counter, deque
from collections.abc import Callable
from typing import Any, Final

import msgspec

from tests.faults.reactor import Answer, HttpWire, Loop, SocketWire, percentile_ms, post
from tests.faults.site import Site

_BATCH: Final = 50
#: Connections that carry batches while the peak is sought.
_WIRES: Final = 6
_WINDOW: Final = 200
#: Of all orders offered, those on the websocket.
_ON_SOCKET: Final = 0.1
_TIMES: Final = 3.0
_SETTLE_S: Final = 0.5
_RECOVERY_S_MAX: Final = 3.0
_PROBE_EVERY_S: Final = 0.02
_CANCEL_EVERY_S: Final = 0.05
_CREATED: Final = b'"status":201'
_MARK: Final = b"@@@@@@@@"
_SHED: Final = re.compile(rb'"code":"([A-Z_]+)"')


class Took(msgspec.Struct):
    """What became of the orders of a while; `processor_s` is the server's at its beginning."""

    began_s: float
    processor_s: float
    sent: int = 0
    accepted: int = 0
    answered: int = 0
    not_sent: int = 0
    codes: Counter[str] = msgspec.field(default_factory=Counter)
    latencies_s: list[float] = []


class Flood:
    """Orders of two accounts that trade with each other, in batches and on a websocket."""

    def __init__(self, site: Site, loop: Loop, wires_max: int) -> None:
        self.took = Took(time.perf_counter(), site.processor_s())
        #: Called with the content of every answer.
        self.watch: Callable[[bytes], object] = bool
        self._site = site
        self._loop = loop
        self._numbers = itertools.count(1)
        self._templates = [_template(site, 0, "buy"), _template(site, 1, "sell")]
        self._idle: deque[HttpWire] = deque()
        self._wires = 0
        self._wires_max = wires_max
        self._is_closed_loop = False
        self._socket = SocketWire(
            site.port, "/v1/stream", self._hear_socket, secret=site.trader(0).secret
        )
        self._socket.enter()
        self._under_way = 0
        loop.add(self._socket)

    def begin(self) -> None:
        """A new measure."""
        self.took = Took(time.perf_counter(), self._site.processor_s())

    def figures(self) -> dict[str, float]:
        """Orders accepted a second so far, and by each second of the server's processor time."""
        wall_s = time.perf_counter() - self.took.began_s
        busy_s = self._site.processor_s() - self.took.processor_s
        return {
            "per_second": round(self.took.accepted / wall_s),
            "per_processor_second": round(self.took.accepted / max(0.01, busy_s)),
            "server_busy": round(busy_s / wall_s, 2),
        }

    def closed(self, seconds: float) -> dict[str, float]:
        """As much as is answered, for so long; its figures."""
        self._is_closed_loop = True
        for _ in range(_WIRES):
            self._send_batch()
        self._send_messages(_WINDOW)
        self._loop.run(_SETTLE_S)
        self.begin()
        self._loop.run(seconds)
        peak = self.figures()
        self._is_closed_loop = False
        self.drain()
        return peak

    def offer(self, per_second: float) -> tuple[tuple[float, Callable[[], None]], ...]:
        """What is due when so many are offered, whatever is answered."""
        in_batches, alone = per_second * (1 - _ON_SOCKET), per_second * _ON_SOCKET
        return (
            (_BATCH / in_batches, self._send_batch),
            (10 / alone, lambda: self._send_messages(10)),
        )

    def drain(self) -> float:
        """Wait until everything is answered; the seconds it took."""
        began_s = time.perf_counter()
        done = self._loop.run_until(
            lambda: len(self._idle) == self._wires and not self._under_way, 20.0
        )
        return time.perf_counter() - began_s if done else -1.0

    def _send_batch(self) -> None:
        if self._idle:
            wire = self._idle.popleft()
        elif self._wires < self._wires_max:
            self._wires += 1
            wire = HttpWire(self._site.port, self._hear)
            self._loop.add(wire)
        else:
            self.took.not_sent += _BATCH
            return
        self.took.sent += _BATCH
        number = next(self._numbers)
        wire.ask(self._templates[number % 2].replace(_MARK, b"%08d" % number))

    def _send_messages(self, count: int) -> None:
        for _ in range(count):
            self._under_way += 1
            self.took.sent += 1
            number = next(self._numbers)
            order = _order(f"s{number}", "buy" if number % 2 else "sell", "99.00")
            self._socket.say(msgspec.json.encode({"id": number, "op": "place", "order": order}))

    def _hear(self, wire: HttpWire, answer: Answer) -> None:
        self._idle.append(wire)
        took = self.took
        took.answered += _BATCH
        took.latencies_s.append(answer.took_s)
        if answer.status == 200:
            took.accepted += answer.body.count(_CREATED)
        for code in _SHED.findall(answer.body):
            took.codes[code.decode()] += 1
        self.watch(answer.body)
        if self._is_closed_loop:
            self._send_batch()

    def _hear_socket(self, _: SocketWire, message: bytes, __: float) -> None:
        if not message.startswith(b'{"type":"answer"'):
            return
        self._under_way -= 1
        self.took.answered += 1
        self.took.accepted += _CREATED in message
        self.watch(message)
        for code in _SHED.findall(message):
            self.took.codes[code.decode()] += 1
        if self._is_closed_loop:
            self._send_messages(1)


class Canceller:
    """Ends one resting order after the other, each when it is due."""

    def __init__(self, site: Site, loop: Loop) -> None:
        self.answers: list[Answer] = []
        self._site = site
        self._secret = site.trader(2).secret
        self._wire = HttpWire(site.port, lambda _, answer: self.answers.append(answer))
        self._keys: list[str] = []
        loop.add(self._wire)

    async def furnish(self, count: int) -> None:
        """Orders to be cancelled, far from the market."""
        self._keys = [f"far-{number}" for number in range(count)]
        for start in range(0, count, _BATCH):
            keys = self._keys[start : start + _BATCH]
            form = {"orders": [_order(key, "buy", "80.00") for key in keys]}
            account = self._site.trader(2).account
            await self._site.ask("POST", "/v1/orders/batch", form, account)

    def act(self) -> None:
        """Cancel one, unless the last one is not answered."""
        if self._keys and not self._wire.is_busy:
            head = (
                f"DELETE /v1/orders/by-client-id/{self._keys.pop()} HTTP/1.1\r\nHost: faults\r\n"
                f"Authorization: Bearer {self._secret}\r\n\r\n"
            )
            self._wire.ask(head.encode())


class Prober:
    """Places a single order now and then, one at a time."""

    def __init__(self, site: Site, loop: Loop) -> None:
        self.answers: list[Answer] = []
        self._secret = site.trader(3).secret
        self._numbers = itertools.count()
        self._wire = HttpWire(site.port, lambda _, answer: self.answers.append(answer))
        loop.add(self._wire)

    def act(self) -> None:
        """One order, if the last one is answered."""
        if not self._wire.is_busy:
            order = _order(f"probe-{next(self._numbers)}", "buy", "81.00")
            self._wire.ask(post("/v1/orders", self._secret, msgspec.json.encode(order)))


class Switch:
    """The kill switch, and every order that was accepted after it."""

    def __init__(self, site: Site, loop: Loop) -> None:
        self.sequence = 0
        self.answer_ms = 0.0
        self.accepted_behind = 0
        self.accepted_before = 0
        self._secret = site.admin_secret
        self._wire = HttpWire(site.port, self._hear)
        self._seen: list[bytes] = []
        loop.add(self._wire)

    def throw(self, *, halted: bool) -> None:
        """Have everything halted, or go on."""
        form = {"scope": "everything", "halted": halted, "reason": "drill"}
        self._wire.ask(post("/v1/admin/halts", self._secret, msgspec.json.encode(form)))

    @property
    def is_thrown(self) -> bool:
        """Whether that is answered."""
        return not self._wire.is_busy

    def watch(self, content: bytes) -> None:
        """Keep an answer for later."""
        self._seen.append(content)

    def judge(self) -> None:
        """Look for orders whose records come after the halt's."""
        for content in self._seen:
            said = msgspec.json.decode(content)
            for item in said.get("answers", (said,)):
                if item.get("status") == 201:
                    order = item["order"] if "order" in item else item["result"]
                    behind = order["sequence"] > self.sequence
                    self.accepted_behind += behind
                    self.accepted_before += not behind

    def _hear(self, _: HttpWire, answer: Answer) -> None:
        if not self.sequence:
            self.sequence = msgspec.json.decode(answer.body)["sequence"]
            self.answer_ms = round(answer.took_s * 1_000, 1)


async def overload(
    site: Site, *, wires: int, peak_s: float, seconds: float, halted_s: float
) -> dict[str, Any]:
    """Find the peak, offer three times as much, throw the switch, stop, and find the peak again."""
    loop = Loop()
    flood, prober = Flood(site, loop, wires), Prober(site, loop)
    switch = Switch(site, loop)
    canceller = Canceller(site, loop)
    await canceller.furnish(int((seconds + halted_s + 1) / _CANCEL_EVERY_S))
    loop.run(1.0, (_PROBE_EVERY_S, prober.act))
    alone_s = [answer.took_s for answer in prober.answers]
    peak = flood.closed(peak_s)
    offered = flood.offer(_TIMES * peak["per_second"])
    cancelling = (_CANCEL_EVERY_S, canceller.act)
    loop.run(_SETTLE_S, *offered, cancelling)
    flood.begin()
    loop.run(seconds, *offered, cancelling)
    flooded, goodput = flood.took, flood.figures()
    sent, not_sent, shed = flooded.sent, flooded.not_sent, dict(flooded.codes)

    flood.watch = switch.watch
    switch.throw(halted=True)
    loop.run_until(lambda: switch.is_thrown, 5.0, *offered, cancelling)
    flood.begin()
    loop.run(halted_s, *offered, cancelling)
    drained_s = flood.drain()
    halted = flood.took
    flood.begin()
    flood.watch = bool
    switch.judge()
    switch.throw(halted=False)
    loop.run_until(lambda: switch.is_thrown, 5.0)

    again = flood.offer(_TIMES * peak["per_second"])
    loop.run(1.0, *again, cancelling)
    prober.answers.clear()
    stopped_s = time.perf_counter()
    loop.run(_RECOVERY_S_MAX, (_PROBE_EVERY_S, prober.act))
    recovered_s = _recovered(prober.answers, stopped_s, max(0.05, 5 * max(alone_s)))
    flood.drain()
    peak_again = flood.closed(peak_s)
    loop.close()
    cancels = [answer.took_s for answer in canceller.answers]
    return {
        "peak": peak,
        "offered_per_second": round((sent + not_sent) / seconds),
        "sent_per_second": round(sent / seconds),
        "goodput": goodput,
        "goodput_share": _share(goodput, peak),
        "goodput_share_of_processor_time": _share(goodput, peak, "per_processor_second"),
        "shed": shed,
        "batch_p99_ms": percentile_ms(flooded.latencies_s, 0.99),
        "cancels": dict(Counter(answer.status for answer in canceller.answers)),
        "cancel_ms": (percentile_ms(cancels, 0.5), percentile_ms(cancels, 1.0)),
        "halt_answered_ms": switch.answer_ms,
        "accepted_behind_the_halt": switch.accepted_behind,
        "accepted_before_the_halt_answered_after": switch.accepted_before,
        "accepted_while_halted": halted.accepted,
        "codes_while_halted": dict(halted.codes),
        "drained_s": round(drained_s, 2),
        "order_alone_p99_ms": percentile_ms(alone_s, 0.99),
        "recovered_s": round(recovered_s, 2),
        "peak_again": peak_again,
        "peak_again_share": _share(peak_again, peak),
        "failures": len(site.failures()),
    }


def _recovered(answers: list[Answer], stopped_s: float, usual_s: float) -> float:
    """Seconds from the end of the flood until no order took longer than usual any more."""
    if not answers:
        return _RECOVERY_S_MAX
    slow = [answer.at_s for answer in answers if answer.took_s > usual_s or answer.status != 201]
    return max(slow, default=stopped_s) - stopped_s


def _share(one: dict[str, float], other: dict[str, float], figure: str = "per_second") -> float:
    return round(one[figure] / other[figure], 2)


def _template(site: Site, trader: int, side: str) -> bytes:
    """A whole request with a batch, but for its number."""
    orders = [_order(f"b{_MARK.decode()}-{place}", side, "100.00") for place in range(_BATCH)]
    body = msgspec.json.encode({"orders": orders})
    return post("/v1/orders/batch", site.trader(trader).secret, body)


def _order(key: str, side: str, price: str) -> dict[str, str]:
    return {
        "client_order_id": key,
        "instrument": "BTC-USD",
        "side": side,
        "type": "limit",
        "price": price,
        "quantity": "0.0100",
    }

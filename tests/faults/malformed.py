"""F23: nonsense over HTTP and both websockets; nothing may break, grow or happen."""

import socket
from collections import Counter
from typing import Any, Final, NamedTuple

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from tests.faults import nonsense
from tests.faults.reactor import LOST, Answer, HttpWire, SocketWire, post
from tests.faults.site import Site

_ANSWER_S_MAX: Final = 20.0
_PING: Final = b'{"id":"still-there","op":"ping"}'
_PONG: Final = b'"id":"still-there"'


class Attacker:
    """Says something, and sees to it that the server then still talks sense."""

    def __init__(self, port: int, admin_secret: str, secret: str) -> None:
        #: What became of each input: its kind, and a status or close code.
        self.became: Counter[str] = Counter()
        self.inputs = 0
        #: Whatever must not be said: 500, 1011, nothing at all.
        self.failures: list[str] = []
        self._port = port
        self._admin_secret = admin_secret
        self._secret = secret
        self._http: HttpWire | None = None
        self._sockets: dict[str, SocketWire] = {}
        self._answer: Answer | None = None
        self._ponged = False

    def send_body(self, path: str, body: bytes) -> None:
        """A body over HTTP."""
        secret = self._admin_secret if path.startswith("/v1/admin") else self._secret
        self._ask("body", post(path, secret, body))

    def send_query(self, target: str) -> None:
        """A target over HTTP."""
        head = f"GET {target} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {self._secret}\r\n\r\n"
        self._ask("query", head.encode())

    def send_head(self, head: bytes) -> None:
        """Bytes to the HTTP port, and then the end."""
        with socket.create_connection(("127.0.0.1", self._port), timeout=_ANSWER_S_MAX) as sock:
            heard = _last_words(sock, head)
        self._note("head", int(heard[9:12]) if heard.startswith(b"HTTP/1.1") else LOST, head)

    def send_message(self, path: str, message: bytes) -> None:
        """A text message on a websocket, and then a ping."""
        wire = self._socket(path)
        self._ponged = False
        wire.say(message)
        wire.say(_PING)
        while not self._ponged and not wire.is_over:
            wire.socket.settimeout(_ANSWER_S_MAX)
            wire.socket.recv(1, socket.MSG_PEEK)
            wire.read()
        if wire.is_over or wire.closed_with:
            del self._sockets[path]
            wire.close()
        self._note(path, wire.closed_with or 200, message)

    def send_frame(self, path: str, frame: bytes) -> None:
        """Bytes on a websocket, and then the end."""
        wire = self._opened(path)
        wire.socket.settimeout(_ANSWER_S_MAX)
        heard = _last_words(wire.socket, frame)
        wire.close()
        at = heard.rfind(b"\x88")
        code = int.from_bytes(heard[at + 2 : at + 4], "big") if at >= 0 else LOST
        self._note("frame", code, frame)

    def close(self) -> None:
        """Leave."""
        for wire in (self._http, *self._sockets.values()):
            if wire is not None:
                wire.close()

    def _ask(self, kind: str, request: bytes) -> None:
        if self._http is None:
            self._http = HttpWire(self._port, self._hear)
        self._answer, wire = None, self._http
        wire.ask(request)
        while self._answer is None and not wire.is_over:
            wire.socket.settimeout(_ANSWER_S_MAX)
            wire.socket.recv(1, socket.MSG_PEEK)
            wire.read()
        status = self._answer.status if self._answer is not None else LOST
        if wire.is_over or status in (408, 413, 431):
            wire.close()
            self._http = None
        self._note(kind, status, request)

    def _hear(self, _: HttpWire, answer: Answer) -> None:
        self._answer = answer

    def _socket(self, path: str) -> SocketWire:
        wire = self._sockets.get(path)
        if wire is None:
            wire = self._sockets[path] = self._opened(path)
        return wire

    def _opened(self, path: str) -> SocketWire:
        secret = self._secret if path == "/v1/stream" else ""
        wire = SocketWire(self._port, path, self._hear_message, secret=secret)
        if wire.enter() != 101:
            self.failures.append(f"{path} lets nobody in any more: {wire.status}")
        return wire

    def _hear_message(self, _: SocketWire, message: bytes, __: float) -> None:
        self._ponged = self._ponged or _PONG in message

    def _note(self, kind: str, code: int, said: bytes) -> None:
        self.inputs += 1
        self.became[f"{kind} {code}"] += 1
        if code in (500, 502, 1011) or (kind in ("body", "query") and code == LOST):
            self.failures.append(f"{kind} {code}: {said[:400]!r}")


def _last_words(sock: socket.socket, said: bytes) -> bytes:
    """Say something and that it was all; what is answered until the end."""
    heard = b""
    try:
        sock.sendall(said)
        sock.shutdown(socket.SHUT_WR)
        while part := sock.recv(65_536):
            heard += part
    except TimeoutError:
        raise  # it neither answered nor hung up
    except OSError:
        pass
    return heard


class Input(NamedTuple):
    """One thing to say: how an attacker says it, where, and what."""

    how: str
    where: str
    what: bytes

    def say(self, attacker: Attacker) -> None:
        """Say it."""
        match self.how:
            case "body":
                attacker.send_body(self.where, self.what)
            case "query":
                attacker.send_query(self.where)
            case "head":
                attacker.send_head(self.what)
            case "message":
                attacker.send_message(self.where, self.what)
            case "frame":
                attacker.send_frame(self.where, self.what)


def _inputs() -> "st.SearchStrategy[Input]":
    """Everything that can be said."""
    sockets = st.sampled_from(("/v1/feed", "/v1/stream"))
    paths = st.sampled_from((*nonsense.BODIES, *nonsense.ADMIN_PATHS))
    said = {"/v1/feed": nonsense.FEED_MESSAGES, "/v1/stream": nonsense.STREAM_MESSAGES}
    wild, no_bytes = nonsense.json_nonsense, st.just(b"")
    return st.one_of(
        *(
            st.builds(Input, st.just("body"), st.just(path), nonsense.with_a_fault((sense,)))
            for path, sense in nonsense.BODIES.items()
        ),
        *(
            st.builds(Input, st.just("message"), st.just(path), nonsense.with_a_fault(senses))
            for path, senses in said.items()
        ),
        st.builds(Input, st.just("body"), paths, wild),
        st.builds(Input, st.just("message"), sockets, wild),
        st.builds(Input, st.just("frame"), sockets, nonsense.frames()),
        st.builds(Input, st.just("query"), nonsense.queries(), no_bytes),
        st.builds(Input, st.just("head"), st.just(""), nonsense.heads),
    )


async def malformed(site: Site, *, inputs: int, number: int = 1) -> dict[str, Any]:
    """Say so much nonsense, and compare everything with what it was before."""
    stranger = await _stranger(site)
    attacker = Attacker(site.port, site.admin_secret, stranger)
    before, before_kib = await _state(site), site.resident_kib()
    residents: list[int] = []

    @seed(number)
    @settings(
        max_examples=inputs,
        deadline=None,
        database=None,
        phases=(Phase.generate,),
        suppress_health_check=list(HealthCheck),
    )
    @given(_inputs())
    def attack(said: Input) -> None:
        said.say(attacker)
        if attacker.inputs % max(1, inputs // 10) == 0:
            residents.append(site.resident_kib())

    attack()
    attacker.close()
    return {
        "inputs": attacker.inputs,
        "became": dict(sorted(attacker.became.items())),
        "failures": [*attacker.failures[:10], *map(repr, site.failures()[:10])],
        "state_is_the_same": await _state(site) == before,
        "resident_mib": [round(kib / 1024, 1) for kib in (before_kib, *residents)],
    }


async def _stranger(site: Site) -> str:
    """A customer without money: even sense would change nothing."""
    account = (await site.ask("POST", "/v1/admin/accounts", {"owner": 1, "name": "stranger"}))[
        "account"
    ]
    may = {"permissions": ["READ", "TRADE", "TRANSFER"], "networks": ["127.0.0.0/8"]}
    key = await site.ask("POST", "/v1/admin/keys", {**may, "account": account, "label": "x"})
    return str(key["secret"])


async def _state(site: Site) -> Any:
    """Everything that orders, money and administration could have changed."""
    trader = site.trader(0).account
    state = [
        await site.ask("GET", path, account=trader)
        for path in ("/v1/depth?instrument=BTC-USD", "/v1/depth?instrument=ETH-USD")
    ]
    accounts = (*site.venue.accounts(), trader + len(site.venue.members))
    state += [await site.ask("GET", f"/v1/balances?account={one}") for one in accounts]
    lists = ("halts", f"limits?account={trader}", "keys", "assets")
    state += [await site.ask("GET", f"/v1/admin/{name}") for name in lists]
    state.append(await site.ask("GET", "/v1/instruments", account=trader))
    return _without_sequences(state)


def _without_sequences(said: Any) -> Any:
    if isinstance(said, dict):
        kept = {name: value for name, value in said.items() if name != "as_of_sequence"}
        return {name: _without_sequences(value) for name, value in kept.items()}
    return [_without_sequences(one) for one in said] if isinstance(said, list) else said

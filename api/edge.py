"""What all routes share: who calls, what was sent, and having a command decided once.

An idempotency key is permanent. Its scope is the account a command acts for, and one namespace with
that account's client order ids; commands of administration have their admin key's own scope.
"""

import re
from collections.abc import Sequence
from hashlib import blake2b
from typing import Any, Final, TypeVar, cast
from urllib.parse import unquote

import msgspec
from quart import Response, g, request

from api.clock import EdgeClock
from api.keys.auth import Caller
from api.keys.master_secret import MasterSecret
from api.metrics.traffic import Traffic
from api.problems import TOO_DEEP, of_status, request_id
from api.rejected import Rejected, invalid, refused, unknown
from api.settings import ApiSettings
from api.web.limits import ServerCounts
from api.web.nesting import is_too_deep
from engine.accounts.directory import Directory
from engine.errors import NotFound
from engine.journal.records import Record
from engine.ledger.amounts import Asset
from engine.messages import Origin
from engine.orderbook.instrument import Instrument
from engine.refusals import Reason
from engine.service import Service
from engine.units import OrderId

_JSON: Final = "application/json"
KEY_HEADER: Final = "Idempotency-Key"
REPLAY_HEADER: Final = "Idempotent-Replay"
REASON_HEADER: Final = "Outcry-Reason"
REASON_CHARACTERS_MAX: Final = 200
KEY_PATTERN: Final = r"^[A-Za-z0-9._:-]{1,64}\Z"
_matches_key = re.compile(KEY_PATTERN).match
_matches_id = re.compile(r"[1-9][0-9]{0,18}").fullmatch

Form = TypeVar("Form")


class Edge:
    """The service, seen from a route."""

    def __init__(
        self, service: Service, settings: ApiSettings, master: MasterSecret | None = None
    ) -> None:
        """Without a master secret, keys that sign by HMAC live as long as the process."""
        self.service = service
        self.master: Final = MasterSecret.random() if master is None else master
        self.settings = settings
        self.clock: Final = EdgeClock(service)
        self.traffic: Final = Traffic()
        #: What happens at the server, if whoever runs it hands it these.
        self.counts: Final = ServerCounts()

    @property
    def directory(self) -> Directory:
        """What exists, as released.

        Raises: Halted while there is no engine.
        """
        return self.service.released.rules.directory

    @property
    def caller(self) -> Caller:
        """Who sent the request at hand, as found out before its handler ran."""
        return cast("Caller", g.caller)

    def origin(self) -> Origin:
        """What the journal keeps of where the command at hand comes from. Raises: Rejected."""
        caller = self.caller
        reason = sent_reason() if caller.is_admin else ""
        return Origin(caller.key_id, request_id(), caller.not_after_ns, reason)

    def instrument(self, symbol: str) -> Instrument:
        """An instrument by its symbol. Raises: Rejected."""
        instrument = self.directory.instruments_by_symbol.get(symbol)
        if instrument is None:
            raise unknown(Reason.UNKNOWN_INSTRUMENT, "instrument")
        return instrument

    def asset(self, code: str, field: str = "asset") -> Asset:
        """An asset by its code. Raises: Rejected."""
        asset = self.directory.assets_by_code.get(code)
        if asset is None:
            raise unknown(Reason.UNKNOWN_ASSET, field)
        return asset

    async def submit(
        self, command: Any, scope: int, key: str, body_digest: int | None = None
    ) -> Record:
        """Have a command decided, once per key. Waits for its released record.

        Without a digest of its own a command has that of the request.
        Raises: Rejected for a recorded refusal, on the first answer and on every repeat; what
        `Service.submit` raises.
        """
        if body_digest is None:
            body_digest = await _body_digest() if key else 0
        origin = self.origin()
        record = await self.service.submit(
            command, scope=scope, key=key, body_digest=body_digest, origin=origin
        )
        g.replayed = record.origin is not origin  # an earlier request's
        refusal = record.refusal
        if refusal is not None:
            raise refused(refusal, record.command)
        return record

    async def submit_batch(
        self, commands: Sequence[tuple[Any, int, str, int]]
    ) -> list[tuple[Record | Exception, bool]]:
        """Have (command, scope, key, digest) decided in order, each answered by itself.

        With each answer, whether it is that of an earlier command with the same key. A recorded
        refusal is a record here.
        """
        origin, seen = self.origin(), set[tuple[int, str]]()
        answers = []
        for keyed, found in zip(
            commands, await self.service.submit_batch(commands, origin), strict=True
        ):
            _, scope, key, _ = keyed
            first = isinstance(found, Exception) or found.origin is origin
            answers.append((found, not first or (bool(key) and (scope, key) in seen)))
            seen.add((scope, key))
        return answers

    async def administer(self, command: Any) -> Record:
        """`submit` in the scope of the admin key at hand."""
        return await self.submit(command, -self.caller.key_id, sent_key())


async def body(form: "msgspec.json.Decoder[Form]") -> Form:
    """The request's JSON body, which is all that such a route reads.

    Raises: Rejected for another media type or for query parameters, msgspec.DecodeError for JSON
    that does not fit.
    """
    return form.decode(await sent_json())


async def sent_json() -> bytes:
    """The request's JSON body as it was sent. Raises: Rejected."""
    if request.query_string:
        name = next(iter(request.args), "")
        raise invalid(name, "This route takes its fields in the body, none in the query.")
    if request.headers.get("Content-Type") != _JSON and request.mimetype != _JSON:
        message = "Send JSON, with the header `Content-Type: application/json`."
        raise Rejected(of_status(415, message))
    sent = await sent_body()
    if is_too_deep(sent):
        raise Rejected(TOO_DEEP)
    return sent


async def sent_body() -> bytes:
    """The request's body as it was sent; the server has read all of it."""
    return cast("bytes", await request.body)


def query(form: type[Form]) -> Form:
    """The request's query parameters, which are all that such a route reads.

    What is unknown, stated twice or sent as a body is refused, so that no mistake is a wide cancel.
    Raises: Rejected, msgspec.ValidationError.
    """
    if request.content_length or "Transfer-Encoding" in request.headers:
        raise invalid("", "This route takes its fields in the query, none in a body.")
    for name, texts in request.args.lists():
        if len(texts) > 1:
            raise invalid(name, "Stated more than once.")
    return msgspec.convert(request.args.to_dict(), form, strict=False)


def sent_key() -> str:
    """The request's idempotency key, "" for none.

    Raises: Rejected when it is not 1 to 64 characters of A-Z a-z 0-9 . _ : -
    """
    key = request.headers.get(KEY_HEADER)
    if key is None:
        return ""
    return checked_key(key, KEY_HEADER)


def sent_reason() -> str:
    """What an operator gave as the reason of an act, "" for none; percent-encoded as sent.

    Raises: Rejected when it is longer than 200 characters, or not text that can be shown.
    """
    sent = request.headers.get(REASON_HEADER)
    if sent is None:
        return ""
    reason = unquote(sent, errors="replace")
    if len(reason) > REASON_CHARACTERS_MAX or not reason.isprintable():
        raise invalid(REASON_HEADER, "Use at most 200 printable characters, percent-encoded.")
    return reason


def checked_key(key: str, field: str) -> str:
    """A key of good form. Raises: Rejected."""
    if not _matches_key(key):
        raise invalid(field, "Use 1 to 64 characters of A-Z a-z 0-9 . _ : -", "INVALID_KEY")
    return key


def numbered(text: str) -> OrderId:
    """The number of an order or a withdrawal, from a path.

    Raises: NotFound for what is no such number.
    """
    if not _matches_id(text):
        raise NotFound(f"nothing is called {text[:64]}: ids are plain digits")
    return OrderId(int(text))


def answer(content: Any, status: int = 200) -> Response:
    """A JSON response, one line for whoever reads it in a terminal."""
    line = msgspec.json.encode(content) + b"\n"
    return Response(line, status, content_type=_JSON)


async def _body_digest() -> int:
    """What tells one body from another: method, path and body exactly as sent."""
    path = request.path.encode() + b"?" + request.query_string
    head = request.method.encode() + b" " + path + b"\n"
    digest = blake2b(head, digest_size=8)
    digest.update(await sent_body())
    return int.from_bytes(digest.digest(), "big")

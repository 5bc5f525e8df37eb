"""What all routes share: who calls, what was sent, and having a command decided once.

An idempotency key is permanent. Its scope is the account a command acts for, and one namespace with
that account's client order ids; commands of administration have their admin key's own scope.
"""

import re
from hashlib import blake2b
from typing import Any, Final, TypeVar, cast

import msgspec
from quart import Response, g, request

from api.auth import Caller, caller_of
from api.problems import of_status
from api.rejected import Rejected, invalid, refused, unknown
from api.settings import ApiSettings
from engine.accounts.directory import Directory
from engine.accounts.messages import Role
from engine.errors import NotFound
from engine.journal.records import Record
from engine.ledger.amounts import Asset
from engine.orderbook.instrument import Instrument
from engine.refusals import Reason
from engine.service import Service
from engine.units import OrderId

KEY_HEADER: Final = "Idempotency-Key"
REPLAY_HEADER: Final = "Idempotent-Replay"
KEY_PATTERN: Final = r"^[A-Za-z0-9._:-]{1,64}\Z"
_matches_key = re.compile(KEY_PATTERN).match
_matches_id = re.compile(r"[1-9][0-9]{0,18}").fullmatch

Form = TypeVar("Form")


class Edge:
    """The service, seen from a route."""

    def __init__(self, service: Service, settings: ApiSettings) -> None:
        self.service = service
        self.settings = settings

    @property
    def directory(self) -> Directory:
        """What exists, as released.

        Raises: Halted while there is no engine.
        """
        return self.service.released.rules.directory

    def caller(self, needed: Role) -> Caller:
        """Who sent the request at hand. Every route but the open ones asks this first.

        Raises: Rejected.
        """
        return caller_of(self.directory, request.headers.get("Authorization"), needed)

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

    async def submit(self, command: Any, scope: int, key: str) -> Record:
        """Have a command decided, once per key. Waits for its released record.

        Raises: Rejected for a recorded refusal, on the first answer and on every repeat; what
        `Service.submit` raises.
        """
        body_digest = await _body_digest() if key else 0
        if key:
            g.replayed = self.service.knows_key(scope, key)
        record = await self.service.submit(command, scope=scope, key=key, body_digest=body_digest)
        refusal = record.refusal
        if refusal is not None:
            raise refused(refusal, record.command)
        return record

    async def administer(self, command: Any, caller: Caller) -> Record:
        """`submit` in the scope of the admin key at hand."""
        return await self.submit(command, -caller.key_id, sent_key())


async def body(form: "msgspec.json.Decoder[Form]") -> Form:
    """The request's JSON body, which is all that such a route reads.

    Raises: Rejected for another media type or for query parameters, msgspec.DecodeError for JSON
    that does not fit.
    """
    for name in request.args:
        raise invalid(name, "This route takes its fields in the body, none in the query.")
    if request.mimetype != "application/json":
        message = "Send JSON, with the header `Content-Type: application/json`."
        raise Rejected(of_status(415, message))
    return form.decode(await request.get_data(as_text=False))


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
        raise NotFound(f"nothing is called {text[:64]}")
    return OrderId(int(text))


def answer(content: Any, status: int = 200) -> Response:
    """A JSON response, one line for whoever reads it in a terminal."""
    line = msgspec.json.encode(content) + b"\n"
    return Response(line, status, content_type="application/json")


async def _body_digest() -> int:
    """What tells one body from another: method, path and body exactly as sent."""
    path = request.path.encode() + b"?" + request.query_string
    head = request.method.encode() + b" " + path + b"\n"
    digest = blake2b(head, digest_size=8)
    digest.update(cast("bytes", await request.get_data(as_text=False)))
    return int.from_bytes(digest.digest(), "big")

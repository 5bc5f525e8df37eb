"""What a caller is told when a request did not do what it asked: one table, one shape, always JSON.

    {"error": {"code", "message", "field"?, "rule"?, "server_time_ns", "request_id"}}

`code` is stable and meant for programs, `message` for people. A fault of the engine, a recorded
refusal, a malformed body and a wrong path all pass through here, and nowhere else.
"""

import logging
import re
import secrets
from collections.abc import Callable, Sequence
from typing import Final

import msgspec
import orjson
from quart import Response, g, has_websocket_context, request, websocket
from quart_trio import QuartTrio
from werkzeug.exceptions import HTTPException

from api import plain_words
from engine import errors
from engine.messages import Refused
from engine.ports import Clock
from engine.refusals import Reason

log = logging.getLogger(__name__)

REQUEST_ID_HEADER: Final = "X-Request-Id"
REQUEST_ID_CHARACTERS_MAX: Final = 64
#: Of an id that was made here; what stands before a message's own is never cut shorter.
_MADE_CHARACTERS: Final = 20
_SANE_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9._:-]{1,64}")
_NO_ROUTE: Final = "There is no such route; GET /v1 lists them all, /v1/docs explains them."
_FIELD_PATH: Final = re.compile(r" - at `(?:key in )?\$\.?(.*)`$")
_NAMED_FIELD: Final = re.compile(r"field `([^`]*)`")


class Problem(msgspec.Struct, frozen=True):
    """One answer other than success, before it is tied to a request and a time."""

    status: int
    code: str
    message: str
    field: str = ""
    rule: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    facts: tuple[tuple[str, int | float], ...] = ()  # numbers that help a program, by name


def _later(seconds: int) -> tuple[tuple[str, str], ...]:
    return (("Retry-After", str(seconds)),)


#: Faults whose own text may be shown are those below 500; the others show this text alone.
FAULTS: Final[dict[type[errors.EngineError], Problem]] = {
    errors.Overloaded: Problem(
        503,
        "OVERLOADED",
        "Nothing was accepted: all slots are taken. Repeat later.",
        "",
        "",
        _later(1),
    ),
    errors.Halted: Problem(
        503,
        "HALTED",
        "Nothing was accepted: the engine is not running. Repeat later.",
        "",
        "",
        _later(5),
    ),
    errors.InvalidCommand: Problem(400, "INVALID_COMMAND", "A value is not allowed here."),
    errors.NotFound: Problem(404, "NOT_FOUND", "Nothing is known under this name."),
    errors.KeyConflict: Problem(
        409, "KEY_CONFLICT", "The idempotency key was used before with another body."
    ),
    errors.OutcomeUnknown: Problem(
        504, "OUTCOME_UNKNOWN", "It may have happened: look it up by its key before sending anew."
    ),
    errors.StorageError: Problem(
        503, "STORAGE_UNAVAILABLE", "The database did not answer. Repeat later.", "", "", _later(5)
    ),
    errors.HistoryBehind: Problem(
        503,
        "HISTORY_BEHIND",
        "What this needs is not in the history yet. Nothing was accepted. Repeat later.",
        "",
        "",
        _later(1),
    ),
    errors.StorageUnusable: Problem(
        503, "STORAGE_UNUSABLE", "The database cannot serve the engine."
    ),
    errors.Fenced: Problem(503, "FENCED", "Another engine owns the journal; this one is ending."),
    errors.JournalCorrupt: Problem(503, "JOURNAL_CORRUPT", "The journal contradicts itself."),
    errors.VenueUnreachable: Problem(
        503,
        "VENUE_UNREACHABLE",
        "The outside party was not reached. Nothing happened.",
        "",
        "",
        _later(5),
    ),
    errors.VenueTimeout: Problem(
        504, "OUTCOME_UNKNOWN", "The outside party did not answer: it may have happened."
    ),
    errors.VenueError: Problem(502, "VENUE_ERROR", "The outside party answered badly."),
}

#: A refusal is 422 unless another status says more.
REFUSAL_STATUS: Final[dict[Reason, int]] = {
    Reason.UNKNOWN_OWNER: 404,
    Reason.UNKNOWN_ACCOUNT: 404,
    Reason.UNKNOWN_ASSET: 404,
    Reason.UNKNOWN_INSTRUMENT: 404,
    Reason.UNKNOWN_KEY: 404,
    Reason.UNKNOWN_ORDER: 404,
    Reason.UNKNOWN_WITHDRAWAL: 404,
    Reason.ALREADY_EXISTS: 409,
    Reason.DESK_FAULT: 503,
    Reason.DESK_HALTED: 503,
}

HTTP_CODES: Final[dict[int, str]] = {
    400: "BAD_REQUEST",
    401: "UNAUTHORIZED",
    403: "FORBIDDEN",
    404: "NOT_FOUND",
    405: "METHOD_NOT_ALLOWED",
    406: "NOT_ACCEPTABLE",
    408: "REQUEST_TOO_SLOW",
    409: "CONFLICT",
    411: "LENGTH_REQUIRED",
    413: "BODY_TOO_LARGE",
    414: "PATH_TOO_LONG",
    415: "UNSUPPORTED_MEDIA_TYPE",
    422: "UNPROCESSABLE",
    426: "UPGRADE_REQUIRED",
    429: "RATE_LIMITED",
    431: "HEAD_TOO_LARGE",
    500: "INTERNAL_ERROR",
    501: "NOT_IMPLEMENTED",
    503: "UNAVAILABLE",
    505: "HTTP_VERSION_NOT_SUPPORTED",
}


def of_status(status: int, message: str, headers: Sequence[tuple[str, str]] = ()) -> Problem:
    """The problem of a bare HTTP status.

    >>> of_status(405, "Use POST.").code
    'METHOD_NOT_ALLOWED'
    """
    code = HTTP_CODES.get(status, f"HTTP_{status}")
    return Problem(status, code, message, headers=tuple(headers))


NOT_UTF8: Final = Problem(400, "MALFORMED_JSON", "JSON must be UTF-8.")
TOO_DEEP: Final = Problem(400, "MALFORMED_JSON", "JSON is nested too deeply.")
OUR_FAULT: Final = of_status(500, "The server failed; the request id finds it in the log.")


def of_fault(fault: errors.EngineError) -> Problem:
    """The problem of a fault; its own text is shown only where the caller is to act on it."""
    for kind in type(fault).__mro__:
        if kind in FAULTS:
            known = FAULTS[kind]
            text = str(fault)
            shows = bool(text) and known.status < 500
            return msgspec.structs.replace(known, message=text) if shows else known
    return of_status(500, "The engine failed.")


def of_refusal(refused: Refused) -> Problem:
    """The problem of a recorded refusal; the same key will get the same answer for ever.

    >>> of_refusal(Refused(Reason.INSUFFICIENT_FUNDS, field="quantity_lots")).message
    'Refused: insufficient funds.'
    """
    reason = refused.reason
    message = plain_words.of_refusal(reason.value, refused.rule)
    return Problem(
        REFUSAL_STATUS.get(reason, 422), reason.value, message, refused.field, refused.rule
    )


def of_undecodable(error: msgspec.DecodeError) -> Problem:
    """The problem of a body that is no JSON, or JSON of another shape; names the field at fault.

    >>> of_undecodable(msgspec.ValidationError("Expected `int`, got `str` - at `$.a.price`")).field
    'a.price'
    """
    text = str(error)
    if not isinstance(error, msgspec.ValidationError):
        return Problem(400, "MALFORMED_JSON", plain_words.of_decoder(text, ""))
    found = _FIELD_PATH.search(text)
    message = text[: found.start()] if found else text
    place = found[1] if found else ""
    if named := _NAMED_FIELD.search(message):  # a missing or unknown field is named, not located
        place = f"{place}.{named[1]}" if place else named[1]
    return Problem(400, "INVALID_FIELD", plain_words.of_decoder(message, place) + ".", field=place)


def of_http(error: HTTPException) -> Problem:
    """The problem of what the web framework raised, its headers (`Allow`, …) kept."""
    headers = [(name, text) for name, text in error.get_headers() if name != "Content-Type"]
    message = _NO_ROUTE if error.code == 404 else error.description or error.name
    return of_status(error.code or 500, message, headers)


def error_object(
    problem: Problem, server_time_ns: int, request_id: str
) -> dict[str, str | int | float]:
    """What a caller is told of a problem, wherever it is told."""
    error: dict[str, str | int | float] = {"code": problem.code, "message": problem.message}
    if problem.field:
        error["field"] = problem.field
    if problem.rule:
        error["rule"] = problem.rule
    error.update(problem.facts)
    error["server_time_ns"] = server_time_ns
    error["request_id"] = request_id
    return error


def encode(problem: Problem, server_time_ns: int, request_id: str) -> bytes:
    """The JSON body that a caller sees, one line for whoever reads it in a terminal."""
    error = error_object(problem, server_time_ns, request_id)
    return orjson.dumps({"error": error}, option=orjson.OPT_APPEND_NEWLINE)


def accepted_request_id(sent: str | None) -> str:
    """The caller's own request id if it is sane (64 plain characters at most), else a new one.

    >>> accepted_request_id("bot-7:001")
    'bot-7:001'
    >>> accepted_request_id("no good")[:4]
    'req-'
    """
    if sent is not None and _SANE_REQUEST_ID.fullmatch(sent):
        return sent
    return f"req-{secrets.token_hex(8)}"


def message_request_id(connection_id: str, message_id: int | str | None) -> str:
    """The request id of one message on a socket: the socket's own, then the message's.

    Of what is longer than any request id may be, the socket's end is left out first, then the
    message's beginning.

    >>> message_request_id("bot-7", 31)
    'bot-7:31'
    """
    if message_id is None:
        return connection_id
    message = str(message_id)
    most = REQUEST_ID_CHARACTERS_MAX - 1
    connection = connection_id[: max(_MADE_CHARACTERS, most - len(message))]
    return f"{connection}:{message[-(most - len(connection)) :]}"


def request_id() -> str:
    """The id of the request at hand; the same however often it is asked."""
    known: str | None = g.get("request_id")
    if known is None:
        source = websocket if has_websocket_context() else request
        known = g.request_id = accepted_request_id(source.headers.get(REQUEST_ID_HEADER))
    return known


class Answers:
    """Turns problems into responses of one app, stamped with its clock."""

    def __init__(self, clock: Clock, counted: Callable[[str], None] | None = None) -> None:
        """Whoever counts codes is told each of them by `counted`."""
        self._clock = clock
        self._counted = counted

    def answer(self, problem: Problem) -> Response:
        """The response for the request at hand."""
        if self._counted is not None:
            self._counted(problem.code)
        body = encode(problem, self._clock.now_ns(), request_id())
        return Response(
            body, problem.status, dict(problem.headers), content_type="application/json"
        )

    async def on_http(self, error: HTTPException) -> Response:
        """Answers 404, 405, 415 and whatever else the framework raises."""
        return self.answer(of_http(error))

    async def on_fault(self, fault: errors.EngineError) -> Response:
        """Answers a fault of the engine."""
        return self.answer(of_fault(fault))

    async def on_undecodable(self, error: msgspec.DecodeError) -> Response:
        """Answers a body that does not decode."""
        return self.answer(of_undecodable(error))

    async def on_no_text(self, _: UnicodeDecodeError) -> Response:
        """Answers JSON that is not UTF-8; the decoder has no error of its own for it."""
        return self.answer(NOT_UTF8)

    async def on_too_deep(self, _: RecursionError) -> Response:
        """Answers JSON nested deeper than the decoder goes."""
        log.warning("request %s: nested too deeply", request_id())
        return self.answer(TOO_DEEP)

    async def on_exception(self, error: Exception) -> Response:
        """Answers our own bug: logged with the request's id, without detail to the caller."""
        log.error("request %s failed", request_id(), exc_info=error)
        return self.answer(OUR_FAULT)


async def _stamp(response: Response) -> Response:
    response.headers[REQUEST_ID_HEADER] = request_id()
    return response


def install(app: QuartTrio, clock: Clock, counted: Callable[[str], None] | None = None) -> Answers:
    """Make every error of `app` JSON, and every answer carry its request id.

    A path is taken as it was sent: nothing is tidied, and the path of an order whose id was left
    empty, `/v1/orders/`, is not the one that cancels them all.
    """
    answers = Answers(clock, counted)
    app.url_map.strict_slashes = True
    app.url_map.merge_slashes = False
    app.register_error_handler(HTTPException, answers.on_http)
    app.register_error_handler(errors.EngineError, answers.on_fault)
    app.register_error_handler(msgspec.DecodeError, answers.on_undecodable)
    app.register_error_handler(UnicodeDecodeError, answers.on_no_text)
    app.register_error_handler(RecursionError, answers.on_too_deep)
    app.register_error_handler(Exception, answers.on_exception)
    app.after_request(_stamp)
    return answers

"""What a client does between sending: sign, judge the answer, decide about the next attempt."""

from collections.abc import Iterator
from random import uniform
from typing import Final, Generic, TypeVar

import msgspec

from api.client.call import Call
from api.client.credentials import Credentials
from api.client.errors import ClientError, ErrorBody, Refused, Unanswered, Unreachable
from api.client.resending import Patience, ends_doubt, is_definite, leaves_doubt

T = TypeVar("T")

#: Nothing was taken in, and the error says what time it is.
WRONG_CLOCK: Final = "TIMESTAMP_OUTSIDE_WINDOW"
_NS_OF_MS: Final = 1_000_000


class _ErrorAnswer(msgspec.Struct, frozen=True):
    error: ErrorBody


_error_decoder = msgspec.json.Decoder(_ErrorAnswer)


class Exchange(Generic[T]):
    """One call, attempt by attempt.

    Drive it: for each request of `attempts`, send, then `take` or `fail`, until there is an answer;
    sleep `pause_s` in between.
    """

    def __init__(self, call: Call[T], credentials: Credentials, patience: Patience) -> None:
        self.call: Final = call
        self.pause_s = 0.0
        self._credentials = credentials
        self._patience = patience
        self._attempt = 0
        self._attempts_max = patience.attempts_max if call.is_repeatable else 1
        self._has_set_clock = False
        self._is_in_doubt = False
        self._failure: ClientError = Unreachable("not sent")

    def attempts(self) -> Iterator[dict[str, str]]:
        """The headers of one attempt after the other, signed anew each.

        Raises: what the last one failed with.
        """
        call = self.call
        while self._attempt < self._attempts_max:
            self._attempt += 1
            proof = self._credentials.headers(call.method, call.target, call.body)
            yield {**call.headers, **proof}
        raise self._failure

    def take(self, status: int, content: bytes, retry_after: str = "") -> T | None:
        """The answer, if it is a good one; None if the call goes into another attempt.

        Raises: Refused for a definite error; Unanswered for one that leaves an earlier attempt in
        doubt.
        """
        if status < 300 or status in self.call.also:
            return self._read(status, content, retry_after)
        self._judge(status, content, retry_after)
        return None

    def fail(self, why: str, *, was_sent: bool = True) -> None:
        """The attempt broke; whether it arrived is unknown, unless it was not even sent."""
        self._is_in_doubt |= was_sent
        kind = Unanswered if self._is_in_doubt else Unreachable
        self._fail(kind(f"{self.call.method} {self.call.path}: {why}"))

    def _read(self, status: int, content: bytes, retry_after: str) -> T | None:
        call = self.call
        try:
            answer: T = msgspec.json.decode(content, type=call.answer)
        except msgspec.DecodeError as error:
            if status >= 300:
                self._judge(status, content, retry_after)
            elif call.not_yet is not None and _is(content, call.not_yet):
                self.fail("it is not decided yet")
            else:
                self.fail(f"not our server's words: {error}")
            return None
        if call.is_settled(answer) or self._attempt == self._attempts_max:
            return answer
        self.fail("not all of it is definite")
        return None

    def _judge(self, status: int, content: bytes, retry_after: str) -> None:
        error = _error_of(status, content)
        refused = Refused(status, error)
        if error.code == WRONG_CLOCK and self._sets_clock(error.server_time_ns):
            self._fail(refused)
            self.pause_s = 0.0
            return
        if is_definite(status, error.code):
            if self._is_in_doubt and not ends_doubt(status):
                raise Unanswered(f"an earlier attempt may have counted; then {refused}")
            raise refused
        self._is_in_doubt |= leaves_doubt(status) or (
            status >= 500 and error.code.startswith("HTTP_")
        )
        failure = Unanswered(str(refused)) if self._is_in_doubt else refused
        self._fail(failure, error.retry_after_s or _seconds(retry_after))

    def _sets_clock(self, server_time_ns: int) -> bool:
        """Whether another attempt, by the server's time, may do better; once, with key or not."""
        if self._has_set_clock or not server_time_ns:
            return False
        self._has_set_clock = self._credentials.set_clock(server_time_ns // _NS_OF_MS)
        self._attempts_max += self._has_set_clock
        return self._has_set_clock

    def _fail(self, failure: ClientError, retry_after_s: float = 0.0) -> None:
        self._failure = failure
        pause_s = self._patience.pause_s(self._attempt, retry_after_s, uniform(0.5, 1.0))
        self.pause_s = pause_s if self._attempt < self._attempts_max else 0.0


def error_of(status: int, content: bytes) -> Refused:
    """The error that an HTTP answer brings."""
    return Refused(status, _error_of(status, content))


def _error_of(status: int, content: bytes) -> ErrorBody:
    try:
        return _error_decoder.decode(content).error
    except msgspec.DecodeError:  # a proxy between us
        return ErrorBody(code=f"HTTP_{status}", message=content[:200].decode("utf-8", "replace"))


def _is(content: bytes, kind: object) -> bool:
    try:
        msgspec.json.decode(content, type=kind)
    except msgspec.DecodeError:
        return False
    return True


def _seconds(retry_after: str) -> float:
    """The header `Retry-After` in seconds; 0 for a date, which our server never sends."""
    return float(retry_after) if retry_after.isascii() and retry_after.isdigit() else 0.0

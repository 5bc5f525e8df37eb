"""What is said on a socket, without the socket: requests, answers, and the order of events."""

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

import msgspec

from api.client.errors import ErrorBody, Gap, Refused

Message = Mapping[str, Any]
#: Sequence of a record and index in it.
Number = tuple[int, int]
#: After everything that a record did.
LAST_INDEX: Final = 65_535


class Language(NamedTuple):
    """One way to write messages."""

    subprotocol: str
    is_binary: bool
    encode: Callable[[Any], bytes]
    decode: Callable[[bytes], Any]


JSON: Final = Language(
    "outcry.json", False, msgspec.json.Encoder().encode, msgspec.json.Decoder().decode
)
MSGPACK: Final = Language(
    "outcry.msgpack", True, msgspec.msgpack.Encoder().encode, msgspec.msgpack.Decoder().decode
)


class Conversation:
    """Numbers requests and tells answers from everything else.

    >>> talk = Conversation()
    >>> talk.request("ping")
    (1, b'{"id":1,"op":"ping"}')
    >>> talk.take(b'{"type":"answer","id":1,"status":200,"result":{}}')
    {'type': 'answer', 'id': 1, 'status': 200, 'result': {}}
    """

    def __init__(self, language: Language = JSON) -> None:
        self.language: Final = language
        #: What the server said against this connection as a whole.
        self.refusal: Refused | None = None
        self._last_id = 0

    def request(self, op: str, **fields: Any) -> tuple[int, bytes]:
        """The id of a new request, and what to send; forms may be among the fields."""
        self._last_id += 1
        return self._last_id, self.language.encode({"id": self._last_id, "op": op, **fields})

    def take(self, received: bytes) -> dict[str, Any]:
        """One received message."""
        message: dict[str, Any] = self.language.decode(received)
        if is_answer(message) and message["id"] is None:
            self.refusal = refusal_of(message)
        return message


def is_answer(message: Message) -> bool:
    """Whether it answers a request."""
    return bool(message["type"] == "answer")


def result_of(answer: Message) -> Any:
    """What an answer brings.

    Raises: Refused for an error.
    """
    if answer["status"] >= 300:
        raise refusal_of(answer)
    return answer.get("result")


def refusal_of(answer: Message) -> Refused:
    """The error that an answer brings."""
    return Refused(answer["status"], msgspec.convert(answer["error"], ErrorBody))


class Cursor:
    """How far an account's private stream has been read.

    `last` is the number to resume after; None before the first snapshot.
    """

    def __init__(self, last: Number | None = None) -> None:
        # before all events there is one number alone, whatever index was asked for
        self.last = (0, LAST_INDEX) if last is not None and not last[0] else last
        self._orders: list[Any] = []
        self._orders_number: Number | None = None

    def take(self, message: Message) -> Message | None:
        """Move on by one message; returns what it tells that was not told before, if anything.

        A snapshot is told once, whole, when its last part is here.
        Raises: Gap.
        """
        if "number" not in message:
            return None  # not of the numbered stream
        number = _number(message["number"])
        if message["type"] == "snapshot":
            return self._take_part(message, number)
        if self.last is not None and number <= self.last:
            return None
        if _number(message["previous"]) != self.last:
            raise Gap(f"{number} follows {message['previous']}, not {self.last}")
        self.last = number
        return message

    def _take_part(self, part: Message, number: Number) -> Message | None:
        if number != self._orders_number:
            self._orders, self._orders_number = [], number
        self._orders += part["orders"]
        if not part["complete"]:
            return None
        orders, self._orders, self._orders_number = self._orders, [], None
        self.last = number
        return {**part, "orders": orders}


def _number(pair: Any) -> Number:
    sequence, index = pair
    return int(sequence), int(index)

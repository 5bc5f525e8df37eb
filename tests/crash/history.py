"""What callers were told, call by call, and what they may therefore rely on for ever.

A call is OK, REFUSED (recorded under its key, without effect), NOTHING (not accepted, says the
answer) or UNKNOWN (no answer, or one that says so). The rest of this file only remembers; whether
the server keeps its word is asked in `checker`.
"""

from collections import Counter
from decimal import Decimal
from enum import Enum, auto
from typing import Any, Final

import msgspec
import trio

from tests.crash.http_client import Reply

#: Answers that promise that nothing was accepted.
_NOTHING_ACCEPTED: Final = frozenset({"OVERLOADED", "HALTED"})
#: Answers of 500 and more that are recorded refusals all the same.
_RECORDED: Final = frozenset({"DESK_FAULT", "DESK_HALTED"})
#: Nothing that a well-behaved caller does may be answered so.
_STRANGE: Final = frozenset({"INTERNAL_ERROR", "KEY_CONFLICT", "UNAUTHORIZED", "INVALID_FIELD"})
#: An order that has come so far stays there.
TERMINAL: Final = frozenset({"FILLED", "CANCELLED", "REJECTED"})


class Outcome(Enum):
    """What a caller knows of its call."""

    OK = auto()
    REFUSED = auto()
    NOTHING = auto()
    UNKNOWN = auto()


class Call(msgspec.Struct):
    """One command with its idempotency key, as sent, and what came of it."""

    name: str  # who sent it
    account: int  # for whom, 0 for administration
    method: str
    path: str
    body: bytes
    key: str
    is_place: bool = False  # then the key is in the body, as the client order id
    outcome: Outcome = Outcome.UNKNOWN
    status: int = 0
    answer: Any = None

    @property
    def header_key(self) -> str:
        """The key to send beside the body."""
        return "" if self.is_place else self.key

    def __str__(self) -> str:
        sent = self.body.decode()
        return f"{self.name} {self.method} {self.path} {self.key} {sent}: {self.outcome.name}"


class SeenOrder(msgspec.Struct):
    """The most that anybody was told of an order."""

    account: int
    client_order_id: str
    order_id: str
    filled: Decimal = Decimal(0)
    status: str = ""


def outcome_of(reply: Reply) -> Outcome:
    """What an answer promises.

    >>> outcome_of(Reply(503, {}, b'{"error": {"code": "OVERLOADED"}}')).name
    'NOTHING'
    """
    if reply.status < 400:
        return Outcome.OK
    code = reply.content["error"]["code"]
    if code in _NOTHING_ACCEPTED:
        return Outcome.NOTHING
    return Outcome.REFUSED if reply.status < 500 or code in _RECORDED else Outcome.UNKNOWN


def answer_of(reply: Reply) -> Any:
    """What must be the same whenever the call is repeated."""
    content = reply.content
    if reply.status < 400:
        return content
    return {name: content["error"].get(name) for name in ("code", "field", "rule")}


class History:
    """Everything that callers were told."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.orders: dict[tuple[int, str], SeenOrder] = {}
        self.sequence_seen = 0
        #: When an OK or a recorded refusal came last, in trio's time.
        self.definite_at_s = 0.0
        #: Codes of answers that are no outcome, and how often each was seen.
        self.faults: Counter[str] = Counter()
        self.strange: list[str] = []

    def begin(self, call: Call) -> Call:
        """Note a call before it is sent: if nothing comes back, it is unknown."""
        self.calls.append(call)
        return call

    def forget(self, call: Call) -> None:
        """A call that was never sent."""
        self.calls.remove(call)

    def learn(self, call: Call, reply: Reply) -> None:
        """Note what came back for a call."""
        call.outcome = outcome_of(reply)
        call.status = reply.status
        call.answer = answer_of(reply)
        if reply.status >= 400:
            code = call.answer["code"]
            if code in _STRANGE:
                self.strange.append(f"{call}: {reply.body!r}")
            if reply.status >= 500:
                self.faults[code] += 1
        if call.outcome in (Outcome.OK, Outcome.REFUSED):
            self.definite_at_s = trio.current_time()
        if call.outcome is Outcome.OK:
            self._note_sequence(call.answer)
            if call.is_place:
                self.learn_order(call.account, call.key, call.answer)

    def learn_order(self, account: int, client_order_id: str, answer: dict[str, Any]) -> SeenOrder:
        """Note what an order was said to be; never less than what was said before."""
        self._note_sequence(answer)
        seen = self.orders.get((account, client_order_id))
        if seen is None:
            seen = SeenOrder(account, client_order_id, answer["order_id"])
            self.orders[account, client_order_id] = seen
        seen.filled = max(seen.filled, Decimal(answer["filled"]))
        if seen.status not in TERMINAL:
            seen.status = answer["status"]
        return seen

    def learn_cancelled(self, account: int, client_order_id: str) -> None:
        """Note that a cancel was acknowledged."""
        self.orders[account, client_order_id].status = "CANCELLED"

    def _note_sequence(self, answer: dict[str, Any]) -> None:
        self.sequence_seen = max(self.sequence_seen, int(answer.get("sequence", 0)))

    def counts(self) -> dict[str, int]:
        """How many calls have which outcome."""
        return {one.name: sum(c.outcome is one for c in self.calls) for one in Outcome}

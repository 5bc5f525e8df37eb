"""Every error code that an answer may have, with the statuses that it comes with."""

from collections.abc import Iterator
from typing import Final

from api.problems import FAULTS, HTTP_CODES, REFUSAL_STATUS
from engine.ledger.amounts import AmountFault
from engine.refusals import Reason

#: Found only in what an operator's command refuses under another name.
INNER_FAULTS: Final = frozenset((AmountFault.LOT_NOT_WHOLE, AmountFault.TICK_LOT_NOT_WHOLE))
#: Codes of the edge itself; a test holds them to the places that state them.
_OF_THE_EDGE: Final = {
    "ADDRESS_NOT_ALLOWED": 403,
    "BAD_SIGNATURE": 401,
    "INVALID_FIELD": 400,
    "INVALID_KEY": 400,
    "KEY_EXPIRED": 401,
    "MALFORMED_JSON": 400,
    "NO_REFERENCE_PRICE": 422,
    "REPLAYED": 401,
    "RESUME_TOO_OLD": 410,
    "TIMESTAMP_OUTSIDE_WINDOW": 401,
}


def codes() -> dict[str, set[int]]:
    """Every code with its statuses.

    >>> codes()["ALREADY_EXISTS"]
    {409}
    """
    found: dict[str, set[int]] = {}
    for code, status in _stated():
        found.setdefault(code, set()).add(status)
    return found


def _stated() -> Iterator[tuple[str, int]]:
    for reason in Reason:
        yield reason.value, REFUSAL_STATUS.get(reason, 422)
    for problem in FAULTS.values():
        yield problem.code, problem.status
    for status, code in HTTP_CODES.items():
        yield code, status
    for fault in AmountFault:
        if fault not in INNER_FAULTS:
            yield fault.value, 400
    yield from _OF_THE_EDGE.items()

"""Ends a request with a problem: raised anywhere below a route, answered by the app."""

from typing import Final

import msgspec

from api import problems
from api.problems import HTTP_CODES, Problem, of_refusal
from engine.errors import EngineError
from engine.messages import Refused
from engine.orderbook.messages import PlaceOrder
from engine.products.withdrawals.messages import RequestWithdrawal
from engine.refusals import Reason

#: What a request calls the parts that the engine knows under other names.
_FIELDS: Final = {
    "account_id": "account",
    "budget_minor": "budget",
    "instrument_id": "instrument",
    "minimum_lots": "minimum_quantity",
    "price_ticks": "price",
    "quantity_lots": "quantity",
}


class Rejected(Exception):
    """This request is answered with `problem`, and with nothing else."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.code)
        self.problem = problem


def invalid(field: str, message: str, code: str = "INVALID_FIELD") -> Rejected:
    """A part of the request is no good in itself; nothing was submitted."""
    return Rejected(Problem(400, code, message, field))


def unknown(reason: Reason, field: str) -> Rejected:
    """The request names something that does not exist; nothing was submitted.

    >>> unknown(Reason.UNKNOWN_ASSET, "asset").problem.status
    404
    """
    return Rejected(of_refusal(Refused(reason, field)))


def forbidden(message: str) -> Rejected:
    """The key may not do this; nothing was submitted."""
    return Rejected(Problem(403, HTTP_CODES[403], message))


def refused(refusal: Refused, command: object = None) -> Rejected:
    """A recorded refusal, in the words of the request that led to `command`.

    >>> refused(Refused(Reason.PRICE_NOT_POSITIVE, "price_ticks")).problem.field
    'price'
    """
    problem = of_refusal(refusal)
    field = _FIELDS.get(problem.field, problem.field)
    if field == "quantity" and isinstance(command, RequestWithdrawal):
        field = "amount"
    elif field == "quantity" and isinstance(command, PlaceOrder) and command.budget_minor:
        field = "budget"
    return Rejected(msgspec.structs.replace(problem, field=field))


def problem_of(error: Exception) -> Problem:
    """The problem of what went wrong with one request among others that are answered beside it.

    >>> problem_of(RecursionError()).code
    'MALFORMED_JSON'
    """
    match error:
        case Rejected():
            return error.problem
        case EngineError():
            return problems.of_fault(error)
        case msgspec.DecodeError():
            return problems.of_undecodable(error)
        case UnicodeDecodeError():
            return problems.NOT_UTF8
        case RecursionError():
            return problems.TOO_DEEP
        case _:
            problems.log.error("one of several failed", exc_info=error)
            return problems.OUR_FAULT

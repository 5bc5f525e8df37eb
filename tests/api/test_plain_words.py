"""What people are told is about their request, and is right."""

import json
from typing import Any, get_args, get_type_hints

import msgspec
import pytest

from api import plain_words, problems
from api.orders.forms import AnyOrderForm, LimitForm
from api.problems import Problem
from api.routes.history_pages import PositionsQuery
from api.routes.trades import CandlesQuery
from engine.messages import Refused
from engine.refusals import Reason

ORDER = {
    "client_order_id": "a-1",
    "instrument": "BTC-USD",
    "side": "buy",
    "type": "limit",
    "price": "1",
    "quantity": "1",
}


def _problem(changes: dict[str, Any], kind: Any = AnyOrderForm) -> Problem:
    content = (ORDER if kind is AnyOrderForm else {}) | changes
    sent = {name: value for name, value in content.items() if value is not None}
    with pytest.raises(msgspec.DecodeError) as raised:
        msgspec.json.decode(json.dumps(sent), type=kind)
    return problems.of_undecodable(raised.value)


@pytest.mark.parametrize(
    ("changes", "field", "message"),
    [
        ({"price": None}, "price", "`price` is missing."),
        ({"type": None}, "type", "`type` is missing."),
        ({"colour": "red"}, "colour", "There is no field `colour` here."),
        ({"side": "Buy"}, "side", "'Buy' is none of buy, sell."),
        ({"time_in_force": "gtc"}, "time_in_force", "'gtc' is not allowed here."),
        (
            {"client_order_id": "a b"},
            "client_order_id",
            "Expected 1 to 64 characters of A-Z a-z 0-9 . _ : -.",
        ),
    ],
)
def test_a_message_says_what_is_wrong_with_the_field(
    changes: dict[str, Any], field: str, message: str
) -> None:
    problem = _problem(changes)
    assert (problem.field, problem.message) == (field, message)


def test_a_place_in_a_page_is_explained_by_an_example() -> None:
    assert "like `21-0`" in _problem({"after": "21"}, PositionsQuery).message


def test_no_body_at_all_is_told_from_a_wrong_one() -> None:
    with pytest.raises(msgspec.DecodeError) as raised:
        msgspec.json.decode(b"", type=LimitForm)
    assert problems.of_undecodable(raised.value).message == "The JSON is cut off, or there is none"


def test_choices_that_are_told_are_those_that_are_taken() -> None:
    tags = [kind.__struct_config__.tag for kind in get_args(AnyOrderForm)]
    taken = {
        "interval": get_args(get_type_hints(CandlesQuery)["interval"]),
        "side": get_args(get_type_hints(LimitForm)["side"]),
        "type": tags,
    }
    assert {name: ", ".join(one) for name, one in taken.items()} == plain_words.CHOICES


def test_a_refusal_by_a_rule_says_what_the_rule_is() -> None:
    refused = Refused(Reason.INVALID_COMBINATION, "expires_at_ns", "deadline.with_gtd_only")
    assert "GTD needs a time of expiry" in problems.of_refusal(refused).message


def test_an_error_is_one_line_for_a_terminal() -> None:
    assert problems.encode(problems.OUR_FAULT, 1, "req-1").endswith(b"}}\n")

"""What people are told in place of a decoder's words, or of the name of a rule.

Programs go by code, field and rule; nothing here is promised to them.
"""

import re
from typing import Final

_MISSING: Final = re.compile(r"Object missing required field (`[^`]*`)$")
_UNKNOWN: Final = re.compile(r"Object contains unknown field (`[^`]*`)$")
_NO_CHOICE: Final = re.compile(r"Invalid (?:enum )?value ('.*')$", re.DOTALL)
_PATTERN: Final = re.compile(r"Expected `str` matching regex '(.*)'$", re.DOTALL)
_CUT_OFF: Final = "Input data was truncated"

#: What may stand in fields that mean the same wherever they are.
CHOICES: Final = {
    "interval": "1s, 5s, 1m, 5m, 15m, 1h, 4h, 1d",
    "side": "buy, sell",
    "type": "limit, market, stop, take_profit, stop_limit, take_profit_limit, oco",
}
#: What texts of a pattern look like, by the pattern's beginning.
_FORMS: Final = (
    ("^[A-Za-z0-9._:-]{1,64}", "1 to 64 characters of A-Z a-z 0-9 . _ : -"),
    ("^(0|[1-9][0-9]{0,18})-(0|", "an id with a place in it, like `21-0`"),
)
_RULES: Final = {
    "budget.instead_of_quantity": "state a quantity or a budget, not both",
    "budget.market_buy_only": "a budget is for market buys only, and not with FOK",
    "dead_man.timeout": "1000 to 3600000 milliseconds, or 0 to disarm it",
    "deadline.ahead": "the time has passed already",
    "deadline.with_gtd_only": "GTD needs a time of expiry, and nothing else may have one",
    "market.never_rests": "a market order never rests",
    "market.needs_liquidity": "there was nothing to trade with within its price",
    "minimum.within_quantity": "more than the whole quantity",
    "post_only.must_rest": "an order that may only rest cannot trade at once",
    "replace.above_filled": "so much has been filled already",
    "replace.new_terms": "price and quantity are what they were",
}


def of_decoder(text: str, field: str) -> str:
    """What a decoder says of `field`, for people.

    >>> of_decoder("Object missing required field `price`", "price")
    '`price` is missing'
    >>> of_decoder("Invalid enum value 'Buy'", "side")
    "'Buy' is none of buy, sell"
    >>> of_decoder("Expected `str`, got `int`", "price")
    'Expected `str`, got `int`'
    """
    if missing := _MISSING.match(text):
        return f"{missing[1]} is missing"
    if unknown := _UNKNOWN.match(text):
        return f"There is no field {unknown[1]} here"
    if wrong := _NO_CHOICE.match(text):
        choices = CHOICES.get(field)
        return f"{wrong[1]} is " + (f"none of {choices}" if choices else "not allowed here")
    if pattern := _PATTERN.match(text):
        for beginning, form in _FORMS:
            if pattern[1].startswith(beginning):
                return f"Expected {form}"
    return "The JSON is cut off, or there is none" if text == _CUT_OFF else text


def of_refusal(code: str, rule: str) -> str:
    """Why a command was refused, for people.

    >>> of_refusal("INSUFFICIENT_FUNDS", "")
    'Refused: insufficient funds.'
    >>> of_refusal("INVALID_VALUE", "dead_man.timeout")
    'Refused: invalid value (1000 to 3600000 milliseconds, or 0 to disarm it).'
    """
    words = code.lower().replace("_", " ")
    return f"Refused: {words} ({_RULES[rule]})." if rule in _RULES else f"Refused: {words}."

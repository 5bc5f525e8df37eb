"""Decimal text to whole units and back: the last place that sees decimals.

The grammar is that of a JSON number without sign and exponent (RFC 8259, section 6): "0.50", not
"+0.5", ".5", "5.", "00.5", "5e-1" or "0,5". What does not fit exactly is refused, never rounded.
"""

import re
from enum import StrEnum
from functools import lru_cache
from typing import Final

from engine.ledger.balances import ASSET_ID_BITS
from engine.messages import Message
from engine.units import INT64_MAX, AmountMinor, AssetId

ASSET_SCALE_MAX: Final = 9
ASSET_ID_MAX: Final = 2**ASSET_ID_BITS - 1
#: Longer text is refused unread. INT64_MAX with a point in it has 20 characters.
TEXT_LENGTH_MAX: Final = 32
_STEPS_CACHED_MAX: Final = 4_096
#: Amounts written lately: the zeros of a new order, the sizes and prices of a market.
_TEXTS_CACHED_MAX: Final = 16_384

_matches_decimal = re.compile(r"(0|[1-9][0-9]*)(?:\.([0-9]+))?").fullmatch


class AmountFault(StrEnum):
    """What is wrong with an amount; the values are stable codes."""

    TOO_LONG = "TOO_LONG"  # more characters than any amount needs
    NOT_DECIMAL = "NOT_DECIMAL"  # anything but plain digits with at most one point
    TOO_PRECISE = "TOO_PRECISE"  # more digits after the point than the asset has
    NOT_A_MULTIPLE = "NOT_A_MULTIPLE"  # not a whole number of steps
    TOO_LARGE = "TOO_LARGE"  # beyond INT64_MAX units
    STEP_NOT_POSITIVE = "STEP_NOT_POSITIVE"  # a tick or lot of zero
    LOT_NOT_WHOLE = "LOT_NOT_WHOLE"  # a lot is not a whole number of base minor units
    TICK_LOT_NOT_WHOLE = "TICK_LOT_NOT_WHOLE"  # tick x lot is not whole quote minor units


class InvalidAmount(ValueError):
    """The text is not an exact amount of what was asked for. Nothing happened; correct the text."""

    def __init__(self, code: AmountFault, text: str) -> None:
        super().__init__(f"{code}: {text[:TEXT_LENGTH_MAX]!r}")
        self.code = code


class AssetKind(StrEnum):
    """What an asset is."""

    CURRENCY = "currency"  # a state's money
    COIN = "coin"  # a crypto coin, kept by custody
    POINTS = "points"  # a loyalty programme's points
    COINS = "coins"  # play money of the house


class Asset(Message, frozen=True):
    """Something that accounts can have; one unit of it is 10 ** scale minor units.

    Raises: ValueError for a scale or an id out of range.
    """

    asset_id: AssetId
    code: str
    kind: AssetKind
    scale: int
    name: str = ""

    def __post_init__(self) -> None:
        if not 0 <= self.scale <= ASSET_SCALE_MAX:
            raise ValueError(f"scale {self.scale} is not in 0..{ASSET_SCALE_MAX}")
        if not 0 <= self.asset_id <= ASSET_ID_MAX:
            raise ValueError(f"asset id {self.asset_id} is not in 0..{ASSET_ID_MAX}")


def parse_minor(text: str, scale: int) -> AmountMinor:
    """The minor units that `text` states, exactly.

    Raises: InvalidAmount.

    >>> parse_minor("1.5", scale=2)
    150
    """
    digits, decimals = _decimal(text)
    if decimals > scale:
        raise InvalidAmount(AmountFault.TOO_PRECISE, text)
    return AmountMinor(_within_range(digits * 10 ** (scale - decimals), text))


@lru_cache(maxsize=_TEXTS_CACHED_MAX)
def format_minor(amount_minor: int, scale: int) -> str:
    """Decimal text with exactly `scale` digits after the point; debts carry a minus sign.

    >>> format_minor(150, scale=2), format_minor(-5, scale=2), format_minor(7, scale=0)
    ('1.50', '-0.05', '7')
    """
    if not scale:
        return str(amount_minor)
    if amount_minor < 0:
        return "-" + format_minor(-amount_minor, scale)
    digits = str(amount_minor)
    if len(digits) <= scale:
        digits = digits.zfill(scale + 1)
    return f"{digits[:-scale]}.{digits[-scale:]}"


def parse_multiple(text: str, step_text: str) -> int:
    """How many steps of `step_text` the decimal `text` is, exactly.

    Raises: InvalidAmount.

    >>> parse_multiple("101.50", "0.05")
    2030
    """
    digits, decimals = _decimal(text)
    step_digits, step_decimals = _step(step_text)
    steps, rest = divmod(digits * 10**step_decimals, step_digits * 10**decimals)
    if rest:
        raise InvalidAmount(AmountFault.NOT_A_MULTIPLE, text)
    return _within_range(steps, text)


def format_multiple(steps: int, step_text: str) -> str:
    """Decimal text of so many steps, with as many digits after the point as `step_text` has.

    >>> format_multiple(2030, "0.05")
    '101.50'
    """
    step_digits, step_decimals = _step(step_text)
    return format_minor(steps * step_digits, step_decimals)


def instrument_units(
    tick_size: str, lot_size: str, base_scale: int, quote_scale: int
) -> tuple[AmountMinor, AmountMinor]:
    """Base minor units per lot, and quote minor units per tick x lot; both always whole.

    Raises: InvalidAmount for sizes that would make some notional inexact.

    >>> instrument_units("0.05", "0.001", base_scale=8, quote_scale=5)
    (100000, 5)
    """
    tick_digits, tick_decimals = _step(tick_size)
    lot_digits, lot_decimals = _step(lot_size)
    lot_minor, lot_rest = divmod(lot_digits * 10**base_scale, 10**lot_decimals)
    if lot_rest:
        raise InvalidAmount(AmountFault.LOT_NOT_WHOLE, lot_size)
    tick_lot_minor, tick_lot_rest = divmod(
        tick_digits * lot_digits * 10**quote_scale, 10 ** (tick_decimals + lot_decimals)
    )
    if tick_lot_rest:
        raise InvalidAmount(AmountFault.TICK_LOT_NOT_WHOLE, f"{tick_size} x {lot_size}")
    return (
        AmountMinor(_within_range(lot_minor, lot_size)),
        AmountMinor(_within_range(tick_lot_minor, f"{tick_size} x {lot_size}")),
    )


def _decimal(text: str) -> tuple[int, int]:
    """All digits as one integer, and how many of them stand after the point."""
    if len(text) > TEXT_LENGTH_MAX:
        raise InvalidAmount(AmountFault.TOO_LONG, text)
    match = _matches_decimal(text)
    if match is None:
        raise InvalidAmount(AmountFault.NOT_DECIMAL, text)
    whole, fraction = match.groups("")
    return int(whole + fraction), len(fraction)


@lru_cache(maxsize=_STEPS_CACHED_MAX)
def _step(text: str) -> tuple[int, int]:
    digits, decimals = _decimal(text)
    if not digits:
        raise InvalidAmount(AmountFault.STEP_NOT_POSITIVE, text)
    return digits, decimals


def _within_range(units: int, text: str) -> int:
    if units > INT64_MAX:
        raise InvalidAmount(AmountFault.TOO_LARGE, text)
    return units

"""Every reason for which a command can be refused, grouped by the station that refuses.

The values are the stable codes that callers see. A refusal is part of history: it is recorded,
and it stays the answer to its idempotency key.
"""

from enum import StrEnum


class Reason(StrEnum):
    """Why a command changed nothing."""

    # accounts: who and what
    UNKNOWN_OWNER = "UNKNOWN_OWNER"
    UNKNOWN_ACCOUNT = "UNKNOWN_ACCOUNT"
    UNKNOWN_ASSET = "UNKNOWN_ASSET"
    UNKNOWN_INSTRUMENT = "UNKNOWN_INSTRUMENT"
    UNKNOWN_KEY = "UNKNOWN_KEY"
    ALREADY_EXISTS = "ALREADY_EXISTS"
    INVALID_VALUE = "INVALID_VALUE"
    REQUEST_EXPIRED = "REQUEST_EXPIRED"  # its own window had passed when it was stamped
    # accounts: money
    INSUFFICIENT_FUNDS = "INSUFFICIENT_FUNDS"
    AMOUNT_OVERFLOW = "AMOUNT_OVERFLOW"
    # accounts: risk
    TRADING_HALTED = "TRADING_HALTED"
    ACCOUNT_HALTED = "ACCOUNT_HALTED"
    INSTRUMENT_HALTED = "INSTRUMENT_HALTED"
    LIMIT_EXCEEDED = "LIMIT_EXCEEDED"
    # instrument desk: the order itself
    INSTRUMENT_NOT_OPEN = "INSTRUMENT_NOT_OPEN"
    PRICE_NOT_POSITIVE = "PRICE_NOT_POSITIVE"
    PRICE_TOO_LARGE = "PRICE_TOO_LARGE"
    PRICE_OUT_OF_BAND = "PRICE_OUT_OF_BAND"
    QUANTITY_TOO_SMALL = "QUANTITY_TOO_SMALL"
    QUANTITY_TOO_LARGE = "QUANTITY_TOO_LARGE"
    NOTIONAL_TOO_SMALL = "NOTIONAL_TOO_SMALL"
    NOTIONAL_TOO_LARGE = "NOTIONAL_TOO_LARGE"
    BUDGET_NOT_ALLOWED = "BUDGET_NOT_ALLOWED"
    INVALID_COMBINATION = "INVALID_COMBINATION"
    ALREADY_EXPIRED = "ALREADY_EXPIRED"
    # instrument desk: the book
    POST_ONLY_WOULD_TRADE = "POST_ONLY_WOULD_TRADE"
    NOT_FILLABLE = "NOT_FILLABLE"  # fill-or-kill or minimum quantity cannot be met now
    NO_LIQUIDITY = "NO_LIQUIDITY"  # a market order met an empty opposite side
    UNKNOWN_ORDER = "UNKNOWN_ORDER"
    QUANTITY_ALREADY_FILLED = "QUANTITY_ALREADY_FILLED"  # replace to less than has traded
    NOTHING_TO_REPLACE = "NOTHING_TO_REPLACE"  # same price and same quantity
    REPLACE_NOT_COVERED = "REPLACE_NOT_COVERED"
    # conditional orders
    TRIGGER_ALREADY_CROSSED = "TRIGGER_ALREADY_CROSSED"
    # withdrawals
    UNKNOWN_WITHDRAWAL = "UNKNOWN_WITHDRAWAL"
    WITHDRAWAL_NOT_CANCELLABLE = "WITHDRAWAL_NOT_CANCELLABLE"
    # any desk
    DESK_FAULT = "DESK_FAULT"
    DESK_HALTED = "DESK_HALTED"

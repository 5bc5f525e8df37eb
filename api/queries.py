"""The parts of requests that several routes share: numbers, pages, whose."""

from typing import Annotated, TypeAlias

import msgspec

from api.settings import ROWS_MAX
from engine.units import INT64_MAX, RATE_ONE_PPM

AccountNumber: TypeAlias = Annotated[int, msgspec.Meta(ge=1, le=INT64_MAX)]
Number: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=INT64_MAX)]
#: Text that is journaled; every number and text that reaches a command is bounded here.
ShortText: TypeAlias = Annotated[str, msgspec.Meta(max_length=200)]
#: A price, quantity or amount. The pattern is for those who read the schema; `api.decimals` judges.
DecimalText: TypeAlias = Annotated[
    str,
    msgspec.Meta(extra_json_schema={"pattern": r"^[0-9]*\.?[0-9]*$", "maxLength": 32}),
]
RatePpm: TypeAlias = Annotated[int, msgspec.Meta(ge=-RATE_ONE_PPM, le=RATE_ONE_PPM)]
RowsWanted: TypeAlias = Annotated[int, msgspec.Meta(ge=1, le=ROWS_MAX)]


class Form(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a caller fills in; fields that it does not have are refused, never ignored."""


class NoQuery(Form, frozen=True, kw_only=True):
    """A route without query parameters."""


class AccountQuery(Form, frozen=True, kw_only=True):
    """Whose; only admins need to say."""

    account: AccountNumber | None = None


class PageQuery(Form, frozen=True, kw_only=True):
    """A page of a list by number; `after` is the last number of the page before."""

    after: Number = 0
    limit: RowsWanted = 100

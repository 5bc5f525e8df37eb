"""What an operator can set about the HTTP api; `config` fills it in."""

from typing import Annotated, Final

import msgspec

#: No list is longer than this, whatever a caller asks for.
ROWS_MAX: Final = 1_000


class ApiSettings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Rules of the edge that are no limits of the server."""

    #: How far from the reference price a market order may trade unless it says so itself.
    market_slippage_ppm: Annotated[int, msgspec.Meta(ge=0, lt=1_000_000)] = 50_000

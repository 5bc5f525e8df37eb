"""Pages of the history: how a caller asks for one, and what every page says of itself.

A page is a stretch of places in the journal, so it neither skips nor repeats a row, however much is
added meanwhile. What is older than `as_of_sequence` is all there; what is newer may be there too.
"""

from typing import Annotated, Any, Final, NamedTuple, TypeAlias

import msgspec

from api.edge import Edge
from api.queries import Form, Number, RowsWanted
from api.rejected import invalid
from engine.history.rows import Position
from engine.units import INT64_MAX

#: What reading a page counts beside a request that is answered from memory; a full one costs ten
#: milliseconds, and its answer half a megabyte.
HISTORY_WEIGHT: Final = 20
PositionText: TypeAlias = Annotated[
    str, msgspec.Meta(pattern=r"^(0|[1-9][0-9]{0,18})-(0|[1-9][0-9]{0,8})\Z")
]


class HistoryQuery(Form, frozen=True, kw_only=True):
    """What every question to the history may say; see `HistoryPages.as_of`."""

    limit: RowsWanted = 100
    min_sequence: Number = 0


class PositionsQuery(HistoryQuery, frozen=True, kw_only=True):
    """A page by position: newest first, from before `before`; or oldest first, from `after` on."""

    after: PositionText | None = None
    before: PositionText | None = None


class SequencesQuery(HistoryQuery, frozen=True, kw_only=True):
    """A page by number: newest first, from before `before`; or oldest first, from `after` on."""

    after: Number | None = None
    before: Number | None = None


class HistoryAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What every page says of itself.

    The rows of all records through `as_of_sequence` are in the history; `behind_records` were
    released since.
    """

    as_of_sequence: int
    behind_records: int


class AsOf(NamedTuple):
    """How far the history had come before a page was read."""

    as_of_sequence: int
    behind_records: int


class HistoryPages:
    """The history, seen from a route."""

    def __init__(self, edge: Edge) -> None:
        self._edge = edge

    async def as_of(self, wanted: HistoryQuery) -> AsOf:
        """How far the history has come; asked before a page is read, so that the page has it all.

        Waits for `min_sequence`, up to the edge deadline.
        Raises: HistoryBehind, StorageError.
        """
        service = self._edge.service
        seen = await service.history_through(wanted.min_sequence)
        return AsOf(seen.sequence, max(0, service.released.sequence - seen.sequence))


def position_text(sequence: int, index: int) -> str:
    """A place in history, as a page is asked for by it.

    >>> position_text(57, 0)
    '57-0'
    """
    return f"{sequence}-{index}"


def positions_page(wanted: PositionsQuery) -> dict[str, Any]:
    """What `History` calls a page by position. Raises: Rejected."""
    _one_of(wanted)
    stated = wanted.before if wanted.after is None else wanted.after
    place = None
    if stated is not None:
        sequence, _, index = stated.partition("-")
        place = Position(min(int(sequence), INT64_MAX), int(index))
    return {"after": place, "rows_max": wanted.limit, "newest_first": wanted.after is None}


def sequences_page(wanted: SequencesQuery) -> dict[str, Any]:
    """What `History` calls a page by number. Raises: Rejected."""
    _one_of(wanted)
    place = wanted.before if wanted.after is None else wanted.after
    return {"after": place, "rows_max": wanted.limit, "newest_first": wanted.after is None}


def _one_of(wanted: PositionsQuery | SequencesQuery) -> None:
    if wanted.after is not None and wanted.before is not None:
        raise invalid("before", "State `after` or `before`, not both.")

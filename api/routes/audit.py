"""Acts of administration: who did what, why, and what it changed."""

import msgspec
from quart import Response

from api.edge import Edge, answer, query
from api.routes.history_pages import (
    HISTORY_WEIGHT,
    HistoryAnswer,
    HistoryPages,
    SequencesQuery,
    sequences_page,
)
from api.routing import Routes
from engine.accounts.messages import Permission
from engine.history.rows import AuditRow


class Act(msgspec.Struct, frozen=True, kw_only=True):
    """One act; `command`, `before` and `after` are in the engine's own units, key 0 is none."""

    sequence: int
    time_ns: int
    key_id: int
    request_id: str
    action: str
    reason: str
    command: msgspec.Raw
    before: msgspec.Raw
    after: msgspec.Raw


class ActsAnswer(HistoryAnswer, frozen=True, kw_only=True):
    """A page of acts."""

    acts: list[Act]


class AuditRoutes:
    """What operators did."""

    def __init__(self, edge: Edge) -> None:
        self._edge = edge
        self._pages = HistoryPages(edge)

    def routes(self) -> Routes:
        """What is declared to the app."""
        routes = Routes("audit", "/v1/admin/audit")
        routes.get(
            "",
            self.acts,
            Permission.ADMIN,
            query=SequencesQuery,
            answer=ActsAnswer,
            weight=HISTORY_WEIGHT,
        )
        return routes

    async def acts(self) -> Response:
        """GET /v1/admin/audit: acts of administration, newest first, in pages."""
        wanted = query(SequencesQuery)
        page = sequences_page(wanted)
        as_of = await self._pages.as_of(wanted)
        rows = await self._edge.service.history.audit(**page)
        return answer(ActsAnswer(**as_of._asdict(), acts=[_act(row) for row in rows]))


def _act(row: AuditRow) -> Act:
    return Act(
        sequence=row.sequence,
        time_ns=row.time_ns,
        key_id=row.key_id,
        request_id=row.request_id,
        action=row.action,
        reason=row.reason,
        command=_json(row.command),
        before=_json(row.before),
        after=_json(row.after),
    )


def _json(text: str) -> msgspec.Raw:
    return msgspec.Raw(text or "null")

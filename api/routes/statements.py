"""What moved on accounts: an account's own statement, and every ledger entry for operators."""

import msgspec
from quart import Response

from api.edge import Edge, answer, query
from api.queries import AccountNumber
from api.routes.history_pages import (
    HISTORY_WEIGHT,
    HistoryAnswer,
    HistoryPages,
    PositionsQuery,
    position_text,
    positions_page,
)
from api.routing import Routes
from engine.accounts.messages import Permission
from engine.history.rows import EntryRow
from engine.ledger.amounts import Asset, format_minor
from engine.units import AccountId, AssetId


class EntriesQuery(PositionsQuery, frozen=True, kw_only=True):
    """Which entries: an account's, all or those of one asset."""

    account: AccountNumber | None = None
    asset: str | None = None


class StatementEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One movement on an account: `amount` is below zero when it went out."""

    entry: str
    time_ns: int
    asset: str
    amount: str
    balance: str
    purpose: str


class StatementAnswer(HistoryAnswer, frozen=True, kw_only=True):
    """A page of an account's statement."""

    account: int
    entries: list[StatementEntry]


class LedgerEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One row of the books, and what both accounts had right after it."""

    entry: str
    time_ns: int
    asset: str
    amount: str
    purpose: str
    debit_account: int
    debit_balance: str
    credit_account: int
    credit_balance: str


class LedgerEntriesAnswer(HistoryAnswer, frozen=True, kw_only=True):
    """A page of the books."""

    entries: list[LedgerEntry]


class StatementRoutes:
    """What moved."""

    def __init__(self, edge: Edge) -> None:
        self._edge = edge
        self._pages = HistoryPages(edge)

    def routes(self) -> Routes:
        """What is declared to the app."""
        routes = Routes("statements", "/v1")
        routes.get(
            "/statement",
            self.statement,
            Permission.READ,
            query=EntriesQuery,
            answer=StatementAnswer,
            weight=HISTORY_WEIGHT,
        )
        routes.get(
            "/admin/entries",
            self.entries,
            Permission.ADMIN,
            query=EntriesQuery,
            answer=LedgerEntriesAnswer,
            weight=HISTORY_WEIGHT,
        )
        return routes

    async def statement(self) -> Response:
        """GET /v1/statement: an account's entries with its balance after each, newest first."""
        wanted = query(EntriesQuery)
        account_id = self._edge.caller.acts_for(wanted.account)
        as_of, rows = await self._read(wanted, account_id)
        assets = self._edge.directory.assets
        entries = [_statement_entry(row, account_id, assets[row.asset_id]) for row in rows]
        return answer(StatementAnswer(**as_of, account=account_id, entries=entries))

    async def entries(self) -> Response:
        """GET /v1/admin/entries: the books of all accounts or one, newest first, in pages."""
        wanted = query(EntriesQuery)
        account_id = None if wanted.account is None else AccountId(wanted.account)
        as_of, rows = await self._read(wanted, account_id)
        assets = self._edge.directory.assets
        entries = [_ledger_entry(row, assets[row.asset_id]) for row in rows]
        return answer(LedgerEntriesAnswer(**as_of, entries=entries))

    async def _read(
        self, wanted: EntriesQuery, account_id: AccountId | None
    ) -> tuple[dict[str, int], list[EntryRow]]:
        page = positions_page(wanted)
        asset_id: AssetId | None = None
        if wanted.asset is not None:
            asset_id = self._edge.asset(wanted.asset).asset_id
        as_of = await self._pages.as_of(wanted)
        rows = await self._edge.service.history.entries(account_id, asset_id, **page)
        return as_of._asdict(), rows


def _statement_entry(row: EntryRow, account_id: AccountId, asset: Asset) -> StatementEntry:
    goes_out = row.debit_account_id == account_id
    balance_minor = row.debit_balance_minor if goes_out else row.credit_balance_minor
    amount_minor = -row.amount_minor if goes_out else row.amount_minor
    return StatementEntry(
        entry=position_text(row.sequence, row.index),
        time_ns=row.time_ns,
        asset=asset.code,
        amount=format_minor(amount_minor, asset.scale),
        balance=format_minor(balance_minor, asset.scale),
        purpose=row.purpose.name,
    )


def _ledger_entry(row: EntryRow, asset: Asset) -> LedgerEntry:
    return LedgerEntry(
        entry=position_text(row.sequence, row.index),
        time_ns=row.time_ns,
        asset=asset.code,
        amount=format_minor(row.amount_minor, asset.scale),
        purpose=row.purpose.name,
        debit_account=row.debit_account_id,
        debit_balance=format_minor(row.debit_balance_minor, asset.scale),
        credit_account=row.credit_account_id,
        credit_balance=format_minor(row.credit_balance_minor, asset.scale),
    )

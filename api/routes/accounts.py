"""Balances over HTTP."""

import msgspec
from quart import Response

from api.edge import Edge, answer, query
from api.queries import AccountQuery
from api.rejected import unknown
from api.routing import Routes
from engine.accounts.messages import Permission
from engine.ledger.amounts import format_minor
from engine.ledger.system_accounts import CLEARING, FEES, SUSPENSE
from engine.refusals import Reason


class BalanceAnswer(msgspec.Struct, frozen=True):
    """One asset of an account; `total` = `held` + `available`."""

    asset: str
    total: str
    held: str
    available: str


class BalancesAnswer(msgspec.Struct, frozen=True):
    """All that an account has."""

    account: int
    balances: list[BalanceAnswer]
    as_of_sequence: int


class AccountRoutes:
    """What an owner asks of an account."""

    def __init__(self, edge: Edge) -> None:
        self._edge = edge

    def routes(self) -> Routes:
        """What is declared to the app."""
        routes = Routes("accounts", "/v1")
        routes.get(
            "/balances",
            self.balances,
            Permission.READ,
            query=AccountQuery,
            answer=BalancesAnswer,
        )
        return routes

    async def balances(self) -> Response:
        """GET /v1/balances: what an account has; admins may also ask for the house's accounts."""
        account_id = self._edge.caller.acts_for(query(AccountQuery).account)
        released, directory = self._edge.service.released, self._edge.directory
        if account_id not in directory.accounts and account_id not in (CLEARING, FEES, SUSPENSE):
            raise unknown(Reason.UNKNOWN_ACCOUNT, "account")
        rows = []
        for asset_id, balance in released.ledger.balances_of(account_id):
            asset = directory.assets[asset_id]
            amounts = (balance.posted_minor, balance.held_minor, balance.available_minor)
            rows.append(
                BalanceAnswer(asset.code, *(format_minor(each, asset.scale) for each in amounts))
            )
        return answer(BalancesAnswer(account_id, rows, released.sequence))

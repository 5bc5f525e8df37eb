"""Balances over HTTP."""

import msgspec
from quart import Blueprint, Response

from api.edge import Edge, answer, query
from api.queries import AccountQuery
from api.rejected import unknown
from engine.accounts.messages import Role
from engine.ledger.amounts import format_minor
from engine.ledger.system_accounts import CLEARING, FEES, SUSPENSE
from engine.refusals import Reason


class BalanceAnswer(msgspec.Struct, frozen=True):
    """One asset of an account; `total` = `held` + `available`."""

    asset: str
    total: str
    held: str
    available: str


class AccountRoutes:
    """What an owner asks of an account."""

    def __init__(self, edge: Edge) -> None:
        self._edge = edge

    def blueprint(self) -> Blueprint:
        """The routes, to be registered with the app."""
        routes = Blueprint("accounts", __name__, url_prefix="/v1")
        routes.get("/balances")(self.balances)
        return routes

    async def balances(self) -> Response:
        """GET /v1/balances: what an account has; admins may also ask for the house's accounts."""
        account_id = self._edge.caller(Role.READ).acts_for(query(AccountQuery).account)
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
        return answer(
            {"account": account_id, "balances": rows, "as_of_sequence": released.sequence}
        )

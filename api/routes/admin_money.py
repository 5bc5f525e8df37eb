"""Administration of money: deposits, transfers, and everybody's withdrawals.

Deposits come from the external clearing account, withdrawals go to it; GET /v1/balances?account=1
shows what stands there.
"""

from typing import Any, Final

import msgspec
from quart import Response

from api.decimals import amount_minor
from api.edge import Edge, answer, body, query
from api.queries import AccountNumber, DecimalText, Form, RowsWanted, ShortText
from api.routes.withdrawals import WithdrawalsAnswer, withdrawal_answers
from api.routing import Routes
from engine.accounts.messages import Deposit, Permission, Transfer
from engine.products.withdrawals.desk import WithdrawalStatus
from engine.units import AccountId


class DepositForm(Form, frozen=True, kw_only=True):
    """Money that arrived outside; `reference` says where to look it up there."""

    account: AccountNumber
    asset: ShortText
    amount: DecimalText
    reference: ShortText


class TransferForm(Form, frozen=True, kw_only=True):
    """Money to move between two accounts."""

    account: AccountNumber
    to_account: AccountNumber
    asset: ShortText
    amount: DecimalText


class AllWithdrawalsQuery(Form, frozen=True, kw_only=True):
    """Which withdrawals of all accounts, newest first."""

    status: WithdrawalStatus | None = None
    limit: RowsWanted = 100


class MovedAnswer(msgspec.Struct, frozen=True):
    """The movement is in the books as record `sequence`."""

    sequence: int


_DEPOSIT: Final = msgspec.json.Decoder(DepositForm)
_TRANSFER: Final = msgspec.json.Decoder(TransferForm)


class MoneyRoutes:
    """What an operator does with money. Send an idempotency key with everything that moves it."""

    def __init__(self, edge: Edge) -> None:
        self._edge = edge

    def routes(self) -> Routes:
        """What is declared to the app."""
        routes, admin = Routes("admin_money", "/v1/admin"), Permission.ADMIN
        moved: dict[str, Any] = {"answer": MovedAnswer, "status": 201}
        routes.post("/deposits", self.deposit, admin, body=DepositForm, **moved)
        routes.post("/transfers", self.transfer, admin, body=TransferForm, **moved)
        routes.get(
            "/withdrawals",
            self.withdrawals,
            admin,
            query=AllWithdrawalsQuery,
            answer=WithdrawalsAnswer,
        )
        return routes

    async def deposit(self) -> Response:
        """POST /v1/admin/deposits."""
        form = await body(_DEPOSIT)
        asset = self._edge.asset(form.asset)
        amount = amount_minor(form.amount, asset, "amount")
        command = Deposit(AccountId(form.account), asset.asset_id, amount, form.reference)
        record = await self._edge.administer(command)
        return answer(MovedAnswer(record.sequence), 201)

    async def transfer(self) -> Response:
        """POST /v1/admin/transfers."""
        form = await body(_TRANSFER)
        asset = self._edge.asset(form.asset)
        amount = amount_minor(form.amount, asset, "amount")
        command = Transfer(
            AccountId(form.account), AccountId(form.to_account), asset.asset_id, amount
        )
        record = await self._edge.administer(command)
        return answer(MovedAnswer(record.sequence), 201)

    async def withdrawals(self) -> Response:
        """GET /v1/admin/withdrawals: of all accounts, newest first."""
        wanted = query(AllWithdrawalsQuery)
        known = reversed(self._edge.service.released.withdrawals.all())
        found = (one for one in known if wanted.status in (None, one.status))
        rows = withdrawal_answers(self._edge, found, wanted.limit)
        return answer(WithdrawalsAnswer(rows))

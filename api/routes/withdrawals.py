"""Withdrawals over HTTP: ask for one, watch it, take it back while it is cooling off."""

from collections.abc import Iterable
from itertools import islice
from typing import Final, cast

import msgspec
from quart import Response

from api.decimals import amount_minor
from api.edge import Edge, answer, body, numbered, query, sent_key
from api.queries import AccountNumber, AccountQuery, DecimalText, Form, RowsWanted, ShortText
from api.routing import Routes
from engine.accounts.messages import Permission
from engine.errors import NotFound
from engine.ledger.amounts import format_minor
from engine.products.withdrawals.desk import Withdrawal, WithdrawalStatus
from engine.products.withdrawals.messages import (
    CancelWithdrawal,
    RequestWithdrawal,
    WithdrawalRequested,
)
from engine.units import GroupId, TimeNs


class WithdrawalForm(Form, frozen=True, kw_only=True):
    """Send an amount to a destination outside."""

    asset: ShortText
    amount: DecimalText
    destination: ShortText
    account: AccountNumber | None = None


class WithdrawalsQuery(AccountQuery, frozen=True, kw_only=True):
    """Which of the account's withdrawals, newest first."""

    status: WithdrawalStatus | None = None
    limit: RowsWanted = 100


class WithdrawalAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """One withdrawal; it can be cancelled until `submit_at_ns`."""

    withdrawal_id: str
    account: int
    asset: str
    amount: str
    destination: str
    status: str
    submit_at_ns: int
    evidence: str


class WithdrawalsAnswer(msgspec.Struct, frozen=True):
    """Withdrawals, newest first."""

    withdrawals: list[WithdrawalAnswer]


class WithdrawalCancelledAnswer(msgspec.Struct, frozen=True):
    """The withdrawal ended before it was sent; its hold is gone."""

    withdrawal_id: str
    status: str
    sequence: int


_FORM: Final = msgspec.json.Decoder(WithdrawalForm)


class WithdrawalRoutes:
    """What an owner does with money that is to leave."""

    def __init__(self, edge: Edge) -> None:
        self._edge = edge

    def routes(self) -> Routes:
        """What is declared to the app."""
        routes = Routes("withdrawals", "/v1/withdrawals")
        read, transfer = Permission.READ, Permission.TRANSFER
        routes.post(
            "",
            self.request,
            transfer,
            body=WithdrawalForm,
            answer=WithdrawalAnswer,
            status=201,
        )
        routes.get("", self.of_account, read, query=WithdrawalsQuery, answer=WithdrawalsAnswer)
        routes.get("/<withdrawal_id>", self.one, read, query=AccountQuery, answer=WithdrawalAnswer)
        routes.delete(
            "/<withdrawal_id>",
            self.cancel,
            transfer,
            query=AccountQuery,
            answer=WithdrawalCancelledAnswer,
            is_calming=True,
        )
        return routes

    async def request(self) -> Response:
        """POST /v1/withdrawals: holds the amount now, sends it after the cooling-off time."""
        form = await body(_FORM)
        account_id = self._edge.caller.acts_for(form.account)
        asset = self._edge.asset(form.asset)
        cooling_off_s = self._edge.service.settings.withdrawal_cooling_off_s
        command = RequestWithdrawal(
            account_id,
            asset.asset_id,
            amount_minor(form.amount, asset, "amount"),
            form.destination,
            TimeNs(round(cooling_off_s * 1_000_000_000)),
        )
        record = await self._edge.submit(command, account_id, sent_key())
        [requested] = [e for e in record.events if type(e) is WithdrawalRequested]
        terms = cast("RequestWithdrawal", record.command)
        as_requested = Withdrawal(requested.withdrawal_id, terms, requested.submit_at_ns)
        return answer(withdrawal_answer(self._edge, as_requested), 201)

    async def of_account(self) -> Response:
        """GET /v1/withdrawals: the account's, newest first."""
        wanted = query(WithdrawalsQuery)
        account_id = self._edge.caller.acts_for(wanted.account)
        found = (
            one
            for one in reversed(self._edge.service.released.withdrawals.all())
            if one.terms.account_id == account_id and wanted.status in (None, one.status)
        )
        rows = withdrawal_answers(self._edge, found, wanted.limit)
        return answer(WithdrawalsAnswer(rows))

    async def one(self, withdrawal_id: str) -> Response:
        """GET /v1/withdrawals/ID."""
        account_id = self._edge.caller.acts_for(query(AccountQuery).account)
        number = numbered(withdrawal_id)
        withdrawal = self._edge.service.released.withdrawals.get(number)
        if withdrawal is None or withdrawal.terms.account_id != account_id:
            raise NotFound(f"no withdrawal {number}")
        return answer(withdrawal_answer(self._edge, withdrawal))

    async def cancel(self, withdrawal_id: str) -> Response:
        """DELETE /v1/withdrawals/ID: while it is cooling off."""
        account_id = self._edge.caller.acts_for(query(AccountQuery).account)
        number = GroupId(numbered(withdrawal_id))
        record = await self._edge.submit(
            CancelWithdrawal(account_id, number), account_id, sent_key()
        )
        status = WithdrawalStatus.CANCELLED.value
        return answer(WithdrawalCancelledAnswer(str(number), status, record.sequence))


def withdrawal_answers(
    edge: Edge, found: Iterable[Withdrawal], rows_max: int
) -> list[WithdrawalAnswer]:
    """The first so many withdrawals, as told to callers."""
    return [withdrawal_answer(edge, one) for one in islice(found, rows_max)]


def withdrawal_answer(edge: Edge, withdrawal: Withdrawal) -> WithdrawalAnswer:
    """A withdrawal as told to callers."""
    terms = withdrawal.terms
    asset = edge.directory.assets[terms.asset_id]
    return WithdrawalAnswer(
        withdrawal_id=str(withdrawal.withdrawal_id),
        account=terms.account_id,
        asset=asset.code,
        amount=format_minor(terms.amount_minor, asset.scale),
        destination=terms.destination,
        status=withdrawal.status.value,
        submit_at_ns=withdrawal.submit_at_ns,
        evidence=withdrawal.evidence,
    )

"""Administration of risk and price: halts, limits, fees, tiers, what instruments accept."""

from typing import Final

import msgspec
from quart import Response

from api.decimals import InstrumentText, amount_minor
from api.edge import Edge, answer, body, query
from api.queries import NoQuery
from api.rejected import unknown
from api.routes.risk_forms import (
    AnyHaltForm,
    FeeAnswer,
    FeesAnswer,
    FeesForm,
    FeesSetAnswer,
    HaltAccountForm,
    HaltInstrumentForm,
    HaltsAnswer,
    HaltSetAnswer,
    InstrumentLimitsAnswer,
    InstrumentLimitsForm,
    InstrumentStateAnswer,
    InstrumentStateForm,
    LimitsAnswer,
    LimitsForm,
    LimitsQuery,
    LimitsSetAnswer,
    TierForm,
    TierSetAnswer,
)
from api.routing import Routes
from engine.accounts.messages import (
    HaltScope,
    Permission,
    SetFees,
    SetHalt,
    SetLimits,
    SetTier,
)
from engine.ledger.amounts import format_minor
from engine.ledger.fees import ALL_INSTRUMENTS, FeeRow
from engine.orderbook.messages import ChangeInstrumentState, InstrumentState
from engine.refusals import Reason
from engine.risk.limits import AccountLimits, InstrumentLimits
from engine.units import AccountId, AmountMinor, AssetId, InstrumentId, QuantityLots

_HALT: Final[msgspec.json.Decoder[AnyHaltForm]] = msgspec.json.Decoder(AnyHaltForm)
_LIMITS: Final = msgspec.json.Decoder(LimitsForm)
_FEES: Final = msgspec.json.Decoder(FeesForm)
_TIER: Final = msgspec.json.Decoder(TierForm)
_STATE: Final = msgspec.json.Decoder(InstrumentStateForm)


class RiskRoutes:
    """What an operator restricts, allows and charges."""

    def __init__(self, edge: Edge) -> None:
        self._edge = edge

    def routes(self) -> Routes:
        """What is declared to the app."""
        routes, admin = Routes("admin_risk", "/v1/admin"), Permission.ADMIN
        routes.post(
            "/halts", self.set_halt, admin, body=AnyHaltForm, answer=HaltSetAnswer, is_calming=True
        )
        routes.get("/halts", self.halts, admin, answer=HaltsAnswer)
        routes.post("/limits", self.set_limits, admin, body=LimitsForm, answer=LimitsSetAnswer)
        routes.get("/limits", self.limits, admin, query=LimitsQuery, answer=LimitsAnswer)
        routes.post("/fees", self.set_fees, admin, body=FeesForm, answer=FeesSetAnswer)
        routes.get("/fees", self.fees, admin, answer=FeesAnswer)
        routes.post("/tiers", self.set_tier, admin, body=TierForm, answer=TierSetAnswer)
        routes.post(
            "/instrument-states",
            self.set_state,
            admin,
            body=InstrumentStateForm,
            answer=InstrumentStateAnswer,
            is_calming=True,
        )
        return routes

    async def set_halt(self) -> Response:
        """POST /v1/admin/halts: counts from its sequence on; a release from its answer on."""
        form = await body(_HALT)
        if isinstance(form, HaltInstrumentForm):
            instrument = self._edge.instrument(form.instrument)
            scope, target_id = HaltScope.INSTRUMENT, int(instrument.instrument_id)
        elif isinstance(form, HaltAccountForm):
            scope, target_id = HaltScope.ACCOUNT, form.account
        else:
            scope, target_id = HaltScope.EVERYTHING, 0
        command = SetHalt(scope, target_id, form.halted, form.reason)
        record = await self._edge.administer(command)
        return answer(HaltSetAnswer(form.halted, record.sequence))

    async def halts(self) -> Response:
        """GET /v1/admin/halts: every switch that is thrown."""
        query(NoQuery)
        known = self._edge.directory.instruments
        thrown = self._edge.service.released.rules.halts.snapshot()
        return answer(
            HaltsAnswer(
                thrown.everything,
                [known[number].symbol for number in thrown.instruments],
                list(thrown.accounts),
            )
        )

    async def set_limits(self) -> Response:
        """POST /v1/admin/limits: replaces all limits of an account."""
        form = await body(_LIMITS)
        limits = AccountLimits(
            form.open_orders_max,
            dict(self._instrument_limits(*each) for each in form.instruments.items()),
            dict(self._holding_limit(*each) for each in form.holdings_max.items()),
        )
        command = SetLimits(AccountId(form.account), limits)
        record = await self._edge.administer(command)
        return answer(LimitsSetAnswer(form.account, record.sequence))

    def _instrument_limits(
        self, symbol: str, form: InstrumentLimitsForm
    ) -> tuple[InstrumentId, InstrumentLimits]:
        text = InstrumentText.of(self._edge.instrument(symbol), self._edge.directory)
        lots, minor = QuantityLots(0), AmountMinor(0)
        if form.quantity_max is not None:
            lots = text.quantity_lots(form.quantity_max, f"instruments.{symbol}.quantity_max")
        if form.notional_max is not None:
            minor = text.quote_minor(form.notional_max, f"instruments.{symbol}.notional_max")
        return text.instrument.instrument_id, InstrumentLimits(lots, minor)

    def _holding_limit(self, code: str, text: str) -> tuple[AssetId, AmountMinor]:
        asset = self._edge.asset(code, f"holdings_max.{code}")
        return asset.asset_id, amount_minor(text, asset, f"holdings_max.{code}")

    async def limits(self) -> Response:
        """GET /v1/admin/limits: an account's; null means no limit of that kind."""
        account_id = AccountId(query(LimitsQuery).account)
        if account_id not in self._edge.directory.accounts:
            raise unknown(Reason.UNKNOWN_ACCOUNT, "account")
        in_force = self._edge.service.released.rules.limits.get(account_id, ())
        limits = in_force[-1] if in_force else AccountLimits()
        assets = self._edge.directory.assets
        holdings = limits.holdings_minor_max.items()
        return answer(
            LimitsAnswer(
                account_id,
                limits.open_orders_max or None,
                dict(self._limits_text(*one) for one in limits.instruments.items()),
                {
                    assets[one].code: format_minor(minor, assets[one].scale)
                    for one, minor in holdings
                },
            )
        )

    def _limits_text(
        self, instrument_id: InstrumentId, limits: InstrumentLimits
    ) -> tuple[str, InstrumentLimitsAnswer]:
        directory = self._edge.directory
        text = InstrumentText.of(directory.instruments[instrument_id], directory)
        lots, minor = limits.quantity_lots_max, limits.notional_minor_max
        return text.instrument.symbol, InstrumentLimitsAnswer(
            text.quantity(lots) if lots else None,
            text.quote_amount(minor) if minor else None,
        )

    async def set_fees(self) -> Response:
        """POST /v1/admin/fees: for orders accepted from here on; 100 ppm are one basis point."""
        form = await body(_FEES)
        instrument_id = ALL_INSTRUMENTS
        if form.instrument is not None:
            instrument_id = self._edge.instrument(form.instrument).instrument_id
        command = SetFees(form.tier, instrument_id, form.maker_ppm, form.taker_ppm)
        record = await self._edge.administer(command)
        return answer(FeesSetAnswer(form.tier, record.sequence))

    async def fees(self) -> Response:
        """GET /v1/admin/fees: the schedule, line by line."""
        query(NoQuery)
        rows = self._edge.service.released.rules.fees.rows()
        return answer(FeesAnswer([self._fee_row(row) for row in rows]))

    def _fee_row(self, row: FeeRow) -> FeeAnswer:
        known = self._edge.directory.instruments
        of_one = row.instrument_id != ALL_INSTRUMENTS
        return FeeAnswer(
            row.tier,
            known[row.instrument_id].symbol if of_one else None,
            row.rates.maker_ppm,
            row.rates.taker_ppm,
        )

    async def set_tier(self) -> Response:
        """POST /v1/admin/tiers: orders already placed keep their rates."""
        form = await body(_TIER)
        record = await self._edge.administer(SetTier(AccountId(form.account), form.tier))
        return answer(TierSetAnswer(form.account, form.tier, record.sequence))

    async def set_state(self) -> Response:
        """POST /v1/admin/instrument-states."""
        form = await body(_STATE)
        instrument = self._edge.instrument(form.instrument)
        state = InstrumentState[form.state]
        command = ChangeInstrumentState(instrument.instrument_id, state)
        record = await self._edge.administer(command)
        return answer(InstrumentStateAnswer(form.instrument, form.state, record.sequence))

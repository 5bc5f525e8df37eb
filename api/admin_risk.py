"""Administration of risk and price: halts, limits, fees, tiers, what instruments accept."""

from typing import Any, Final, Literal, TypeAlias

import msgspec
from quart import Blueprint, Response

from api.decimals import InstrumentText, amount_minor
from api.edge import Edge, answer, body, query
from api.queries import AccountNumber, Form, NoQuery, Number, RatePpm, ShortText
from api.rejected import unknown
from engine.accounts.messages import HaltScope, Role, SetFees, SetHalt, SetLimits, SetTier
from engine.ledger.amounts import format_minor
from engine.ledger.fees import ALL_INSTRUMENTS
from engine.orderbook.messages import ChangeInstrumentState, InstrumentState
from engine.refusals import Reason
from engine.risk.limits import AccountLimits, InstrumentLimits
from engine.units import AccountId, AmountMinor, AssetId, InstrumentId, QuantityLots


class _HaltForm(Form, frozen=True, kw_only=True, tag_field="scope"):
    """Throws or releases a kill switch. While thrown, only cancels pass."""

    halted: bool
    reason: ShortText


class HaltEverythingForm(_HaltForm, frozen=True, kw_only=True, tag="everything"):
    """All trading."""


class HaltInstrumentForm(_HaltForm, frozen=True, kw_only=True, tag="instrument"):
    """Trading of one instrument."""

    instrument: str


class HaltAccountForm(_HaltForm, frozen=True, kw_only=True, tag="account"):
    """Trading by one account."""

    account: AccountNumber


AnyHaltForm: TypeAlias = HaltEverythingForm | HaltInstrumentForm | HaltAccountForm


class InstrumentLimitsForm(Form, frozen=True, kw_only=True):
    """The largest single order on one instrument."""

    quantity_max: str | None = None
    notional_max: str | None = None


class LimitsForm(Form, frozen=True, kw_only=True):
    """All limits of an account: what is left out here is unlimited from here on."""

    account: AccountNumber
    open_orders_max: Number = 0
    instruments: dict[str, InstrumentLimitsForm] = msgspec.field(default_factory=dict)
    holdings_max: dict[str, str] = msgspec.field(default_factory=dict)


class LimitsQuery(Form, frozen=True, kw_only=True):
    """Whose limits."""

    account: AccountNumber


class FeesForm(Form, frozen=True, kw_only=True):
    """Rates of a tier ("" for the default one) on one instrument, or on all others."""

    tier: ShortText
    instrument: str | None = None
    maker_ppm: RatePpm
    taker_ppm: RatePpm


class TierForm(Form, frozen=True, kw_only=True):
    """The fee tier of an account."""

    account: AccountNumber
    tier: ShortText


class InstrumentStateForm(Form, frozen=True, kw_only=True):
    """What an instrument is to accept; closing it cancels what rests."""

    instrument: str
    state: Literal["OPEN", "CANCEL_ONLY", "HALTED", "CLOSED"]


_HALT: Final[msgspec.json.Decoder[AnyHaltForm]] = msgspec.json.Decoder(AnyHaltForm)
_LIMITS: Final = msgspec.json.Decoder(LimitsForm)
_FEES: Final = msgspec.json.Decoder(FeesForm)
_TIER: Final = msgspec.json.Decoder(TierForm)
_STATE: Final = msgspec.json.Decoder(InstrumentStateForm)


class RiskRoutes:
    """What an operator restricts, allows and charges."""

    def __init__(self, edge: Edge) -> None:
        self._edge = edge

    def blueprint(self) -> Blueprint:
        """The routes, to be registered with the app."""
        routes = Blueprint("admin_risk", __name__, url_prefix="/v1/admin")
        routes.post("/halts")(self.set_halt)
        routes.get("/halts")(self.halts)
        routes.post("/limits")(self.set_limits)
        routes.get("/limits")(self.limits)
        routes.post("/fees")(self.set_fees)
        routes.get("/fees")(self.fees)
        routes.post("/tiers")(self.set_tier)
        routes.post("/instrument-states")(self.set_state)
        return routes

    async def set_halt(self) -> Response:
        """POST /v1/admin/halts: counts from its sequence on; a release from its answer on."""
        caller, form = self._edge.caller(Role.ADMIN), await body(_HALT)
        if isinstance(form, HaltInstrumentForm):
            instrument = self._edge.instrument(form.instrument)
            scope, target_id = HaltScope.INSTRUMENT, int(instrument.instrument_id)
        elif isinstance(form, HaltAccountForm):
            scope, target_id = HaltScope.ACCOUNT, form.account
        else:
            scope, target_id = HaltScope.EVERYTHING, 0
        command = SetHalt(scope, target_id, form.halted, form.reason)
        record = await self._edge.administer(command, caller)
        return answer({"halted": form.halted, "sequence": record.sequence})

    async def halts(self) -> Response:
        """GET /v1/admin/halts: every switch that is thrown."""
        self._edge.caller(Role.ADMIN)
        query(NoQuery)
        known = self._edge.directory.instruments
        thrown = self._edge.service.released.rules.halts.snapshot()
        return answer(
            {
                "everything": thrown.everything,
                "instruments": [known[number].symbol for number in thrown.instruments],
                "accounts": list(thrown.accounts),
            }
        )

    async def set_limits(self) -> Response:
        """POST /v1/admin/limits: replaces all limits of an account."""
        caller, form = self._edge.caller(Role.ADMIN), await body(_LIMITS)
        limits = AccountLimits(
            form.open_orders_max,
            dict(self._instrument_limits(*each) for each in form.instruments.items()),
            dict(self._holding_limit(*each) for each in form.holdings_max.items()),
        )
        command = SetLimits(AccountId(form.account), limits)
        record = await self._edge.administer(command, caller)
        return answer({"account": form.account, "sequence": record.sequence})

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
        self._edge.caller(Role.ADMIN)
        account_id = AccountId(query(LimitsQuery).account)
        if account_id not in self._edge.directory.accounts:
            raise unknown(Reason.UNKNOWN_ACCOUNT, "account")
        in_force = self._edge.service.released.rules.limits.get(account_id, ())
        limits = in_force[-1] if in_force else AccountLimits()
        assets = self._edge.directory.assets
        holdings = limits.holdings_minor_max.items()
        return answer(
            {
                "account": account_id,
                "open_orders_max": limits.open_orders_max or None,
                "instruments": dict(self._limits_text(*one) for one in limits.instruments.items()),
                "holdings_max": {
                    assets[one].code: format_minor(minor, assets[one].scale)
                    for one, minor in holdings
                },
            }
        )

    def _limits_text(
        self, instrument_id: InstrumentId, limits: InstrumentLimits
    ) -> tuple[str, dict[str, str | None]]:
        directory = self._edge.directory
        text = InstrumentText.of(directory.instruments[instrument_id], directory)
        lots, minor = limits.quantity_lots_max, limits.notional_minor_max
        return text.instrument.symbol, {
            "quantity_max": text.quantity(lots) if lots else None,
            "notional_max": text.quote_amount(minor) if minor else None,
        }

    async def set_fees(self) -> Response:
        """POST /v1/admin/fees: for orders accepted from here on; 100 ppm are one basis point."""
        caller, form = self._edge.caller(Role.ADMIN), await body(_FEES)
        instrument_id = ALL_INSTRUMENTS
        if form.instrument is not None:
            instrument_id = self._edge.instrument(form.instrument).instrument_id
        command = SetFees(form.tier, instrument_id, form.maker_ppm, form.taker_ppm)
        record = await self._edge.administer(command, caller)
        return answer({"tier": form.tier, "sequence": record.sequence})

    async def fees(self) -> Response:
        """GET /v1/admin/fees: the schedule, line by line."""
        self._edge.caller(Role.ADMIN)
        query(NoQuery)
        rows = self._edge.service.released.rules.fees.rows()
        return answer({"fees": [self._fee_row(row) for row in rows]})

    def _fee_row(self, row: Any) -> dict[str, Any]:
        known = self._edge.directory.instruments
        of_one = row.instrument_id != ALL_INSTRUMENTS
        return {
            "tier": row.tier,
            "instrument": known[row.instrument_id].symbol if of_one else None,
            "maker_ppm": row.rates.maker_ppm,
            "taker_ppm": row.rates.taker_ppm,
        }

    async def set_tier(self) -> Response:
        """POST /v1/admin/tiers: orders already placed keep their rates."""
        caller, form = self._edge.caller(Role.ADMIN), await body(_TIER)
        record = await self._edge.administer(SetTier(AccountId(form.account), form.tier), caller)
        return answer({"account": form.account, "tier": form.tier, "sequence": record.sequence})

    async def set_state(self) -> Response:
        """POST /v1/admin/instrument-states."""
        caller, form = self._edge.caller(Role.ADMIN), await body(_STATE)
        instrument = self._edge.instrument(form.instrument)
        state = InstrumentState[form.state]
        command = ChangeInstrumentState(instrument.instrument_id, state)
        record = await self._edge.administer(command, caller)
        return answer(
            {"instrument": form.instrument, "state": form.state, "sequence": record.sequence}
        )

"""What an operator fills in about risk and price, and what is answered."""

from typing import Literal, TypeAlias

import msgspec

from api.queries import AccountNumber, DecimalText, Form, Number, RatePpm, ShortText


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

    quantity_max: DecimalText | None = None
    notional_max: DecimalText | None = None


class LimitsForm(Form, frozen=True, kw_only=True):
    """All limits of an account: what is left out here is unlimited from here on."""

    account: AccountNumber
    open_orders_max: Number = 0
    instruments: dict[str, InstrumentLimitsForm] = msgspec.field(default_factory=dict)
    holdings_max: dict[str, DecimalText] = msgspec.field(default_factory=dict)


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


class HaltSetAnswer(msgspec.Struct, frozen=True):
    """The switch stands so since record `sequence`."""

    halted: bool
    sequence: int


class HaltsAnswer(msgspec.Struct, frozen=True):
    """Every switch that is thrown."""

    everything: bool
    instruments: list[str]
    accounts: list[int]


class LimitsSetAnswer(msgspec.Struct, frozen=True):
    """The limits count from record `sequence` on."""

    account: int
    sequence: int


class InstrumentLimitsAnswer(msgspec.Struct, frozen=True):
    """The largest single order on one instrument."""

    quantity_max: str | None
    notional_max: str | None


class LimitsAnswer(msgspec.Struct, frozen=True):
    """All limits of an account, by symbol and by asset; null means none of that kind."""

    account: int
    open_orders_max: int | None
    instruments: dict[str, InstrumentLimitsAnswer]
    holdings_max: dict[str, str]


class FeesSetAnswer(msgspec.Struct, frozen=True):
    """The rates count from record `sequence` on."""

    tier: str
    sequence: int


class FeeAnswer(msgspec.Struct, frozen=True):
    """Rates of a tier on one instrument, or with null on all others."""

    tier: str
    instrument: str | None
    maker_ppm: int
    taker_ppm: int


class FeesAnswer(msgspec.Struct, frozen=True):
    """The schedule, line by line."""

    fees: list[FeeAnswer]


class TierSetAnswer(msgspec.Struct, frozen=True):
    """The account is in this tier since record `sequence`."""

    account: int
    tier: str
    sequence: int


class InstrumentStateAnswer(msgspec.Struct, frozen=True):
    """The instrument is in this state since record `sequence`."""

    instrument: str
    state: str
    sequence: int

"""Every use of the API by operators, as values that a client with an admin key sends.

    drill = admin_calls.HaltEverythingForm(halted=True, reason="drill")
    client.send(admin_calls.set_halt(drill, key="drill-1"))

Each command takes a `key` that you choose; without one it is sent once, and what then breaks has to
be looked up. `Call.because` adds a reason for the audit.
"""

from typing import Literal

from api.client.call import ROWS_MAX, Call, PagedCall, deleting, paging, reading, segment, sending
from api.routes.admin_directory import (
    AccountAnswer,
    AccountsAnswer,
    AssetAnswer,
    AssetsAnswer,
    InstrumentCreatedAnswer,
    OwnerAnswer,
    OwnerForm,
    OwnersAnswer,
)
from api.routes.admin_directory import AccountForm as AccountForm
from api.routes.admin_directory import AssetForm as AssetForm
from api.routes.admin_directory import InstrumentForm as InstrumentForm
from api.routes.admin_keys import KeyAnswer, KeyCreatedAnswer, KeyRevokedAnswer, KeysAnswer
from api.routes.admin_keys import KeyForm as KeyForm
from api.routes.admin_money import DepositForm as DepositForm
from api.routes.admin_money import MovedAnswer
from api.routes.admin_money import TransferForm as TransferForm
from api.routes.audit import Act, ActsAnswer
from api.routes.dead_man import SessionsAnswer
from api.routes.health import ActorsAnswer
from api.routes.risk_forms import (
    AnyHaltForm,
    FeesAnswer,
    FeesSetAnswer,
    HaltsAnswer,
    HaltSetAnswer,
    InstrumentStateAnswer,
    InstrumentStateForm,
    LimitsAnswer,
    LimitsSetAnswer,
    TierForm,
    TierSetAnswer,
)
from api.routes.risk_forms import FeesForm as FeesForm
from api.routes.risk_forms import HaltAccountForm as HaltAccountForm
from api.routes.risk_forms import HaltEverythingForm as HaltEverythingForm
from api.routes.risk_forms import HaltInstrumentForm as HaltInstrumentForm
from api.routes.risk_forms import InstrumentLimitsForm as InstrumentLimitsForm
from api.routes.risk_forms import LimitsForm as LimitsForm
from api.routes.statements import LedgerEntriesAnswer, LedgerEntry
from api.routes.withdrawals import WithdrawalsAnswer
from engine.accounts.messages import KeyScheme as KeyScheme
from engine.accounts.messages import Permission as Permission
from engine.ledger.amounts import AssetKind as AssetKind
from engine.products.withdrawals.desk import WithdrawalStatus as WithdrawalStatus

State = Literal["OPEN", "CANCEL_ONLY", "HALTED", "CLOSED"]
_ADMIN = "/v1/admin"

# -- what exists


def create_asset(form: AssetForm, key: str = "") -> Call[AssetAnswer]:
    """A new asset."""
    return sending("POST", f"{_ADMIN}/assets", form, AssetAnswer, key)


def assets(after: int = 0, limit: int = ROWS_MAX) -> PagedCall[AssetsAnswer, AssetAnswer]:
    """Every asset."""
    path, row_id = f"{_ADMIN}/assets", "number"
    return paging(path, AssetsAnswer, AssetAnswer, "assets", row_id, after=after, limit=limit)


def create_instrument(form: InstrumentForm, key: str = "") -> Call[InstrumentCreatedAnswer]:
    """A new instrument."""
    return sending("POST", f"{_ADMIN}/instruments", form, InstrumentCreatedAnswer, key)


def create_owner(name: str, key: str = "") -> Call[OwnerAnswer]:
    """A new owner of accounts."""
    return sending("POST", f"{_ADMIN}/owners", OwnerForm(name=name), OwnerAnswer, key)


def owners(after: int = 0, limit: int = ROWS_MAX) -> PagedCall[OwnersAnswer, OwnerAnswer]:
    """Every owner."""
    path, row_id = f"{_ADMIN}/owners", "owner"
    return paging(path, OwnersAnswer, OwnerAnswer, "owners", row_id, after=after, limit=limit)


def open_account(form: AccountForm, key: str = "") -> Call[AccountAnswer]:
    """A new account of an owner."""
    return sending("POST", f"{_ADMIN}/accounts", form, AccountAnswer, key)


def accounts(after: int = 0, limit: int = ROWS_MAX) -> PagedCall[AccountsAnswer, AccountAnswer]:
    """Every account."""
    path, row_id = f"{_ADMIN}/accounts", "account"
    return paging(path, AccountsAnswer, AccountAnswer, "accounts", row_id, after=after, limit=limit)


# -- keys


def create_key(form: KeyForm, key: str = "") -> Call[KeyCreatedAnswer]:
    """A new API key; with `replaces` in the place of another. Its secret is shown once.

    A repeat that the client makes by itself may get the answer without the secret: then make
    another one, and revoke this.
    """
    return sending("POST", f"{_ADMIN}/keys", form, KeyCreatedAnswer, key)


def keys(after: int = 0, limit: int = ROWS_MAX) -> PagedCall[KeysAnswer, KeyAnswer]:
    """Every key that is not revoked."""
    path, row_id = f"{_ADMIN}/keys", "key_id"
    return paging(path, KeysAnswer, KeyAnswer, "keys", row_id, after=after, limit=limit)


def revoke_key(key_id: int, key: str = "") -> Call[KeyRevokedAnswer]:
    """Shut a key out at once."""
    return deleting(f"{_ADMIN}/keys/{segment(key_id)}", KeyRevokedAnswer, key)


# -- money


def deposit(form: DepositForm, key: str = "") -> Call[MovedAnswer]:
    """Book money that arrived outside."""
    return sending("POST", f"{_ADMIN}/deposits", form, MovedAnswer, key)


def transfer(form: TransferForm, key: str = "") -> Call[MovedAnswer]:
    """Move money between two accounts."""
    return sending("POST", f"{_ADMIN}/transfers", form, MovedAnswer, key)


def withdrawals(
    status: WithdrawalStatus | None = None, limit: int = 100
) -> Call[WithdrawalsAnswer]:
    """Withdrawals of all accounts, newest first."""
    named = None if status is None else status.value
    return reading(f"{_ADMIN}/withdrawals", WithdrawalsAnswer, status=named, limit=limit)


def entries(
    account: int | None = None,
    asset: str | None = None,
    *,
    after: str | None = None,
    before: str | None = None,
    limit: int = ROWS_MAX,
    min_sequence: int | None = None,
) -> PagedCall[LedgerEntriesAnswer, LedgerEntry]:
    """The rows of the books: newest first, or oldest first from `after` on."""
    return paging(
        f"{_ADMIN}/entries",
        LedgerEntriesAnswer,
        LedgerEntry,
        "entries",
        "entry",
        account=account,
        asset=asset,
        after=after,
        before=before,
        limit=limit,
        min_sequence=min_sequence,
    )


# -- risk and price


def set_halt(form: AnyHaltForm, key: str = "") -> Call[HaltSetAnswer]:
    """Throw or release a kill switch."""
    return sending("POST", f"{_ADMIN}/halts", form, HaltSetAnswer, key)


def halts() -> Call[HaltsAnswer]:
    """Every switch that is thrown."""
    return reading(f"{_ADMIN}/halts", HaltsAnswer)


def set_limits(form: LimitsForm, key: str = "") -> Call[LimitsSetAnswer]:
    """Replace all limits of an account."""
    return sending("POST", f"{_ADMIN}/limits", form, LimitsSetAnswer, key)


def limits(account: int) -> Call[LimitsAnswer]:
    """An account's limits."""
    return reading(f"{_ADMIN}/limits", LimitsAnswer, account=account)


def set_fees(form: FeesForm, key: str = "") -> Call[FeesSetAnswer]:
    """Rates of a tier, for orders accepted from here on."""
    return sending("POST", f"{_ADMIN}/fees", form, FeesSetAnswer, key)


def fees() -> Call[FeesAnswer]:
    """The schedule."""
    return reading(f"{_ADMIN}/fees", FeesAnswer)


def set_tier(account: int, tier: str, key: str = "") -> Call[TierSetAnswer]:
    """Put an account into a tier."""
    form = TierForm(account=account, tier=tier)
    return sending("POST", f"{_ADMIN}/tiers", form, TierSetAnswer, key)


def set_instrument_state(
    instrument: str, state: State, key: str = ""
) -> Call[InstrumentStateAnswer]:
    """What an instrument is to accept; closing it cancels what rests."""
    form = InstrumentStateForm(instrument=instrument, state=state)
    return sending("POST", f"{_ADMIN}/instrument-states", form, InstrumentStateAnswer, key)


# -- the process itself


def actors() -> Call[ActorsAnswer]:
    """Vitals of every actor, health of every desk."""
    return reading(f"{_ADMIN}/actors", ActorsAnswer)


def sessions() -> Call[SessionsAnswer]:
    """Running dead-man timers, and who cancels on disconnect."""
    return reading(f"{_ADMIN}/sessions", SessionsAnswer)


def audit(
    *,
    after: int | None = None,
    before: int | None = None,
    limit: int = ROWS_MAX,
    min_sequence: int | None = None,
) -> PagedCall[ActsAnswer, Act]:
    """Acts of administration: newest first, or oldest first from `after` on."""
    return paging(
        f"{_ADMIN}/audit",
        ActsAnswer,
        Act,
        "acts",
        "sequence",
        after=after,
        before=before,
        limit=limit,
        min_sequence=min_sequence,
    )

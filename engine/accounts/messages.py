"""The contract of the accounts desk: reference data, money from outside, halts, limits, fees."""

from collections.abc import Collection
from enum import IntEnum, StrEnum
from typing import Final

from engine.ledger.amounts import Asset, AssetKind
from engine.messages import Message
from engine.orderbook.instrument import Instrument
from engine.products.exchange.messages import CancelAll as CancelAll
from engine.products.exchange.messages import ReportChunks
from engine.risk.limits import AccountLimits
from engine.units import (
    AccountId,
    AmountMinor,
    AssetId,
    InstrumentId,
    OwnerId,
    PriceTicks,
    QuantityLots,
    Sequence,
    TimeNs,
)


class Role(StrEnum):
    """What a key may do, as journals say it in which no key has permissions yet."""

    READ = "READ"
    TRADE = "TRADE"  # its one account, withdrawals included
    ADMIN = "ADMIN"  # everything


class Permission(StrEnum):
    """One thing that a key may do."""

    READ = "READ"  # its own account, and the markets
    TRADE = "TRADE"  # place, replace and cancel orders
    TRANSFER = "TRANSFER"  # withdraw and transfer
    ADMIN = "ADMIN"  # everything, for every account


_OF_ROLE: Final = {
    Role.READ: frozenset((Permission.READ,)),
    Role.TRADE: frozenset((Permission.READ, Permission.TRADE, Permission.TRANSFER)),
    Role.ADMIN: frozenset((Permission.ADMIN,)),
}


def role_with(permissions: Collection[Permission]) -> Role:
    """The role that comes nearest; it decides nothing where permissions are stated.

    >>> role_with([Permission.READ, Permission.TRANSFER]).value
    'READ'
    """
    if Permission.ADMIN in permissions:
        return Role.ADMIN
    return Role.TRADE if Permission.TRADE in permissions else Role.READ


class KeyScheme(StrEnum):
    """How a request proves that it comes from the key's holder."""

    BEARER = "BEARER"  # shows the secret itself
    HMAC = "HMAC-SHA256"  # signs with a secret that the server can derive again
    ED25519 = "ED25519"  # signs with a private key that the server never had


class HaltScope(IntEnum):
    """What a kill switch stops."""

    EVERYTHING = 0
    INSTRUMENT = 1
    ACCOUNT = 2


class Owner(Message, frozen=True):
    """A person or firm; owns accounts."""

    owner_id: OwnerId
    name: str


class Account(Message, frozen=True):
    """Holds assets and trades; `tier` names its fee schedule row."""

    account_id: AccountId
    owner_id: OwnerId
    name: str
    tier: str = ""


class ApiKey(Message, frozen=True):
    """A key that is let in; account 0 for admins.

    What of the secret is known depends on `scheme`: BEARER its SHA-256 (`secret_digest`); HMAC the
    salt from which, with the server's own master secret, it is derived (`verifier`); ED25519 the
    public key (`verifier`). `permissions` empty means those of `role`, as before there were any.
    `networks` are the only ones it may come from, in CIDR (none: from anywhere); it ends at
    `expires_at_ns` (0: never).
    """

    key_id: int
    role: Role
    account_id: AccountId
    secret_digest: str
    label: str = ""
    scheme: KeyScheme = KeyScheme.BEARER
    verifier: str = ""
    permissions: tuple[Permission, ...] = ()
    networks: tuple[str, ...] = ()
    expires_at_ns: TimeNs = TimeNs(0)

    @property
    def rights(self) -> frozenset[Permission]:
        """What it may do."""
        return frozenset(self.permissions) if self.permissions else _OF_ROLE[self.role]

    def has_expired(self, now_ns: int) -> bool:
        """Whether its time has come."""
        return 0 < self.expires_at_ns <= now_ns


class CreateAsset(Message, frozen=True, tag="create-asset"):
    """Make an asset known; `code` is unique."""

    code: str
    kind: AssetKind
    scale: int
    name: str = ""


class CreateInstrument(Message, frozen=True, tag="create-instrument"):
    """Open an order book for base against quote; `symbol` is unique.

    Sizes are decimal text; maxima of 0 mean no limit of that kind.
    """

    symbol: str
    base: str
    quote: str
    tick_size: str
    lot_size: str
    minimum_lots: QuantityLots = QuantityLots(1)
    maximum_lots: QuantityLots = QuantityLots(0)
    minimum_notional_minor: AmountMinor = AmountMinor(0)
    maximum_notional_minor: AmountMinor = AmountMinor(0)
    reference_price_ticks: PriceTicks = PriceTicks(0)
    band_ppm: int = 0
    makers_touched_max: int = 1_000


class CreateOwner(Message, frozen=True, tag="create-owner"):
    """Make an owner of accounts known."""

    name: str


class OpenAccount(Message, frozen=True, tag="open-account"):
    """Open an account for an owner."""

    owner_id: OwnerId
    name: str
    tier: str = ""


class CreateKey(Message, frozen=True, tag="create-key"):
    """Let a key in; see `ApiKey`.

    With `replaces` it takes that key's place: the old one expires at `replaced_expires_at_ns` (0:
    at once), never later than it would have, and what is left out here (account, permissions,
    networks, label) is as the old one has it.
    """

    role: Role
    account_id: AccountId
    secret_digest: str
    label: str = ""
    scheme: KeyScheme = KeyScheme.BEARER
    verifier: str = ""
    permissions: tuple[Permission, ...] = ()
    networks: tuple[str, ...] = ()
    expires_at_ns: TimeNs = TimeNs(0)
    replaces: int = 0
    replaced_expires_at_ns: TimeNs = TimeNs(0)

    @property
    def rights(self) -> frozenset[Permission]:
        """What the key is to do."""
        return frozenset(self.permissions) if self.permissions else _OF_ROLE[self.role]


class RevokeKey(Message, frozen=True, tag="revoke-key"):
    """Shut a key out."""

    key_id: int


class SetHalt(Message, frozen=True, tag="set-halt"):
    """Throw or release a kill switch; while thrown, new and replaced orders are refused."""

    scope: HaltScope
    target_id: int  # instrument or account, 0 for everything
    halted: bool
    reason: str


class SetLimits(Message, frozen=True, tag="set-limits"):
    """Replace an account's pre-trade limits."""

    account_id: AccountId
    limits: AccountLimits


class SetFees(Message, frozen=True, tag="set-fees"):
    """Set a tier's fee rates for one instrument (0: for all that have none of their own)."""

    tier: str
    instrument_id: InstrumentId
    maker_ppm: int
    taker_ppm: int


class SetTier(Message, frozen=True, tag="set-tier"):
    """Move an account to another fee tier; orders already placed keep their rates."""

    account_id: AccountId
    tier: str


class Deposit(Message, frozen=True, tag="deposit"):
    """Money arrived from outside for an account."""

    account_id: AccountId
    asset_id: AssetId
    amount_minor: AmountMinor
    reference: str


class Transfer(Message, frozen=True, tag="transfer"):
    """Move money between two accounts."""

    account_id: AccountId
    to_account_id: AccountId
    asset_id: AssetId
    amount_minor: AmountMinor


class ChangeRules(Message, frozen=True, tag="change-rules"):
    """Decide by other rules from here on: the first command of a release that has them."""

    rules_version: int


class AssetCreated(Message, frozen=True, tag="asset-created"):
    """The asset exists."""

    asset: Asset


class InstrumentCreated(Message, frozen=True, tag="instrument-created"):
    """The instrument exists and is open."""

    instrument: Instrument


class OwnerCreated(Message, frozen=True, tag="owner-created"):
    """The owner exists."""

    owner: Owner


class AccountOpened(Message, frozen=True, tag="account-opened"):
    """The account exists, empty."""

    account: Account


class KeyCreated(Message, frozen=True, tag="key-created"):
    """The key is let in."""

    key: ApiKey


class KeyExpirySet(Message, frozen=True, tag="key-expiry-set"):
    """The key ends at this time."""

    key_id: int
    expires_at_ns: TimeNs


class KeyRevoked(Message, frozen=True, tag="key-revoked"):
    """The key is shut out."""

    key_id: int


class HaltSet(Message, frozen=True, tag="halt-set"):
    """The kill switch stands as stated."""

    scope: HaltScope
    target_id: int
    halted: bool
    reason: str


class LimitsSet(Message, frozen=True, tag="limits-set"):
    """The account's limits are these."""

    account_id: AccountId
    limits: AccountLimits


class FeesSet(Message, frozen=True, tag="fees-set"):
    """The tier's rates are these, for orders accepted from here on."""

    tier: str
    instrument_id: InstrumentId
    maker_ppm: int
    taker_ppm: int


class TierSet(Message, frozen=True, tag="tier-set"):
    """The account's fee tier is this."""

    account_id: AccountId
    tier: str


class RulesChanged(Message, frozen=True, tag="rules-changed"):
    """From the next record on, desks decide by this version of the rules."""

    rules_version: int


class MoneyMoved(Message, frozen=True, tag="money-moved"):
    """The record's entries are the deposit or transfer its command asked for."""


class CancelAllStarted(Message, frozen=True, tag="cancel-all-started"):
    """The scope is frozen; one follow-up per instrument cancels its part."""

    instruments: int


class CancelAllAdvanced(Message, frozen=True, tag="cancel-all-advanced"):
    """One more desk has finished; at `open_instruments` 0 the cancel-all is complete."""

    header_sequence: Sequence
    open_instruments: int
    cancelled_orders: int


AccountsCommand = (
    CreateAsset
    | CreateInstrument
    | CreateOwner
    | OpenAccount
    | CreateKey
    | RevokeKey
    | SetHalt
    | SetLimits
    | SetFees
    | SetTier
    | Deposit
    | Transfer
    | CancelAll
    | ReportChunks
    | ChangeRules
)
AccountsEvent = (
    AssetCreated
    | InstrumentCreated
    | OwnerCreated
    | AccountOpened
    | KeyCreated
    | KeyExpirySet
    | KeyRevoked
    | HaltSet
    | LimitsSet
    | FeesSet
    | TierSet
    | MoneyMoved
    | CancelAllStarted
    | CancelAllAdvanced
    | RulesChanged
)

"""Reference data: which assets, instruments, owners, accounts and keys exist."""

from typing import Any

import msgspec
from msgspec.structs import replace

from engine.accounts.messages import (
    Account,
    AccountOpened,
    ApiKey,
    AssetCreated,
    InstrumentCreated,
    KeyCreated,
    KeyExpirySet,
    KeyRevoked,
    Owner,
    OwnerCreated,
    TierSet,
)
from engine.ledger.amounts import Asset
from engine.ledger.system_accounts import FIRST_CUSTOMER
from engine.orderbook.instrument import Instrument
from engine.units import AccountId, AssetId, InstrumentId, OwnerId


class DirectorySnapshot(msgspec.Struct, frozen=True, array_like=True):
    """Everything that exists, each kind by id."""

    assets: list[Asset]
    instruments: list[Instrument]
    owners: list[Owner]
    accounts: list[Account]
    keys: list[ApiKey]
    keys_made: int


class Directory:
    """A fold of what was created; ids are dense and never used again.

    Look up: the public dictionaries, by id or by unique name. Fold: `apply`.
    """

    def __init__(self) -> None:
        self.assets: dict[AssetId, Asset] = {}
        self.assets_by_code: dict[str, Asset] = {}
        self.instruments: dict[InstrumentId, Instrument] = {}
        self.instruments_by_symbol: dict[str, Instrument] = {}
        self.owners: dict[OwnerId, Owner] = {}
        self.accounts: dict[AccountId, Account] = {}
        self.keys: dict[int, ApiKey] = {}
        self.keys_by_digest: dict[str, ApiKey] = {}
        self._keys_made = 0

    def __repr__(self) -> str:
        return (
            f"<Directory: {len(self.assets)} assets, {len(self.instruments)} instruments, "
            f"{len(self.accounts)} accounts>"
        )

    @property
    def next_asset_id(self) -> AssetId:
        """The id the next asset will have."""
        return AssetId(len(self.assets) + 1)

    @property
    def next_instrument_id(self) -> InstrumentId:
        """The id the next instrument will have."""
        return InstrumentId(len(self.instruments) + 1)

    @property
    def next_owner_id(self) -> OwnerId:
        """The id the next owner will have."""
        return OwnerId(len(self.owners) + 1)

    @property
    def next_account_id(self) -> AccountId:
        """The id the next account will have."""
        return AccountId(FIRST_CUSTOMER + len(self.accounts))

    @property
    def next_key_id(self) -> int:
        """The id the next key will have; revoked keys keep theirs."""
        return self._keys_made + 1

    def apply(self, event: Any) -> None:
        """Fold one event; those about anything else change nothing."""
        match event:
            case AssetCreated(asset):
                self.assets[asset.asset_id] = self.assets_by_code[asset.code] = asset
            case InstrumentCreated(instrument):
                self.instruments[instrument.instrument_id] = instrument
                self.instruments_by_symbol[instrument.symbol] = instrument
            case OwnerCreated(owner):
                self.owners[owner.owner_id] = owner
            case AccountOpened(account):
                self.accounts[account.account_id] = account
            case TierSet(account_id, tier):
                old = self.accounts[account_id]
                self.accounts[account_id] = Account(account_id, old.owner_id, old.name, tier)
            case KeyCreated(key):
                self._keys_made = key.key_id
                self._put_key(key)
            case KeyExpirySet(key_id, expires_at_ns):
                self._put_key(replace(self.keys[key_id], expires_at_ns=expires_at_ns))
            case KeyRevoked(key_id):
                self.keys_by_digest.pop(self.keys.pop(key_id).secret_digest, None)
            case _:
                pass

    def _put_key(self, key: ApiKey) -> None:
        self.keys[key.key_id] = key
        if key.secret_digest:  # one that signs has none
            self.keys_by_digest[key.secret_digest] = key

    def snapshot(self) -> DirectorySnapshot:
        """Everything that exists."""
        return DirectorySnapshot(
            list(self.assets.values()),
            list(self.instruments.values()),
            list(self.owners.values()),
            list(self.accounts.values()),
            list(self.keys.values()),
            self._keys_made,
        )

    @classmethod
    def restore(cls, snapshot: DirectorySnapshot) -> "Directory":
        """The directory that gave this snapshot."""
        directory = cls()
        directory.assets = {asset.asset_id: asset for asset in snapshot.assets}
        directory.assets_by_code = {asset.code: asset for asset in snapshot.assets}
        directory.instruments = {one.instrument_id: one for one in snapshot.instruments}
        directory.instruments_by_symbol = {one.symbol: one for one in snapshot.instruments}
        directory.owners = {owner.owner_id: owner for owner in snapshot.owners}
        directory.accounts = {account.account_id: account for account in snapshot.accounts}
        for key in snapshot.keys:
            directory._put_key(key)
        directory._keys_made = snapshot.keys_made
        return directory

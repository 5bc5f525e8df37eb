"""Reference data: which assets, instruments, owners, accounts and keys exist."""

from typing import Any

from engine.accounts.messages import (
    Account,
    AccountOpened,
    ApiKey,
    AssetCreated,
    InstrumentCreated,
    KeyCreated,
    KeyRevoked,
    Owner,
    OwnerCreated,
    TierSet,
)
from engine.ledger.amounts import Asset
from engine.ledger.system_accounts import FIRST_CUSTOMER
from engine.orderbook.instrument import Instrument
from engine.units import AccountId, AssetId, InstrumentId, OwnerId


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
                self.keys[key.key_id] = self.keys_by_digest[key.secret_digest] = key
            case KeyRevoked(key_id):
                del self.keys_by_digest[self.keys.pop(key_id).secret_digest]
            case _:
                pass

"""One account's balance in one asset, and the holds of reservation groups on it."""

from typing import Final

import msgspec

from engine.units import INT64_MAX, AccountId, AmountMinor, AssetId

#: Asset ids are below 2 ** ASSET_ID_BITS, so that account and asset fit one integer key.
ASSET_ID_BITS: Final = 20


def balance_key(account_id: AccountId, asset_id: AssetId) -> int:
    """One integer that names the balance of an account in an asset."""
    return account_id << ASSET_ID_BITS | asset_id


class Balance:
    """What one account has of one asset.

    Units: minor units of the asset. `credits_minor` and `debits_minor` are cumulative and never
    decrease; `held_minor` is the sum of the balance's open holds. A `limited` balance never has
    less than it holds, except for a debt that a correction made.
    """

    __slots__ = (
        "account_id",
        "asset_id",
        "credits_minor",
        "debits_minor",
        "held_minor",
        "limited",
    )

    def __init__(self, account_id: AccountId, asset_id: AssetId, *, limited: bool) -> None:
        self.account_id = account_id
        self.asset_id = asset_id
        self.limited = limited
        self.credits_minor = 0
        self.debits_minor = 0
        self.held_minor = 0

    @property
    def posted_minor(self) -> AmountMinor:
        """What the account owns, held or not."""
        return AmountMinor(self.credits_minor - self.debits_minor)

    @property
    def available_minor(self) -> AmountMinor:
        """What the account may still spend or hold; below zero only for a debt."""
        return AmountMinor(self.credits_minor - self.debits_minor - self.held_minor)

    @property
    def in_range(self) -> bool:
        """Whether what is owned and held fits 64 bits and no counter is negative.

        The cumulative counters themselves may outgrow 64 bits with turnover.
        """
        if min(self.credits_minor, self.debits_minor, self.held_minor) < 0:
            return False
        return abs(self.posted_minor) <= INT64_MAX and self.held_minor <= INT64_MAX

    @property
    def is_blank(self) -> bool:
        """Whether nothing was ever posted and nothing is held: as good as not there."""
        return not (self.credits_minor or self.debits_minor or self.held_minor)

    def __repr__(self) -> str:
        return (
            f"<Balance {self.account_id}/{self.asset_id}: "
            f"posted {self.posted_minor}, held {self.held_minor}>"
        )


class Hold(msgspec.Struct, frozen=True, gc=False):
    """What one reservation group has set aside; never zero or less.

    One exists per resting order, so it refers to its balance instead of repeating the ids.
    """

    balance: Balance
    held_minor: AmountMinor

    @property
    def account_id(self) -> AccountId:
        """Whose asset is held."""
        return self.balance.account_id

    @property
    def asset_id(self) -> AssetId:
        """Which asset is held."""
        return self.balance.asset_id

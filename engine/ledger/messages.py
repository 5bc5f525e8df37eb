"""What a record says about money: entries and holds."""

from enum import IntEnum

from engine.messages import Message
from engine.units import AccountId, AmountMinor, AssetId, GroupId


class EntryPurpose(IntEnum):
    """Why money moved."""

    PRINCIPAL = 0  # the thing traded or paid itself
    FEE = 1  # a fee taken from what was received
    REBATE = 2  # a maker's rebate, out of the taker's fee
    DEPOSIT = 3  # from the outside world
    WITHDRAWAL = 4  # to the outside world
    TRANSFER = 5  # between two of our accounts
    CORRECTION = 6  # an operator's; the only purpose that may take an account below zero
    SUSPENSE = 7  # a fact from outside that no hold covered


class Entry(Message, frozen=True):
    """One movement: `amount_minor` of one asset leaves the debit account for the credit account.

    Invariants: amount > 0, the two accounts differ, so no row can unbalance the books.
    """

    debit_account_id: AccountId
    credit_account_id: AccountId
    asset_id: AssetId
    amount_minor: AmountMinor
    purpose: EntryPurpose


class HoldChange(Message, frozen=True):
    """From this record on, `group_id` holds exactly `held_minor` of the account's asset.

    Zero ends the hold. States the result, not the difference, so a fold cannot drift.
    """

    group_id: GroupId
    account_id: AccountId
    asset_id: AssetId
    held_minor: AmountMinor

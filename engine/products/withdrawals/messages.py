"""The contract of the withdrawals desk: commands above, events below.

A withdrawal is named by the sequence of the command that requested it; that is also its group and,
prefixed, the key under which custody knows it.
"""

from enum import StrEnum

from engine.messages import Message
from engine.units import AccountId, AmountMinor, AssetId, GroupId, TimeNs


class CustodyFinding(StrEnum):
    """What the gateway learned about one submitted withdrawal."""

    SETTLED = "SETTLED"  # the money has left
    REFUSED = "REFUSED"  # it never will
    UNKNOWN = "UNKNOWN"  # no answer yet: the hold stays, custody is asked again


class RequestWithdrawal(Message, frozen=True, tag="withdraw"):
    """Send `amount_minor` to a destination outside, after the cooling-off time."""

    account_id: AccountId
    asset_id: AssetId
    amount_minor: AmountMinor
    destination: str
    cooling_off_ns: TimeNs


class CancelWithdrawal(Message, frozen=True, tag="cancel-withdrawal"):
    """Take a withdrawal back while it is cooling off."""

    account_id: AccountId
    withdrawal_id: GroupId


class RecordCustodyFinding(Message, frozen=True, tag="custody-finding"):
    """A fact from outside; never refused."""

    withdrawal_id: GroupId
    finding: CustodyFinding
    evidence: str


class WithdrawalRequested(Message, frozen=True, tag="withdrawal-requested"):
    """The amount is held; it will be submitted at `submit_at_ns` unless cancelled before."""

    withdrawal_id: GroupId
    submit_at_ns: TimeNs


class WithdrawalCancelled(Message, frozen=True, tag="withdrawal-cancelled"):
    """The withdrawal ended before it was submitted; the hold is free."""

    withdrawal_id: GroupId


class WithdrawalSubmitted(Message, frozen=True, tag="withdrawal-submitted"):
    """An intent: custody is to perform this under the withdrawal's key."""

    withdrawal_id: GroupId
    account_id: AccountId
    asset_id: AssetId
    amount_minor: AmountMinor
    destination: str


class WithdrawalUnknown(Message, frozen=True, tag="withdrawal-unknown"):
    """Custody has not answered; the hold stays and custody is asked by key."""

    withdrawal_id: GroupId
    evidence: str


class WithdrawalSettled(Message, frozen=True, tag="withdrawal-settled"):
    """The money has left; the hold became an entry."""

    withdrawal_id: GroupId
    evidence: str


class WithdrawalRefused(Message, frozen=True, tag="withdrawal-refused"):
    """Custody will never perform it; the hold is free."""

    withdrawal_id: GroupId
    evidence: str


class BreakOpened(Message, frozen=True, tag="break-opened"):
    """A fact from outside that no hold covers was posted against suspense; people must look."""

    withdrawal_id: GroupId
    asset_id: AssetId
    amount_minor: AmountMinor
    evidence: str


class CustodyFindingRepeated(Message, frozen=True, tag="finding-repeated"):
    """The finding told nothing new."""

    withdrawal_id: GroupId


WithdrawalCommand = RequestWithdrawal | CancelWithdrawal | RecordCustodyFinding
WithdrawalEvent = (
    WithdrawalRequested
    | WithdrawalCancelled
    | WithdrawalSubmitted
    | WithdrawalUnknown
    | WithdrawalSettled
    | WithdrawalRefused
    | BreakOpened
    | CustodyFindingRepeated
)

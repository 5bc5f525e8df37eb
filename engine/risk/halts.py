"""Kill switches: who and what may not enter new orders just now.

A halt stops new and replaced orders. Cancels do not ask, so what rests can always be taken out.
"""

from typing import Final

from engine.messages import Message, Refused
from engine.refusals import Reason
from engine.units import AccountId, InstrumentId

_RULE: Final = "halt"
_EVERYTHING_HALTED: Final = Refused(Reason.TRADING_HALTED, rule=_RULE)
_INSTRUMENT_HALTED: Final = Refused(Reason.INSTRUMENT_HALTED, "instrument_id", _RULE)
_ACCOUNT_HALTED: Final = Refused(Reason.ACCOUNT_HALTED, "account_id", _RULE)


class HaltsSnapshot(Message, frozen=True):
    """Every thrown switch, ids in order."""

    everything: bool = False
    instruments: tuple[InstrumentId, ...] = ()
    accounts: tuple[AccountId, ...] = ()


class Halts:
    """The switches that are thrown.

    Set: `set_everything`, `set_instrument`, `set_account`. Ask: `refusal`. The three kinds are
    independent: resuming everything leaves a halted account halted. Throwing or releasing a switch
    twice is the same as once.
    """

    def __init__(self, snapshot: HaltsSnapshot | None = None) -> None:
        thrown = HaltsSnapshot() if snapshot is None else snapshot
        self._everything = thrown.everything
        self._instruments = set(thrown.instruments)
        self._accounts = set(thrown.accounts)

    def __repr__(self) -> str:
        return f"<Halts: {self.snapshot()}>"

    def refusal(self, account_id: AccountId, instrument_id: InstrumentId) -> Refused | None:
        """Why this account may not enter orders on this instrument now, widest halt first."""
        if self._everything:
            return _EVERYTHING_HALTED
        if instrument_id in self._instruments:
            return _INSTRUMENT_HALTED
        if account_id in self._accounts:
            return _ACCOUNT_HALTED
        return None

    def set_everything(self, halted: bool) -> None:
        """Throw or release the switch that stops everybody everywhere."""
        self._everything = halted

    def set_instrument(self, instrument_id: InstrumentId, halted: bool) -> None:
        """Throw or release the switch of one instrument."""
        (self._instruments.add if halted else self._instruments.discard)(instrument_id)

    def set_account(self, account_id: AccountId, halted: bool) -> None:
        """Throw or release the switch of one account."""
        (self._accounts.add if halted else self._accounts.discard)(account_id)

    def snapshot(self) -> HaltsSnapshot:
        """Every thrown switch; `Halts(snapshot)` is equal to this."""
        return HaltsSnapshot(
            self._everything, tuple(sorted(self._instruments)), tuple(sorted(self._accounts))
        )

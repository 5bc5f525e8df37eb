"""The accounts desk's own state: reference data, halts, limits and fees, changed by its events."""

from typing import Any

from engine.accounts.directory import Directory
from engine.accounts.messages import FeesSet, HaltScope, HaltSet, LimitsSet
from engine.ledger.fees import FeeSchedule
from engine.risk.halts import Halts
from engine.risk.limits import AccountLimits
from engine.units import AccountId, InstrumentId


class Rules:
    """What accounts decides by.

    `restrict` takes an event in at once and says whether part of it loosens; that part is taken in
    by `loosen` when the event is released. Folding a released record is both, one after the other.
    """

    def __init__(self) -> None:
        self.directory = Directory()
        self.halts = Halts()
        # the limits in force, and before their release also those they replace
        self.limits: dict[AccountId, tuple[AccountLimits, ...]] = {}
        self.fees = FeeSchedule()

    def __repr__(self) -> str:
        return f"<Rules {self.directory!r} {self.halts!r}>"

    def restrict(self, event: Any) -> bool:
        """Take in what restricts; returns whether `loosen` has something left to do."""
        match event:
            case HaltSet(halted=True):
                self._set_halt(event)
                return False
            case HaltSet():
                return True
            case LimitsSet(account_id, limits):
                self.limits[account_id] = (*self.limits.get(account_id, ()), limits)
                return len(self.limits[account_id]) > 1
            case FeesSet(tier, instrument_id, maker_ppm, taker_ppm):
                self.fees.set(tier, instrument_id, maker_ppm, taker_ppm)
                return False
            case _:
                self.directory.apply(event)
                return False

    def loosen(self, event: Any) -> None:
        """Take in what an already restricted event loosens."""
        match event:
            case HaltSet():
                self._set_halt(event)
            case LimitsSet(account_id):
                self.limits[account_id] = self.limits[account_id][1:]
            case _:
                pass

    def apply(self, event: Any) -> None:
        """Take in a released event whole."""
        if self.restrict(event):
            self.loosen(event)

    def _set_halt(self, event: HaltSet) -> None:
        match event.scope:
            case HaltScope.EVERYTHING:
                self.halts.set_everything(event.halted)
            case HaltScope.INSTRUMENT:
                self.halts.set_instrument(InstrumentId(event.target_id), event.halted)
            case HaltScope.ACCOUNT:
                self.halts.set_account(AccountId(event.target_id), event.halted)

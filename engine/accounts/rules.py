"""The accounts desk's own state: reference data, halts, limits and fees, changed by its events."""

from typing import Any, Final

import msgspec

from engine.accounts.directory import Directory, DirectorySnapshot
from engine.accounts.messages import FeesSet, HaltScope, HaltSet, LimitsSet, RulesChanged
from engine.ledger.fees import FeeRow, FeeSchedule
from engine.risk.halts import Halts, HaltsSnapshot
from engine.risk.limits import AccountLimits
from engine.units import AccountId, InstrumentId

#: What a journal begins with; every other version is recorded in it.
FIRST_RULES_VERSION: Final = 1


class RulesSnapshot(msgspec.Struct, frozen=True, array_like=True):
    """Everything accounts decides by."""

    directory: DirectorySnapshot
    halts: HaltsSnapshot
    limits: list[tuple[AccountId, tuple[AccountLimits, ...]]]
    fees: list[FeeRow]
    version: int


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
        #: By which version of the rules the next record is decided.
        self.version = FIRST_RULES_VERSION

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
            case RulesChanged(rules_version):
                self.version = rules_version
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

    def snapshot(self) -> RulesSnapshot:
        """Everything, in an order that equal rules share."""
        return RulesSnapshot(
            self.directory.snapshot(),
            self.halts.snapshot(),
            sorted(self.limits.items(), key=_account_id),
            self.fees.rows(),
            self.version,
        )

    @classmethod
    def restore(cls, snapshot: RulesSnapshot) -> "Rules":
        """The rules that gave this snapshot."""
        rules = cls()
        rules.directory = Directory.restore(snapshot.directory)
        rules.halts = Halts(snapshot.halts)
        rules.limits = dict(snapshot.limits)
        rules.fees = FeeSchedule(rows=snapshot.fees)
        rules.version = snapshot.version
        return rules


def _account_id(item: tuple[AccountId, tuple[AccountLimits, ...]]) -> AccountId:
    return item[0]

"""What a fill costs or earns: rates, who pays which, and rounding that adds up over fills."""

from collections.abc import Iterable
from typing import Final

import msgspec

from engine.messages import Message
from engine.units import RATE_ONE_PPM, AmountMinor, InstrumentId

#: The tier whose rates hold where an account's own tier has none.
DEFAULT_TIER: Final = ""
#: Stands for all instruments that have no rates of their own.
ALL_INSTRUMENTS: Final = InstrumentId(0)


class FeeRates(Message, frozen=True):
    """What the two sides of a trade pay, in parts per million of what each receives.

    A negative maker rate is a rebate, paid out of the taker's fee.
    Invariants: 0 <= taker < 1,000,000 and -taker <= maker < 1,000,000, so a fee never takes more
    than was received, and no rebate is promised that the same tier's fee could not pay.
    Raises: ValueError otherwise.
    """

    maker_ppm: int = 0
    taker_ppm: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.taker_ppm < RATE_ONE_PPM:
            raise ValueError(f"taker rate {self.taker_ppm} ppm is not in 0..{RATE_ONE_PPM - 1}")
        if not -self.taker_ppm <= self.maker_ppm < RATE_ONE_PPM:
            raise ValueError(f"maker rate {self.maker_ppm} ppm is not in {-self.taker_ppm}..")


class FeeRow(Message, frozen=True):
    """One line of a fee schedule."""

    tier: str
    instrument_id: InstrumentId
    rates: FeeRates


class FeeSchedule:
    """Which rates an account of a tier pays on an instrument.

    The first of these that exists counts: the tier's rates for the instrument, the tier's for all
    instruments, the default tier's for the instrument, the default tier's for all, `default`.
    """

    def __init__(self, default: FeeRates | None = None, rows: Iterable[FeeRow] = ()) -> None:
        self.default = FeeRates() if default is None else default
        self._rates = {(row.tier, row.instrument_id): row.rates for row in rows}
        # at most one per tier and instrument that exist
        self._looked_up: dict[tuple[str, InstrumentId], FeeRates] = {}

    def rates(self, tier: str, instrument_id: InstrumentId) -> FeeRates:
        """The rates that count. Complexity: one dictionary lookup after the first time."""
        rates = self._looked_up.get((tier, instrument_id))
        if rates is None:
            rates = self._looked_up[tier, instrument_id] = self._look_up(tier, instrument_id)
        return rates

    def set(self, tier: str, instrument_id: InstrumentId, maker_ppm: int, taker_ppm: int) -> None:
        """Put one line into the schedule, or replace it.

        Raises: ValueError for rates that `FeeRates` does not allow, with nothing changed.
        """
        self._rates[tier, instrument_id] = FeeRates(maker_ppm, taker_ppm)
        self._looked_up.clear()

    def rows(self) -> list[FeeRow]:
        """Every line, by tier and instrument."""
        return [FeeRow(*key, rates) for key, rates in sorted(self._rates.items(), key=_key)]

    def _look_up(self, tier: str, instrument_id: InstrumentId) -> FeeRates:
        for row_tier in (tier, DEFAULT_TIER):
            for row_instrument in (instrument_id, ALL_INSTRUMENTS):
                rates = self._rates.get((row_tier, row_instrument))
                if rates is not None:
                    return rates
        return self.default


class RateMeter(msgspec.Struct, gc=False, array_like=True):
    """Applies a rate to one amount after another and rounds only their sum.

    However an order is split into fills, it pays and earns what it would as a whole. One meter
    counts one order in one asset and in one direction: `charge` or `credit`, never both.
    Units: `carry` is in minor units x ppm: what is still owed (positive) or was paid ahead.
    """

    carry: int = 0

    def charge(self, amount_minor: int, rate_ppm: int) -> AmountMinor:
        """The fee of one more fill; all fees so far are their exact sum, rounded up once.

        Invariants: 0 <= fee <= amount for rates between zero and one.

        >>> meter = RateMeter()
        >>> [meter.charge(100, 2_500) for fill in range(8)]  # 2,500 ppm of 800 are 2
        [1, 0, 0, 0, 1, 0, 0, 0]
        """
        owed = self.carry + amount_minor * rate_ppm
        fee_minor = -(-owed // RATE_ONE_PPM)
        self.carry = owed - fee_minor * RATE_ONE_PPM
        return AmountMinor(fee_minor)

    def credit(self, amount_minor: int, rate_ppm: int) -> AmountMinor:
        """The rebate of one more fill; all rebates so far are their exact sum, rounded down once.

        `amount_minor` is what the *taker* received and `rate_ppm` the maker rate without its sign.
        The caller pays at most the trade's taker fee of it; what exceeds that is forfeited.
        """
        earned = self.carry + amount_minor * rate_ppm
        rebate_minor = earned // RATE_ONE_PPM
        self.carry = earned - rebate_minor * RATE_ONE_PPM
        return AmountMinor(rebate_minor)


def _key(line: tuple[tuple[str, InstrumentId], FeeRates]) -> tuple[str, InstrumentId]:
    return line[0]

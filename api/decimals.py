"""Decimal text at the edge, integers inside: every conversion, with the field that was at fault."""

from typing import Final

import msgspec

from api.rejected import Rejected, invalid
from engine.accounts.directory import Directory
from engine.ledger.amounts import (
    AmountFault,
    Asset,
    InvalidAmount,
    format_minor,
    format_multiple,
    parse_minor,
    parse_multiple,
)
from engine.orderbook.instrument import Instrument
from engine.units import AmountMinor, PriceTicks, QuantityLots, Side

#: An average price is rounded to so many digits more than the instrument's prices have.
_AVERAGE_DIGITS: Final = 8

_MESSAGES: Final = {
    AmountFault.TOO_LONG: "The text is longer than any amount.",
    AmountFault.NOT_DECIMAL: 'Write plain digits with at most one point, like "0.50".',
    AmountFault.TOO_PRECISE: "More digits after the point than the asset has: at most {step}.",
    AmountFault.NOT_A_MULTIPLE: "Not a multiple of {step}.",
    AmountFault.TOO_LARGE: "Larger than any amount.",
    AmountFault.STEP_NOT_POSITIVE: "Must be above zero.",
}


def amount_minor(text: str, asset: Asset, field: str) -> AmountMinor:
    """An amount of an asset.

    Raises: Rejected.
    """
    try:
        return parse_minor(text, asset.scale)
    except InvalidAmount as error:
        raise _rejected(error, field, str(asset.scale)) from error


def steps(text: str, step_text: str, field: str) -> int:
    """How many ticks or lots a text states.

    Raises: Rejected.
    """
    try:
        return parse_multiple(text, step_text)
    except InvalidAmount as error:
        raise _rejected(error, field, step_text) from error


def _rejected(error: InvalidAmount, field: str, step: str) -> Rejected:
    message = _MESSAGES.get(error.code, "Not an amount.").format(step=step)
    return invalid(field, message, error.code.value)


class InstrumentText(msgspec.Struct, frozen=True):
    """Reads and writes the numbers of one instrument."""

    instrument: Instrument
    base: Asset
    quote: Asset

    @classmethod
    def of(cls, instrument: Instrument, directory: Directory) -> "InstrumentText":
        """Of an instrument whose assets `directory` knows."""
        assets = directory.assets
        return cls(instrument, assets[instrument.base_asset_id], assets[instrument.quote_asset_id])

    def price_ticks(self, text: str, field: str = "price") -> PriceTicks:
        """A price. Raises: Rejected."""
        return PriceTicks(steps(text, self.instrument.tick_size, field))

    def quantity_lots(self, text: str, field: str = "quantity") -> QuantityLots:
        """A quantity. Raises: Rejected."""
        return QuantityLots(steps(text, self.instrument.lot_size, field))

    def quote_minor(self, text: str, field: str) -> AmountMinor:
        """An amount of the quote asset. Raises: Rejected."""
        return amount_minor(text, self.quote, field)

    def price(self, ticks: int) -> str:
        """A price as text."""
        return format_multiple(ticks, self.instrument.tick_size)

    def quantity(self, lots: int) -> str:
        """A quantity as text."""
        return format_multiple(lots, self.instrument.lot_size)

    def quote_amount(self, minor: int) -> str:
        """An amount of the quote asset as text."""
        return format_minor(minor, self.quote.scale)

    def notional(self, tick_lots: int) -> str:
        """A sum of prices times quantities, exactly, in the quote asset."""
        return format_minor(tick_lots * self.instrument.tick_lot_minor, self.quote.scale)

    def received_asset(self, side: Side) -> Asset:
        """What an order of this side receives, and pays its fees in."""
        return self.base if side == Side.BUY else self.quote

    def paid_asset(self, side: Side) -> Asset:
        """What an order of this side gives away."""
        return self.quote if side == Side.BUY else self.base

    def average_price(self, tick_lots: int, lots: int) -> str | None:
        """The average price of `lots`, exact if eight further digits suffice, else rounded to them.

        None for no lots. For people; `notional` is always exact.
        """
        if not lots:
            return None
        tick_size = self.instrument.tick_size
        decimals = len(tick_size.partition(".")[2])
        tick_digits = int(tick_size.replace(".", ""))
        scaled = tick_lots * tick_digits * 10**_AVERAGE_DIGITS
        text = format_minor((2 * scaled + lots) // (2 * lots), decimals + _AVERAGE_DIGITS)
        whole, _, fraction = text.partition(".")
        fraction = fraction[:decimals] + fraction[decimals:].rstrip("0")
        return f"{whole}.{fraction}" if fraction else whole

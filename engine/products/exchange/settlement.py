"""What one trade does to the books of account: principal, fees, rebate, and what is still held."""

from typing import Final

import msgspec

from engine.errors import InvariantViolated
from engine.ledger.fees import RateMeter
from engine.ledger.messages import Entry, EntryPurpose
from engine.ledger.system_accounts import FEES
from engine.orderbook.instrument import Instrument
from engine.orderbook.messages import Trade
from engine.products.exchange.messages import TradeSettled
from engine.units import AccountId, AmountMinor, AssetId, PriceTicks, QuantityLots, Side


class OrderTerms(msgspec.Struct, gc=False):
    """What the desk remembers of an open order beside its place in the book.

    Units: `earlier_lots` is what of a conditional order was gone before its leg was triggered; the
    book counts from there, its owner from the beginning.
    `key_id` is the API key that placed it.
    Invariant: `held_minor` is what the order's group holds; fee rates were pinned at acceptance.
    """

    account_id: AccountId
    side: Side
    price_ticks: PriceTicks
    held_minor: AmountMinor
    maker_ppm: int
    taker_ppm: int
    fee_meter: RateMeter | None = None
    rebate_meter: RateMeter | None = None
    earlier_lots: QuantityLots = QuantityLots(0)
    key_id: int = 0

    def fee(self, received_minor: int, rate_ppm: int) -> int:
        """The fee of one more fill, so that all fills together pay the fee of the whole."""
        if not rate_ppm:
            return 0
        if self.fee_meter is None:
            self.fee_meter = RateMeter()
        return self.fee_meter.charge(received_minor, rate_ppm)

    def rebate(self, base_minor: int) -> int:
        """What one more fill earns at a negative maker rate, before the cap by the taker's fee."""
        if self.rebate_meter is None:
            self.rebate_meter = RateMeter()
        return self.rebate_meter.credit(base_minor, -self.maker_ppm)


def settle_trade(
    trade: Trade,
    maker: OrderTerms,
    taker: OrderTerms,
    instrument: Instrument,
    entries: list[Entry],
) -> TradeSettled:
    """Append the trade's entries and spend the two holds; returns the fees charged.

    The holds lose exactly what is debited, so a buyer's price improvement is still held here and
    set free by whoever states the taker's hold at the end of the record.
    Raises: InvariantViolated if a debit is not covered by its order's hold.
    """
    quote_minor = AmountMinor(trade.price_ticks * trade.quantity_lots * instrument.tick_lot_minor)
    base_minor = AmountMinor(trade.quantity_lots * instrument.lot_minor)
    buyer, seller = (taker, maker) if trade.taker_side == Side.BUY else (maker, taker)
    buyer.held_minor = AmountMinor(buyer.held_minor - quote_minor)
    seller.held_minor = AmountMinor(seller.held_minor - base_minor)
    if buyer.held_minor < 0 or seller.held_minor < 0:
        raise InvariantViolated(f"trade {trade} is not covered by its orders' holds")
    buyer_id, seller_id = buyer.account_id, seller.account_id
    base, quote = instrument.base_asset_id, instrument.quote_asset_id
    if buyer_id != seller_id:
        entries.append(Entry(buyer_id, seller_id, quote, quote_minor, EntryPurpose.PRINCIPAL))
        entries.append(Entry(seller_id, buyer_id, base, base_minor, EntryPurpose.PRINCIPAL))
    settled = meter_trade(trade, maker, taker, instrument)
    if settled.maker_fee_minor or settled.taker_fee_minor:
        by_side = (base, quote) if trade.taker_side == Side.BUY else (quote, base)
        _post_fees(settled, maker.account_id, taker.account_id, by_side, entries)
    return settled


def meter_trade(
    trade: Trade, maker: OrderTerms, taker: OrderTerms, instrument: Instrument
) -> TradeSettled:
    """Advance both orders' fee meters by one trade; returns what it is charged.

    A rebate is at most the trade's taker fee; what exceeds that is forfeited.
    """
    if not (maker.maker_ppm or taker.taker_ppm):
        return _FREE
    quote_minor = trade.price_ticks * trade.quantity_lots * instrument.tick_lot_minor
    base_minor = trade.quantity_lots * instrument.lot_minor
    buys = trade.taker_side == Side.BUY
    taker_received, maker_received = (
        (base_minor, quote_minor) if buys else (quote_minor, base_minor)
    )
    taker_fee = taker.fee(taker_received, taker.taker_ppm)
    if maker.maker_ppm >= 0:
        maker_fee = maker.fee(maker_received, maker.maker_ppm)
    else:
        maker_fee = -min(maker.rebate(taker_received), taker_fee)
    return TradeSettled(AmountMinor(maker_fee), AmountMinor(taker_fee))


def _post_fees(
    settled: TradeSettled,
    maker_id: AccountId,
    taker_id: AccountId,
    received: tuple[AssetId, AssetId],
    entries: list[Entry],
) -> None:
    """Entries for the fees; `received` is the asset the taker got and the one the maker got."""
    taker_asset, maker_asset = received
    maker_fee, taker_fee = settled.maker_fee_minor, settled.taker_fee_minor
    if taker_fee:
        entries.append(Entry(taker_id, FEES, taker_asset, taker_fee, EntryPurpose.FEE))
    if maker_fee > 0:
        entries.append(Entry(maker_id, FEES, maker_asset, maker_fee, EntryPurpose.FEE))
    elif maker_fee < 0:
        rebate = AmountMinor(-maker_fee)
        entries.append(Entry(FEES, maker_id, taker_asset, rebate, EntryPurpose.REBATE))


_FREE: Final = TradeSettled(AmountMinor(0), AmountMinor(0))

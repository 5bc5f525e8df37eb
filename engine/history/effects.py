"""What a record did to each account: the events of the private stream.

A function of the record and of the released state right after it, so the live stream and one that
is read back from the store say the same.
"""

from copy import copy
from typing import Final

from engine.history.changes import Changes, changes_of
from engine.journal.records import Record
from engine.journal.released import Released
from engine.ledger.ledger import Ledger
from engine.ledger.system_accounts import FIRST_CUSTOMER
from engine.messages import Message
from engine.products.exchange.orders import Order
from engine.units import (
    AccountId,
    AmountMinor,
    AssetId,
    InstrumentId,
    OrderId,
    PriceTicks,
    QuantityLots,
    Side,
)


class OrderChanged(Message, frozen=True, tag="order"):
    """One of the account's orders, as the record left it."""

    order: Order


class Filled(Message, frozen=True, tag="fill"):
    """One of the account's orders traded; `trade_index` counts the trades of the record.

    `fee_minor` is in what the order received; negative is a rebate, in what the taker received.
    """

    instrument_id: InstrumentId
    order_id: OrderId
    client_order_id: str
    side: Side
    price_ticks: PriceTicks
    quantity_lots: QuantityLots
    is_maker: bool
    fee_minor: AmountMinor
    trade_index: int


class BalanceChanged(Message, frozen=True, tag="balance"):
    """What the account has of an asset, as the record left it."""

    asset_id: AssetId
    balance_minor: AmountMinor
    held_minor: AmountMinor


Effect = OrderChanged | Filled | BalanceChanged
#: What is told of a balance that no entry has opened yet.
_NOTHING: Final = AmountMinor(0)


def effects_of(record: Record, released: Released) -> dict[AccountId, list[Effect]]:
    """What a record did to each customer, `released` being the state right after it.

    Of an account first the orders it touched, then their fills in the order of trades, then
    balances by asset; a record that changed nothing of a customer's has none.
    Complexity: O(what the record states).
    Raises: InvariantViolated if the state has already forgotten an order that traded.
    """
    return effects_from(changes_of(record, released), released.ledger)


def effects_from(changes: Changes, ledger: Ledger) -> dict[AccountId, list[Effect]]:
    """The effects of changes that are already known; see `effects_of`."""
    told: dict[AccountId, list[Effect]] = {}
    for order in changes.orders:
        # The released order goes on changing; what is told of it must not.
        _tell(told, order.terms.account_id, OrderChanged(copy(order)))
    for index, (trade, fees, maker, taker) in enumerate(changes.trades):
        price_ticks, lots = trade.price_ticks, trade.quantity_lots
        maker_fill = _fill(maker, price_ticks, lots, True, fees.maker_fee_minor, index)
        _tell(told, maker.terms.account_id, maker_fill)
        taker_fill = _fill(taker, price_ticks, lots, False, fees.taker_fee_minor, index)
        _tell(told, taker.terms.account_id, taker_fill)
    for account_id, asset_id in changes.balances:
        if account_id < FIRST_CUSTOMER:
            continue
        balance = ledger.balance(account_id, asset_id)
        if balance is None:
            _tell(told, account_id, BalanceChanged(asset_id, _NOTHING, _NOTHING))
        else:
            posted, held = balance.posted_minor, AmountMinor(balance.held_minor)
            _tell(told, account_id, BalanceChanged(asset_id, posted, held))
    return told


def _tell(told: dict[AccountId, list[Effect]], account_id: AccountId, effect: Effect) -> None:
    effects = told.get(account_id)
    if effects is None:
        told[account_id] = [effect]
    else:
        effects.append(effect)


def _fill(
    order: Order,
    price_ticks: PriceTicks,
    quantity_lots: QuantityLots,
    is_maker: bool,
    fee_minor: AmountMinor,
    trade_index: int,
) -> Filled:
    terms = order.terms
    return Filled(
        terms.instrument_id,
        order.order_id,
        terms.client_order_id,
        terms.side,
        price_ticks,
        quantity_lots,
        is_maker,
        fee_minor,
        trade_index,
    )

"""Setting money aside: what every command must have before its desk sees it.

Reads the released state (ledger, orders) and keeps what is in flight beside it; a command is
refused here for who sends it, what it would cost, its account's limits, or a halt.
"""

from typing import Any, NamedTuple

from engine.accounts.exposure import InFlightExposure
from engine.accounts.rules import Rules
from engine.accounts.set_aside import SetAside
from engine.ledger.ledger import Ledger, balance_key
from engine.messages import Refused
from engine.orderbook.instrument import Instrument
from engine.orderbook.messages import (
    CancelOrder,
    ChangeInstrumentState,
    OrderKind,
    PlaceOrder,
    ReplaceOrder,
)
from engine.products.exchange.holds import (
    additional_for_replace,
    pays_with,
    required_for_conditional,
    required_for_order,
)
from engine.products.exchange.messages import (
    Leg,
    PlaceConditional,
    Reserved,
    TriggerWhen,
)
from engine.products.exchange.orders import Orders
from engine.products.sessions.messages import ArmSession, SetDeadMan
from engine.products.withdrawals.messages import RequestWithdrawal
from engine.refusals import Reason
from engine.risk.checks import OrderSize, replace_refusal
from engine.risk.checks import refusal as limit_refusal
from engine.units import (
    INT64_MAX,
    AccountId,
    AmountMinor,
    AssetId,
    OrderId,
    PriceTicks,
    QuantityLots,
    Sequence,
)

#: Cost nothing, but need an instrument that exists.
_OF_INSTRUMENTS = frozenset((CancelOrder, ChangeInstrumentState))
#: Cost nothing, but need an account that exists.
_OF_ACCOUNTS = frozenset((SetDeadMan, ArmSession))
#: Stands in for the legs of a conditional order that has none; its desk refuses it.
_NO_LEG = Leg(TriggerWhen.AT_ONCE, PriceTicks(0), OrderKind.LIMIT, PriceTicks(0))


class _Standing(NamedTuple):
    """What is known of an order that is to be replaced."""

    terms: PlaceOrder | PlaceConditional
    price_ticks: PriceTicks
    total_lots: QuantityLots
    filled_lots: QuantityLots
    held_minor: AmountMinor


class Reserving:
    """The half of the accounts desk that every command passes; `AccountsDesk` is the other."""

    def __init__(self, ledger: Ledger, orders: Orders) -> None:
        self.rules = Rules()
        self._ledger = ledger
        self._orders = orders
        self._set_aside = SetAside()

    def reserve(self, sequence: Sequence, command: Any) -> Reserved | Refused | None:
        """Set aside what the command can cost at worst.

        Returns what was set aside, a refusal, or None for a command that costs nothing.
        """
        kind = type(command)
        if kind is PlaceOrder:
            return self._reserve_order(sequence, command)
        if kind is PlaceConditional:
            return self._reserve_order(sequence, command)
        if kind is ReplaceOrder:
            return self._reserve_replace(sequence, command)
        if kind is RequestWithdrawal:
            return self._reserve_withdrawal(sequence, command)
        if kind in _OF_INSTRUMENTS and command.instrument_id not in (
            self.rules.directory.instruments
        ):
            return Refused(Reason.UNKNOWN_INSTRUMENT, "instrument")
        if kind in _OF_ACCOUNTS and command.account_id not in self.rules.directory.accounts:
            return Refused(Reason.UNKNOWN_ACCOUNT, "account")
        return None

    def _reserve_order(
        self, sequence: Sequence, order: PlaceOrder | PlaceConditional
    ) -> Reserved | Refused:
        rules = self.rules
        account_id, instrument_id = order.account_id, order.instrument_id
        account = rules.directory.accounts.get(account_id)
        if account is None:
            return Refused(Reason.UNKNOWN_ACCOUNT, "account")
        instrument = rules.directory.instruments.get(instrument_id)
        if instrument is None:
            return Refused(Reason.UNKNOWN_INSTRUMENT, "instrument")
        refused = rules.halts.refusal(account_id, instrument_id)
        if refused is not None:
            return refused
        if account_id in rules.limits:
            refused = self._beyond_limits(order, instrument)
            if refused is not None:
                return refused
        if isinstance(order, PlaceOrder):
            needed = required_for_order(order, instrument)
        else:
            needed = _required_for_legs(order, instrument)
        asset_id = pays_with(order.side, instrument)
        refused = self._take(sequence, account_id, asset_id, needed, order)
        if refused is not None:
            return refused
        rates = rules.fees.rates(account.tier, instrument_id)
        return Reserved(account_id, asset_id, needed, rates.maker_ppm, rates.taker_ppm)

    def _beyond_limits(
        self, order: PlaceOrder | PlaceConditional, instrument: Instrument
    ) -> Refused | None:
        exposure = self._exposure(order.account_id)
        plain = _as_plain(order)
        for limits in self.rules.limits[order.account_id]:
            refused = limit_refusal(plain, instrument, limits, exposure)
            if refused is not None:
                return refused
        return None

    def _reserve_replace(
        self, sequence: Sequence, command: ReplaceOrder
    ) -> Reserved | Refused | None:
        account_id = command.account_id
        instrument = self.rules.directory.instruments.get(command.instrument_id)
        if instrument is None:
            return Refused(Reason.UNKNOWN_INSTRUMENT, "instrument")
        refused = self.rules.halts.refusal(account_id, command.instrument_id)
        if refused is not None:
            return refused
        found = self._terms_to_replace(command.order_id)
        if found is None or found[0].account_id != account_id:
            return Refused(Reason.UNKNOWN_ORDER, "order_id")
        old, price_ticks, old_total, filled, held = found
        standing = OrderSize(old.side, price_ticks, old_total)
        refused = self._replace_beyond_limits(command, standing, instrument)
        if refused is not None:
            return refused
        more = additional_for_replace(
            old.side,
            command.price_ticks,
            command.quantity_lots,
            old_total,
            filled,
            held,
            instrument,
        )
        if not more:
            return None
        asset_id = pays_with(old.side, instrument)
        refused = self._take(sequence, account_id, asset_id, more)
        return refused or Reserved(account_id, asset_id, more)

    def _replace_beyond_limits(
        self, command: ReplaceOrder, standing: OrderSize, instrument: Instrument
    ) -> Refused | None:
        exposure = self._exposure(command.account_id)
        wanted = OrderSize(standing.side, command.price_ticks, command.quantity_lots)
        for limits in self.rules.limits.get(command.account_id, ()):
            refused = replace_refusal(wanted, standing, instrument, limits, exposure)
            if refused is not None:
                return refused
        return None

    def _exposure(self, account_id: AccountId) -> InFlightExposure:
        return InFlightExposure(
            account_id, self._ledger, self._orders, self._set_aside, self.rules.directory
        )

    def _terms_to_replace(self, order_id: OrderId) -> _Standing | None:
        """How an order stands, as far as releases tell."""
        order = self._orders.get_open(order_id)
        if order is not None:
            held = AmountMinor(self._ledger.held_by_group(order_id))
            price_ticks = order.price_ticks or _as_plain(order.terms).price_ticks
            filled = QuantityLots(order.filled_lots)
            return _Standing(order.terms, price_ticks, order.total_lots, filled, held)
        in_flight = self._set_aside.order(order_id)
        if in_flight is None:
            return None
        terms, amount_minor = in_flight
        price_ticks, held = _as_plain(terms).price_ticks, AmountMinor(amount_minor)
        return _Standing(terms, price_ticks, terms.quantity_lots, QuantityLots(0), held)

    def _reserve_withdrawal(
        self, sequence: Sequence, command: RequestWithdrawal
    ) -> Reserved | Refused:
        directory = self.rules.directory
        if command.account_id not in directory.accounts:
            return Refused(Reason.UNKNOWN_ACCOUNT, "account")
        if command.asset_id not in directory.assets:
            return Refused(Reason.UNKNOWN_ASSET, "asset")
        if command.amount_minor <= 0:
            return Refused(Reason.INVALID_VALUE, "amount")
        refused = self._take(sequence, command.account_id, command.asset_id, command.amount_minor)
        return refused or Reserved(command.account_id, command.asset_id, command.amount_minor)

    def _take(
        self,
        sequence: Sequence,
        account_id: AccountId,
        asset_id: AssetId,
        needed_minor: AmountMinor,
        order: PlaceOrder | PlaceConditional | None = None,
    ) -> Refused | None:
        """Set an amount aside, or say why not. Nonsense below zero is the desk's to refuse."""
        if needed_minor > INT64_MAX:
            return Refused(Reason.AMOUNT_OVERFLOW, "quantity")
        key = balance_key(account_id, asset_id)
        available = self._ledger.available_minor(account_id, asset_id)
        if needed_minor > available - self._set_aside.amount_minor(key):
            return Refused(Reason.INSUFFICIENT_FUNDS, "quantity")
        self._set_aside.add(sequence, key, max(0, needed_minor), order)
        return None


def _required_for_legs(order: PlaceConditional, instrument: Instrument) -> AmountMinor:
    if not order.legs:
        return AmountMinor(0)
    return required_for_conditional(order, order.quantity_lots, instrument)


def _as_plain(order: PlaceOrder | PlaceConditional) -> PlaceOrder:
    """The plain order whose limits a conditional order must keep: its dearest leg."""
    if isinstance(order, PlaceOrder):
        return order
    leg = max(order.legs, key=lambda leg: leg.price_ticks, default=_NO_LEG)
    return PlaceOrder(
        order.account_id,
        order.instrument_id,
        order.side,
        leg.kind,
        leg.price_ticks,
        order.quantity_lots,
    )

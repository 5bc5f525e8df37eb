"""Whether an order would be accepted, asked of the released state: nothing is stamped or set aside.

These are the rules that placing goes by, in the same order. What they cannot tell is what only the
book knows at its moment (what rests there), and what is on its way: money that commands in flight
have set aside, a halt that is not released yet.
"""

import msgspec

from engine.accounts.reserving import Reserving
from engine.errors import InvariantViolated
from engine.journal.released import Released
from engine.messages import Refused
from engine.orderbook.checks import not_open, refusal_of_place
from engine.orderbook.instrument import Instrument
from engine.orderbook.messages import InstrumentState, PlaceOrder
from engine.products.exchange import conditional_rules
from engine.products.exchange.messages import PlaceConditional, Reserved, TriggerWhen
from engine.units import PriceTicks, Sequence, TimeNs


class _Market(msgspec.Struct, frozen=True):
    """An instrument as released."""

    instrument: Instrument
    state: InstrumentState
    reference_price_ticks: PriceTicks


def validate(
    released: Released, command: PlaceOrder | PlaceConditional, now_ns: TimeNs
) -> Reserved | Refused:
    """What would be set aside for an order, or why it would be refused. Changes nothing.

    Complexity: that of reserving.
    """
    reserving = Reserving(released.ledger, released.orders)
    reserving.rules = released.rules
    found = reserving.reserve(Sequence(released.sequence + 1), command)
    if not isinstance(found, Reserved):
        if found is None:
            raise InvariantViolated(f"nothing was reserved for {command}")
        return found
    instrument_id = command.instrument_id
    market = _Market(
        released.rules.directory.instruments[instrument_id],
        released.states.get(instrument_id, InstrumentState.OPEN),
        released.reference_price_ticks(instrument_id),
    )
    if isinstance(command, PlaceOrder):
        return _refusal_of_place(market, command, now_ns) or found
    refused = conditional_rules.refusal(command, market, now_ns)
    if refused is not None:
        return refused
    for leg in command.legs:
        if leg.when == TriggerWhen.AT_ONCE:
            order = conditional_rules.order_of(command, leg, command.quantity_lots)
            return _refusal_of_place(market, order, now_ns) or found
    return found


def _refusal_of_place(market: _Market, order: PlaceOrder, now_ns: TimeNs) -> Refused | None:
    if market.state is not InstrumentState.OPEN:
        return not_open()
    return refusal_of_place(market.instrument, market.reference_price_ticks, order, now_ns)

"""Dense random traffic for one instrument, from a seed: every kind of order, often crossing."""

from random import Random
from typing import Any, NamedTuple

import msgspec

from engine.accounts.messages import CancelAll, Transfer
from engine.messages import Message, Wake
from engine.orderbook.messages import (
    CancelOrder,
    ChangeInstrumentState,
    InstrumentState,
    OrderKind,
    PlaceOrder,
    ReplaceOrder,
    SelfTradePrevention,
    TimeInForce,
)
from engine.products.exchange.messages import Leg, PlaceConditional, TriggerWhen
from engine.units import AccountId, AmountMinor, OrderId, PriceTicks, QuantityLots, Side, TimeNs
from tests.products.line import ANN, BASE, BOB, CAT, HERE, QUOTE, Line

_RESTS = (TimeInForce.GTC, TimeInForce.GTD)
_PAIRS = ((0, 1), (0, 2), (1, 2), (2, 1), (1,), (2,))


class Pass(NamedTuple):
    """Let time go by, and wake the desk if its deadline has come."""

    ahead_ns: int


class Release(NamedTuple):
    """Let so many records be seen."""

    records: int


class Draw(NamedTuple):
    """Decide so many released follow-ups."""

    follow_ups_max: int


class Rebuild(NamedTuple):
    """Put a folded desk in the live one's place."""


Step = Pass | Release | Draw | Rebuild | Message


class Traffic:
    """Steps without end. Orders name an open one by its number, deadlines count from entry."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._kinds = {
            self.limit_order: 30,
            self.market_order: 6,
            self.budget_order: 6,
            self.conditional_order: 12,
            self.cancel: 6,
            self.replace: 8,
            self.wide_work: 2,
            self.opening: 2,
            self.outside_the_line: 16,
        }

    def step(self) -> Step:
        """The next one."""
        kinds, weights = zip(*self._kinds.items(), strict=True)
        made: Step = self._random.choices(kinds, weights)[0]()
        if isinstance(made, PlaceOrder | PlaceConditional | CancelAll):
            return msgspec.structs.replace(made, key_id=self._random.randrange(3))
        return made

    def limit_order(self) -> PlaceOrder:
        one_of, chance = self._random.choice, self._random.random
        in_force = one_of((TimeInForce.GTC,) * 5 + tuple(TimeInForce))
        post_only = in_force in _RESTS and chance() < 0.1
        return PlaceOrder(
            self._who(),
            HERE,
            one_of(tuple(Side)),
            OrderKind.LIMIT,
            self._price(),
            self._lots(),
            time_in_force=in_force,
            expires_at_ns=self._deadline() if in_force is TimeInForce.GTD else TimeNs(0),
            post_only=post_only,
            minimum_lots=QuantityLots(int(chance() < 0.1 and not post_only)),
            self_trade=self._mode(),
        )

    def market_order(self) -> PlaceOrder:
        side = self._random.choice(tuple(Side))
        protection = PriceTicks(13 if side is Side.BUY else 7)
        kind = OrderKind.MARKET
        return PlaceOrder(
            self._who(), HERE, side, kind, protection, self._lots(), self_trade=self._mode()
        )

    def budget_order(self) -> PlaceOrder:
        exact = self._random.randint(7, 13) * self._random.randint(1, 12) * 21
        return PlaceOrder(
            self._who(),
            HERE,
            Side.BUY,
            OrderKind.MARKET,
            PriceTicks(13),
            QuantityLots(0),
            AmountMinor(self._random.choice((exact, self._random.randint(1, 3_000)))),
            self_trade=self._mode(),
        )

    def conditional_order(self) -> PlaceConditional:
        legs = tuple(self._leg(TriggerWhen(when)) for when in self._random.choice(_PAIRS))
        expires_at_ns = self._deadline() if self._random.random() < 0.3 else TimeNs(0)
        side, mode = self._random.choice(tuple(Side)), self._mode()
        return PlaceConditional(self._who(), HERE, side, self._lots(), legs, expires_at_ns, mode)

    def cancel(self) -> CancelOrder:
        return CancelOrder(ANN, HERE, self._number())

    def replace(self) -> ReplaceOrder:
        return ReplaceOrder(ANN, HERE, self._number(), self._price(), self._lots())

    def wide_work(self) -> Message:
        closed_for_now = (InstrumentState.HALTED, InstrumentState.CANCEL_ONLY)
        state = self._random.choice(closed_for_now)
        asset_id, amount = self._random.choice((BASE, QUOTE)), self._random.randint(1, 300)
        return self._random.choice(
            (
                CancelAll(self._who()),
                ChangeInstrumentState(HERE, state),
                Transfer(self._who(), self._who(), asset_id, AmountMinor(amount)),
            )
        )

    def opening(self) -> ChangeInstrumentState:
        return ChangeInstrumentState(HERE, InstrumentState.OPEN)

    def outside_the_line(self) -> Step:
        few = self._random.randint(1, 8)
        return self._random.choice((Release(few), Release(few), Draw(few), Pass(few), Rebuild()))

    def _who(self) -> AccountId:
        return self._random.choice((ANN, BOB, CAT))

    def _price(self) -> PriceTicks:
        return PriceTicks(self._random.randint(7, 13))

    def _lots(self) -> QuantityLots:
        return QuantityLots(self._random.randint(1, 12))

    def _mode(self) -> SelfTradePrevention:
        return self._random.choice(tuple(SelfTradePrevention))

    def _deadline(self) -> TimeNs:
        return TimeNs(self._random.randint(1, 30))

    def _number(self) -> OrderId:
        return OrderId(self._random.randrange(100))

    def _leg(self, when: TriggerWhen) -> Leg:
        if when is TriggerWhen.AT_ONCE:
            return Leg(when, PriceTicks(0), OrderKind.LIMIT, self._price())
        in_force = self._random.choice((TimeInForce.GTC, TimeInForce.GTC, TimeInForce.IOC))
        kind = self._random.choice(tuple(OrderKind))
        low, high = (10, 13) if when is TriggerWhen.AT_OR_ABOVE else (7, 10)
        return Leg(when, PriceTicks(self._random.randint(low, high)), kind, self._price(), in_force)


def take(line: Line, step: Any) -> None:
    """Let one step happen."""
    match step:
        case Release(records):
            line.release(records)
        case Draw(follow_ups_max):
            line.draw(follow_ups_max)
        case Rebuild():
            line.rebuild_desk()
        case Pass(ahead_ns):
            line.now_ns = TimeNs(line.now_ns + ahead_ns)
            deadline_ns = line.desk.next_deadline_ns
            if deadline_ns is not None and deadline_ns <= line.now_ns:
                line.submit(Wake(HERE))
        case _:
            command = _addressed(line, step)
            if command is not None:
                line.submit(command)


def _addressed(line: Line, command: Message) -> Message | None:
    """The command with its deadline ahead of now, or about an order that is open now."""
    if isinstance(command, CancelOrder | ReplaceOrder):
        open_orders = line.open_orders()
        if not open_orders:
            return None
        order = open_orders[command.order_id % len(open_orders)]
        return msgspec.structs.replace(
            command, account_id=order.account_id, order_id=order.order_id
        )
    if isinstance(command, PlaceOrder | PlaceConditional) and command.expires_at_ns:
        expires_at_ns = TimeNs(line.now_ns + command.expires_at_ns)
        return msgspec.structs.replace(command, expires_at_ns=expires_at_ns)
    return command

"""Seeded commands for whole-engine benchmarks: who places what, and who cancels it later."""

from random import Random
from typing import Any, Final, NamedTuple

from engine.orderbook.messages import CancelOrder, OrderKind, PlaceOrder, TimeInForce
from engine.units import AccountId, InstrumentId, OrderId, PriceTicks, QuantityLots, Side

MIDDLE_TICKS: Final = 10_000
#: Shares of the flow: what rests, what takes, and the rest cancels.
RESTING_SHARE: Final = 0.45
TAKING_SHARE: Final = 0.15


class Keyed(NamedTuple):
    """A command as the gate wants it."""

    command: Any
    scope: int
    key: str
    body_digest: int


def order_flow(
    count: int, seed: int, accounts: list[AccountId], instruments: list[InstrumentId]
) -> list[Keyed]:
    """`count` commands: 45 % rest, 15 % take with IOC, 40 % cancel by client id.

    Instruments and accounts are drawn evenly; a cancel may name an order that has filled.
    """
    random, live = Random(seed), _Live()
    flow = []
    for number in range(count):
        chance = random.random()
        account = accounts[int(random.random() * len(accounts))]
        instrument = instruments[int(random.random() * len(instruments))]
        if chance < RESTING_SHARE or len(live.orders) < 50:
            flow.append(_place(random, account, instrument, number))
            live.orders.append((account, instrument, f"c{number}"))
        elif chance < RESTING_SHARE + TAKING_SHARE:
            flow.append(_take(random, account, instrument, number))
        else:
            account, instrument, key = live.draw(random)
            flow.append(Keyed(CancelOrder(account, instrument, OrderId(0), key), account, "", 0))
    return flow


def _place(random: Random, account: AccountId, instrument: InstrumentId, number: int) -> Keyed:
    side = Side(random.random() < 0.5)
    away = 1 + int(random.random() * 30)
    price = MIDDLE_TICKS - away if side == Side.BUY else MIDDLE_TICKS + away
    lots = 1 + int(random.random() * 100)
    return _keyed(account, instrument, side, price, lots, TimeInForce.GTC, number)


def _take(random: Random, account: AccountId, instrument: InstrumentId, number: int) -> Keyed:
    side = Side(random.random() < 0.5)
    price = MIDDLE_TICKS + 5 if side == Side.BUY else MIDDLE_TICKS - 5
    lots = 1 + int(random.random() * 60)
    return _keyed(account, instrument, side, price, lots, TimeInForce.IOC, number)


def _keyed(
    account: AccountId,
    instrument: InstrumentId,
    side: Side,
    price: int,
    lots: int,
    time_in_force: TimeInForce,
    number: int,
) -> Keyed:
    order = PlaceOrder(
        account,
        instrument,
        side,
        OrderKind.LIMIT,
        PriceTicks(price),
        QuantityLots(lots),
        time_in_force=time_in_force,
        client_order_id=f"c{number}",
    )
    return Keyed(order, account, f"c{number}", number)


class _Live:
    """Orders that may still rest; drawn at random in constant time."""

    def __init__(self) -> None:
        self.orders: list[tuple[AccountId, InstrumentId, str]] = []

    def draw(self, random: Random) -> tuple[AccountId, InstrumentId, str]:
        at = int(random.random() * len(self.orders))
        drawn, self.orders[at] = self.orders[at], self.orders[-1]
        self.orders.pop()
        return drawn

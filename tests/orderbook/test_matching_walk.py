"""Long seeded walks of both books: deeper and busier than what a shrinking search reaches."""

from random import Random

import pytest

from engine.orderbook.depth import Depth
from engine.orderbook.instrument import Instrument
from engine.orderbook.matching import OrderBook
from engine.orderbook.messages import (
    BookEvent,
    CancelReason,
    OrderCancelled,
    OrderKind,
    PlaceOrder,
    SelfTradePrevented,
    SelfTradePrevention,
    TimeInForce,
    Trade,
)
from engine.units import AccountId, AmountMinor, PriceTicks, QuantityLots, Side
from tests.orderbook.tables import image
from tests.orderbook.twins import INSTRUMENT_ID, INSTRUMENTS, Step, Twins

STEPS = 400


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("instrument", INSTRUMENTS, ids=["plain", "touches 3", "limits"])
def test_the_book_keeps_step_with_the_naive_twin_on_a_long_walk(
    instrument: Instrument, seed: int
) -> None:
    random, twins = Random(seed), Twins(instrument)
    folded, depth = OrderBook(instrument), Depth()
    events: list[BookEvent] = []
    for _ in range(STEPS):
        recorded = len(twins.records)
        events += twins.compare(random_step(random))
        for record in twins.records[recorded:]:
            folded.apply(*record)
            depth.apply(record[-1])
        folded.check_invariants()
        assert image(folded) == image(twins.book)
        assert depth.levels(100) == twins.book.depth(100)
    assert sum(isinstance(event, Trade) for event in events) > STEPS / 10
    assert any(isinstance(event, SelfTradePrevented) for event in events)
    reasons = {event.reason for event in events if isinstance(event, OrderCancelled)}
    assert {CancelReason.EXPIRED, CancelReason.BUDGET_SPENT} <= reasons
    touched_max = instrument.makers_touched_max < STEPS
    assert (CancelReason.MAKERS_TOUCHED_MAX in reasons) == touched_max


def random_step(random: Random) -> Step:
    """Mostly orders around one price, so that the book stays deep and busy."""
    pick = random.random()
    if pick < 0.45:
        return "place", _order(random, random.randint(2, 9))
    if pick < 0.60:
        return "place gtd", _order(random, random.randint(2, 9)), random.randint(1, 40)
    if pick < 0.70:
        return "place", _taker(random)
    if pick < 0.76:
        return "place", _budget(random)
    if pick < 0.79:
        return "place late", _order(random, random.randint(2, 9))
    account = AccountId(random.randint(1, 4))
    if pick < 0.83:
        return "cancel", account, random.randint(0, 40)
    if pick < 0.91:
        price = PriceTicks(random.randint(97, 103))
        return "replace", account, random.randint(0, 60), price, random.randint(1, 9)
    if pick < 0.97:
        return "sleep", random.randint(1, 6)
    if pick < 0.99:
        return "expire", random.randint(1, 2)
    return "cancel resting", 3, random.choice([None, account]), random.choice([None, 6])


def _order(random: Random, lots: int) -> PlaceOrder:
    side = Side(random.randint(0, 1))
    # A little overlap of the two sides around 100.
    price = random.randint(96, 101) if side is Side.BUY else random.randint(99, 104)
    return PlaceOrder(
        AccountId(random.randint(1, 4)),
        INSTRUMENT_ID,
        side,
        OrderKind.LIMIT,
        PriceTicks(price),
        QuantityLots(lots),
        post_only=random.random() < 0.1,
        self_trade=random.choice(list(SelfTradePrevention)),
    )


def _taker(random: Random) -> PlaceOrder:
    side = Side(random.randint(0, 1))
    price = random.randint(100, 104) if side is Side.BUY else random.randint(96, 100)
    lots = random.choice([3, 8, 9, 40])
    return PlaceOrder(
        AccountId(random.randint(1, 4)),
        INSTRUMENT_ID,
        side,
        random.choice(list(OrderKind)),
        PriceTicks(price),
        QuantityLots(lots),
        time_in_force=random.choice([TimeInForce.GTC, TimeInForce.IOC, TimeInForce.FOK]),
        minimum_lots=QuantityLots(random.choice([0, 0, 1, 3])),
        self_trade=random.choice(list(SelfTradePrevention)),
    )


def _budget(random: Random) -> PlaceOrder:
    return PlaceOrder(
        AccountId(random.randint(1, 4)),
        INSTRUMENT_ID,
        Side.BUY,
        OrderKind.MARKET,
        PriceTicks(random.randint(100, 104)),
        QuantityLots(0),
        AmountMinor(random.choice([50, 310, 850, 3_000, 20_000])),
        self_trade=random.choice(list(SelfTradePrevention)),
    )

"""Stops, take-profits and pairs at the door."""

from typing import Any

import pytest

from tests.api.routes.venue import Venue


async def trade_at(venue: Venue, price: str, name: str) -> None:
    """One small trade between the two accounts."""
    await venue.alice.place(f"{name}-buy", price=price, quantity="0.001")
    await venue.bob.place(f"{name}-sell", side="sell", price=price, quantity="0.001")


@pytest.mark.parametrize(
    ("side", "kind", "below", "above"),
    [
        ("buy", "stop", False, True),
        ("sell", "stop", True, False),
        ("buy", "take_profit", True, False),
        ("sell", "take_profit", False, True),
    ],
)
async def test_the_trigger_looks_the_way_that_side_and_type_say(
    side: str, kind: str, below: bool, above: bool, venue: Venue
) -> None:
    await trade_at(venue, "100.00", "start")
    for trigger, accepted in (("90.00", below), ("110.00", above)):
        answer = await venue.alice.place(
            f"at-{trigger}",
            201 if accepted else 422,
            side=side,
            type=kind,
            quantity="0.1",
            trigger_price=trigger,
        )
        if accepted:
            assert (answer["status"], answer["type"]) == ("WAITING", kind)
        else:
            assert (answer["code"], answer["field"]) == (
                "TRIGGER_ALREADY_CROSSED",
                "trigger_price",
            )


async def test_a_stop_becomes_a_protected_market_order(venue: Venue) -> None:
    await trade_at(venue, "100.00", "start")
    stop = await venue.bob.place(
        "stop", side="sell", type="stop", quantity="0.5", trigger_price="95.00"
    )
    assert stop["legs"] == [{"type": "stop", "trigger_price": "95.00", "protection_price": "90.25"}]
    await venue.alice.place("bid", price="94.00", quantity="1")
    await trade_at(venue, "95.00", "down")
    found = await venue.bob.get("/v1/orders/by-client-id/stop")
    assert (found["status"], found["filled"], found["notional"]) == ("FILLED", "0.500", "47.00000")
    assert (found["price"], found["protection_price"]) == (None, "90.25")


@pytest.mark.parametrize(
    ("kind", "trigger"), [("stop_limit", "95.00"), ("take_profit_limit", "105.00")]
)
async def test_a_limited_one_rests_once_triggered(kind: str, trigger: str, venue: Venue) -> None:
    await trade_at(venue, "100.00", "start")
    placed = await venue.bob.place(
        "b-1", side="sell", type=kind, quantity="0.5", trigger_price=trigger, price="110.00"
    )
    assert placed["price"] is None
    assert placed["legs"] == [{"type": kind, "trigger_price": trigger, "price": "110.00"}]
    await trade_at(venue, trigger, "move")
    found = await venue.bob.get("/v1/orders/by-client-id/b-1")
    assert (found["status"], found["price"]) == ("OPEN", "110.00")


async def test_a_pair_is_one_order_whose_other_leg_goes_when_one_acts(venue: Venue) -> None:
    await trade_at(venue, "100.00", "start")
    legs: list[dict[str, Any]] = [
        {"type": "limit", "price": "105.00"},
        {"type": "stop_limit", "trigger_price": "95.00", "price": "94.00"},
    ]
    placed = await venue.bob.place("pair", side="sell", type="oco", quantity="0.5", legs=legs)
    assert (placed["type"], placed["status"]) == ("oco", "WAITING")
    assert [leg["type"] for leg in placed["legs"]] == ["limit", "stop_limit"]
    book = await venue.bob.get("/v1/depth?instrument=BTC-USD")
    assert book["asks"] == [["105.00", "0.500"]]
    await trade_at(venue, "95.00", "down")
    book = await venue.bob.get("/v1/depth?instrument=BTC-USD")
    assert book["asks"] == [["94.00", "0.500"]]
    cancelled = await venue.bob.delete("/v1/orders/by-client-id/pair")
    assert cancelled["remaining"] == "0.500"


async def test_two_triggers_may_make_a_pair(venue: Venue) -> None:
    await trade_at(venue, "100.00", "start")
    legs = [
        {"type": "take_profit", "trigger_price": "110.00"},
        {"type": "stop", "trigger_price": "95.00"},
    ]
    placed = await venue.bob.place("pair", side="sell", type="oco", quantity="0.5", legs=legs)
    assert [leg["protection_price"] for leg in placed["legs"]] == ["104.50", "90.25"]
    assert (await venue.bob.delete("/v1/orders"))["cancelled_orders"] == 1


async def test_a_pair_whose_limit_leg_fills_is_filled(venue: Venue) -> None:
    await trade_at(venue, "100.00", "start")
    await venue.alice.place("bid", price="104.00", quantity="1")
    legs = [
        {"type": "limit", "price": "104.00"},
        {"type": "stop", "trigger_price": "95.00"},
    ]
    placed = await venue.bob.place("pair", side="sell", type="oco", quantity="0.5", legs=legs)
    placed.pop("trades")
    assert placed["status"] == "FILLED"
    assert placed == await venue.bob.get("/v1/orders/by-client-id/pair")


async def test_a_bad_leg_is_named_by_its_place(venue: Venue) -> None:
    legs = [{"type": "limit", "price": "105.005"}, {"type": "stop", "trigger_price": "95.00"}]
    bad = await venue.bob.place("pair", 400, side="sell", type="oco", quantity="0.5", legs=legs)
    assert (bad["code"], bad["field"]) == ("NOT_A_MULTIPLE", "legs[0].price")
    one = await venue.bob.place("one", 400, side="sell", type="oco", quantity="0.5", legs=legs[:1])
    assert one["field"] == "legs"


async def test_a_market_sell_is_worth_its_trigger_however_low_its_protection(venue: Venue) -> None:
    await venue.admin.post(
        "/v1/admin/instruments",
        symbol="BTC-USD-5",
        base="BTC",
        quote="USD",
        tick_size="0.01",
        lot_size="0.001",
        minimum_notional="5",
    )
    stop: dict[str, Any] = {
        "instrument": "BTC-USD-5",
        "side": "sell",
        "type": "stop",
        "trigger_price": "90.00",
        "protection_price": "0.01",
    }
    await venue.bob.place("b-1", **stop, quantity="0.1")
    refused = await venue.bob.place("b-2", 422, **stop, quantity="0.05")
    assert refused["code"] == "NOTIONAL_TOO_SMALL"

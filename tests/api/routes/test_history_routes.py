"""The history over HTTP: whole, in pages without holes, and honest about how far it has come."""

from itertools import pairwise
from typing import Any, get_args

import pytest
import trio

from api.routes.trades import CandlesQuery
from engine.marketdata.candles import INTERVALS
from tests.api.routes.conftest import Open
from tests.api.routes.venue import Caller, Venue, until

TRADES = "/v1/trades?instrument=BTC-USD"


async def trade(venue: Venue, number: int, price: str = "100.00", quantity: str = "0.010") -> int:
    """Let Alice sell to Bob; returns the sequence of the trade."""
    await venue.alice.place(f"s-{number}", side="sell", price=price, quantity=quantity)
    bought = await venue.bob.place(f"b-{number}", price=price, quantity=quantity)
    assert bought["status"] == "FILLED"
    return int(bought["sequence"])


async def pages(caller: Caller, path: str, rows: str, id_: str, **first: Any) -> list[list[Any]]:
    """Every page from the first one on, asked for by the last id of the page before."""
    [(way, place)] = (first or {"before": None}).items()
    found: list[list[Any]] = []
    while True:
        where = "" if place is None else f"&{way}={place}"
        page = (await caller.get(f"{path}&limit=3{where}"))[rows]
        found.append(page)
        if len(page) < 3:
            return found
        place = page[-1][id_]


async def test_trades_are_told_newest_first(venue: Venue) -> None:
    first = await trade(venue, 1)
    second = await trade(venue, 2, price="101.00")
    told = await venue.bob.get(TRADES)
    assert [one.pop("time_ns") > 0 for one in told["trades"]] == [True, True]
    assert told == {
        "instrument": "BTC-USD",
        "trades": [
            {"trade": f"{second}-0", "price": "101.00", "quantity": "0.010", "taker_side": "buy"},
            {"trade": f"{first}-0", "price": "100.00", "quantity": "0.010", "taker_side": "buy"},
        ],
        "as_of_sequence": second,
        "behind_records": 0,
    }
    assert (await venue.bob.get("/v1/trades?instrument=BTC/USD"))["trades"] == []


async def test_pages_of_trades_neither_skip_nor_repeat_while_trading_goes_on(venue: Venue) -> None:
    for number in range(4):
        await venue.alice.place(f"s-{number}", side="sell", quantity="0.010")
    swept = await venue.bob.place("b", quantity="0.040")  # one record, four trades
    later = [await trade(venue, number) for number in range(4, 8)]
    expected = [f"{swept['sequence']}-{index}" for index in range(4)]
    expected += [f"{sequence}-0" for sequence in later]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_keep_trading, venue)
        back = await pages(venue.bob, TRADES, "trades", "trade", before=f"{later[-1] + 1}-0")
        forth = await pages(venue.bob, TRADES, "trades", "trade", after="0-0")
        nursery.cancel_scope.cancel()
    assert [one["trade"] for page in back for one in page] == expected[::-1]
    told = [one["trade"] for page in forth for one in page]
    assert told[: len(expected)] == expected
    assert len(set(told)) == len(told)


async def _keep_trading(venue: Venue) -> None:
    for number in range(100, 1_000):
        await trade(venue, number)


@pytest.mark.parametrize(
    ("path", "field"),
    [
        (f"{TRADES}&after=1-0&before=9-0", "before"),
        (f"{TRADES}&after=1", "after"),
        (f"{TRADES}&after=01-0", "after"),
        (f"{TRADES}&after=-1-0", "after"),
        (f"{TRADES}&limit=1001", "limit"),
        (f"{TRADES}&min_sequence=-1", "min_sequence"),
        ("/v1/orders/history?after=1&before=9", "before"),
        ("/v1/orders/history?after=1-0", "after"),
        ("/v1/candles?instrument=BTC-USD&interval=2m", "interval"),
    ],
)
async def test_a_page_that_makes_no_sense_is_refused(path: str, field: str, venue: Venue) -> None:
    refused = venue.bob.read(await venue.bob.ask("GET", path), 400)
    assert (refused["code"], refused["field"]) == ("INVALID_FIELD", field)


async def test_a_place_beyond_all_places_is_just_the_end(venue: Venue) -> None:
    await trade(venue, 1)
    assert (await venue.bob.get(f"{TRADES}&after={'9' * 19}-0"))["trades"] == []
    assert len((await venue.bob.get(f"{TRADES}&before={'9' * 19}-0"))["trades"]) == 1


async def test_fills_are_an_accounts_own_halves_of_trades(venue: Venue) -> None:
    sequence = await trade(venue, 1, quantity="1.000")
    [sold] = (await venue.alice.get("/v1/fills"))["fills"]
    [bought] = (await venue.bob.get("/v1/fills?instrument=BTC-USD"))["fills"]
    for fill in (sold, bought):
        del fill["time_ns"], fill["order_id"]
    shared = {
        "trade": f"{sequence}-0",
        "instrument": "BTC-USD",
        "price": "100.00",
        "quantity": "1.000",
        "notional": "100.00000",
    }
    assert sold == {
        **shared,
        "side": "sell",
        "fee": "0.10000",
        "fee_asset": "USD",
        "liquidity": "maker",
    }
    assert bought == {
        **shared,
        "side": "buy",
        "fee": "0.00200000",
        "fee_asset": "BTC",
        "liquidity": "taker",
    }
    assert (await venue.bob.get("/v1/fills?instrument=BTC/USD"))["fills"] == []
    assert (await venue.admin.get("/v1/fills?account=101"))["fills"][0]["side"] == "buy"


async def test_a_rebate_is_a_fee_below_zero_in_what_its_taker_received(venue: Venue) -> None:
    await venue.admin.post("/v1/admin/fees", 200, tier="", maker_ppm=-500, taker_ppm=2_000)
    await trade(venue, 1, quantity="1.000")
    [sold] = (await venue.alice.get("/v1/fills"))["fills"]
    order = await venue.alice.get("/v1/orders/by-client-id/s-1")
    assert (sold["fee"], sold["fee_asset"]) == ("-0.00050000", "BTC")
    assert (order["rebate"], order["rebate_asset"]) == ("0.00050000", "BTC")


async def test_who_trades_with_oneself_has_both_fills(venue: Venue) -> None:
    await venue.alice.place("s", side="sell")
    await venue.alice.place("b", self_trade="NONE")
    fills = (await venue.alice.get("/v1/fills"))["fills"]
    assert [(one["side"], one["liquidity"]) for one in fills] == [
        ("buy", "taker"),
        ("sell", "maker"),
    ]


async def test_candles_add_up_to_the_trades(venue: Venue) -> None:
    for number, price in enumerate(("100.00", "103.00", "99.00", "101.00")):
        await trade(venue, number, price=price)
    trades = (await venue.bob.get(TRADES))["trades"]
    for interval, interval_s in INTERVALS.items():
        told = await venue.bob.get(f"/v1/candles?instrument=BTC-USD&interval={interval}")
        candles = told["candles"]
        assert told["interval"] == interval
        assert sum(one["trades"] for one in candles) == len(trades)
        assert sum(int(one["volume"].replace(".", "")) for one in candles) == 40
        assert {one["start_ns"] % (interval_s * 1_000_000_000) for one in candles} == {0}
        assert all(one["start_ns"] < other["start_ns"] for one, other in pairwise(candles))
        assert (candles[0]["open"], candles[-1]["close"]) == ("100.00", "101.00")
    [day] = candles if len(candles) == 1 else [candles[-1]]  # midnight may pass at any time
    assert float(day["low"]) <= float(day["close"]) <= float(day["high"])
    assert day["quote_volume"].count(".") == 1


async def test_candles_of_a_time_start_in_it(venue: Venue) -> None:
    await trade(venue, 1)
    [candle] = (await venue.bob.get("/v1/candles?instrument=BTC-USD&interval=1s"))["candles"]
    start = candle["start_ns"]
    for from_ns, to_ns, found in (
        (start, start + 1, 1),
        (start - 999_999_999, start + 1, 1),
        (start + 1, start + 1_000_000_000, 0),
        (0, start, 0),
    ):
        path = f"/v1/candles?instrument=BTC-USD&interval=1s&from_ns={from_ns}&to_ns={to_ns}"
        assert len((await venue.bob.get(path))["candles"]) == found


def test_every_interval_there_is_can_be_asked_for() -> None:
    assert get_args(CandlesQuery.__annotations__["interval"]) == tuple(INTERVALS)


async def test_the_history_of_orders_has_those_that_ended_and_those_that_did_not(
    venue: Venue,
) -> None:
    placed = [await venue.alice.place(f"a-{number}", quantity="0.010") for number in range(7)]
    await venue.alice.delete(f"/v1/orders/{placed[0]['order_id']}")
    await venue.bob.place("b", side="sell", quantity="0.010", price="99.00")
    told = await venue.alice.get("/v1/orders/history")
    assert [one["client_order_id"] for one in told["orders"]] == [f"a-{n}" for n in range(7)][::-1]
    assert [one["status"] for one in told["orders"][-2:]] == ["FILLED", "CANCELLED"]
    assert told["orders"][0]["status"] == "OPEN"
    way = await pages(venue.alice, "/v1/orders/history?", "orders", "order_id", after=0)
    assert [len(page) for page in way] == [3, 3, 1]
    assert [one["client_order_id"] for page in way for one in page] == [f"a-{n}" for n in range(7)]
    assert (await venue.alice.get("/v1/orders/history?instrument=BTC/USD"))["orders"] == []


async def test_a_statement_adds_up_to_the_balance(venue: Venue) -> None:
    for number in range(3):
        await trade(venue, number, quantity="1.000")
    for asset in ("USD", "BTC"):
        told = await venue.bob.get(f"/v1/statement?asset={asset}")
        entries = told["entries"][::-1]
        assert {one["asset"] for one in entries} == {asset}
        assert {one["purpose"] for one in entries} >= {"DEPOSIT", "PRINCIPAL"}
        assert _minor(entries[0]["amount"]) == _minor(entries[0]["balance"])
        for one, other in pairwise(entries):
            assert _minor(one["balance"]) + _minor(other["amount"]) == _minor(other["balance"])
        balances = (await venue.bob.get("/v1/balances"))["balances"]
        [total] = [one["total"] for one in balances if one["asset"] == asset]
        assert entries[-1]["balance"] == total
    way = await pages(venue.bob, "/v1/statement?", "entries", "entry")
    whole = (await venue.bob.get("/v1/statement"))["entries"]
    assert [one for page in way for one in page] == whole


def _minor(text: str) -> int:
    return int(text.replace(".", ""))


async def test_the_books_of_all_accounts_are_for_admins(venue: Venue) -> None:
    sequence = await trade(venue, 1, quantity="1.000")
    told = await venue.admin.get("/v1/admin/entries?asset=USD&limit=2")
    fee, principal = told["entries"]
    assert (principal["purpose"], principal["amount"]) == ("PRINCIPAL", "100.00000")
    assert (principal["debit_account"], principal["credit_account"]) == (101, 100)
    assert (fee["purpose"], fee["debit_account"], fee["credit_account"]) == ("FEE", 100, 2)
    assert fee["entry"].startswith(f"{sequence}-")
    of_bob = await venue.admin.get("/v1/admin/entries?account=101")
    assert {101} <= {one["debit_account"] for one in of_bob["entries"]}
    assert all(101 in (one["debit_account"], one["credit_account"]) for one in of_bob["entries"])
    for path in ("/v1/admin/entries", "/v1/admin/audit"):
        venue.bob.read(await venue.bob.ask("GET", path), 403)


async def test_acts_of_administration_are_told_with_reason_before_and_after(venue: Venue) -> None:
    halt = {"scope": "account", "account": 100, "halted": True, "reason": "a look"}
    headers = {"Outcry-Reason": "ticket%204711", "X-Request-Id": "mine-1"}
    response = await venue.admin.ask("POST", "/v1/admin/halts", halt, **headers)
    sequence = response.json()["sequence"]
    told = await venue.admin.get("/v1/admin/audit?limit=1")
    [act] = told["acts"]
    assert (act["sequence"], act["key_id"], act["request_id"]) == (sequence, 1, "mine-1")
    assert act["reason"] == "ticket 4711"
    assert act["before"] != act["after"]
    earlier = await venue.admin.get(f"/v1/admin/audit?before={sequence}&limit=1000")
    assert earlier["acts"][0]["sequence"] < sequence
    assert (await venue.admin.get(f"/v1/admin/audit?after={sequence}"))["acts"] == []


async def test_an_order_is_found_however_long_ago_it_ended(open_venue: Open) -> None:
    venue = await open_venue(closed_orders_max=2)
    placed = await venue.alice.place("old")
    await venue.alice.delete(f"/v1/orders/{placed['order_id']}")
    for number in range(3):
        one = await venue.alice.place(f"a-{number}")
        await venue.alice.delete(f"/v1/orders/{one['order_id']}")
    path = f"/v1/orders/{placed['order_id']}"
    assert venue.service.released.orders.get(int(placed["order_id"])) is None  # type: ignore[arg-type]
    old = await venue.alice.get(path)
    assert (old["status"], old["reason"], old["client_order_id"]) == (
        "CANCELLED",
        "REQUESTED",
        "old",
    )
    assert old["sequence"] == int(placed["order_id"]) + 1  # as of the record that ended it
    assert await venue.alice.get("/v1/orders/by-client-id/old") == old
    venue.bob.read(await venue.bob.ask("GET", path), 404)
    venue.alice.read(await venue.alice.ask("GET", "/v1/orders/3"), 404)  # no order's record
    venue.alice.read(await venue.alice.ask("GET", f"/v1/orders/{10**15}"), 404)


async def test_what_the_history_does_not_know_yet_is_not_denied(open_venue: Open) -> None:
    venue = await open_venue(closed_orders_max=2)
    early = await venue.alice.place("early")
    await venue.history.watermark()
    venue.history.stalls = True
    late = await venue.alice.place("late")
    for placed in (early, late):
        await venue.alice.delete(f"/v1/orders/{placed['order_id']}")
    for number in range(3):
        one = await venue.alice.place(f"a-{number}")
        await venue.alice.delete(f"/v1/orders/{one['order_id']}")
    for placed in (early, late):
        response = await venue.alice.ask("GET", f"/v1/orders/{placed['order_id']}")
        assert venue.alice.read(response, 503)["code"] == "HISTORY_BEHIND"
        assert response.headers["retry-after"] == "1"
    venue.history.stalls = False
    for placed in (early, late):
        told = await venue.alice.get(f"/v1/orders/{placed['order_id']}")
        assert told["status"] == "CANCELLED"


async def test_a_page_says_how_far_the_history_is_behind(venue: Venue) -> None:
    sequence = await trade(venue, 1)
    await venue.history.watermark()
    venue.history.stalls = True
    await trade(venue, 2)
    told = await venue.bob.get(TRADES)
    assert (told["as_of_sequence"], told["behind_records"]) == (sequence, 2)
    assert len(told["trades"]) == 1


@pytest.mark.parametrize(
    "path", [TRADES, "/v1/fills?", "/v1/orders/history?", "/v1/statement?asset=USD"]
)
async def test_a_read_waits_until_the_history_has_come_so_far(path: str, venue: Venue) -> None:
    venue.history.stalls = True
    sequence = await trade(venue, 1)
    told: list[Any] = []

    async def read() -> None:
        told.append(await venue.bob.get(f"{path}&min_sequence={sequence}"))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        await trio.sleep(0.05)
        assert not told
        venue.history.stalls = False
        await until(lambda: bool(told))
    assert told[0]["as_of_sequence"] >= sequence
    [rows] = [told[0][name] for name in ("trades", "fills", "orders", "entries") if name in told[0]]
    assert rows


async def test_a_read_waits_no_longer_than_the_deadline(open_venue: Open) -> None:
    venue = await open_venue(edge_deadline_s=0.05)
    response = await venue.bob.ask("GET", f"{TRADES}&min_sequence={10**9}")
    assert venue.bob.read(response, 503)["code"] == "HISTORY_BEHIND"
    assert response.headers["retry-after"] == "1"

"""Administration at the door: what exists, money, risk, and the engine's own state."""

from typing import Any

import pytest
import trio

from tests.api.routes.venue import Venue, until


async def test_a_market_is_made_from_nothing_and_trades(venue: Venue) -> None:
    post = venue.admin.post
    points = await post("/v1/admin/assets", code="PTS", kind="points", scale=0, name="Points")
    assert points == {"number": 3, "code": "PTS", "kind": "points", "scale": 0, "name": "Points"}
    made = await post(
        "/v1/admin/instruments",
        symbol="PTS-USD",
        base="PTS",
        quote="USD",
        tick_size="0.001",
        lot_size="1",
    )
    assert made == {"number": 3, "symbol": "PTS-USD"}
    terms = await venue.reader.get("/v1/instruments/PTS-USD")
    assert (terms["minimum_quantity"], terms["maximum_quantity"]) == ("1", None)
    owner = await post("/v1/admin/owners", name="Carol")
    account = await post("/v1/admin/accounts", owner=owner["owner"], name="Main", tier="gold")
    assert account == {"account": 102, "owner": 2, "name": "Main", "tier": "gold"}
    key = await post("/v1/admin/keys", permissions=["READ", "TRADE"], account=102, label="bot")
    await post("/v1/admin/deposits", account=102, asset="PTS", amount="500", reference="gift")
    carol = venue.caller(key["secret"])
    order: dict[str, Any] = {"instrument": "PTS-USD", "price": "0.010", "quantity": "100"}
    await venue.alice.place("a-1", **order)
    sold = await carol.place("c-1", side="sell", **order)
    assert (sold["status"], sold["notional"]) == ("FILLED", "1.00000")


async def test_a_new_keys_secret_is_shown_once_and_revoking_shuts_it_out(venue: Venue) -> None:
    first = await venue.admin.post("/v1/admin/keys", key="k-1", permissions=["READ"], account=101)
    assert first["secret"].startswith("ock_")
    again = await venue.admin.post("/v1/admin/keys", key="k-1", permissions=["READ"], account=101)
    assert again == {**first, "secret": None}
    holder = venue.caller(first["secret"])
    assert (await holder.get("/v1/balances"))["account"] == 101
    listed = (await venue.admin.get("/v1/admin/keys"))["keys"]
    assert listed[-1] == {name: first[name] for name in first if name != "secret"}
    assert "digest" not in str(listed)
    await venue.admin.delete(f"/v1/admin/keys/{first['key_id']}")
    assert (await holder.ask("GET", "/v1/balances")).status_code == 401
    gone = await venue.admin.delete(f"/v1/admin/keys/{first['key_id']}", 404)
    assert gone["code"] == "UNKNOWN_KEY"


async def test_lists_come_in_pages(venue: Venue) -> None:
    for name, number in (("assets", "number"), ("owners", "owner"), ("accounts", "account")):
        rows = (await venue.admin.get(f"/v1/admin/{name}"))[name]
        page = (await venue.admin.get(f"/v1/admin/{name}?after={rows[0][number]}&limit=1"))[name]
        assert page == rows[1:2]


@pytest.mark.parametrize(
    ("path", "body", "status", "code", "field"),
    [
        ("assets", {"code": "BTC", "kind": "coin", "scale": 8}, 409, "ALREADY_EXISTS", "code"),
        ("assets", {"code": "ETH", "kind": "rock", "scale": 8}, 400, "INVALID_FIELD", "kind"),
        ("accounts", {"owner": 9, "name": "x"}, 404, "UNKNOWN_OWNER", "owner"),
        ("keys", {"permissions": ["ADMIN"], "account": 100}, 422, "INVALID_VALUE", "account"),
        ("keys", {"permissions": ["READ"], "account": 300}, 404, "UNKNOWN_ACCOUNT", "account"),
        (
            "deposits",
            {"account": 300, "asset": "BTC", "amount": "1", "reference": ""},
            404,
            "UNKNOWN_ACCOUNT",
            "account",
        ),
        (
            "transfers",
            {"account": 100, "to_account": 101, "asset": "BTC", "amount": "11"},
            422,
            "INSUFFICIENT_FUNDS",
            "amount",
        ),
        (
            "halts",
            {"scope": "account", "account": 100, "halted": True},
            400,
            "INVALID_FIELD",
            "reason",
        ),
        ("tiers", {"account": 100, "tier": "gold", "x": 1}, 400, "INVALID_FIELD", "x"),
    ],
)
async def test_bad_administration_names_its_field(
    path: str, body: dict[str, Any], status: int, code: str, field: str, venue: Venue
) -> None:
    refused = await venue.admin.post(f"/v1/admin/{path}", status, **body)
    assert (refused["code"], refused["field"]) == (code, field)


async def test_a_deposit_with_a_key_arrives_once(venue: Venue) -> None:
    for _ in range(2):
        await venue.admin.post(
            "/v1/admin/deposits",
            key="d-1",
            account=100,
            asset="BTC",
            amount="1",
            reference="bank-1",
        )
    [coin, _] = (await venue.alice.get("/v1/balances"))["balances"]
    assert coin["total"] == "11.00000000"


async def test_a_transfer_moves_between_accounts(venue: Venue) -> None:
    await venue.admin.post(
        "/v1/admin/transfers", account=100, to_account=101, asset="BTC", amount="2.5"
    )
    totals = [
        (await caller.get("/v1/balances"))["balances"][0]["total"]
        for caller in (venue.alice, venue.bob)
    ]
    assert totals == ["7.50000000", "12.50000000"]


@pytest.mark.parametrize(
    ("scope", "code"),
    [
        ({"scope": "everything"}, "TRADING_HALTED"),
        ({"scope": "instrument", "instrument": "BTC-USD"}, "INSTRUMENT_HALTED"),
        ({"scope": "account", "account": 100}, "ACCOUNT_HALTED"),
    ],
)
async def test_a_halt_stops_orders_and_lets_cancels_pass(
    scope: dict[str, Any], code: str, venue: Venue
) -> None:
    await venue.alice.place("a-1")
    switch = {**scope, "reason": "drill"}
    await venue.admin.post("/v1/admin/halts", 200, **switch, halted=True)
    assert (await venue.alice.place("a-2", 422))["code"] == code
    await venue.alice.delete("/v1/orders/by-client-id/a-1")
    thrown = await venue.admin.get("/v1/admin/halts")
    assert thrown != {"everything": False, "instruments": [], "accounts": []}
    await venue.admin.post("/v1/admin/halts", 200, **switch, halted=False)
    assert (await venue.alice.place("a-3"))["status"] == "OPEN"
    thrown = await venue.admin.get("/v1/admin/halts")
    assert thrown == {"everything": False, "instruments": [], "accounts": []}


async def test_limits_are_kept_and_shown_in_decimals(venue: Venue) -> None:
    limits: dict[str, Any] = {
        "account": 100,
        "open_orders_max": 1,
        "instruments": {"BTC-USD": {"quantity_max": "2.000", "notional_max": "150.00000"}},
        "holdings_max": {"BTC": "50.00000000"},
    }
    await venue.admin.post("/v1/admin/limits", 200, **limits)
    assert await venue.admin.get("/v1/admin/limits?account=100") == limits
    for name, terms in (("a-1", {"quantity": "2.5"}), ("a-2", {"quantity": "1.6"})):
        assert (await venue.alice.place(name, 422, **terms))["code"] == "LIMIT_EXCEEDED"
    await venue.alice.place("a-3")
    assert (await venue.alice.place("a-4", 422))["code"] == "LIMIT_EXCEEDED"
    unlimited = await venue.admin.get("/v1/admin/limits?account=101")
    assert unlimited["open_orders_max"] is None
    bad: dict[str, Any] = {"account": 100, "instruments": {"NONE": {}}}
    assert (await venue.admin.post("/v1/admin/limits", 404, **bad))["code"] == "UNKNOWN_INSTRUMENT"


async def test_fees_follow_tier_and_instrument(venue: Venue) -> None:
    await venue.admin.post(
        "/v1/admin/fees", 200, tier="gold", instrument="BTC-USD", maker_ppm=-100, taker_ppm=500
    )
    await venue.admin.post("/v1/admin/tiers", 200, account=101, tier="gold")
    shown = (await venue.admin.get("/v1/admin/fees"))["fees"]
    assert shown == [
        {"tier": "", "instrument": None, "maker_ppm": 1_000, "taker_ppm": 2_000},
        {"tier": "gold", "instrument": "BTC-USD", "maker_ppm": -100, "taker_ppm": 500},
    ]
    await venue.bob.place("b-1", side="sell", quantity="1")
    bought = await venue.alice.place("a-1", quantity="1")
    assert bought["fee"] == "0.00200000"
    maker = await venue.bob.get("/v1/orders/by-client-id/b-1")
    assert (maker["fee"], maker["rebate"], maker["rebate_asset"]) == (
        "0.00000",
        "0.00010000",
        "BTC",
    )


async def test_an_instruments_state_says_what_it_accepts(venue: Venue) -> None:
    await venue.alice.place("a-1")
    path = "/v1/admin/instrument-states"
    await venue.admin.post(path, 200, instrument="BTC-USD", state="CANCEL_ONLY")
    assert (await venue.reader.get("/v1/instruments/BTC-USD"))["state"] == "CANCEL_ONLY"
    assert (await venue.alice.place("a-2", 422))["code"] == "INSTRUMENT_NOT_OPEN"
    await venue.admin.post(path, 200, instrument="BTC-USD", state="CLOSED")
    await until(lambda: not venue.service.released.orders.open_count)
    closed = await venue.alice.get("/v1/orders/by-client-id/a-1")
    assert (closed["status"], closed["reason"]) == ("CANCELLED", "INSTRUMENT_CLOSED")


async def test_health_is_open_to_all_and_tells_an_outage(venue: Venue) -> None:
    healthy = await venue.nobody.get("/v1/health")
    assert (healthy["status"], healthy["outage_s"]) == ("UP", None)
    assert healthy["sequence"] == venue.service.released.sequence
    assert set(healthy["slots_free"]) == {"orders", "cancels"}
    venue.engine.line.journal.outage_since_s = trio.current_time() - 3
    response = await venue.nobody.ask("GET", "/v1/health")
    outage = venue.nobody.read(response, 503)
    assert outage["status"] == "OUTAGE"
    assert outage["outage_s"] >= 3


async def test_actors_show_how_they_fare(venue: Venue) -> None:
    await venue.alice.place("a-1")
    shown = await venue.admin.get("/v1/admin/actors")
    assert [actor["name"] for actor in shown["actors"]] == [
        "accounts",
        "desks",
        "journal",
        "custody",
        "feed",
    ]
    assert all(actor["running"] for actor in shown["actors"])
    desks = {desk["instrument"]: desk for desk in shown["desks"]}
    assert desks["BTC-USD"]["health"] == "LIVE"
    assert (shown["lives"], shown["outstanding_follow_ups"]) == (1, 0)

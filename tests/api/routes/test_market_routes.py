"""Instruments, depth, balances and time at the door."""

from tests.api.routes.venue import Venue


async def test_the_time_is_the_engines_in_nanoseconds(venue: Venue) -> None:
    first = (await venue.nobody.get("/v1/time"))["server_time_ns"]
    assert 0 <= venue.service.now_ns() - first < 10**9


async def test_instruments_state_their_terms_in_decimals(venue: Venue) -> None:
    await venue.admin.post(
        "/v1/admin/instruments",
        symbol="BTC-EUR",
        base="BTC",
        quote="USD",
        tick_size="0.05",
        lot_size="0.01",
        minimum_quantity="0.1",
        maximum_quantity="100",
        minimum_notional="5",
        reference_price="250.05",
        band_ppm=100_000,
    )
    shown = await venue.reader.get("/v1/instruments/BTC-EUR")
    assert shown == {
        "number": 3,
        "symbol": "BTC-EUR",
        "base": "BTC",
        "quote": "USD",
        "tick_size": "0.05",
        "lot_size": "0.01",
        "minimum_quantity": "0.10",
        "maximum_quantity": "100.00",
        "minimum_notional": "5.00000",
        "maximum_notional": None,
        "band_ppm": 100_000,
        "state": "OPEN",
        "halted": False,
        "last_price": None,
        "reference_price": "250.05",
    }
    listed = (await venue.reader.get("/v1/instruments?after=1&limit=1"))["instruments"]
    assert [row["symbol"] for row in listed] == ["BTC/USD"]
    assert (await venue.reader.get("/v1/instruments/BTC/USD"))["symbol"] == "BTC/USD"
    missing = await venue.reader.ask("GET", "/v1/instruments/NONE")
    assert venue.reader.read(missing, 404)["code"] == "UNKNOWN_INSTRUMENT"


async def test_depth_shows_levels_best_first(venue: Venue) -> None:
    for number, price in enumerate(("99.00", "100.00", "100.00", "98.00")):
        await venue.alice.place(f"a-{number}", price=price, quantity="1")
    await venue.bob.place("b-1", side="sell", price="101.00", quantity="0.5")
    depth = await venue.reader.get("/v1/depth?instrument=BTC-USD&limit=2")
    assert depth["bids"] == [["100.00", "2.000"], ["99.00", "1.000"]]
    assert depth["asks"] == [["101.00", "0.500"]]
    assert depth["instrument"] == "BTC-USD"
    assert depth["as_of_sequence"] == venue.service.released.sequence


async def test_balances_split_into_held_and_available(venue: Venue) -> None:
    await venue.alice.place("a-1", price="100.00", quantity="1.5")
    balances = await venue.reader.get("/v1/balances")
    assert balances["balances"] == [
        {
            "asset": "BTC",
            "total": "10.00000000",
            "held": "0.00000000",
            "available": "10.00000000",
        },
        {
            "asset": "USD",
            "total": "1000000.00000",
            "held": "150.00000",
            "available": "999850.00000",
        },
    ]


async def test_the_house_accounts_can_be_read_by_admins(venue: Venue) -> None:
    clearing = await venue.admin.get("/v1/balances?account=1")
    assert [row["total"] for row in clearing["balances"]] == ["-20.00000000", "-2000000.00000"]
    missing = await venue.admin.ask("GET", "/v1/balances?account=77")
    assert venue.admin.read(missing, 404)["code"] == "UNKNOWN_ACCOUNT"

"""Traders: the same by their seed, harmless for a day and longer, and stubborn but quiet."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from itertools import chain, islice
from random import Random

import pytest
import trio
from structlog.testing import capture_logs

from api.client import Bearer, TrioClient, admin_calls, calls
from api.client.errors import Refused
from api.demo.minds import Maker, Mind, Request, Taker, Walk
from api.demo.traders import Does, Trader, minds_of, run_traders
from api.rates import RateSettings
from api.settings import ApiSettings
from engine.storage.memory import MemoryJournal
from tests.api import moving_venue as venues
from tests.api.moving_venue import MovingVenue, moving_venue, until
from tests.api.toy_market import MARKET, ToyMarket, play

CAST = [
    Trader("maker1", "ock_maker1", Does.MAKES),
    Trader("maker2", "ock_maker2", Does.MAKES),
    Trader("taker1", "ock_taker1", Does.TAKES),
    Trader("taker2", "ock_taker2", Does.TAKES),
]


def cast(seed: int = 1) -> list[Mind]:
    """Everybody's mind in one market."""
    minds = minds_of(CAST, [MARKET], seed=seed, start="1")
    return [minds[trader.name][0] for trader in CAST]


def a_maker(start_ticks: int = MARKET.start_ticks) -> Maker:
    """One whose price hardly moves."""
    return Maker(MARKET, Walk(Random(1), start_ticks), Random(2), "m")


def first(count: int, seed: int) -> list[Request]:
    """The first requests of everybody."""
    beats = play(ToyMarket(), cast(seed), range(1, count))
    return list(islice(chain.from_iterable(beats), count))


def test_the_same_seed_sends_the_same_requests() -> None:
    assert first(2_000, seed=7) == first(2_000, seed=7)
    assert first(200, seed=7) != first(200, seed=8)


def test_a_walk_is_the_same_however_often_it_is_looked_at() -> None:
    often, seldom = Walk(Random(1), 6_000), Walk(Random(1), 6_000)
    seen = [often.at(number) for number in range(1_001)]
    assert (seldom.at(500), seldom.at(1_000)) == (seen[500], seen[1_000])
    assert seldom.at(999) == seen[1_000]  # it does not go back
    assert len(set(seen)) > 50


def test_a_walk_stays_within_some_per_cent_of_where_it_began() -> None:
    walk = Walk(Random(3), 6_000_000)
    seen = [walk.at(number) for number in range(0, 90_000, 30)]
    assert 5_700_000 < min(seen) < 5_990_000
    assert 6_010_000 < max(seen) < 6_300_000


def test_order_ids_are_never_used_twice() -> None:
    placed = [one.fields["order"] for one in first(5_000, seed=1) if one.op == "place"]
    assert len({order["client_order_id"] for order in placed}) == len(placed)


@pytest.mark.slow
def test_there_are_bids_and_offers_and_trades_at_all_times() -> None:
    market = ToyMarket()
    depths = [market.depth() for _ in play(market, cast(), range(1, 5_000))]
    assert min(min(depth) for depth in depths[1:]) >= 12
    assert market.traded_tick_lots > 0


@pytest.mark.slow
def test_nobody_gathers_a_position_however_long_it_goes_on() -> None:
    market, minds = ToyMarket(), cast(2)
    largest = 0
    for _ in play(market, minds, range(1, 10_000)):
        largest = max(largest, *map(abs, market.positions_lots.values()), 0)
    assert largest < 20_000
    for place, mind in enumerate(minds):  # what it believes is about what is true
        assert isinstance(mind, Maker | Taker)
        assert abs(mind.position_lots - market.positions_lots[place]) < 2_000


def test_a_maker_quotes_around_somebody_who_sells_below_its_price() -> None:
    market, maker = ToyMarket(), a_maker()
    below = MARKET.start_ticks * 97 // 100
    market.rest("big", buys=False, ticks=below, lots=10**9)
    list(play(market, [maker], range(1, 100)))
    bids, offers = market.depth()
    assert bids >= 6
    assert offers >= 6
    assert (market.best(buys=True) or 0) < below
    del market.orders["big"]
    list(play(market, [maker], range(100, 600)))
    assert (market.best(buys=True) or 0) > MARKET.start_ticks * 99 // 100


def test_a_maker_replaces_an_order_that_was_filled_by_a_new_one() -> None:
    maker = a_maker()
    placed = list(maker.beat(1))
    for request in placed:
        maker.took(request, {"remaining": request.fields["order"]["quantity"]})
    [moved] = maker.beat(1)
    assert moved.op == "replace"
    maker.refused(moved, "UNKNOWN_ORDER")
    again = next(request for request in maker.beat(1) if request.op == "place")
    known = {one.fields["order"]["client_order_id"] for one in placed}
    assert again.fields["order"]["client_order_id"] not in known


def test_a_maker_that_has_bought_quotes_lower() -> None:
    maker = a_maker()
    for request in maker.beat(1):
        quantity = request.fields["order"]["quantity"]
        maker.took(request, {"remaining": "0" if _buys(request) else quantity})
    assert maker.position_lots > 0
    maker.begin()
    before = [float(one.fields["order"]["price"]) for one in a_maker().beat(1)]
    after = [float(one.fields["order"]["price"]) for one in maker.beat(1)]
    assert sum(after) < sum(before)


def test_a_taker_without_the_means_to_buy_sells() -> None:
    taker = Taker(MARKET, Random(1), "t")
    sides = []
    for number in range(400):
        for request in taker.beat(number):
            sides.append(request.fields["order"]["side"])
            taker.refused(request, "INSUFFICIENT_FUNDS" if _buys(request) else "ELSE")
    assert sides[50:].count("sell") > 2 * sides[50:].count("buy")


def _buys(request: Request) -> bool:
    return bool(request.fields["order"]["side"] == "buy")


# -- against a server


@asynccontextmanager
async def trading(
    venue: MovingVenue, speed: float = 50.0, traders: list[Trader] | None = None
) -> AsyncIterator[trio.Event]:
    """Traders at a venue, for the length of the block; the event says that they are done."""
    done = trio.Event()

    async def run() -> None:
        await run_traders(venue.url, traders or venues.CAST, seed=1, speed=speed)
        done.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(run)
        yield done
        nursery.cancel_scope.cancel()


def book(venue: MovingVenue, symbol: str) -> tuple[int, int]:
    """How many levels each side of a book has."""
    directory = venue.service.released.rules.directory
    number = directory.instruments_by_symbol[symbol].instrument_id
    bids, asks = venue.service.released.depth(number).levels(100)
    return len(list(bids)), len(list(asks))


@pytest.mark.slow
async def test_every_instrument_of_the_demo_has_both_sides_and_trades() -> None:
    async with moving_venue(MemoryJournal()) as venue, trading(venue):
        await until(lambda: venue.trades == 4)
        for symbol in ("BTC-USD", "ETH-USD", "ETH-BTC", "DOGE-USD"):
            assert min(book(venue, symbol)) >= 3


@pytest.mark.slow
async def test_traders_go_on_after_the_server_was_away_and_tell_it_once() -> None:
    journal = MemoryJournal()
    with capture_logs() as logs:
        async with trio.open_nursery() as nursery:
            async with moving_venue(journal) as venue:
                run = partial(run_traders, venue.url, venues.CAST, seed=1, speed=50.0)
                nursery.start_soon(run)
                await until(lambda: venue.trades == 4)
            await trio.sleep(1.5)  # several attempts
            port = int(venue.url.rpartition(":")[2])
            async with moving_venue(journal, port) as again:
                before = again.service.released.sequence
                await until(lambda: again.service.released.sequence > before + 500)
                assert min(book(again, "BTC-USD")) >= 3
                nursery.cancel_scope.cancel()
    assert [log["event"] for log in logs].count("no connection") == len(venues.CAST)
    assert not [log for log in logs if log["log_level"] == "error"]


@pytest.mark.slow
async def test_a_halt_is_waited_for_without_a_flood_of_orders() -> None:
    async with moving_venue(MemoryJournal()) as venue, trading(venue):
        await until(lambda: venue.trades == 4)
        async with TrioClient(venue.url, Bearer("ock_admin")) as admin:
            halt = admin_calls.HaltEverythingForm(halted=True, reason="a test")
            await admin.send(admin_calls.set_halt(halt, "halt"))
            before = venue.service.released.sequence
            await trio.sleep(1.0)
            halted = venue.service.released.sequence - before
            resume = admin_calls.HaltEverythingForm(halted=False, reason="a test")
            await admin.send(admin_calls.set_halt(resume, "resume"))
        assert halted < 150
        await until(lambda: venue.service.released.sequence > before + halted + 500)


@pytest.mark.slow
async def test_a_trader_whose_key_has_ended_stops_and_so_do_all_without_any() -> None:
    with capture_logs() as logs:
        async with moving_venue(MemoryJournal()) as venue, trading(venue) as done:
            await until(lambda: venue.trades == 4)
            async with TrioClient(venue.url, Bearer("ock_admin")) as admin:
                for trader in venues.CAST:
                    async with TrioClient(venue.url, Bearer(trader.secret)) as holder:
                        key = await holder.send(calls.own_key())
                    await admin.send(admin_calls.revoke_key(key.key_id))
            with trio.fail_after(5):
                await done.wait()
    assert len([log for log in logs if log["event"] == "not let in any more"]) == 2


@pytest.mark.slow
async def test_traders_keep_to_the_rates_of_their_keys() -> None:
    rates = RateSettings(key_per_second=50, key_burst=100)
    settings = ApiSettings(rates=rates)
    async with moving_venue(MemoryJournal(), api=settings) as venue, trading(venue, speed=100.0):
        await until(lambda: venue.trades >= 1)
        before, said = venue.service.released.sequence, venue.counts.socket_messages_in
        await trio.sleep(1.0)
        assert 20 < venue.service.released.sequence - before < 300
        assert venue.counts.socket_messages_in - said < 400


async def test_traders_without_a_good_key_say_so() -> None:
    async with moving_venue(MemoryJournal()) as venue:
        with pytest.raises(Refused) as refused:
            await run_traders(
                venue.url, [Trader("maker1", "ock_wrong", Does.MAKES)], seed=1, speed=1.0
            )
    assert refused.value.status == 401

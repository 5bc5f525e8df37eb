"""What `outcry top` shows of two samples, and that it can look at a real server."""

import io

import pytest
import trio
from rich.console import Console

from api.client import Bearer
from api.routes.health import ActorAnswer, ActorsAnswer, DeskAnswer, HistoryAnswer
from api.routes.markets import InstrumentAnswer
from api.routes.tickers import TickerAnswer
from api.top.frame import frame
from api.top.sampling import Sample, Sampler
from engine.service import Health, HealthStatus
from engine.storage.memory import MemoryJournal
from tests.api.moving_venue import moving_venue

URL = "http://127.0.0.1:1"


def ticker(**stated: object) -> TickerAnswer:
    """Of BTC-USD with both sides, unless `stated` says otherwise."""
    terms = {
        "instrument": "BTC-USD",
        "last": "60000.00",
        "open": "59000.00",
        "high": "60000.00",
        "low": "59000.00",
        "change": "1000.00",
        "change_ppm": 16_949,
        "volume": "12.5000",
        "quote_volume": "750000.000000",
        "trades": 1_200,
        "bid": "59999.00",
        "bid_quantity": "0.5000",
        "ask": "60001.00",
        "ask_quantity": "0.2500",
        "warming": False,
        "time_ns": 0,
        "sequence": 1,
    }
    return TickerAnswer(**{**terms, **stated})  # type: ignore[arg-type]


def terms_of(state: str = "OPEN", *, halted: bool = False) -> InstrumentAnswer:
    """The terms of BTC-USD."""
    return InstrumentAnswer(
        number=1,
        symbol="BTC-USD",
        base="BTC",
        quote="USD",
        tick_size="0.01",
        lot_size="0.0001",
        minimum_quantity="0.0001",
        maximum_quantity=None,
        minimum_notional=None,
        maximum_notional=None,
        band_ppm=None,
        state=state,
        halted=halted,
        last_price=None,
        reference_price=None,
    )


def actors(**stated: object) -> ActorsAnswer:
    """A healthy engine, unless `stated` says otherwise."""
    facts = {
        "sequence": 1_000,
        "lives": 1,
        "actors": [ActorAnswer("journal", True, 0, 100, 500, 1.0, 0)],
        "desks": [DeskAnswer("instrument", "BTC-USD", "LIVE", 0, 900)],
        "next_deadline_ns": None,
        "outstanding_follow_ups": 0,
        "slots": {"orders": 8_192, "cancels": 2_048},
        "slots_free": {"orders": 8_192, "cancels": 2_048},
        "admitted": {"orders": 1_000, "cancels": 10},
        "history": HistoryAnswer(1_000, 0, 0.0),
        "connections": 3,
        "websockets": 2,
    }
    return ActorsAnswer(**{**facts, **stated})  # type: ignore[arg-type]


def sample(taken_s: float = 0.0, sequence: int = 1_000, **stated: object) -> Sample:
    """A server that is up, with one instrument and everything to see."""
    facts = {
        "health": Health(HealthStatus.UP, sequence, None, {}),
        "answered_s": 0.002,
        "instruments": (terms_of(),),
        "tickers": (ticker(),),
        "actors": actors(),
    }
    return Sample(taken_s=taken_s, **{**facts, **stated})  # type: ignore[arg-type]


def shown(before: Sample | None, now: Sample, width: int = 120) -> str:
    """A frame as text."""
    console = Console(width=width, file=io.StringIO(), color_system=None)
    with console.capture() as captured:
        console.print(frame(before, now, URL, width))
    return captured.get()


def line_of(text: str, word: str) -> str:
    """The one line that begins with a word."""
    [line] = [line for line in text.splitlines() if line.startswith(word)]
    return line


def test_a_book_is_shown_with_spread_change_and_state() -> None:
    row = line_of(shown(None, sample()), "BTC-USD")
    words = "BTC-USD OPEN 0.5000 59999.00 60001.00 0.2500 0.3 bp 60000.00 +1.69% 12.5000 1,200 -"
    assert row.split() == words.split()


def test_rates_are_counted_between_two_samples() -> None:
    later = sample(
        2.0,
        1_500,
        tickers=(ticker(trades=1_230),),
        actors=actors(
            admitted={"orders": 1_300, "cancels": 10},
            actors=[ActorAnswer("journal", True, 0, 150, 900, 1.1, 4)],
        ),
    )
    text = shown(sample(), later)
    assert "250 records/s  15.0 trades/s" in text
    assert line_of(text, "BTC-USD").endswith("15.0")
    assert "0/8,192 under way, 150/s" in text
    assert line_of(text, "journal").split() == ["journal", "4", "25.0", "2.00", "ms", "5%", "0"]


def test_the_first_frame_has_no_rates() -> None:
    text = shown(None, sample())
    assert "/s " not in text.splitlines()[0]
    assert line_of(text, "journal").split() == ["journal", "0", "-", "-", "-", "0"]


def test_rates_do_not_go_below_nothing_when_the_server_began_anew() -> None:
    text = shown(sample(0.0, 9_000), sample(1.0, 10))
    assert "  0.0 records/s" in text
    assert "--" not in text


@pytest.mark.parametrize(
    ("terms", "told"),
    [(terms_of("CANCEL_ONLY"), "CANCEL_ONLY"), (terms_of(halted=True), "HALTED BY SWITCH")],
)
def test_a_market_that_does_not_trade_says_why(terms: InstrumentAnswer, told: str) -> None:
    assert told in line_of(shown(None, sample(instruments=(terms,))), "BTC-USD")


def test_an_empty_book_has_dashes() -> None:
    empty = ticker(bid=None, bid_quantity=None, ask=None, ask_quantity=None, change_ppm=None)
    row = line_of(shown(None, sample(tickers=(empty,))), "BTC-USD").split()
    assert row[2:7] == ["-"] * 5


def test_lag_queues_and_restarts_are_told() -> None:
    engine = actors(
        lives=2,
        slots_free={"orders": 92, "cancels": 2_048},
        desks=[DeskAnswer("instrument", "BTC-USD", "HALTED", 4, 900)],
        history=HistoryAnswer(10, 990, 3.25),
        actors=[ActorAnswer("journal", False, 3, 1, 1, 0.0, 7_000)],
    )
    text = shown(None, sample(actors=engine))
    assert "8,100/8,192 under way" in text
    assert "990 records, 3.2 s behind" in text
    assert "BTC-USD HALTED of 1" in text
    assert "lives 2" in text
    assert line_of(text, "journal (not running)").split()[3] == "7,000"


def test_a_history_that_does_not_answer_is_told() -> None:
    assert "history does not answer" in shown(None, sample(actors=actors(history=None)))


def test_a_server_that_does_not_answer_is_told() -> None:
    text = shown(sample(), Sample(taken_s=1.0, trouble="GET /v1/health: refused"))
    assert text.splitlines()[0].endswith("no answer")
    assert "GET /v1/health: refused" in text


def test_an_outage_is_told_with_its_length() -> None:
    health = Health(HealthStatus.OUTAGE, 5, 7.4, {})
    assert "OUTAGE for 7 s" in shown(None, sample(health=health))


@pytest.mark.parametrize("width", [200, 120, 80, 60, 40])
def test_a_frame_is_never_wider_than_its_terminal_and_keeps_the_prices(width: int) -> None:
    text = shown(sample(), sample(1.0), width)
    assert max(map(len, text.splitlines())) <= width
    assert {"59999.00", "60001.00", "60000.00"} <= set(line_of(text, "BTC-USD").split())


async def test_an_admin_sees_the_engine_and_a_trader_the_markets() -> None:
    async with moving_venue(MemoryJournal()) as venue:
        async with Sampler(venue.url, Bearer("ock_admin")) as all_seeing:
            seen = await all_seeing.sample()
        async with Sampler(venue.url, Bearer("ock_alice")) as reading:
            first, second = await reading.sample(), await reading.sample()
    assert seen.actors is not None
    assert seen.actors.history is not None
    assert seen.actors.connections >= 1
    assert (seen.trouble, first.trouble, second.trouble) == ("", "", "")
    assert second.actors is None
    assert len(second.tickers) == len(second.instruments) == 4
    assert "An admin key shows the engine too." in shown(first, second)


async def test_trouble_is_part_of_a_sample() -> None:
    wrong = Bearer("ock_wrong")
    async with moving_venue(MemoryJournal()) as venue, Sampler(venue.url, wrong) as sampler:
        refused = await sampler.sample()
    assert refused.health is not None
    assert "UNAUTHORIZED" in refused.trouble
    with trio.fail_after(5):
        async with Sampler(venue.url, Bearer("ock_admin")) as sampler:
            gone = await sampler.sample()
    assert gone.health is None
    assert gone.trouble

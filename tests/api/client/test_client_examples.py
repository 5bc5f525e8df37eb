"""The programs of docs/examples and the snippets of docs/client.md, against a real server."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
import trio

from api.client import Bearer, TrioClient, calls
from tests.api.client.server import ALICE_KEY, BOB_KEY, SIGNED_KEY, Server, in_thread, limit

ROOT = Path(__file__).parents[3]
EXAMPLES = ROOT / "docs" / "examples"
PAGE = ROOT / "docs" / "client.md"
TRIED = {"first_order", "signed_by_hand", "book_keeper", "follow_fills", "market_maker"}


class Program:
    """One example, running."""

    def __init__(self, process: trio.Process) -> None:
        self._process = process
        self._heard = b""

    async def hear(self, pattern: str, wait_s: float = 15.0) -> str:
        """The first thing it says that matches, which is then behind us."""
        assert self._process.stdout is not None
        with trio.fail_after(wait_s):
            while not (found := re.search(pattern.encode(), self._heard)):
                part = await self._process.stdout.receive_some()
                assert part, self._heard.decode()
                self._heard += part
        self._heard = self._heard[found.end() :]
        return found.group().decode()

    def interrupt(self) -> None:
        """What Ctrl-C does."""
        self._process.send_signal(signal.SIGINT)

    async def end(self) -> int:
        """Its exit code."""
        with trio.fail_after(15):
            return await self._process.wait()


@asynccontextmanager
async def example(name: str, *arguments: str, **environ: str) -> AsyncIterator[Program]:
    """An example that runs during the block, at the end of which it is killed."""
    path = {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    async with trio.open_nursery() as nursery:
        run = partial(
            trio.run_process,
            [sys.executable, str(EXAMPLES / f"{name}.py"), *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
            env={**os.environ, **path, **environ},
        )
        process = await nursery.start(run)
        yield Program(process)
        nursery.cancel_scope.cancel()


def test_every_example_is_tried_here() -> None:
    assert {path.stem for path in EXAMPLES.glob("*.py")} == TRIED


@pytest.mark.slow
async def test_a_first_order_is_placed_once_and_cancelled(server: Server) -> None:
    async with example("first_order", OUTCRY_URL=server.url, OUTCRY_KEY=ALICE_KEY) as program:
        placed = (await program.hear(r"order \d+ is OPEN")).split()[1]
        assert await program.hear(r"still order \d+") == f"still order {placed}"
        await program.hear(f"order {placed} is CANCELLED")
        assert await program.end() == 0


@pytest.mark.slow
@pytest.mark.parametrize("name", ["first_order", "signed_by_hand"])
async def test_a_signature_by_hand_and_by_the_client_are_let_in(server: Server, name: str) -> None:
    key = {"OUTCRY_KEY_ID": str(SIGNED_KEY), "OUTCRY_SECRET": server.secret}
    async with example(name, OUTCRY_URL=server.url, **key) as program:
        await program.hear("is CANCELLED")
        assert await program.end() == 0


@pytest.mark.slow
async def test_a_book_keeper_tells_the_best_prices(server: Server) -> None:
    async with (
        example("book_keeper", "BTC-USD", OUTCRY_URL=server.url) as program,
        TrioClient(server.url, Bearer(ALICE_KEY)) as alice,
    ):
        await program.hear("BTC-USD: none bid, none offered")
        await alice.send(calls.place(limit("best")))
        await program.hear("BTC-USD: 1.000 at 100.00 bid, none offered")
        await server.kill()
        await program.hear("BTC-USD: not known")
        await server.start()
        await program.hear("BTC-USD: 1.000 at 100.00 bid, none offered")


@pytest.mark.slow
async def test_ctrl_c_ends_an_example_without_a_traceback(server: Server) -> None:
    async with example("book_keeper", OUTCRY_URL=server.url) as program:
        await program.hear("BTC-USD: none bid")
        program.interrupt()
        assert await program.end() == 0


@pytest.mark.slow
async def test_every_fill_is_told_over_starts_of_the_program(
    server: Server, tmp_path: Path
) -> None:
    place, key = tmp_path / "fills.place", {"OUTCRY_URL": server.url, "OUTCRY_KEY": ALICE_KEY}
    async with (
        TrioClient(server.url, Bearer(ALICE_KEY)) as alice,
        TrioClient(server.url, Bearer(BOB_KEY)) as bob,
    ):

        async def trade(name: str) -> str:
            await bob.send(calls.place(limit(f"{name}-b", "sell")))
            taken = await alice.send(calls.place(limit(f"{name}-a")))
            return f"trade {taken.sequence}-0: buy 1.000 BTC-USD at 100.00 as taker"

        async with example("follow_fills", str(place), **key) as program:
            with trio.fail_after(15):
                while not place.exists():  # noqa: ASYNC110  # the program tells nobody
                    await trio.sleep(0.05)
            await program.hear(await trade("one"))
            await trio.sleep(0.2)  # the file is written behind it
        unheard = await trade("two")
        async with example("follow_fills", str(place), **key) as program:
            assert await program.hear("trade .*") == unheard
            await program.hear(await trade("three"))


@pytest.mark.slow
async def test_a_market_maker_quotes_and_leaves_nothing_behind(server: Server) -> None:
    async with TrioClient(server.url, Bearer(BOB_KEY)) as bob:
        for side, price in (("buy", "99.00"), ("sell", "101.00")):
            await bob.send(calls.place(limit(side, side, price)))  # type: ignore[arg-type]
        async with (
            example("market_maker", OUTCRY_URL=server.url, OUTCRY_KEY=ALICE_KEY) as program,
            TrioClient(server.url, Bearer(ALICE_KEY)) as alice,
        ):
            await program.hear("quoted 99.90 / 100.10")
            await program.hear("quoted 99.90 / 100.10")
            resting = (await alice.send(calls.open_orders())).orders
            assert {(order.side, order.price) for order in resting} == {
                ("buy", "99.90"),
                ("sell", "100.10"),
            }
        async with TrioClient(server.url, Bearer(ALICE_KEY)) as alice:
            with trio.fail_after(5):
                while (await alice.send(calls.open_orders())).orders:  # noqa: ASYNC110
                    await trio.sleep(0.05)


@pytest.mark.slow
async def test_the_snippets_of_the_page_do_what_they_say(
    server: Server, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OUTCRY_URL", server.url)
    monkeypatch.setenv("OUTCRY_KEY", ALICE_KEY)
    names: dict[str, object] = {}
    snippets = re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    capsys.readouterr()
    with trio.fail_after(20):
        for snippet in snippets:
            await in_thread(exec, snippet, names)
    names["outcry"].__exit__(None, None, None)  # type: ignore[attr-defined]
    told = capsys.readouterr().out
    assert "OPEN 0.000" in told
    assert "snapshot" in told
    assert len(snippets) == 4


def test_the_page_links_what_there_is() -> None:
    for name in re.findall(r"\]\(([\w/]+\.\w+|examples)(?:#[\w-]+)?\)", PAGE.read_text("utf-8")):
        assert (PAGE.parent / name).exists(), name

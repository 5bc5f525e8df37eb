"""One data folder, one history, many deaths: start, ask again, load, kill, and so on.

    python -m tests.crash.campaign --kills 60 --seed 7

kills a server that often, at random times and at every named crash point, and reports. With
`--streams` clients of both websockets are there all the time, and what they are told is judged.
With `--keys-exact-max 50` nearly every repeated key is one that memory has forgotten.
"""

import argparse
import json
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from random import Random
from typing import Final

import msgspec
import trio

from tests.crash.checker import Checker
from tests.crash.history import Call, History
from tests.crash.http_client import AnswerLost, NotSent
from tests.crash.load import Bot, Caller, Teller
from tests.crash.oracles import Auditor, verify
from tests.crash.process import EndedAtOnce, ServerProcess, outcry
from tests.crash.streams import SENTINELS, Streams
from tests.crash.venue import STAKES, CustodyClerk, Venue, found

_SIGKILLED: Final = -9
_OLDER_CALLS_ASKED: Final = 60
_REACH_S_MAX: Final = 25.0
#: So that most lives begin from a snapshot and a tail.
_OFTEN: Final = {"OUTCRY__PROJECTOR__SNAPSHOT_EVERY_S": "1"}
#: Points that the server's own process passes, and after how many passes it dies at the most.
ENGINE_POINTS: Final = {
    **dict.fromkeys(("P1", "P2", "P3", "P4", "P5", "P6", "P7", "P8"), 60),
    **dict.fromkeys(("P12", "P13", "P14"), 3),
}
#: Points that the projector's process passes.
PROJECTOR_POINTS: Final = ("P9", "P10", "P11")
#: Points around the read models, which `test_projector_kills.py` tries.
HISTORY_POINTS: Final = ("P16", "P17", "P18", "P19")


class Campaign:
    """A server under load that is killed again and again, and everything it ever promised."""

    def __init__(
        self,
        folder: Path,
        seed: int,
        *,
        url: str = "",
        environ: Mapping[str, str] | None = None,
        bots: int = 10,
        streams: bool = False,
    ) -> None:
        self.server = ServerProcess(folder, url=url, environ={**_OFTEN, **(environ or {})})
        self.history = History()
        self.clerk = CustodyClerk(self.server.custody_folder)
        self.seed = seed
        self.random = Random(seed)
        self.kills: list[str] = []
        self.unreached: list[str] = []
        self.ready_s: list[float] = []
        self._bots = bots
        self._sentinels = SENTINELS if streams else 0
        self._rounds = 0
        self._checked = 0
        self.venue: Venue
        self.checker: Checker
        #: Stream clients, while they are `watching`.
        self.streams: Streams | None = None

    async def open(self) -> None:
        """Start on an empty folder and create markets and customers; the server then runs."""
        await self.server.start()
        self.venue = await found(self.server, self._bots + self._sentinels)
        self.checker = Checker(self.venue, self.history)
        teller = Teller(self.venue, self.history, self.seed)
        for member in self.venue.members:
            for asset, amount in STAKES.items():
                await teller.deposit({"account": member.account, "asset": asset, "amount": amount})
        teller.close()

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        """Stream clients at work over everything that happens in the block, if there are any."""
        if not self._sentinels:
            yield
            return
        sentinels = self.venue.members[self._bots :]
        self.streams = Streams(self.venue, self.history, self.seed, sentinels)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.streams.run)
            await self.streams.begun()
            yield
            nursery.cancel_scope.cancel()

    async def die(self, way: str) -> None:
        """One death: at a crash point, at a random moment, again and again while it recovers."""
        if way in ENGINE_POINTS:
            await self.die_at(way, self.random.randint(1, ENGINE_POINTS[way]))
            return
        if way == "recovery":
            await self.kill_during_recovery()
            return
        await self.restart()
        if way in PROJECTOR_POINTS:
            await self.kill_projector_at(way)
        await self.kill_at_random(self.random.uniform(0.05, 1.5), database_too=way == "power")

    async def kill_at_random(self, load_s: float, *, database_too: bool = False) -> None:
        """Load the running server for so long, then SIGKILL it at that very moment."""
        async with self.loaded():
            await trio.sleep(load_s)
            await self.server.kill(database_too=database_too)
        self.kills.append("random, database too" if database_too else "random")

    async def kill_during_recovery(self, times: int = 3) -> None:
        """Start the server so often, and kill it each time before it can answer for long."""
        for _ in range(times):
            self.server.spawn()
            await trio.sleep(self.random.uniform(0.2, 2.5))
            await self.server.kill(database_too=self.random.random() < 0.3)
            self.kills.append("recovery")

    async def die_at(self, point: str, passes: int) -> None:
        """One life that ends at a crash point: while it recovers, is asked again, or is loaded."""
        crash_at = f"{point}:{passes}"
        try:
            self.ready_s.append(await self.server.start(crash_at))
            await self.check_recent()
            async with self.loaded():
                with trio.move_on_after(_REACH_S_MAX):
                    await self.server.ended()
        except* EndedAtOnce as ended:
            if any(one.code != _SIGKILLED for one in ended.exceptions if type(one) is EndedAtOnce):
                raise
        except* (NotSent, AnswerLost):
            await self.server.ended()  # asked again while it died
        if self.server.is_running:
            self.unreached.append(crash_at)
            await self.server.kill()
        elif await self.server.ended() != _SIGKILLED:
            raise EndedAtOnce(await self.server.ended(), self.server.last_words())
        self.kills.append(crash_at)

    async def kill_projector_at(self, point: str) -> None:
        """Run another projector beside the loaded server, and let it die of its snapshot."""
        environ = {**self.server.environ(), "OUTCRY_CRASH_AT": point}
        log = self.server.folder / "projector.log"
        with log.open("wb") as words:
            process = await trio.lowlevel.open_process(
                outcry("projector", "--until-input-ends"),
                stdin=subprocess.PIPE,
                stderr=words,
                env={**environ, "OUTCRY__DATABASE__URL": self.server.dsn},
            )
        with trio.fail_after(_REACH_S_MAX):
            async with self.loaded():
                if await process.wait() != _SIGKILLED:
                    raise EndedAtOnce(process.returncode or 0, log.read_text())
        self.kills.append(f"{point}:1")

    async def restart(self) -> None:
        """Start the server and ask again about everything since the last time."""
        self.ready_s.append(await self.server.start())
        await self.check_recent()
        if self.streams is not None:
            await self.streams.check_quiet()

    async def check_recent(self) -> None:
        """Ask again what was not asked since it was said, and some of what was."""
        calls = self.history.calls
        upto, since = len(calls), self._checked
        older = self.random.sample(calls[:since], min(since, _OLDER_CALLS_ASKED))
        await self._recheck([*older, *calls[since:]])
        self._checked = upto

    async def _recheck(self, calls: list[Call]) -> None:
        async with self._custody_at_work():
            await self.checker.recheck(calls)

    def move_to(self, server: ServerProcess) -> None:
        """From here on another server answers for the same journal."""
        self.server = server
        self.venue = msgspec.structs.replace(self.venue, port=server.port)
        self.checker.venue = self.venue

    async def audit(self, asked_max: int = 1_000) -> None:
        """Ask once more about so many calls, then look at every balance and the whole journal.

        The server must run.
        """
        await self.check_recent()
        calls = self.history.calls
        await self._recheck(self.random.sample(calls, min(len(calls), asked_max)))
        auditor = Auditor(self.venue, self.history)
        async with AsyncExitStack() as stack:
            if self.streams is not None:
                await stack.enter_async_context(self.streams.at_rest())
            async with self._custody_at_work():
                await auditor.check_books(self.clerk)
            if self.streams is not None:
                await self.streams.check_end(self.server.dsn)
                self.checker.contradictions += self.streams.contradictions
            await auditor.check_journal(self.server.dsn)
        self.checker.contradictions += [*auditor.contradictions, *self.history.strange]

    @asynccontextmanager
    async def _custody_at_work(self) -> AsyncIterator[None]:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.clerk.run)
            yield
            nursery.cancel_scope.cancel()

    @asynccontextmanager
    async def loaded(self) -> AsyncIterator[None]:
        """Bots and a teller at work; leaving the block lets them finish their last call."""
        self._rounds += 1
        seed = self.seed * 100_000 + self._rounds
        callers: list[Caller] = [
            Bot(member, self.venue, self.history, seed)
            for member in self.venue.members[: self._bots]
        ]
        callers.append(Teller(self.venue, self.history, seed))
        stopping = trio.Event()
        async with self._custody_at_work(), trio.open_nursery() as nursery:
            for caller in callers:
                nursery.start_soon(caller.run, stopping)
            yield
            stopping.set()

    def report(self) -> dict[str, object]:
        """What was done and found, in figures."""
        ready = sorted(self.ready_s)
        checker = self.checker
        return {
            "seed": self.seed,
            "kills": len(self.kills),
            "kills_by_kind": {k: self.kills.count(k) for k in sorted(set(self.kills))},
            "unreached": self.unreached,
            "calls": len(self.history.calls),
            **{f"calls_{name.lower()}": n for name, n in self.history.counts().items()},
            "asked_again": checker.asked,
            "unknown_found": checker.found_of_unknown,
            "unknown_absent": checker.absent_of_unknown,
            "ready_s_median": round(ready[len(ready) // 2], 2) if ready else None,
            "ready_s_max": round(ready[-1], 2) if ready else None,
            **(self.streams.figures() if self.streams is not None else {}),
            "contradictions": len(checker.contradictions),
        }


async def run(
    kills: int, seed: int, folder: Path, *, streams: bool = False, keys_exact_max: int = 0
) -> tuple[Campaign, int]:
    """Kill a server so often, in every way in turn; the campaign and `outcry verify`'s code."""
    forgetful = {"OUTCRY__ENGINE__KEYS_EXACT_MAX": str(keys_exact_max)} if keys_exact_max else {}
    campaign = Campaign(folder, seed, environ=forgetful, streams=streams)
    ways = [*ENGINE_POINTS, *PROJECTOR_POINTS, "random", "random", "power", "recovery"]
    try:
        await campaign.open()
        async with campaign.watching():
            await campaign.kill_at_random(1.0)
            while len(campaign.kills) < kills:
                for way in campaign.random.sample(ways, len(ways)):
                    await campaign.die(way)
                    if len(campaign.kills) >= kills:
                        break
            await campaign.restart()
            await campaign.audit(len(campaign.history.calls))
        code = verify(campaign.server.environ()).returncode
        if await campaign.server.stop():
            campaign.checker.contradictions.append("the last life did not end in order")
    finally:
        await campaign.server.kill(database_too=True)
    return campaign, code


def main() -> int:
    """Run a campaign, print its report; 1 if anything was contradicted."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--streams", action="store_true", help="stream clients are there too")
    parser.add_argument("--keys-exact-max", type=int, default=0, help="0: as the server does")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="outcry-crash-") as name:
        folder = Path(name)
        folder.chmod(0o711)
        began = time.monotonic()
        running = partial(run, streams=arguments.streams, keys_exact_max=arguments.keys_exact_max)
        campaign, code = trio.run(running, arguments.kills, arguments.seed, folder)
    report = {**campaign.report(), "verify": code, "seconds": round(time.monotonic() - began, 1)}
    print(json.dumps(report, indent=2))
    for contradiction in campaign.checker.contradictions[:10]:
        print(contradiction)
    return int(bool(campaign.checker.contradictions or code or campaign.unreached))


if __name__ == "__main__":
    raise SystemExit(main())

"""Who watches which account live: what each record did to it, right when it is released.

A watch begins at a released sequence and then misses nothing until it is broken: by the end of the
engine's life, whose last records may be released without being told, or by its own watcher being
too slow. Whoever goes on afterwards reads what is missing from history.
"""

from collections import deque
from typing import Final

import trio

from engine.errors import Halted
from engine.history.changes import touched_accounts
from engine.history.effects import effects_of
from engine.history.rows import EffectsRow
from engine.journal.records import Record
from engine.journal.released import Released
from engine.units import AccountId

#: What one watcher may leave lying about: some seconds of one busy account.
ROWS_MAX: Final = 20_000


class Watch:
    """One watcher's place: `take` what has come, `news` waits for more."""

    __slots__ = ("_news", "_rows", "account_id", "is_broken", "is_too_slow", "since")

    def __init__(self, account_id: AccountId, since: int) -> None:
        self.account_id = account_id
        #: The sequence released when it began: it is told of every later one.
        self.since = since
        #: Nothing more will come. What has come may still be taken.
        self.is_broken = False
        self.is_too_slow = False
        self._rows: deque[EffectsRow] = deque()
        self._news = trio.Event()

    def __repr__(self) -> str:
        return f"<Watch of {self.account_id} since {self.since}: {len(self._rows)} waiting>"

    def take(self) -> list[EffectsRow]:
        """Everything that has come, in sequence. Never waits."""
        rows = list(self._rows)
        self._rows.clear()
        return rows

    async def news(self) -> None:
        """Wait until there is something to take, or the watch is broken."""
        if not self._rows and not self.is_broken:
            self._news = trio.Event()
            await self._news.wait()

    def tell(self, row: EffectsRow) -> None:
        """Leave a row, or break if too many lie here already."""
        if self.is_broken:
            return
        if len(self._rows) >= ROWS_MAX:
            self.is_too_slow = True
            self.end()
            return
        self._rows.append(row)
        self._news.set()

    def end(self) -> None:
        """Break it."""
        self.is_broken = True
        self._news.set()


class Watching:
    """All watches of an engine; it outlives the engine's lives, no watch does.

    Complexity: with nobody here, nothing; else O(1) for a record of no account watched.
    """

    def __init__(self) -> None:
        self._watches: dict[AccountId, list[Watch]] = {}
        self._released: Released | None = None
        self._begun = trio.Event()

    def __repr__(self) -> str:
        return f"<Watching: {len(self._watches)} accounts>"

    @property
    def is_anybody_here(self) -> bool:
        """Whether records are worth a look."""
        return bool(self._watches)

    def begin(self, released: Released) -> None:
        """A life begins with this released state."""
        self._released = released
        self._begun.set()

    def end(self) -> None:
        """The life is over, and every watch with it."""
        self._released = None
        self._begun = trio.Event()
        ended, self._watches = self._watches, {}
        for watches in ended.values():
            for watch in watches:
                watch.end()

    async def living(self) -> None:
        """Wait until there is a life to watch."""
        await self._begun.wait()

    def watch(self, account_id: AccountId) -> Watch:
        """Be told of every record after the released state as it is now.

        Raises: Halted between lives.
        """
        if self._released is None:
            raise Halted("the engine is not running")
        watch = Watch(account_id, self._released.sequence)
        self._watches.setdefault(account_id, []).append(watch)
        return watch

    def unwatch(self, watch: Watch) -> None:
        """Be told no more."""
        watch.end()
        watches = self._watches.get(watch.account_id, [])
        if watch in watches:
            watches.remove(watch)
            if not watches:
                del self._watches[watch.account_id]

    def tell(self, record: Record, released: Released) -> None:
        """Tell watchers what a record did, `released` being the state right after it."""
        watched = self._watches.keys() & touched_accounts(record)
        if not watched:
            return
        effects = effects_of(record, released)
        for account_id in watched:
            told = effects.get(account_id)
            if told:
                row = EffectsRow(account_id, record.sequence, record.now_ns, tuple(told))
                for watch in self._watches[account_id]:
                    watch.tell(row)

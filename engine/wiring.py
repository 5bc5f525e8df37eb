"""The composition root: the supervision tree as an outline, and who knows whom."""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import structlog
import trio

from engine.accounts.messages import ChangeRules
from engine.actors.accounts import AccountsActor, AccountsMessage
from engine.actors.actor import Vitals
from engine.actors.attendance import Attendance
from engine.actors.clock import TrioClock
from engine.actors.custody import CustodyGateway, Submission
from engine.actors.deadlines import Deadlines, keep_waking
from engine.actors.desks import DesksActor
from engine.actors.envelope import Envelope, Lane
from engine.actors.feed import Feed
from engine.actors.gate import Gate
from engine.actors.journal import JournalActor
from engine.actors.keys_forgetting import keep_forgetting
from engine.actors.keys_recall import KeyRecall
from engine.actors.mailbox import Mailbox
from engine.actors.patience import Patience
from engine.actors.recovery import rebuild_machine, recover
from engine.actors.release import Release
from engine.actors.supervisor import Child, RestartLimit, restarting, together
from engine.actors.waiting import Progress
from engine.actors.watching import Watching
from engine.errors import (
    Fenced,
    Halted,
    JournalCorrupt,
    OutcomeUnknown,
    StorageError,
    StorageUnusable,
)
from engine.journal.blocks import Head
from engine.journal.records import RULES_VERSION
from engine.journal.released import Released
from engine.journal.state import EngineState
from engine.ports import Custody, History, JournalStore
from engine.products.withdrawals.desk import WithdrawalStatus
from engine.products.withdrawals.messages import WithdrawalSubmitted
from engine.settings import EngineSettings
from engine.units import SESSIONS_DESK, WITHDRAWALS_DESK, DeskId

R = TypeVar("R")
_log = structlog.get_logger("engine")
OPEN_RETRY_S = 0.5
CLOSE_S_MAX = 5.0
#: Out of reach at its pauses: the feed never takes the line with it.
_FEED_LIMIT = RestartLimit(1_000, 60.0, 0.05, 5.0)
_KEYS_LIMIT = RestartLimit(1_000, 60.0, 0.05, 5.0)
#: Of the edge's deadline, what a command may wait for the history; the rest is its own.
_LOOKUP_PART = 0.5
#: Another life cannot help: the journal is not ours, or not usable.
_FATAL = (Fenced, JournalCorrupt, StorageUnusable)


class Line:
    """One life of the line that every command travels: its state, mailboxes and actors.

    Everything here is built from the journal and thrown away together when accounts or the journal
    falls; only the gate in front outlives it.
    """

    def __init__(
        self,
        state: EngineState,
        head: Head,
        *,
        gate: Gate,
        store: JournalStore,
        custody: Custody,
        settings: EngineSettings,
        watching: Watching,
        attendance: Attendance,
        history: History | None,
    ) -> None:
        self.released: Released = state.released
        self.progress = Progress(head.sequence)
        self.clock = TrioClock(not_before_ns=state.released.now_ns)
        self.deadlines = Deadlines()
        self.vitals = {name: Vitals(name) for name in ("accounts", "desks", "journal", "custody")}
        self._settings = settings
        self._store = store
        self._custody = custody
        self._gate = gate
        self._state = state
        self._attendance = attendance
        self._history = history
        self.recall = KeyRecall(
            gate,
            self.released.keys,
            history,
            self.tell,
            lookup_s_max=settings.edge_deadline_s * _LOOKUP_PART,
        )
        # Every slot, every draw, and room for results, wakes and pokes.
        room = gate.slots_max + 2 * settings.follow_ups_per_batch_max + 4_096
        self._accounts_mailbox = Mailbox[AccountsMessage]("accounts", room)
        self._desks_mailbox = Mailbox[list[Envelope]]("desks", room)
        self._journal_mailbox = Mailbox[list[Envelope]]("journal", room)
        self._custody_mailbox = Mailbox[list[Submission]]("custody", room)
        self.release = Release(
            self.released,
            gate,
            self._accounts_mailbox,
            self._custody_mailbox,
            self.progress,
            watching,
        )
        self.journal = self._journal_actor(head)
        self.accounts = self._accounts_actor()
        self.desks = self._desks_actor()

    def _journal_actor(self, head: Head) -> JournalActor:
        return JournalActor(
            self._journal_mailbox,
            self.vitals["journal"],
            store=self._store,
            head=head,
            release=self.release,
            block_records_max=self._settings.block_records_max,
        )

    def _accounts_actor(self) -> AccountsActor:
        return AccountsActor(
            self._accounts_mailbox,
            self.vitals["accounts"],
            desk=self._state.accounts,
            released=self.released,
            gate=self._gate,
            clock=self.clock,
            desks=self._desks_mailbox,
            journal=self._journal_mailbox,
            follow_ups_per_batch_max=self._settings.follow_ups_per_batch_max,
        )

    def _desks_actor(self) -> DesksActor:
        """The actor of all desks, with every desk that there is."""
        settings, state = self._settings, self._state
        desks = DesksActor(
            self._desks_mailbox,
            self.vitals["desks"],
            machine_of=state.machine,
            rebuild=self._rebuild,
            journal=self._journal_mailbox,
            accounts=self._accounts_mailbox,
            deadlines=self.deadlines,
            limit=RestartLimit(settings.desk_restarts_max, settings.desk_restart_period_s),
        )
        desks.host(WITHDRAWALS_DESK, state.withdrawals)
        desks.host(SESSIONS_DESK, state.sessions)
        for instrument_id, desk in state.desks.items():
            desks.host(DeskId(instrument_id), desk)
        return desks

    def announce_rules(self) -> None:
        """Record, before any caller's command, that from here on these rules decide."""
        if self.released.rules.version != RULES_VERSION:
            self.tell([Envelope(ChangeRules(RULES_VERSION), Lane.RESULT)])

    def end_absent_sessions(self) -> None:
        """Record, before any caller's command, which armed sessions ended while nobody looked."""
        ended = self._attendance.begin(self.released.sessions.armed)
        if ended:
            self.tell(ended)

    def tell(self, envelopes: list[Envelope]) -> None:
        """Send admitted commands on their way. Never waits."""
        self._accounts_mailbox.tell(envelopes)

    def tree(self) -> Child:
        """The supervision tree of one life."""
        return together(
            self.journal.run,  # unguarded: if it falls, everything is rebuilt
            self.accounts.run,  # unguarded: desks and holds must agree
            self.desks.run,  # guards each of its desks itself
            self._scheduler,
            restarting("custody", self._custody_gateway, RestartLimit(5, 60.0, 0.2, 30.0)),
            self._look_at_outstanding,
            self._report_leaving,
            restarting("key recall", self.recall.run, _KEYS_LIMIT),
            restarting("key forgetting", self._forget_keys, _KEYS_LIMIT),
        )

    async def _scheduler(
        self, *, task_status: "trio.TaskStatus[None]" = trio.TASK_STATUS_IGNORED
    ) -> None:
        await keep_waking(
            self.deadlines, self.clock, self._accounts_mailbox, task_status=task_status
        )

    async def _custody_gateway(
        self, *, task_status: "trio.TaskStatus[None]" = trio.TASK_STATUS_IGNORED
    ) -> None:
        """One life of the gateway: first everything that nobody knows about, then the mailbox."""
        self._custody_mailbox.take_nowait()
        self._custody_mailbox.tell(self._in_doubt())
        assets = self.released.rules.directory.assets
        gateway = CustodyGateway(
            self._custody_mailbox,
            self.vitals["custody"],
            custody=self._custody,
            asset_code=lambda asset_id: assets[asset_id].code,
            accounts=self._accounts_mailbox,
        )
        await gateway.run(task_status=task_status)

    def _in_doubt(self) -> list[Submission]:
        return [
            Submission(
                WithdrawalSubmitted(
                    one.withdrawal_id,
                    one.terms.account_id,
                    one.terms.asset_id,
                    one.terms.amount_minor,
                    one.terms.destination,
                ),
                perhaps_sent=True,
            )
            for one in self.released.withdrawals.all()
            if one.status in (WithdrawalStatus.SUBMITTED, WithdrawalStatus.UNKNOWN)
        ]

    async def _look_at_outstanding(
        self, *, task_status: "trio.TaskStatus[None]" = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Follow-ups that a crash left without a record are drawn again."""
        self._accounts_mailbox.tell([])
        task_status.started()

    async def _report_leaving(
        self, *, task_status: "trio.TaskStatus[None]" = trio.TASK_STATUS_IGNORED
    ) -> None:
        await self._attendance.report(self._accounts_mailbox, task_status=task_status)

    async def _forget_keys(
        self, *, task_status: "trio.TaskStatus[None]" = trio.TASK_STATUS_IGNORED
    ) -> None:
        if self._history is None:
            task_status.started()
        else:
            await keep_forgetting(self._state, self._history, task_status=task_status)

    async def _rebuild(self, desk_id: DeskId, through: int) -> Any:
        await self.progress.reached(through)
        return await until_stored(rebuild_machine, self._store, EngineState, desk_id, through)


async def until_stored(operation: Callable[..., Awaitable[R]], *args: Any) -> R:
    """Repeat what reads the store until the store answers. Waits out an outage."""
    while True:
        try:
            return await operation(*args)
        except StorageError as error:
            _log.error("store unreachable", error=str(error), retry_in_s=OPEN_RETRY_S)
            await trio.sleep(OPEN_RETRY_S)


class Engine:
    """One engine process: the gate, and behind it one life of the line after another."""

    def __init__(
        self,
        store: JournalStore,
        custody: Custody,
        settings: EngineSettings | None = None,
        history: History | None = None,
    ) -> None:
        """The feed learns from `history` what was before; without one, from the whole journal.

        Old keys are left to it too; without one, every key stays in memory.
        """
        self.settings = settings or EngineSettings()
        self.gate = Gate(self.settings.order_slots_max, self.settings.cancel_slots_max)
        self.patience = Patience(self.settings.edge_deadline_s)
        self.lives = 0
        self.watching = Watching()
        self.attendance = Attendance()
        self._store = store
        self._custody = custody
        self._history = history
        self._line: Line | None = None
        self.feed = Feed(store, history, self.settings)
        self._observers: list[Callable[[list[Envelope]], None]] = [self.feed.observe]

    @property
    def store(self) -> JournalStore:
        """The journal's store, for reading."""
        return self._store

    @property
    def line(self) -> Line:
        """The line of the present life.

        Raises: Halted between lives.
        """
        if self._line is None:
            raise Halted("the engine is not running")
        return self._line

    async def run(self, *, task_status: "trio.TaskStatus[None]" = trio.TASK_STATUS_IGNORED) -> None:
        """Live until cancelled; rebuild from the journal after a fall, within the limit.

        Raises: Fenced, JournalCorrupt or StorageUnusable when another life cannot help, GaveUp
        after too many falls.
        """
        settings = self.settings
        limit = RestartLimit(
            settings.engine_restarts_max, settings.engine_restart_period_s, 0.05, 1.0
        )
        engine = together(
            self.patience.run,
            restarting("feed", self.feed.run, _FEED_LIMIT),  # the line trades on without it
            restarting("engine", self._life, limit, fatal=_FATAL),
        )
        try:
            await engine(task_status=task_status)
        finally:
            with trio.move_on_after(CLOSE_S_MAX, shield=True):
                await self._store.aclose()

    async def _life(
        self, *, task_status: "trio.TaskStatus[None]" = trio.TASK_STATUS_IGNORED
    ) -> None:
        self.lives += 1
        head, state = await until_stored(self._recover)
        _log.info("recovered", sequence=head.sequence, block=head.number, epoch=head.epoch)
        line = Line(
            state,
            head,
            gate=self.gate,
            store=self._store,
            custody=self._custody,
            settings=self.settings,
            watching=self.watching,
            attendance=self.attendance,
            history=self._history,
        )
        line.release.observers = self._observers
        line.announce_rules()
        line.end_absent_sessions()
        with self._open_to_callers(line):
            await line.tree()(task_status=task_status)

    @contextmanager
    def _open_to_callers(self, line: Line) -> Iterator[None]:
        self._line = line
        self.gate.open(line.released.keys)
        self.watching.begin(line.released)
        self.feed.begin(line.released, line.clock)
        try:
            yield
        finally:
            self._line = None
            self.watching.end()
            self.gate.close(OutcomeUnknown("the engine fell before it could answer"))

    async def _recover(self) -> tuple[Head, EngineState]:
        head = await self._store.open()
        return head, await recover(self._store, self._new_state, through=head)

    def _new_state(self) -> EngineState:
        return EngineState(self.settings.closed_orders_max, self.settings.keys_exact_max)

    def observe(self, observer: Callable[[list[Envelope]], None]) -> None:
        """Be told every released block, in order, across lives."""
        self._observers.append(observer)

    async def drain(self) -> None:
        """Let nothing in and wait until everything under way is answered, up to the deadline."""
        self.gate.stop_admitting()
        with trio.move_on_after(self.settings.drain_s_max):
            await self.gate.drained()

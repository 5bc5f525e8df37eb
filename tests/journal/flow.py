"""A small market that runs by itself: seeded commands through a whole engine in memory.

`journal_of` is what most tests want: the journal that such a market leaves behind. Time stands
still except where the flow moves it, so nothing here waits for real.
"""

from collections.abc import Callable
from random import Random
from typing import Any

import msgspec
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from engine.accounts.messages import (
    CancelAll,
    CreateAsset,
    CreateInstrument,
    CreateKey,
    CreateOwner,
    Deposit,
    HaltScope,
    OpenAccount,
    RevokeKey,
    Role,
    SetFees,
    SetHalt,
    SetLimits,
    SetTier,
    Transfer,
)
from engine.actors.desks import DeskHealth
from engine.actors.recovery import recover
from engine.errors import InvariantViolated
from engine.gateways.custody import CustodyFault, SimulatedCustody
from engine.journal.blocks import Block
from engine.journal.records import Record, decode
from engine.journal.released import Released
from engine.journal.snapshots import take
from engine.journal.state import EngineState
from engine.ledger.amounts import AssetKind
from engine.orderbook.messages import (
    CancelOrder,
    ChangeInstrumentState,
    InstrumentState,
    OrderKind,
    PlaceOrder,
    ReplaceOrder,
    SelfTradePrevention,
    TimeInForce,
)
from engine.products.exchange.messages import Leg, PlaceConditional, TriggerWhen
from engine.products.sessions.messages import (
    ArmSession,
    DisarmSession,
    EndSession,
    SessionCommand,
    SetDeadMan,
)
from engine.products.withdrawals.messages import CancelWithdrawal, RequestWithdrawal
from engine.risk.limits import AccountLimits, InstrumentLimits
from engine.service import Service
from engine.settings import EngineSettings
from engine.storage.memory import MemoryJournal, MemoryJournalStore
from engine.storage.memory_history import FollowingHistory
from engine.units import (
    AccountId,
    AmountMinor,
    AssetId,
    GroupId,
    InstrumentId,
    OrderId,
    OwnerId,
    PriceTicks,
    QuantityLots,
    Side,
    TimeNs,
)
from engine.wiring import Engine

#: A command as the service takes it: with its key's scope, its key, and its body's digest.
Keyed = tuple[Any, int, str, int]

ACCOUNTS = [AccountId(100 + n) for n in range(6)]
INSTRUMENTS = [InstrumentId(n) for n in (1, 2, 3)]
_MIDS = {1: 1_000, 2: 200, 3: 50}
_SECOND_NS = 1_000_000_000


def opening() -> list[Any]:
    """Commands that make the market exist: three instruments, six funded accounts, fees."""
    commands: list[Any] = [
        CreateAsset("BTC", AssetKind.COIN, 8),
        CreateAsset("ETH", AssetKind.COIN, 8),
        CreateAsset("USD", AssetKind.CURRENCY, 2),
        CreateInstrument("BTC-USD", "BTC", "USD", "0.01", "1"),
        CreateInstrument(
            "ETH-USD",
            "ETH",
            "USD",
            "0.01",
            "1",
            reference_price_ticks=PriceTicks(200),
            band_ppm=500_000,
            makers_touched_max=3,
        ),
        CreateInstrument("ETH-BTC", "ETH", "BTC", "0.00000001", "1"),
        CreateOwner("somebody"),
    ]
    for account_id in ACCOUNTS:
        commands.append(OpenAccount(OwnerId(1), f"account {account_id}"))
        commands.extend(
            Deposit(account_id, AssetId(asset), AmountMinor(10**11), "opening")
            for asset in (1, 2, 3)
        )
    commands.append(SetFees("", InstrumentId(0), -100, 1_000))
    commands.append(SetFees("vip", InstrumentId(1), -300, 700))
    return commands


class Flow:
    """Draws commands from a seed and from what is released."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.drawn = 0
        self._draws: list[tuple[Callable[[Released, int], Any], int]] = [
            (self._limit, 44),
            (self._market, 10),
            (self._conditional, 14),
            (self._cancel, 12),
            (self._replace, 12),
            (self._withdrawal, 4),
            (self._money, 4),
            (self._administration, 3),
            (self._cancel_all, 1),
            (self._session, 3),
            (self._nonsense, 1),
        ]

    def draw(self, released: Released, now_ns: int) -> Keyed:
        """The next command; most have a key, and orders are known to their owner by it."""
        kinds, weights = zip(*self._draws, strict=True)
        command = self.random.choices(kinds, weights)[0](released, now_ns)
        if isinstance(command, PlaceOrder | PlaceConditional | CancelAll):
            command = msgspec.structs.replace(command, key_id=self.random.randrange(3))
        self.drawn += 1
        key = f"k{self.drawn}" if self.random.random() < 0.8 else ""
        return command, getattr(command, "account_id", 0), key, self.drawn

    def _account(self) -> AccountId:
        return self.random.choice(ACCOUNTS)

    def _price(self, instrument_id: int) -> PriceTicks:
        mid = _MIDS[instrument_id]
        return PriceTicks(max(1, int(self.random.gauss(mid, mid / 25))))

    def _lots(self) -> QuantityLots:
        return QuantityLots(self.random.randint(1, 20))

    def _limit(self, _released: Released, now_ns: int) -> PlaceOrder:
        draw = self.random
        instrument_id, lots = draw.choice(INSTRUMENTS), self._lots()
        in_force = draw.choices(list(TimeInForce), (14, 2, 1, 3))[0]
        good_till = now_ns + draw.randint(1, 5 * _SECOND_NS)
        plain = in_force == TimeInForce.GTC
        return PlaceOrder(
            self._account(),
            instrument_id,
            draw.choice(list(Side)),
            OrderKind.LIMIT,
            self._price(instrument_id),
            lots,
            time_in_force=in_force,
            expires_at_ns=TimeNs(good_till if in_force == TimeInForce.GTD else 0),
            post_only=plain and draw.random() < 0.1,
            minimum_lots=QuantityLots(1 if plain and draw.random() < 0.02 else 0),
            self_trade=draw.choice(list(SelfTradePrevention)),
        )

    def _market(self, _released: Released, _now_ns: int) -> PlaceOrder:
        draw = self.random
        instrument_id, side = draw.choice(INSTRUMENTS), draw.choice(list(Side))
        price = _MIDS[instrument_id] * (2 if side == Side.BUY else 1) // (1 + side)
        with_budget = side == Side.BUY and draw.random() < 0.5
        return PlaceOrder(
            self._account(),
            instrument_id,
            side,
            OrderKind.MARKET,
            PriceTicks(price),
            QuantityLots(0 if with_budget else self._lots()),
            AmountMinor(draw.randint(1, 20 * price) if with_budget else 0),
            self_trade=draw.choice(list(SelfTradePrevention)),
        )

    def _conditional(self, _released: Released, now_ns: int) -> PlaceConditional:
        draw = self.random
        instrument_id = draw.choice(INSTRUMENTS)
        whens = draw.choice(
            (
                (TriggerWhen.AT_OR_ABOVE,),
                (TriggerWhen.AT_OR_BELOW,),
                (TriggerWhen.AT_OR_ABOVE, TriggerWhen.AT_OR_BELOW),
                (TriggerWhen.AT_ONCE, TriggerWhen.AT_OR_ABOVE),
                (TriggerWhen.AT_ONCE, TriggerWhen.AT_OR_BELOW),
            )
        )
        return PlaceConditional(
            self._account(),
            instrument_id,
            draw.choice(list(Side)),
            self._lots(),
            tuple(self._leg(when, instrument_id) for when in whens),
            TimeNs(now_ns + draw.randint(1, 5 * _SECOND_NS) if draw.random() < 0.3 else 0),
            draw.choice(list(SelfTradePrevention)),
        )

    def _leg(self, when: TriggerWhen, instrument_id: InstrumentId) -> Leg:
        draw = self.random
        if when == TriggerWhen.AT_ONCE:
            return Leg(when, PriceTicks(0), OrderKind.LIMIT, self._price(instrument_id))
        in_force = draw.choice((TimeInForce.GTC, TimeInForce.GTC, TimeInForce.IOC))
        return Leg(
            when,
            self._price(instrument_id),
            draw.choice(list(OrderKind)),
            self._price(instrument_id),
            in_force,
        )

    def _open_order(self, released: Released) -> tuple[AccountId, InstrumentId, OrderId] | None:
        account_id = self._account()
        open_orders = list(released.orders.open_of(account_id).values())
        if not open_orders:
            return None
        order = self.random.choice(open_orders)
        return account_id, order.instrument_id, order.order_id

    def _cancel(self, released: Released, now_ns: int) -> Any:
        found = self._open_order(released)
        if found is None:
            return self._limit(released, now_ns)
        if self.random.random() < 0.2:  # by client id: a recent command, perhaps still in flight
            recent = f"k{max(1, self.drawn - self.random.randint(0, 5))}"
            return CancelOrder(found[0], found[1], OrderId(0), recent)
        return CancelOrder(*found)

    def _replace(self, released: Released, now_ns: int) -> Any:
        found = self._open_order(released)
        if found is None:
            return self._limit(released, now_ns)
        order = released.orders.get(found[2])
        same = order is not None and self.random.random() < 0.4
        price = order.price_ticks if same and order is not None else self._price(found[1])
        return ReplaceOrder(*found, price, self._lots())

    def _withdrawal(self, released: Released, _now_ns: int) -> Any:
        draw = self.random
        if draw.random() < 0.3 and (known := released.withdrawals.all()):
            one = draw.choice(known)
            return CancelWithdrawal(one.terms.account_id, one.withdrawal_id)
        return RequestWithdrawal(
            self._account(),
            AssetId(draw.randint(1, 3)),
            AmountMinor(draw.randint(0, 10_000)),
            draw.choice(("bc1q", "")),
            TimeNs(draw.choice((0, _SECOND_NS))),
        )

    def _money(self, _released: Released, _now_ns: int) -> Any:
        draw = self.random
        asset_id, amount = AssetId(draw.randint(1, 4)), AmountMinor(draw.randint(0, 10**6))
        if draw.random() < 0.5:
            return Deposit(self._account(), asset_id, amount, "more")
        return Transfer(self._account(), self._account(), asset_id, amount)

    def _administration(self, released: Released, _now_ns: int) -> Any:
        draw, account_id = self.random, self._account()
        instrument_id = draw.choice(INSTRUMENTS)
        limits = AccountLimits(
            draw.choice((0, 20)), {instrument_id: InstrumentLimits(QuantityLots(15))}
        )
        halted = draw.random() < 0.3
        state = draw.choices(list(InstrumentState), (60, 20, 19, 1))[0]
        return draw.choice(
            (
                SetHalt(HaltScope.ACCOUNT, account_id, halted, "flow"),
                SetHalt(HaltScope.INSTRUMENT, instrument_id, halted, "flow"),
                SetHalt(HaltScope.EVERYTHING, 0, halted=False, reason="flow"),
                SetLimits(account_id, draw.choice((limits, AccountLimits()))),
                SetFees(draw.choice(("", "vip")), instrument_id, draw.randint(-200, 500), 500),
                SetTier(account_id, draw.choice(("", "vip"))),
                ChangeInstrumentState(instrument_id, state),
                ChangeInstrumentState(instrument_id, InstrumentState.OPEN),
                CreateKey(Role.TRADE, account_id, f"digest {self.drawn}"),
                RevokeKey(len(released.rules.directory.keys)),
            )
        )

    def _cancel_all(self, _released: Released, _now_ns: int) -> CancelAll:
        return CancelAll(self._account(), InstrumentId(self.random.randint(0, 3)))

    def _session(self, _released: Released, _now_ns: int) -> SessionCommand:
        draw, session_id = self.random, self.random.randint(1, 20)
        timeout_ns = TimeNs(draw.choice((0, 1, 1, 2, 5, 10**4)) * _SECOND_NS)
        return draw.choice(
            (
                SetDeadMan(self._account(), draw.randrange(3), timeout_ns),
                ArmSession(self._account(), draw.randrange(3), session_id),
                DisarmSession(session_id),
                EndSession(session_id),
            )
        )

    def _nonsense(self, _released: Released, _now_ns: int) -> Any:
        draw, account_id = self.random, self._account()
        return draw.choice(
            (
                PlaceOrder(
                    account_id,
                    InstrumentId(9),
                    Side.BUY,
                    OrderKind.LIMIT,
                    PriceTicks(1),
                    QuantityLots(1),
                ),
                CancelOrder(account_id, InstrumentId(1), OrderId(10**9)),
                CancelOrder(account_id, InstrumentId(9), OrderId(1)),
                ReplaceOrder(
                    account_id, InstrumentId(1), OrderId(1), PriceTicks(-1), QuantityLots(1)
                ),
                CancelWithdrawal(account_id, GroupId(1)),
                CancelAll(AccountId(7)),
            )
        )


def journal_of(seed: int, commands: int = 400, lives: int = 2) -> MemoryJournal:
    """The journal of a market that took about so many commands in so many lives.

    Desks fall now and then, and later lives mostly begin from a snapshot.
    """
    journal = MemoryJournal()
    trio.run(run_flow, journal, Flow(seed), commands, lives, clock=MockClock())
    return journal


def records_of(journal: MemoryJournal) -> list[Record]:
    """Everything a journal holds."""
    return [record for block in journal.blocks for record in decode(block.payload)]


def copy_of(journal: MemoryJournal, blocks: list[Block] | None = None) -> MemoryJournal:
    """A journal with the same snapshots and the same blocks, or others in their place."""
    copied = MemoryJournal()
    copied.epoch = journal.epoch
    copied.blocks = list(journal.blocks if blocks is None else blocks)
    copied.snapshots = dict(journal.snapshots)
    return copied


async def run_flow(journal: MemoryJournal, flow: Flow, commands: int, lives: int = 1) -> None:
    """Let a market live on a journal. Every life ends without a farewell, work under way."""
    faults = flow.random.choices(list(CustodyFault), (6, 1, 1, 1, 1, 1), k=commands)
    custody = SimulatedCustody(faults)
    for life in range(lives):
        if life and flow.random.random() < 0.7:
            await keep_snapshot(journal)
        settings = EngineSettings(edge_deadline_s=10_000.0)
        engine = Engine(MemoryJournalStore(journal), custody, settings)
        async with trio.open_nursery() as nursery:
            await nursery.start(engine.run)
            service = Service(engine, FollowingHistory(engine.store))
            if not life:
                for command in opening():
                    await service.submit(command)
            async with trio.open_nursery() as callers:
                await _trade(engine, flow, commands // lives, callers)
                callers.cancel_scope.cancel()
            nursery.cancel_scope.cancel()


async def keep_snapshot(journal: MemoryJournal) -> None:
    """Leave a snapshot at the journal's head, as the projector would."""
    store = MemoryJournalStore(journal)
    state = await recover(store, EngineState, journal.head)
    await store.write_snapshot(take(journal.head, state.snapshot()))


class Exploding:
    """In a machine's place: raises at its next decision, as one with a bug would."""

    DECIDING_CHANGES = True
    next_deadline_ns = None

    def decide(self, sequence: int, *_: object) -> None:
        """Never decides."""
        raise InvariantViolated(f"exploded at {sequence}")


async def _trade(engine: Engine, flow: Flow, commands: int, callers: trio.Nursery) -> None:
    """Submit bursts, some of them on top of each other; let seconds pass now and then."""
    clock, service = trio.lowlevel.current_clock(), Service(engine, FollowingHistory(engine.store))
    drawn_before = flow.drawn
    while flow.drawn < drawn_before + commands:
        count = flow.random.randint(1, 12)
        released, now_ns = service.released, service.now_ns()
        callers.start_soon(
            service.submit_batch, [flow.draw(released, now_ns) for _ in range(count)]
        )
        what_next = flow.random.random()
        if what_next < 0.5:
            await wait_all_tasks_blocked()
        elif what_next < 0.88:
            await trio.lowlevel.checkpoint()
        elif what_next < 0.98 and isinstance(clock, MockClock):
            clock.jump(flow.random.random())
            await wait_all_tasks_blocked()
        else:
            desk = engine.line.desks.desks.get(flow.random.choice(INSTRUMENTS))
            if desk is not None and desk.health is DeskHealth.LIVE:
                desk.machine = Exploding()

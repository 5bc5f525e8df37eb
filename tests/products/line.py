"""The line without actors: commands in, records out, with a release lag that the test decides.

`Line` keeps three states: the live one (accounts and desks run ahead, `released` follows when told
to), and a mirror that folds every record at once from its encoded bytes. `check` proves that they
agree, that the books close, and that every hold is exactly what its order can still cost.
"""

from collections import deque
from collections.abc import Iterable
from typing import Any, get_args

from engine.accounts.messages import (
    AccountsCommand,
    CreateAsset,
    CreateInstrument,
    CreateOwner,
    Deposit,
    OpenAccount,
    SetFees,
)
from engine.journal.records import Record, decode, desk_of, encode
from engine.journal.state import EngineState
from engine.ledger.amounts import AssetKind
from engine.messages import Refused
from engine.orderbook.messages import Trade
from engine.products.decision import Decision
from engine.products.exchange.desk import InstrumentDesk
from engine.products.exchange.fold import TermsRow, WaitingRow
from engine.products.exchange.messages import PlaceConditional, Reserved, TradeSettled
from engine.products.exchange.orders import Order, OrderStatus
from engine.units import (
    RATE_ONE_PPM,
    AccountId,
    AmountMinor,
    AssetId,
    InstrumentId,
    OrderId,
    OwnerId,
    Sequence,
    Side,
    TimeNs,
)

BASE, QUOTE = AssetId(1), AssetId(2)
HERE = InstrumentId(1)
ANN, BOB, CAT = AccountId(100), AccountId(101), AccountId(102)
LOT_MINOR, TICK_LOT_MINOR = 3, 21

_OWN = frozenset(get_args(AccountsCommand))


class Line:
    """Accounts, one instrument, and three accounts with money. Time is a field."""

    def __init__(
        self,
        *,
        funds: tuple[int, int] = (100_000, 100_000),
        maker_ppm: int = 0,
        taker_ppm: int = 0,
        **terms: Any,
    ) -> None:
        self.state = EngineState()
        self.mirror = EngineState()
        self.now_ns = TimeNs(1_000)
        self.records: list[Record] = []
        self.unreleased: deque[Record] = deque()
        self._drawn: set[tuple[int, int]] = set()
        self._rates: dict[int, tuple[int, int]] = {}  # of each order: maker, taker
        self._owed: dict[OrderId, int] = {}
        for command in _reference_data(terms):
            self.submit(command)
        if maker_ppm or taker_ppm:
            self.submit(SetFees("", InstrumentId(0), maker_ppm, taker_ppm))
        for account_id in (ANN, BOB, CAT):
            for asset_id, amount in zip((BASE, QUOTE), funds, strict=True):
                if amount:
                    self.submit(Deposit(account_id, asset_id, AmountMinor(amount), ""))
        self.release()

    # -- what stands

    @property
    def desk(self) -> InstrumentDesk:
        """The live desk of the one instrument."""
        desk = self.state.desk(HERE)
        assert desk is not None
        return desk

    def order(self, order_id: int) -> Order:
        """An order as it stands after every record so far."""
        order = self.mirror.released.orders.get(OrderId(order_id))
        assert order is not None
        return order

    def open_orders(self) -> list[Order]:
        """Every order that has not ended, after every record so far, oldest first."""
        orders = self.mirror.released.orders
        found = [order for who in (ANN, BOB, CAT) for order in orders.open_of(who).values()]
        return sorted(found, key=_order_id)

    def held(self, order_id: int) -> int:
        """What an order's group holds after every record so far."""
        return self.mirror.released.ledger.held_by_group(OrderId(order_id))

    def balance(self, account_id: AccountId, asset_id: AssetId) -> tuple[int, int]:
        """Posted and held of one balance after every record so far."""
        balance = self.mirror.released.ledger.balance(account_id, asset_id)
        return (0, 0) if balance is None else (balance.posted_minor, balance.held_minor)

    # -- the line

    def submit(self, command: Any, answers: tuple[int, int] = (0, 0)) -> Record:
        """Reserve, decide and record one command; nothing of it is released yet."""
        state, sequence = self.state, Sequence(len(self.records) + 1)
        released_through = state.released.sequence
        state.accounts.release_through(released_through)
        reserved = state.accounts.reserve(sequence, command)
        if isinstance(reserved, Refused):
            decision = Decision((reserved,))
        else:
            decision = self._decide(sequence, command, reserved)
        record = Record(
            sequence,
            self.now_ns,
            released_through,
            command,
            decision.events,
            decision.entries,
            decision.holds,
            decision.follow_ups,
            *answers,
        )
        return self._note(record)

    def close_undecided(self, command: Any, answers: tuple[int, int], *events: Any) -> Record:
        """Record a command that its desk could not decide."""
        through = self.state.released.sequence
        sequence = Sequence(len(self.records) + 1)
        record = Record(
            sequence, self.now_ns, through, command, events, (), (), (), answers[0], answers[1]
        )
        return self._note(record)

    def _note(self, record: Record) -> Record:
        decoded = decode(encode([record]))[0]
        self.records.append(decoded)
        self.unreleased.append(decoded)
        self.mirror.apply(decoded)
        self._note_fees(decoded)
        return decoded

    def _decide(self, sequence: Sequence, command: Any, reserved: Reserved | None) -> Decision:
        now_ns = self.now_ns
        if type(command) in _OWN:
            decision = self.state.accounts.decide(sequence, now_ns, command)
            self.state.accounts.apply(sequence, command, decision)
            return decision
        machine = self.state.machine(desk_of(command))
        decided: Decision = machine.decide(sequence, now_ns, command, reserved)
        if not machine.DECIDING_CHANGES:
            record = Record(sequence, now_ns, Sequence(0), command, decided.events)
            machine.apply(record)
        return decided

    def release(self, records: int | None = None) -> None:
        """Release so many records, or all."""
        for _ in range(len(self.unreleased) if records is None else records):
            if self.unreleased:
                self.state.released.apply(self.unreleased.popleft())

    def draw(self, follow_ups_max: int = 1_000) -> list[Record]:
        """Decide released follow-ups in key order, each once."""
        fresh = [key for key in self.state.released.outstanding if key not in self._drawn]
        assert fresh == sorted(fresh)
        keys = fresh[:follow_ups_max]
        self._drawn.update(keys)
        return [self.submit(self.state.released.outstanding[key], key) for key in keys]

    def undraw(self) -> None:
        """Forget what was drawn, as a desk's rebuild does."""
        self._drawn.clear()

    def settle(self) -> list[Record]:
        """Release and draw until nothing is outstanding; returns the follow-ups' records."""
        done: list[Record] = []
        self.release()
        while drawn := self.draw():
            done.extend(drawn)
            self.release()
        return done

    def rebuild_desk(self) -> None:
        """Put a desk folded from the records in the live one's place."""
        self.state.desks[HERE] = folded_desk(self.records)

    # -- proofs

    def check(self) -> None:
        """Prove that live and folded state agree and that every hold is right."""
        mirror, desk = self.mirror, self.desk
        folded = mirror.desk(HERE)
        assert folded is not None
        ledger = mirror.released.ledger
        ledger.check_invariants()
        desk.check_invariants()
        folded.check_invariants()
        assert desk.snapshot() == folded.snapshot()
        open_orders = self.open_orders()
        withdrawals = {w.withdrawal_id for w in mirror.withdrawals.all()}
        holds = {h.group_id: h.held_minor for h in ledger.snapshot().holds}
        orders_held = {one: held for one, held in holds.items() if one not in withdrawals}
        terms = {row.order_id: row for row in desk.snapshot().open_orders}
        waiting = {row.order_id: row for row in desk.snapshot().waiting}
        assert orders_held == {
            o.order_id: self._cost(o, terms[o.order_id], waiting.get(o.order_id))
            for o in open_orders
        }
        assert {one: row.held_minor for one, row in terms.items()} == orders_held
        assert mirror.released.depth(HERE).levels(1_000) == desk.book.depth(1_000)
        self._check_fees()

    def check_at_rest(self) -> None:
        """Prove that, once all is released, the live state is the fold of the journal."""
        self.settle()
        self.check()
        assert self.state.snapshot() == self.mirror.snapshot()
        again = EngineState()
        again.apply_all(decode(encode(self.records)))
        again.desk(HERE)
        assert again.snapshot() == self.mirror.snapshot()

    def _cost(self, order: Order, terms: TermsRow, waiting: WaitingRow | None) -> int:
        """The most an open order can still cost, from where it stands."""
        resting = self.desk.book.resting(order.order_id)
        prices = [order.price_ticks]
        if waiting is None:
            assert resting is not None
            assert (order.status, order.price_ticks) == (OrderStatus.OPEN, resting.price_ticks)
            remaining = resting.remaining_lots
        else:
            remaining = waiting.remaining_lots
            assert isinstance(order.terms, PlaceConditional)
            if waiting.triggered:
                assert (order.status, resting) == (OrderStatus.TRIGGERED, None)
                prices = [terms.price_ticks]
            else:
                assert order.status is OrderStatus.WAITING
                prices = [leg.price_ticks for leg in order.terms.legs]
                assert resting is None or resting.remaining_lots == remaining
        assert order.remaining_lots == remaining
        if order.side is Side.SELL:
            return remaining * LOT_MINOR
        return max(prices) * remaining * TICK_LOT_MINOR

    def _note_fees(self, record: Record) -> None:
        """Count what each order owes, unrounded, and what its makers' rebates came to."""
        reserved = next((e for e in record.events if isinstance(e, Reserved)), None)
        if reserved is not None:
            rates = (reserved.maker_ppm, reserved.taker_ppm)
            self._rates.setdefault(record.sequence, rates)
        events = iter(record.events)
        for event in events:
            if isinstance(event, Trade):
                settled = next(events)
                assert isinstance(settled, TradeSettled)
                assert -settled.maker_fee_minor <= settled.taker_fee_minor
                self._owe(event)

    def _owe(self, trade: Trade) -> None:
        quote = trade.price_ticks * trade.quantity_lots * TICK_LOT_MINOR
        base = trade.quantity_lots * LOT_MINOR
        taker_gets, maker_gets = (base, quote) if trade.taker_side is Side.BUY else (quote, base)
        for order_id, gets, rate in (
            (trade.taker_order_id, taker_gets, self._rates[trade.taker_order_id][1]),
            (trade.maker_order_id, maker_gets, self._rates[trade.maker_order_id][0]),
        ):
            self._owed[order_id] = self._owed.get(order_id, 0) + gets * max(0, rate)

    def _check_fees(self) -> None:
        for order_id, owed in self._owed.items():
            assert self.order(order_id).charged_minor == -(-owed // RATE_ONE_PPM)


def folded_desk(records: Iterable[Record]) -> InstrumentDesk:
    """The instrument's desk as the records alone leave it."""
    state = EngineState()
    state.apply_all(records)
    desk = state.desk(HERE)
    assert desk is not None
    return desk


def _reference_data(terms: dict[str, Any]) -> list[Any]:
    return [
        CreateAsset("BASE", AssetKind.COIN, 0),
        CreateAsset("QUOTE", AssetKind.CURRENCY, 0),
        CreateInstrument("BASE-QUOTE", "BASE", "QUOTE", "7", "3", **terms),
        CreateOwner("house"),
        *(OpenAccount(OwnerId(1), name) for name in ("ann", "bob", "cat")),
    ]


def _order_id(order: Order) -> OrderId:
    return order.order_id

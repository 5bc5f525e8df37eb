"""Order books as text: one command per line, and the events it must give after `->`.

    place s1 sell 5 @ 101                      -> rested s1 5 @ 101
    place b1 buy 3 @ 101 by ann ioc            -> trade s1/b1 3 @ 101
    replace s1 1 @ 102                         -> refused QUANTITY_ALREADY_FILLED
    cancel s1                                  -> cancelled s1 2 @ 101 REQUESTED
    cancel s1                                  -> refused UNKNOWN_ORDER

Order names become ids in order of appearance. An order without `by` belongs to an account of its
own. Options of `place`: `market`, `ioc`, `fok`, `post-only`, `until T`, `min N`, `budget N` in
place of the quantity (`buy budget 500 @ 110 market`), and `self-trade MODE`. `now T` sets the
clock. An ended taker is printed as `ended`, a resting order as `cancelled`.
"""

from collections.abc import Iterator
from textwrap import dedent
from typing import Any

import msgspec

from engine.messages import Refused
from engine.orderbook.depth import Depth
from engine.orderbook.instrument import Instrument
from engine.orderbook.matching import OrderBook
from engine.orderbook.messages import (
    BookCommand,
    BookEvent,
    CancelOrder,
    CancelReason,
    InstrumentState,
    InstrumentStateChanged,
    OrderCancelled,
    OrderKind,
    OrderReplaced,
    OrderRested,
    PlaceOrder,
    ReplaceOrder,
    SelfTradePrevented,
    SelfTradePrevention,
    TimeInForce,
    Trade,
)
from engine.orderbook.snapshot import BookSnapshot
from engine.units import (
    AccountId,
    AmountMinor,
    AssetId,
    GroupId,
    InstrumentId,
    OrderId,
    PriceTicks,
    QuantityLots,
    Side,
    TimeNs,
)

INSTRUMENT = Instrument(
    instrument_id=InstrumentId(1),
    symbol="BASE-QUOTE",
    base_asset_id=AssetId(1),
    quote_asset_id=AssetId(2),
    lot_minor=AmountMinor(1),
    tick_lot_minor=AmountMinor(1),
    tick_size="1",
    lot_size="1",
)


def order_id(number: int) -> OrderId:
    return OrderId(GroupId(number))


def image(book: OrderBook) -> bytes:
    """Everything a book knows, as bytes to compare."""
    return msgspec.msgpack.encode(book.snapshot())


def check(table: str, **terms: object) -> OrderBook:
    """Run a table against a fresh book and compare every line; returns the book.

    After each line the book must be sound, equal to its fold, its snapshot and its depth, and
    untouched if the line was refused.
    """
    run = _Run(msgspec.structs.replace(INSTRUMENT, **terms))
    lines = [line.strip() for line in dedent(table).strip().splitlines() if line.strip()]
    commands = [line.partition("->")[0].rstrip() for line in lines]
    width = max(map(len, commands))
    got = "\n".join(f"{command:{width}} -> {run.line(command)}".rstrip() for command in commands)
    wanted = "\n".join(
        f"{command:{width}} -> {line.partition('->')[2].strip()}".rstrip()
        for command, line in zip(commands, lines, strict=True)
    )
    assert got == wanted
    return run.book


class _Run:
    def __init__(self, instrument: Instrument) -> None:
        self.book = OrderBook(instrument)
        self.folded = OrderBook(instrument)
        self.depth = Depth()
        self.names: dict[str, OrderId] = {}
        self.accounts: dict[str, AccountId] = {}
        self.owner: dict[str, AccountId] = {}
        self.now = TimeNs(0)

    def line(self, text: str) -> str:
        words = iter(text.split())
        verb, before = next(words), image(self.book)
        number, command, events = getattr(self, "_" + verb.replace("-", "_"))(words)
        self.book.check_invariants()
        self.folded.apply(number, command, events)
        self.depth.apply(events)
        after = image(self.book)
        assert image(self.folded) == after
        assert self.depth.levels(1_000) == self.book.depth(1_000)
        snapshot = msgspec.msgpack.decode(after, type=BookSnapshot)
        assert image(OrderBook.restore(self.book.instrument, snapshot)) == after
        if any(isinstance(event, Refused) for event in events):
            assert len(events) == 1
            assert after == before
        return ", ".join(self._print(event) for event in events)

    def _place(self, words: Iterator[str]) -> tuple[OrderId, BookCommand, list[BookEvent]]:
        name, side = next(words), Side[next(words).upper()]
        number = self.names.setdefault(name, order_id(len(self.names) + 1))
        amount = next(words)
        lots, budget = QuantityLots(0), AmountMinor(0)
        if amount == "budget":
            budget = AmountMinor(int(next(words)))
        else:
            lots = QuantityLots(int(amount))
        assert next(words) == "@"
        price = PriceTicks(int(next(words)))
        options = self._options(words)
        account = self._account(options.pop("by", f"owner of {name}"))
        self.owner[name] = account
        kind = options.pop("kind", OrderKind.LIMIT)
        command = msgspec.structs.replace(
            PlaceOrder(
                account, self.book.instrument.instrument_id, side, kind, price, lots, budget
            ),
            **options,
        )
        return number, command, self.book.place(number, command, self.now)

    def _options(self, words: Iterator[str]) -> dict[str, Any]:
        options: dict[str, Any] = {}
        for word in words:
            match word:
                case "by":
                    options["by"] = next(words)
                case "market":
                    options["kind"] = OrderKind.MARKET
                case "ioc" | "fok":
                    options["time_in_force"] = TimeInForce[word.upper()]
                case "gtd":
                    options["time_in_force"] = TimeInForce.GTD
                case "until":
                    options["time_in_force"] = TimeInForce.GTD
                    options["expires_at_ns"] = int(next(words))
                case "deadline":
                    options["expires_at_ns"] = int(next(words))
                case "post-only":
                    options["post_only"] = True
                case "min":
                    options["minimum_lots"] = int(next(words))
                case "plus-budget":
                    options["budget_minor"] = int(next(words))
                case "self-trade":
                    mode = next(words).upper().replace("-", "_")
                    options["self_trade"] = SelfTradePrevention[mode]
                case _:
                    raise ValueError(f"no such option: {word}")
        return options

    def _cancel(self, words: Iterator[str]) -> tuple[OrderId, BookCommand, list[BookEvent]]:
        name = next(words)
        command = CancelOrder(
            self._account_of(name, words), self.book.instrument.instrument_id, self.names[name]
        )
        return order_id(10_000), command, self.book.cancel(command)

    def _replace(self, words: Iterator[str]) -> tuple[OrderId, BookCommand, list[BookEvent]]:
        name, lots = next(words), QuantityLots(int(next(words)))
        assert next(words) == "@"
        price = PriceTicks(int(next(words)))
        command = ReplaceOrder(
            self._account_of(name, words),
            self.book.instrument.instrument_id,
            self.names[name],
            price,
            lots,
        )
        return order_id(10_000), command, self.book.replace(command, self.now)

    def _now(self, words: Iterator[str]) -> tuple[OrderId, None, list[BookEvent]]:
        self.now = TimeNs(int(next(words)))
        return order_id(10_000), None, []

    def _state(self, words: Iterator[str]) -> tuple[OrderId, None, list[BookEvent]]:
        events = self.book.change_state(InstrumentState[next(words).upper()])
        return order_id(10_000), None, events

    def _expire(self, words: Iterator[str]) -> tuple[OrderId, None, list[BookEvent]]:
        return order_id(10_000), None, self.book.expire(self.now, int(next(words)))

    def _cancel_resting(self, words: Iterator[str]) -> tuple[OrderId, None, list[BookEvent]]:
        orders_max, rest = int(next(words)), list(words)
        account = self.accounts[rest[rest.index("by") + 1]] if "by" in rest else None
        before = self.names[rest[rest.index("before") + 1]] if "before" in rest else None
        events = self.book.cancel_resting(
            CancelReason.CANCEL_ALL, orders_max, account_id=account, before_order_id=before
        )
        return order_id(10_000), None, events

    def _account(self, name: str) -> AccountId:
        return self.accounts.setdefault(name, AccountId(len(self.accounts) + 100))

    def _account_of(self, order: str, words: Iterator[str]) -> AccountId:
        if next(words, "") == "by":
            return self._account(next(words))
        return self.owner[order]

    def _print(self, event: BookEvent) -> str:
        name = {number: name for name, number in self.names.items()}
        match event:
            case OrderRested():
                return f"rested {name[event.order_id]} {_at(event)}"
            case Trade():
                pair = f"{name[event.maker_order_id]}/{name[event.taker_order_id]}"
                return f"trade {pair} {_at(event)}"
            case SelfTradePrevented():
                pair = f"{name[event.maker_order_id]}/{name[event.taker_order_id]}"
                return f"prevented {pair} {_at(event)}"
            case OrderCancelled():
                verb = "cancelled" if event.rested else "ended"
                return f"{verb} {name[event.order_id]} {_at(event)} {event.reason}"
            case OrderReplaced():
                kept = "kept" if event.kept_priority else "back"
                old = f"{event.old_quantity_lots} @ {event.old_price_ticks}"
                return f"replaced {name[event.order_id]} {old} by {_at(event)} {kept}"
            case InstrumentStateChanged():
                return event.state.name.lower()
            case Refused():
                return f"refused {event.reason}"


def _at(event: OrderRested | Trade | SelfTradePrevented | OrderCancelled | OrderReplaced) -> str:
    return f"{event.quantity_lots} @ {event.price_ticks}"

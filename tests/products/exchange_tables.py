"""The exchange desk as text: one command per line, and afterwards what each order holds.

    sell s1 5 @ 50 by bob          -> rested; s1 holds 15
    buy b1 3 @ 60                  -> trade s1 3 @ 50; s1 holds 6
    stop t1 buy 2 up 70 @ 75       -> waits; t1 holds 3150
    pair t2 sell 4 @ 90 | down 40 market 30
    cancel s1, replace b1 9 @ 55, cancel-all ann, wake 20, state CLOSED, draw

Holds are listed for every open order, after the first semicolon; a refusal names its reason. One
lot is 3 base, one tick x lot is 21 quote. Released and drawn at once only by `draw`.
"""

from textwrap import dedent
from typing import Any

from engine.accounts.messages import CancelAll
from engine.journal.records import Record
from engine.messages import Wake
from engine.orderbook.messages import (
    CancelOrder,
    ChangeInstrumentState,
    InstrumentState,
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
from engine.products.exchange.messages import (
    ConditionalPlaced,
    Leg,
    OrderTriggered,
    PlaceConditional,
    TradeSettled,
    TriggerWhen,
)
from engine.units import AmountMinor, PriceTicks, QuantityLots, Side, TimeNs
from tests.products.line import ANN, BOB, CAT, HERE, Line

WHO = {"ann": ANN, "bob": BOB, "cat": CAT}
WHEN = {"up": TriggerWhen.AT_OR_ABOVE, "down": TriggerWhen.AT_OR_BELOW}


def check(table: str, line: Line | None = None) -> Line:
    """Run a table and compare every line; all proofs of `Line.check` hold after each."""
    run = _Run(line or Line())
    lines = [text.strip() for text in dedent(table).strip().splitlines() if text.strip()]
    commands = [text.partition("->")[0].rstrip() for text in lines]
    width = max(map(len, commands))
    got = "\n".join(f"{one:{width}} -> {run.line(one)}" for one in commands)
    wanted = "\n".join(
        f"{one:{width}} -> {text.partition('->')[2].strip()}"
        for one, text in zip(commands, lines, strict=True)
    )
    assert got == wanted
    return run.on


class _Run:
    def __init__(self, on: Line) -> None:
        self.on = on
        self.ids: dict[str, int] = {}

    def line(self, text: str) -> str:
        verb, *words = text.split()
        if verb == "draw":
            records = self.on.settle()
        else:
            records = [self.on.submit(self._command(verb, words))]
        self.on.check()
        told = ", ".join(filter(None, (self._told(record) for record in records)))
        holds = [
            f"{self._name(o.order_id)} holds {self.on.held(o.order_id)}"
            for o in self.on.open_orders()
        ]
        return f"{told or 'nothing'}; {', '.join(holds) or 'nothing held'}"

    def _name(self, order_id: int) -> str:
        return next(name for name, one in self.ids.items() if one == order_id)

    def _command(self, verb: str, words: list[str]) -> Any:
        if verb in ("buy", "sell", "stop", "pair"):
            self.ids[words[0]] = len(self.on.records) + 1
            return self._order(verb, words)
        match verb, words:
            case "cancel", [name]:
                order = self.on.order(self.ids[name])
                return CancelOrder(order.account_id, HERE, order.order_id)
            case "replace", [name, lots, "@", price]:
                order = self.on.order(self.ids[name])
                return ReplaceOrder(
                    order.account_id,
                    HERE,
                    order.order_id,
                    PriceTicks(int(price)),
                    QuantityLots(int(lots)),
                )
            case "cancel-all", [who]:
                return CancelAll(WHO[who])
            case "state", [state]:
                return ChangeInstrumentState(HERE, InstrumentState[state])
            case "wake", [now]:
                self.on.now_ns = TimeNs(int(now))
                return Wake(HERE)
        raise ValueError(f"cannot read {verb} {words}")

    def _order(self, verb: str, words: list[str]) -> Any:
        words = words[1:]
        options = _options(words)
        who, mode = WHO[options.pop("by", "ann")], options.pop("self-trade", "CANCEL_TAKER")
        until = TimeNs(int(options.pop("until", 0)))
        if verb in ("stop", "pair"):
            side, lots, *rest = words
            legs = tuple(_leg(part.split()) for part in " ".join(rest).split("|"))
            return PlaceConditional(
                who,
                HERE,
                Side[side.upper()],
                QuantityLots(int(lots)),
                legs,
                until,
                SelfTradePrevention[mode],
            )
        kind = OrderKind.MARKET if "market" in words else OrderKind.LIMIT
        in_force = next((tif for tif in TimeInForce if tif.name.lower() in words), TimeInForce.GTC)
        budget = int(words[1]) if words[0] == "budget" else 0
        return PlaceOrder(
            who,
            HERE,
            Side[verb.upper()],
            kind,
            PriceTicks(int(words[words.index("@") + 1])),
            QuantityLots(0 if budget else int(words[0])),
            AmountMinor(budget),
            time_in_force=TimeInForce.GTD if until else in_force,
            expires_at_ns=until,
            post_only="post-only" in words,
            self_trade=SelfTradePrevention[mode],
        )

    def _told(self, record: Record) -> str:
        return ", ".join(filter(None, (self._event(event) for event in record.events)))

    def _event(self, event: Any) -> str:
        match event:
            case OrderRested():
                return "rested"
            case ConditionalPlaced():
                return "waits"
            case Trade(maker, _, price, lots):
                return f"trade {self._name(maker)} {lots} @ {price}"
            case TradeSettled(maker_fee, taker_fee) if maker_fee or taker_fee:
                return f"fees {maker_fee} {taker_fee}"
            case OrderCancelled(order_id, _, _, lots, reason):
                return f"{self._name(order_id)} cancelled {lots} {reason}"
            case SelfTradePrevented(_, _, _, lots):
                return f"prevented {lots}"
            case OrderReplaced():
                return "replaced"
            case OrderTriggered(order_id, leg, price, lots):
                return f"{self._name(order_id)} triggered leg {leg} for {lots} at {price}"
            case _:
                return str(event.reason) if hasattr(event, "reason") else ""


def _options(words: list[str]) -> dict[str, str]:
    """Take the options with a value of their own out of the words."""
    found: dict[str, str] = {}
    for option in ("by", "self-trade", "until"):
        if option in words:
            index = words.index(option)
            found[option] = words[index + 1]
            del words[index : index + 2]
    return found


def _leg(words: list[str]) -> Leg:
    nothing = PriceTicks(0)
    match words:
        case ["@", price]:
            return Leg(TriggerWhen.AT_ONCE, nothing, OrderKind.LIMIT, PriceTicks(int(price)))
        case [when, trigger, "@" | "market" as how, price, *rest]:
            kind = OrderKind.MARKET if how == "market" else OrderKind.LIMIT
            in_force = TimeInForce.IOC if rest == ["ioc"] else TimeInForce.GTC
            trigger_ticks = PriceTicks(int(trigger))
            return Leg(WHEN[when], trigger_ticks, kind, PriceTicks(int(price)), in_force)
    raise ValueError(f"cannot read leg {words}")

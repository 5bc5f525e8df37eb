"""How a server looks in a terminal: two samples of it in, tables out. Pure."""

from decimal import Decimal
from typing import Final

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from api.routes.health import ActorAnswer, ActorsAnswer
from api.routes.markets import InstrumentAnswer
from api.routes.tickers import TickerAnswer
from api.top.sampling import Sample
from engine.service import HealthStatus

_NONE: Final = "-"
_BAD: Final = "bold red"
_WARY: Final = "yellow"
_QUIET: Final = "dim"
_WORDS: Final = ("instrument", "state")
#: Columns that are left out where there is no room, in this order.
_DISPENSABLE: Final = (
    *("trades", "ask size", "bid size", "volume", "spread", "per s", "state", "24 h"),
)
#: A history further behind than this is worth a colour.
_BEHIND_S_WARY: Final = 2.0


def frame(before: Sample | None, now: Sample, url: str, width: int) -> RenderableType:
    """One picture of the server at `url`; `before` is what the rates are counted from.

    Units: `width` in characters; what does not fit is left out.
    """
    parts: list[RenderableType] = [_headline(before, now, url)]
    if now.trouble:
        parts.append(Text(now.trouble, style=_BAD))
    if now.tickers:
        parts += ["", _books(before, now, width)]
    if now.actors is not None:
        earlier = None if before is None else before.actors
        elapsed_s = 0.0 if before is None else now.taken_s - before.taken_s
        parts += ["", _engine(earlier, now.actors, elapsed_s)]
        parts += ["", _actors(earlier, now.actors, elapsed_s)]
    elif now.health is not None and not now.trouble:
        parts += ["", Text("An admin key shows the engine too.", style=_QUIET)]
    return Group(*parts)


def _headline(before: Sample | None, now: Sample, url: str) -> Text:
    line = Text.assemble(("Outcry ", "bold"), url, "  ")
    health = now.health
    if health is None:
        return line.append("no answer", style=_BAD)
    line.append(health.status.value, style="bold green" if _is_up(now) else _BAD)
    if health.outage_s is not None:
        line.append(f" for {health.outage_s:.0f} s: the store does not answer", style=_BAD)
    line.append(f"  record {health.sequence:,}")
    if before is not None and before.health is not None:
        records = health.sequence - before.health.sequence
        line.append(f"  {_per_s(records, now.taken_s - before.taken_s)} records/s")
        if now.tickers:
            line.append(f"  {_per_s(_trades(before, now), now.taken_s - before.taken_s)} trades/s")
    return line.append(f"  answers in {now.answered_s * 1_000:.1f} ms", style=_QUIET)


def _is_up(sample: Sample) -> bool:
    return sample.health is not None and sample.health.status is HealthStatus.UP


def _trades(before: Sample, now: Sample) -> int:
    """Trades between two samples; those that became older than 24 hours hide a few."""
    counted = {one.instrument: one.trades for one in before.tickers}
    return sum(max(0, one.trades - counted.get(one.instrument, one.trades)) for one in now.tickers)


# -- markets


def _books(before: Sample | None, now: Sample, width: int) -> Table:
    states = {one.symbol: one for one in now.instruments}
    earlier = {} if before is None else {one.instrument: one for one in before.tickers}
    elapsed_s = 0.0 if before is None else now.taken_s - before.taken_s
    rows = [
        _book(one, states.get(one.instrument), earlier.get(one.instrument), elapsed_s)
        for one in now.tickers
    ]
    table = _table()
    columns = _fitting(rows, width)
    for name in columns:
        table.add_column(name, justify="left" if name in _WORDS else "right", no_wrap=True)
    for row in rows:
        table.add_row(*(row[name] for name in columns))
    return table


def _book(
    now: TickerAnswer, terms: InstrumentAnswer | None, before: TickerAnswer | None, elapsed_s: float
) -> dict[str, Text]:
    """The cells of one instrument, by column."""
    traded = None if before is None else now.trades - before.trades
    return {
        "instrument": Text(now.instrument),
        "state": _state(terms),
        "bid size": Text(now.bid_quantity or _NONE),
        "bid": Text(now.bid or _NONE, style="green"),
        "ask": Text(now.ask or _NONE, style="red"),
        "ask size": Text(now.ask_quantity or _NONE),
        "spread": Text(_spread(now)),
        "last": _moved(now.last, None if before is None else before.last),
        "24 h": _change(now),
        "volume": Text(now.volume),
        "trades": Text(f"{now.trades:,}"),
        "per s": Text(_NONE if traded is None else _per_s(traded, elapsed_s)),
    }


def _fitting(rows: list[dict[str, Text]], width: int) -> list[str]:
    """The columns for which there is room."""
    widths = {name: 2 + max(len(name), *(row[name].cell_len for row in rows)) for name in rows[0]}
    for name in _DISPENSABLE:
        if sum(widths.values()) - 2 <= width:
            break
        del widths[name]
    return list(widths)


def _state(terms: InstrumentAnswer | None) -> Text:
    if terms is None:
        return Text(_NONE)
    if terms.halted:
        return Text("HALTED BY SWITCH", style=_BAD)
    return Text(terms.state, style="" if terms.state == "OPEN" else _WARY)


def _spread(ticker: TickerAnswer) -> str:
    """In basis points of the middle."""
    if ticker.bid is None or ticker.ask is None:
        return _NONE
    bid, ask = Decimal(ticker.bid), Decimal(ticker.ask)
    return f"{(ask - bid) * 20_000 / (ask + bid):.1f} bp"


def _moved(last: str | None, before: str | None) -> Text:
    if last is None or before is None or last == before:
        return Text(last or _NONE)
    return Text(last, style="green" if Decimal(last) > Decimal(before) else "red")


def _change(ticker: TickerAnswer) -> Text:
    ppm = ticker.change_ppm
    if ppm is None:
        return Text(_NONE)
    text = f"{ppm / 10_000:+.2f}%" + ("…" if ticker.warming else "")
    return Text(text, style="green" if ppm > 0 else "red" if ppm < 0 else "")


# -- the engine


def _engine(before: ActorsAnswer | None, now: ActorsAnswer, elapsed_s: float) -> Table:
    table = Table.grid(padding=(0, 3))
    table.add_row(*_queues(before, now, elapsed_s))
    table.add_row(*_rest(now))
    return table


def _queues(before: ActorsAnswer | None, now: ActorsAnswer, elapsed_s: float) -> list[Text]:
    cells: list[Text] = []
    for kind, total in now.slots.items():
        under_way = total - now.slots_free.get(kind, total)
        text = f"{under_way:,}/{total:,} under way"
        if before is not None:
            admitted = now.admitted[kind] - before.admitted.get(kind, 0)
            text += f", {_per_s(admitted, elapsed_s)}/s"
        cells.append(_fact(kind, text, _WARY if under_way * 2 > total else ""))
    cells.append(_fact("follow-ups", f"{now.outstanding_follow_ups:,}"))
    return cells


def _rest(now: ActorsAnswer) -> list[Text]:
    history = now.history
    if history is None:
        behind = _fact("history", "does not answer", _BAD)
    else:
        text = f"{history.behind_records:,} records, {history.behind_s:.1f} s behind"
        behind = _fact("history", text, _WARY if history.behind_s > _BEHIND_S_WARY else "")
    fallen = [desk for desk in now.desks if desk.health != "LIVE"]
    names = ", ".join(f"{desk.instrument or desk.desk} {desk.health}" for desk in fallen)
    desks = _fact("desks", f"{names} of {len(now.desks)}" if fallen else f"{len(now.desks)} live")
    if fallen:
        desks.stylize(_BAD)
    lives = _fact("lives", str(now.lives), _WARY if now.lives > 1 else "")
    sockets = _fact("connections", f"{now.connections:,}, {now.websockets:,} websockets")
    return [behind, sockets, Text("   ").join([desks, lives])]


def _fact(name: str, text: str, style: str = "") -> Text:
    return Text.assemble((f"{name} ", _QUIET), (text, style))


def _actors(before: ActorsAnswer | None, now: ActorsAnswer, elapsed_s: float) -> Table:
    table = _table()
    table.add_column("actor")
    for name in ("waiting", "batches/s", "a batch", "busy", "restarts"):
        table.add_column(name, justify="right")
    earlier = {} if before is None else {one.name: one for one in before.actors}
    for actor in now.actors:
        table.add_row(*_actor(earlier.get(actor.name), actor, elapsed_s))
    return table


def _actor(before: ActorAnswer | None, now: ActorAnswer, elapsed_s: float) -> list[Text]:
    rates = [_NONE, _NONE, _NONE]
    if before is not None and elapsed_s > 0 and now.batches >= before.batches:
        batches, busy_s = now.batches - before.batches, max(0.0, now.busy_s - before.busy_s)
        each = f"{busy_s * 1_000 / batches:.2f} ms" if batches else _NONE
        rates = [_per_s(batches, elapsed_s), each, f"{100 * busy_s / elapsed_s:.0f}%"]
    name = Text(now.name) if now.running else Text(f"{now.name} (not running)", style=_BAD)
    return [
        name,
        Text(f"{now.mailbox_depth:,}", style=_WARY if now.mailbox_depth > 100 else ""),
        *(Text(rate) for rate in rates),
        Text(str(now.restarts), style=_WARY if now.restarts else ""),
    ]


def _table() -> Table:
    return Table(box=None, pad_edge=False, header_style=_QUIET)


def _per_s(count: int, elapsed_s: float) -> str:
    """A rate for people.

    >>> _per_s(25, 2.0), _per_s(3_000, 2.0), _per_s(1, 0.0)
    ('12.5', '1,500', '-')
    """
    if elapsed_s <= 0:
        return _NONE
    rate = max(0, count) / elapsed_s
    return f"{rate:,.0f}" if rate >= 100 else f"{rate:.1f}"

"""Rows folded from records: they add up, and it does not matter where batches are cut."""

from collections import defaultdict
from random import Random

from engine.history.fold import HistoryFold
from engine.history.rows import CandleRow, Row, Rows
from engine.journal.records import Record
from engine.journal.released import Released
from engine.journal.state import EngineState
from engine.ledger.system_accounts import CLEARING
from engine.marketdata.candles import INTERVALS
from engine.orderbook.messages import Trade

Tables = dict[str, dict[object, Row]]


def test_entries_add_up_to_balances(records: list[Record]) -> None:
    rows, released = rows_of(records)
    owned: dict[tuple[int, int], int] = defaultdict(int)
    for entry in rows.entries:
        for account_id, amount, says in (
            (entry.debit_account_id, -entry.amount_minor, entry.debit_balance_minor),
            (entry.credit_account_id, entry.amount_minor, entry.credit_balance_minor),
        ):
            owned[account_id, entry.asset_id] += amount
            assert owned[account_id, entry.asset_id] == says, entry
    posted = {(one.account_id, one.asset_id): one.balance_minor for one in rows.balances}
    assert posted == owned
    assert sum(amount for (account, _), amount in owned.items() if account == CLEARING) < 0
    assert [e for r in records for e in r.entries] != []
    assert len(rows.entries) == sum(len(record.entries) for record in records)
    for row in rows.balances:
        balance = released.ledger.balance(row.account_id, row.asset_id)
        assert balance is not None
        assert (row.balance_minor, row.held_minor) == (balance.posted_minor, balance.held_minor)


def test_a_balance_row_names_the_newest_record_that_touched_it(records: list[Record]) -> None:
    rows, _ = rows_of(records)
    touched = {}
    for record in records:
        for hold in record.holds:
            touched[hold.account_id, hold.asset_id] = record.sequence
        for entry in record.entries:
            touched[entry.debit_account_id, entry.asset_id] = record.sequence
            touched[entry.credit_account_id, entry.asset_id] = record.sequence
    assert {(row.account_id, row.asset_id): row.sequence for row in rows.balances} == touched


def test_order_rows_are_the_released_orders(records: list[Record]) -> None:
    rows, released = rows_of(records)
    known = released.orders.open_count + released.orders.closed_count
    assert len(rows.orders) == known
    assert all(released.orders.get(row.order.order_id) == row.order for row in rows.orders)


def test_there_is_a_row_for_every_trade_between_the_accounts_of_both_orders(
    records: list[Record],
) -> None:
    rows, released = rows_of(records)
    trades = [
        (record.sequence, event)
        for record in records
        for event in record.events
        if isinstance(event, Trade)
    ]
    assert [row.sequence for row in rows.trades] == [sequence for sequence, _ in trades]
    for row, (_, trade) in zip(rows.trades, trades, strict=True):
        maker = released.orders.get(row.maker_order_id)
        taker = released.orders.get(row.taker_order_id)
        assert maker is not None
        assert taker is not None
        assert (row.maker_account_id, row.taker_account_id) == (maker.account_id, taker.account_id)
        assert (row.instrument_id, row.price_ticks) == (maker.instrument_id, trade.price_ticks)
        assert (row.quantity_lots, row.taker_side) == (trade.quantity_lots, taker.side)


def test_candles_are_what_the_trades_say(records: list[Record]) -> None:
    rows, _ = rows_of(records)
    naive = []
    for interval_s in INTERVALS.values():
        charts: dict[tuple[int, int], list[tuple[int, int]]] = {}
        for trade in rows.trades:
            start_s = trade.time_ns // 10**9 // interval_s * interval_s
            chart = charts.setdefault((trade.instrument_id, start_s), [])
            chart.append((trade.price_ticks, trade.quantity_lots))
        for (instrument_id, start_s), chart in charts.items():
            prices = [price for price, _ in chart]
            lots = sum(lots for _, lots in chart)
            turnover = sum(price * lots for price, lots in chart)
            ohlc = (prices[0], max(prices), min(prices), prices[-1])
            count = len(chart)
            naive.append((instrument_id, interval_s, start_s, *ohlc, lots, turnover, count))
    assert sorted(map(_values, rows.candles)) == sorted(naive)
    assert len(naive) >= len(INTERVALS)


def test_key_rows_are_the_released_keys(records: list[Record]) -> None:
    rows, released = rows_of(records)
    assert len(rows.keys) == len(released.keys)
    for row in rows.keys:
        assert released.keys.get(row.scope, row.key) == (row.sequence, row.body_digest)


def test_effects_of_an_account_are_numbered_strictly_upwards(records: list[Record]) -> None:
    rows, _ = rows_of(records)
    newest: dict[int, tuple[int, int]] = {}
    for row in rows.effects:
        for index, _effect in enumerate(row.effects):
            assert (row.sequence, index) > newest.get(row.account_id, (0, 0))
            newest[row.account_id] = (row.sequence, index)
    assert newest


def test_it_does_not_matter_where_batches_are_cut(records: list[Record]) -> None:
    whole, _ = rows_of(records)
    one_by_one = cut(records, range(1, len(records)))
    assert tables_of(one_by_one) == tables_of([whole])
    draw = Random(5)
    for _ in range(5):
        places = sorted(draw.sample(range(1, len(records)), draw.randint(1, 20)))
        assert tables_of(cut(records, places)) == tables_of([whole])


def test_a_fold_that_begins_from_a_snapshot_gives_the_same_rows(records: list[Record]) -> None:
    whole, _ = rows_of(records)
    for place in (1, len(records) // 3, len(records) - 5):
        first = EngineState()
        early = HistoryFold(first.released, first.apply)
        early.apply_all(records[:place])
        again = EngineState()
        again.restore(first.snapshot())
        late = HistoryFold(again.released, again.apply)
        late.apply_all(records[place:])
        assert tables_of([early.take(), late.take()]) == tables_of([whole])
        assert again.released.sequence == len(records)


def test_what_was_taken_is_not_taken_again(records: list[Record]) -> None:
    fold = HistoryFold(Released())
    fold.apply_all(records)
    assert fold.take() != Rows()
    assert fold.take() == Rows()


def test_the_whole_state_and_the_released_one_alone_give_the_same_rows(
    records: list[Record],
) -> None:
    state = EngineState()
    fold = HistoryFold(state.released, state.apply)
    fold.apply_all(records)
    assert fold.take() == rows_of(records)[0]
    assert state.released.sequence == len(records)


def rows_of(records: list[Record]) -> tuple[Rows, Released]:
    """The rows of all records in one batch, and the state after them."""
    fold = HistoryFold(Released())
    fold.apply_all(records)
    return fold.take(), fold.released


def cut(records: list[Record], places: list[int] | range) -> list[Rows]:
    """The rows of batches that begin at these places."""
    fold, batches = HistoryFold(Released()), []
    for place, record in enumerate(records):
        if place in places:
            batches.append(fold.take())
        fold.apply(record)
    return [*batches, fold.take()]


def tables_of(batches: list[Rows]) -> Tables:
    """What tables hold after these batches, by the primary keys that the rows state."""
    tables: Tables = defaultdict(dict)
    for rows in batches:
        for trade in rows.trades:
            _add(tables["trades"], (trade.sequence, trade.index), trade)
        for entry in rows.entries:
            _add(tables["entries"], (entry.sequence, entry.index), entry)
        for key in rows.keys:
            _add(tables["keys"], (key.scope, key.key), key)
        for effects in rows.effects:
            _add(tables["effects"], (effects.account_id, effects.sequence), effects)
        for act in rows.audit:
            _add(tables["audit"], act.sequence, act)
        tables["orders"].update((row.order.order_id, row) for row in rows.orders)
        tables["balances"].update(((row.account_id, row.asset_id), row) for row in rows.balances)
        for candle in rows.candles:
            place = (candle.instrument_id, candle.interval_s, candle.start_s)
            earlier = tables["candles"].get(place)
            assert earlier is None or isinstance(earlier, CandleRow)
            tables["candles"][place] = earlier.followed_by(candle) if earlier else candle
    return tables


def _add(table: dict[object, Row], place: object, row: Row) -> None:
    """Rows that are only added are added once."""
    assert place not in table, row
    table[place] = row


def _values(row: CandleRow) -> tuple[int, ...]:
    return tuple(getattr(row, name) for name in row.__struct_fields__)

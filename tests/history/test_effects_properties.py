"""What accounts are told, told back: a client that believes its stream knows what there is."""

from collections.abc import Iterator

from engine.history.changes import touched_accounts
from engine.history.effects import BalanceChanged, Effect, Filled, OrderChanged, effects_of
from engine.journal.records import Record
from engine.journal.released import Released
from engine.ledger.system_accounts import FIRST_CUSTOMER
from engine.products.exchange.messages import EnterTriggered
from engine.products.exchange.orders import Order, OrderStatus
from engine.units import AccountId, AssetId, OrderId

_LIVES = (OrderStatus.OPEN, OrderStatus.WAITING, OrderStatus.TRIGGERED)
Told = dict[AccountId, list[Effect]]


class Client:
    """One account as its owner puts it together from the stream alone."""

    def __init__(self) -> None:
        self.orders: dict[OrderId, Order] = {}
        self.balances: dict[AssetId, tuple[int, int]] = {}
        self.filled: dict[OrderId, tuple[int, int, int]] = {}  # lots, tick x lots, fees

    def hear(self, effect: Effect) -> None:
        match effect:
            case OrderChanged(order):
                self.orders[order.order_id] = order
            case BalanceChanged(asset_id, balance_minor, held_minor):
                self.balances[asset_id] = (balance_minor, held_minor)
            case Filled():
                lots, tick_lots, fees = self.filled.get(effect.order_id, (0, 0, 0))
                self.filled[effect.order_id] = (
                    lots + effect.quantity_lots,
                    tick_lots + effect.price_ticks * effect.quantity_lots,
                    fees + effect.fee_minor,
                )


def told(records: list[Record]) -> Iterator[tuple[Record, Released, Told]]:
    """Each record with the released state right after it and what it is said to have done."""
    released = Released()
    for record in records:
        released.apply(record)
        yield record, released, effects_of(record, released)


def test_a_client_that_hears_every_effect_knows_its_orders_and_balances(
    records: list[Record],
) -> None:
    clients: dict[AccountId, Client] = {}
    for record, released, effects in told(records):
        for account_id, heard in effects.items():
            for effect in heard:
                clients.setdefault(account_id, Client()).hear(effect)
        for account_id in released.rules.directory.accounts:
            client = clients.get(account_id, Client())
            alive = {one: order for one, order in client.orders.items() if order.status in _LIVES}
            assert alive == released.orders.open_of(account_id), record
            owned = released.ledger.balances_of(account_id)
            assert client.balances == {a: (b.posted_minor, b.held_minor) for a, b in owned}, record
    heard_of = [order for client in clients.values() for order in client.orders.values()]
    assert len(heard_of) == released.orders.open_count + released.orders.closed_count > 30
    assert [released.orders.get(order.order_id) for order in heard_of] == heard_of


def test_the_fills_of_an_order_add_up_to_what_it_says(records: list[Record]) -> None:
    clients: dict[AccountId, Client] = {}
    for _record, _released, effects in told(records):
        for account_id, heard in effects.items():
            for effect in heard:
                clients.setdefault(account_id, Client()).hear(effect)
    orders = [
        (client.filled.get(order.order_id, (0, 0, 0)), order)
        for client in clients.values()
        for order in client.orders.values()
    ]
    assert sum(filled[0] > 0 for filled, _ in orders) > 10
    for filled, order in orders:
        fees = order.charged_minor - order.rebate_minor
        assert filled == (order.filled_lots, order.filled_tick_lots, fees)


def test_an_order_is_told_of_only_when_it_changed(records: list[Record]) -> None:
    known: dict[OrderId, Order] = {}
    for record, _released, effects in told(records):
        changed = [
            one.order
            for heard in effects.values()
            for one in heard
            if isinstance(one, OrderChanged)
        ]
        assert len({order.order_id for order in changed}) == len(changed), record
        for order in changed:
            assert known.get(order.order_id) != order, record
            known[order.order_id] = order


def test_effects_come_as_orders_then_fills_then_balances(records: list[Record]) -> None:
    kinds = (OrderChanged, Filled, BalanceChanged)
    for record, _released, effects in told(records):
        for heard in effects.values():
            ranks = [kinds.index(type(effect)) for effect in heard]
            assert ranks == sorted(ranks), record
            fills = [effect.trade_index for effect in heard if isinstance(effect, Filled)]
            assert fills == sorted(fills), record
            assets = [effect.asset_id for effect in heard if isinstance(effect, BalanceChanged)]
            assert assets == sorted(set(assets)), record


def test_only_customers_are_told_and_all_of_them_were_touched(records: list[Record]) -> None:
    for record, _released, effects in told(records):
        assert set(effects) <= touched_accounts(record), record
        assert all(account_id >= FIRST_CUSTOMER for account_id in effects), record
        assert all(effects.values()), record


def test_a_refusal_does_nothing_to_anybody_but_the_order_that_was_triggered(
    records: list[Record],
) -> None:
    refused = 0
    for record, _released, effects in told(records):
        if record.refusal is None:
            continue
        refused += 1
        if isinstance(record.command, EnterTriggered) and effects:
            [[first, *_]] = effects.values()
            assert isinstance(first, OrderChanged)
            assert first.order.status is OrderStatus.REJECTED
        else:
            assert effects == {}, record
    assert refused > 20

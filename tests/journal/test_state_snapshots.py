"""A state is its records, however it was come by."""

from random import Random

import msgspec
import pytest

from engine.errors import JournalCorrupt
from engine.journal.state import EngineState, difference
from engine.orderbook.instrument import Instrument
from engine.orderbook.messages import CancelReason, OrderKind, PlaceOrder
from engine.products.exchange.desk import InstrumentDesk
from engine.products.exchange.messages import (
    CancelChunk,
    Leg,
    PlaceConditional,
    Reserved,
    TriggerWhen,
)
from engine.products.withdrawals.messages import WithdrawalUnknown
from engine.storage.memory import MemoryJournal
from engine.units import (
    WITHDRAWALS_DESK,
    AccountId,
    AmountMinor,
    AssetId,
    InstrumentId,
    PriceTicks,
    QuantityLots,
    Sequence,
    Side,
    TimeNs,
)
from tests.journal.flow import journal_of, records_of


def folded(journal: MemoryJournal) -> EngineState:
    state = EngineState()
    state.apply_all(records_of(journal))
    return state


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_any_snapshot_and_the_records_after_it_give_the_state_of_all_records(seed: int) -> None:
    journal = journal_of(seed, commands=250)
    records, end = records_of(journal), folded(journal).snapshot()
    cuts = sorted(Random(seed).sample(range(len(records)), 25))
    prefix, done = EngineState(), 0
    for cut in cuts:
        prefix.apply_all(records[done:cut])
        done = cut
        payload = prefix.snapshot()
        restored = EngineState()
        restored.restore(payload)
        assert difference(restored.snapshot(), payload) == ""
        restored.apply_all(records[cut:])
        assert difference(restored.snapshot(), end) == ""


def test_equal_states_give_equal_bytes(journal: MemoryJournal) -> None:
    assert folded(journal).snapshot() == folded(journal).snapshot()


def test_one_desk_can_be_had_without_the_others(journal: MemoryJournal) -> None:
    whole = folded(journal)
    payload = whole.snapshot()
    part = EngineState()
    part.restore_machine(payload, InstrumentId(1))
    assert list(part.desks) == [1]
    assert part.desks[InstrumentId(1)].snapshot() == whole.desks[InstrumentId(1)].snapshot()
    part.restore_machine(payload, WITHDRAWALS_DESK)
    assert part.withdrawals.snapshot() == whole.withdrawals.snapshot()
    assert part.released.sequence == 0


def test_an_instrument_without_records_has_an_empty_desk_in_a_restored_state(
    journal: MemoryJournal,
) -> None:
    records = records_of(journal)
    early = EngineState()
    early.apply_all(records[:8])  # instruments exist, nothing traded yet
    restored = EngineState()
    restored.restore_machine(early.snapshot(), InstrumentId(2))
    desk = restored.machine(InstrumentId(2))
    assert desk.instrument.symbol == "ETH-USD"
    assert desk.snapshot().open_orders == []


def test_released_and_deciding_withdrawals_are_restored_apart(journal: MemoryJournal) -> None:
    restored = EngineState()
    restored.restore(folded(journal).snapshot())
    [one, *_] = restored.withdrawals.all()
    before = restored.released.withdrawals.snapshot()[0].status
    unknown = msgspec.structs.replace(
        records_of(journal)[0], events=[WithdrawalUnknown(one.withdrawal_id, "lost")]
    )
    restored.withdrawals.apply(unknown)
    assert restored.withdrawals.all()[0].evidence == "lost"
    assert restored.released.withdrawals.snapshot()[0].status == before
    assert restored.released.withdrawals.snapshot()[0].evidence != "lost"


def test_depth_that_was_merely_looked_up_is_no_part_of_the_state(journal: MemoryJournal) -> None:
    state = folded(journal)
    before = state.snapshot()
    state.released.depth(InstrumentId(77))
    assert state.snapshot() == before


def test_a_smaller_memory_for_closed_orders_keeps_the_newest(journal: MemoryJournal) -> None:
    whole, small = folded(journal), EngineState(closed_orders_max=5)
    small.restore(whole.snapshot())
    assert small.released.orders.closed_count == 5
    assert difference(small.snapshot(), whole.snapshot(closed_orders_max=5)) == ""


@pytest.mark.parametrize("payload", [b"", b"\x93\x01\x02\x03", b"nonsense", b"\x80"])
def test_bytes_that_are_no_state_are_refused(payload: bytes) -> None:
    with pytest.raises(JournalCorrupt):
        EngineState().restore(payload)
    with pytest.raises(JournalCorrupt):
        EngineState().restore_machine(payload, InstrumentId(1))


def test_a_gap_between_records_is_refused(journal: MemoryJournal) -> None:
    records = records_of(journal)
    state = EngineState()
    state.apply(records[0])
    with pytest.raises(JournalCorrupt, match="record 3 follows 1"):
        state.apply(records[2])


def test_differences_name_the_parts(journal: MemoryJournal) -> None:
    records = records_of(journal)
    shorter, longer = EngineState(), EngineState()
    shorter.apply_all(records[:-100])
    longer.apply_all(records)
    found = difference(shorter.snapshot(), longer.snapshot())
    assert "sequence" in found
    assert "orders" in found
    assert "desk " in found


def test_a_restored_desk_goes_on_exactly_as_the_one_that_lived() -> None:
    """Orders that a price set off are cancelled in the same order after a restart."""
    desk = InstrumentDesk(
        Instrument(
            InstrumentId(1), "B", AssetId(1), AssetId(2), AmountMinor(1), AmountMinor(1), "1", "1"
        )
    )
    account, held = AccountId(100), Reserved(AccountId(100), AssetId(1), AmountMinor(5))
    for number, trigger in ((1, 90), (2, 95)):  # the younger one is set off first
        leg = Leg(TriggerWhen.AT_OR_BELOW, PriceTicks(trigger), OrderKind.LIMIT, PriceTicks(80))
        stop = PlaceConditional(account, InstrumentId(1), Side.SELL, QuantityLots(5), (leg,))
        desk.decide(Sequence(number), TimeNs(1), stop, held)
    for number, side in ((3, Side.BUY), (4, Side.SELL)):
        trade = PlaceOrder(
            AccountId(101 + number),
            InstrumentId(1),
            side,
            OrderKind.LIMIT,
            PriceTicks(85),
            QuantityLots(1),
        )
        paid = AmountMinor(85 if side is Side.BUY else 1)
        asset_id = AssetId(2 if side is Side.BUY else 1)
        desk.decide(
            Sequence(number), TimeNs(1), trade, Reserved(AccountId(101 + number), asset_id, paid)
        )
    restored = InstrumentDesk.restore(desk.instrument, desk.snapshot())
    chunk = CancelChunk(InstrumentId(1), account, Sequence(9), CancelReason.CANCEL_ALL, Sequence(9))
    lived, came_back = (
        one.decide(Sequence(10), TimeNs(2), chunk, None) for one in (desk, restored)
    )
    assert [event.order_id for event in lived.events[:-1]] == [1, 2]
    assert came_back == lived

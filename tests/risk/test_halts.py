"""Kill switches: who is stopped, and that switches do not touch each other."""

import msgspec
import pytest

from engine.refusals import Reason
from engine.risk.halts import Halts, HaltsSnapshot
from engine.units import AccountId, InstrumentId

ALICE, BOB = AccountId(100), AccountId(104)  # a set of the two iterates BOB first
GOLD, OIL = InstrumentId(1), InstrumentId(2)


def reason(halts: Halts, account_id: AccountId, instrument_id: InstrumentId) -> Reason | None:
    refused = halts.refusal(account_id, instrument_id)
    return None if refused is None else refused.reason


def test_nothing_is_halted_at_first() -> None:
    assert reason(Halts(), ALICE, GOLD) is None


def test_a_halted_instrument_stops_everybody_there_and_nobody_elsewhere() -> None:
    halts = Halts()
    halts.set_instrument(GOLD, True)
    assert reason(halts, ALICE, GOLD) is reason(halts, BOB, GOLD) is Reason.INSTRUMENT_HALTED
    assert reason(halts, ALICE, OIL) is None


def test_a_halted_account_is_stopped_everywhere_and_alone() -> None:
    halts = Halts()
    halts.set_account(ALICE, True)
    assert reason(halts, ALICE, GOLD) is reason(halts, ALICE, OIL) is Reason.ACCOUNT_HALTED
    assert reason(halts, BOB, GOLD) is None


def test_the_widest_halt_is_the_answer() -> None:
    halts = Halts()
    halts.set_account(ALICE, True)
    halts.set_instrument(GOLD, True)
    assert reason(halts, ALICE, GOLD) is Reason.INSTRUMENT_HALTED
    halts.set_everything(True)
    assert reason(halts, ALICE, GOLD) is reason(halts, BOB, OIL) is Reason.TRADING_HALTED


def test_resuming_everything_leaves_the_other_switches_thrown() -> None:
    halts = Halts(HaltsSnapshot(True, (GOLD,), (ALICE,)))
    halts.set_everything(False)
    assert reason(halts, BOB, GOLD) is Reason.INSTRUMENT_HALTED
    halts.set_instrument(GOLD, False)
    assert reason(halts, BOB, GOLD) is None
    assert reason(halts, ALICE, GOLD) is Reason.ACCOUNT_HALTED
    halts.set_account(ALICE, False)
    assert reason(halts, ALICE, GOLD) is None


@pytest.mark.parametrize("halted", [True, False])
def test_a_switch_set_twice_is_set_once(halted: bool) -> None:
    once, twice = Halts(), Halts()
    for halts, times in ((once, 1), (twice, 2)):
        for _ in range(times):
            halts.set_everything(halted)
            halts.set_instrument(GOLD, halted)
            halts.set_account(ALICE, halted)
    assert once.snapshot() == twice.snapshot()


def test_a_refusal_names_the_field_and_the_rule() -> None:
    halts = Halts(HaltsSnapshot(instruments=(GOLD,)))
    refused = halts.refusal(ALICE, GOLD)
    assert refused is not None
    assert (refused.field, refused.rule) == ("instrument_id", "halt")


def test_a_snapshot_is_in_order_and_makes_the_same_switches() -> None:
    halts = Halts()
    for account in (BOB, ALICE):
        halts.set_account(account, True)
    halts.set_instrument(OIL, True)
    snapshot = halts.snapshot()
    assert snapshot == HaltsSnapshot(False, (OIL,), (ALICE, BOB))
    stored = msgspec.msgpack.decode(msgspec.msgpack.encode(snapshot), type=HaltsSnapshot)
    assert Halts(stored).snapshot() == snapshot
    assert repr(Halts(stored)) == repr(halts)

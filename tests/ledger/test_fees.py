"""Fees: partial fills pay the fee of the whole, rebates never exceed it, schedules fall back."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.ledger.fees import FeeRates, FeeRow, FeeSchedule, RateMeter
from engine.units import RATE_ONE_PPM, InstrumentId

ONE, TWO = InstrumentId(1), InstrumentId(2)
EVERY = InstrumentId(0)
rates_ppm = st.integers(0, RATE_ONE_PPM - 1)
fills = st.lists(st.integers(1, 10**12), min_size=1, max_size=20)


def rounded_up(exact: int) -> int:
    return -(-exact // RATE_ONE_PPM)


@given(amounts=fills, rate_ppm=rates_ppm)
def test_partial_fills_pay_the_fee_of_the_whole_at_every_moment(
    amounts: list[int], rate_ppm: int
) -> None:
    meter, received, charged = RateMeter(), 0, 0
    for amount in amounts:
        fee = meter.charge(amount, rate_ppm)
        assert 0 <= fee <= amount
        received, charged = received + amount, charged + fee
        assert charged == rounded_up(received * rate_ppm)


@given(amounts=st.lists(st.tuples(st.integers(1, 10**12), rates_ppm), min_size=1, max_size=20))
def test_fills_at_different_rates_pay_one_rounding_in_all(amounts: list[tuple[int, int]]) -> None:
    meter = RateMeter()
    charged = sum(meter.charge(amount, rate_ppm) for amount, rate_ppm in amounts)
    assert charged == rounded_up(sum(amount * rate_ppm for amount, rate_ppm in amounts))


@given(amounts=fills, rate_ppm=rates_ppm)
def test_partial_fills_earn_the_rebate_of_the_whole(amounts: list[int], rate_ppm: int) -> None:
    meter = RateMeter()
    assert (
        sum(meter.credit(amount, rate_ppm) for amount in amounts)
        == sum(amounts) * rate_ppm // RATE_ONE_PPM
    )


@given(amounts=fills, taker_ppm=rates_ppm, maker_part=st.fractions(0, 1))
def test_rebates_of_one_pair_of_orders_never_exceed_its_fees(
    amounts: list[int], taker_ppm: int, maker_part: float
) -> None:
    maker_ppm = int(taker_ppm * maker_part)
    FeeRates(-maker_ppm, taker_ppm)
    fee_meter, rebate_meter, kept = RateMeter(), RateMeter(), 0
    for amount in amounts:
        kept += fee_meter.charge(amount, taker_ppm) - rebate_meter.credit(amount, maker_ppm)
        assert kept >= 0


def test_a_rate_of_zero_costs_nothing_and_earns_nothing() -> None:
    meter = RateMeter()
    assert (meter.charge(10**18, 0), meter.credit(10**18, 0)) == (0, 0)
    assert meter == RateMeter()


def test_a_meter_goes_on_after_it_was_stored() -> None:
    meter = RateMeter()
    meter.charge(100, 2_500)
    stored = msgspec.msgpack.decode(msgspec.msgpack.encode(meter), type=RateMeter)
    assert [stored.charge(100, 2_500) for _ in range(4)] == [0, 0, 0, 1]


@pytest.mark.parametrize(
    ("maker_ppm", "taker_ppm"),
    [(0, 0), (-1, 1), (999_999, 999_999), (-999_999, 999_999), (5, 3)],
)
def test_rates_up_to_the_whole_are_allowed(maker_ppm: int, taker_ppm: int) -> None:
    rates = FeeRates(maker_ppm, taker_ppm)
    assert (rates.maker_ppm, rates.taker_ppm) == (maker_ppm, taker_ppm)


@pytest.mark.parametrize(
    ("maker_ppm", "taker_ppm"), [(0, -1), (0, 1_000_000), (-2, 1), (1_000_000, 0)]
)
def test_rates_that_could_pay_out_more_than_comes_in_are_refused(
    maker_ppm: int, taker_ppm: int
) -> None:
    with pytest.raises(ValueError, match="rate"):
        FeeRates(maker_ppm, taker_ppm)


def test_impossible_rates_cannot_be_decoded() -> None:
    with pytest.raises(msgspec.ValidationError, match="taker rate"):
        msgspec.json.decode(b"[0, -1]", type=FeeRates)


def test_an_empty_schedule_charges_its_default() -> None:
    assert FeeSchedule().rates("vip", ONE) == FeeRates(0, 0)
    schedule = FeeSchedule(FeeRates(1, 2))
    assert schedule.rates("vip", ONE) is schedule.rates("vip", ONE) is schedule.default


def test_the_most_particular_rates_count() -> None:
    schedule = FeeSchedule(FeeRates(0, 9))
    for expected, (tier, instrument) in enumerate(
        [("", EVERY), ("", ONE), ("vip", EVERY), ("vip", ONE)], start=1
    ):
        schedule.set(tier, instrument, 0, expected)
        assert schedule.rates("vip", ONE).taker_ppm == expected
    assert schedule.rates("vip", TWO).taker_ppm == 3
    assert schedule.rates("new", ONE).taker_ppm == 2
    assert schedule.rates("new", TWO).taker_ppm == 1


def test_changed_rates_count_from_the_next_question_on() -> None:
    schedule = FeeSchedule()
    schedule.set("vip", ONE, 1, 2)
    assert schedule.rates("vip", ONE) == FeeRates(1, 2)
    schedule.set("vip", ONE, 3, 4)
    assert schedule.rates("vip", ONE) == FeeRates(3, 4)


def test_a_refused_change_of_rates_changes_nothing() -> None:
    schedule = FeeSchedule()
    with pytest.raises(ValueError, match="maker rate"):
        schedule.set("vip", ONE, -1, 0)
    assert schedule.rows() == []


def test_the_rows_of_a_schedule_make_the_same_schedule() -> None:
    schedule = FeeSchedule()
    schedule.set("vip", TWO, 1, 2)
    schedule.set("", EVERY, -3, 4)
    rows = [FeeRow("", EVERY, FeeRates(-3, 4)), FeeRow("vip", TWO, FeeRates(1, 2))]
    assert schedule.rows() == rows
    assert FeeSchedule(rows=rows).rates("vip", TWO) == FeeRates(1, 2)

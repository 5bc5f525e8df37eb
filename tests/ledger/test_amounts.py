"""Decimal text and integers: exact both ways, and nothing but `InvalidAmount` for anything else."""

from contextlib import suppress
from decimal import Decimal

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from engine.ledger.amounts import (
    AmountFault,
    Asset,
    AssetKind,
    InvalidAmount,
    format_minor,
    format_multiple,
    instrument_units,
    parse_minor,
    parse_multiple,
)
from engine.units import INT64_MAX, AssetId

scales = st.integers(0, 9)
amounts = st.integers(0, INT64_MAX)
steps = st.sampled_from(["1", "5", "0.01", "0.05", "0.00000001", "2.5", "100", "0.125", "1.0"])
nearly_amounts = st.text(alphabet="0123456789.+-eE _,\u0663\uff10nainf\n\x00", max_size=40)


def fault_of(text: str, scale: int = 2) -> AmountFault:
    with pytest.raises(InvalidAmount) as refused:
        parse_minor(text, scale)
    return refused.value.code


@given(amount=amounts, scale=scales)
def test_an_amount_comes_back_from_its_text(amount: int, scale: int) -> None:
    text = format_minor(amount, scale)
    assert parse_minor(text, scale) == amount
    assert Decimal(text).scaleb(scale) == amount


@given(count=st.integers(0, INT64_MAX), step=steps)
def test_a_multiple_comes_back_from_its_text(count: int, step: str) -> None:
    text = format_multiple(count, step)
    assert parse_multiple(text, step) == count
    assert Decimal(text) == count * Decimal(step)


@given(amount=st.integers(-INT64_MAX, -1), scale=scales)
def test_a_debt_is_printed_with_a_minus_sign_and_never_read(amount: int, scale: int) -> None:
    text = format_minor(amount, scale)
    assert text == "-" + format_minor(-amount, scale)
    assert fault_of(text, scale) is AmountFault.NOT_DECIMAL


@pytest.mark.slow
@given(text=st.one_of(st.text(max_size=40), nearly_amounts), scale=scales, step=steps)
@example(text="1" * 10_000, scale=2, step="1")
@example(text="\ud800", scale=0, step="1")
def test_any_text_is_an_exact_amount_or_refused(text: str, scale: int, step: str) -> None:
    with suppress(InvalidAmount):
        assert Decimal(parse_minor(text, scale)) == Decimal(text).scaleb(scale)
    with suppress(InvalidAmount):
        assert parse_multiple(text, step) * Decimal(step) == Decimal(text)


@given(tick=nearly_amounts, lot=nearly_amounts, base=scales, quote=scales)
def test_any_pair_of_sizes_makes_whole_units_or_is_refused(
    tick: str, lot: str, base: int, quote: int
) -> None:
    with suppress(InvalidAmount):
        lot_minor, tick_lot_minor = instrument_units(tick, lot, base, quote)
        assert 0 < lot_minor == Decimal(lot).scaleb(base)
        assert 0 < tick_lot_minor == (Decimal(tick) * Decimal(lot)).scaleb(quote)


@pytest.mark.parametrize(
    ("text", "minor"),
    [
        ("0", 0),
        ("0.0", 0),
        ("1.25", 125),
        ("1.2", 120),
        ("7", 700),
        ("92233720368547758.07", INT64_MAX),
    ],
)
def test_plain_decimals_are_read(text: str, minor: int) -> None:
    assert parse_minor(text, 2) == minor


@pytest.mark.parametrize(
    "text",
    [
        *["", ".", ".5", "5.", "1.2.3", "1,5", "1_000", "0x1", "1e2", "1E2", "\x001"],
        *["+1", "-1", "-0", " 1", "1 ", "1\n", "1 0", "00", "01.5", "nan", "inf"],
        *["\uff11", "\u0663", "1.\u0663", "\u00bd", "1\u00a0"],
    ],
)
def test_anything_but_plain_decimals_is_refused(text: str) -> None:
    assert fault_of(text) is AmountFault.NOT_DECIMAL


def test_more_digits_than_the_asset_has_are_refused_even_if_zero() -> None:
    assert fault_of("1.250") is AmountFault.TOO_PRECISE
    assert fault_of("1.0", scale=0) is AmountFault.TOO_PRECISE


def test_amounts_beyond_64_bits_are_refused() -> None:
    assert fault_of("92233720368547758.08") is AmountFault.TOO_LARGE
    with pytest.raises(InvalidAmount) as refused:
        parse_multiple("92233720368547758.08", "0.01")
    assert refused.value.code is AmountFault.TOO_LARGE


def test_over_long_text_is_refused_unread_and_quoted_in_part() -> None:
    assert fault_of("0" * 32) is AmountFault.NOT_DECIMAL
    assert fault_of("0" * 33) is AmountFault.TOO_LONG
    with pytest.raises(InvalidAmount) as refused:
        parse_minor("9" * 1_000_000, 2)
    assert str(refused.value) == f"TOO_LONG: '{'9' * 32}'"


def test_a_price_between_two_ticks_is_refused() -> None:
    assert parse_multiple("101.50", "0.05") == 2030
    assert parse_multiple("7.5", "2.50") == 3
    with pytest.raises(InvalidAmount) as refused:
        parse_multiple("101.52", "0.05")
    assert refused.value.code is AmountFault.NOT_A_MULTIPLE


def test_a_multiple_is_printed_with_the_digits_of_its_step() -> None:
    assert format_multiple(2030, "0.05") == "101.50"
    assert format_multiple(3, "5") == "15"
    assert format_multiple(0, "0.001") == "0.000"


@pytest.mark.parametrize("step", ["0", "0.00"])
def test_steps_of_zero_are_refused(step: str) -> None:
    with pytest.raises(InvalidAmount) as refused:
        parse_multiple("1", step)
    assert refused.value.code is AmountFault.STEP_NOT_POSITIVE


@pytest.mark.parametrize(
    ("tick", "lot", "base_scale", "quote_scale", "units"),
    [
        ("0.01", "1", 0, 2, (1, 1)),
        ("0.05", "0.001", 8, 5, (100_000, 5)),
        ("0.5", "0.5", 1, 2, (5, 25)),
        ("100", "10", 0, 0, (10, 1000)),
    ],
)
def test_units_of_an_instrument_make_notionals_exact(
    tick: str, lot: str, base_scale: int, quote_scale: int, units: tuple[int, int]
) -> None:
    assert instrument_units(tick, lot, base_scale, quote_scale) == units


@pytest.mark.parametrize(
    ("tick", "lot", "base_scale", "quote_scale", "code"),
    [
        ("0.01", "0.001", 2, 9, AmountFault.LOT_NOT_WHOLE),
        ("0.01", "0.001", 3, 4, AmountFault.TICK_LOT_NOT_WHOLE),
        ("0.01", "0", 3, 4, AmountFault.STEP_NOT_POSITIVE),
        ("0.01", "10000000000", 9, 2, AmountFault.TOO_LARGE),
        ("10000000000", "1", 0, 9, AmountFault.TOO_LARGE),
    ],
)
def test_an_instrument_with_inexact_notionals_is_refused(
    tick: str, lot: str, base_scale: int, quote_scale: int, code: AmountFault
) -> None:
    with pytest.raises(InvalidAmount) as refused:
        instrument_units(tick, lot, base_scale, quote_scale)
    assert refused.value.code is code


def test_an_asset_is_stored_and_read_back() -> None:
    asset = Asset(AssetId(1), "CNY", AssetKind.CURRENCY, 2, "renminbi")
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(asset), type=Asset) == asset


@pytest.mark.parametrize(("asset_id", "scale"), [(1, -1), (1, 10), (-1, 0), (2**20, 0)])
def test_an_asset_out_of_range_does_not_exist(asset_id: int, scale: int) -> None:
    with pytest.raises(ValueError, match="is not in"):
        Asset(AssetId(asset_id), "X", AssetKind.POINTS, scale)

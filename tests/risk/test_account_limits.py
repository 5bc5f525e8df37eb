"""Limits as messages: what they may say, and which of two counts."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.risk.limits import AccountLimits, InstrumentLimits
from engine.units import AmountMinor, AssetId, InstrumentId, QuantityLots

maxima = st.integers(0, 3)
instrument_limits = st.builds(InstrumentLimits, maxima.map(QuantityLots), maxima.map(AmountMinor))
account_limits = st.builds(
    AccountLimits,
    maxima,
    st.dictionaries(st.integers(1, 3).map(InstrumentId), instrument_limits),
    st.dictionaries(st.integers(1, 3).map(AssetId), maxima.map(AmountMinor)),
)


def allows(maximum: int, value: int) -> bool:
    return not maximum or value <= maximum


def allowed(limits: AccountLimits, value: int, number: int) -> tuple[bool, ...]:
    """Which of all limits a value keeps, on instrument and asset `number`."""
    of_instrument = limits.instruments.get(InstrumentId(number), InstrumentLimits())
    return (
        allows(limits.open_orders_max, value),
        allows(of_instrument.quantity_lots_max, value),
        allows(of_instrument.notional_minor_max, value),
        allows(limits.holdings_minor_max.get(AssetId(number), AmountMinor(0)), value),
    )


@pytest.mark.slow
@given(one=account_limits, other=account_limits)
def test_the_tightest_of_two_allows_what_both_allow(
    one: AccountLimits, other: AccountLimits
) -> None:
    both = one.tightest(other)
    for value in range(5):
        for number in range(1, 4):
            kept = zip(allowed(one, value, number), allowed(other, value, number), strict=True)
            assert allowed(both, value, number) == tuple(a and b for a, b in kept)


@given(limits=account_limits)
def test_limits_come_back_from_the_journal(limits: AccountLimits) -> None:
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(limits), type=AccountLimits) == limits


@pytest.mark.parametrize(
    "payload", [b"[-1]", b'[0,{},{"1":-1}]', b'[0,{"1":[-1]}]', b'[0,{"1":[0,-1]}]']
)
def test_a_negative_limit_is_refused(payload: bytes) -> None:
    with pytest.raises(msgspec.ValidationError, match="negative"):
        msgspec.json.decode(payload, type=AccountLimits)

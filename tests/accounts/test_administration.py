"""Reference data: unique names, ids that are never used twice, and what is refused."""

from typing import Any

import pytest

from engine.accounts.messages import (
    CreateAsset,
    CreateInstrument,
    CreateKey,
    CreateOwner,
    HaltScope,
    OpenAccount,
    RevokeKey,
    Role,
    SetFees,
    SetHalt,
    SetLimits,
    SetTier,
)
from engine.ledger.amounts import AssetKind
from engine.risk.limits import AccountLimits
from engine.units import AccountId, InstrumentId, OwnerId
from tests.products.line import ANN, HERE, Line

COIN = AssetKind.COIN
NOBODY, NOWHERE = AccountId(9), InstrumentId(9)


def instrument(symbol: str = "NEW", **terms: Any) -> CreateInstrument:
    sizes = {"base": "BASE", "quote": "QUOTE", "tick_size": "1", "lot_size": "1", **terms}
    return CreateInstrument(symbol, **sizes)


@pytest.mark.parametrize(
    ("command", "reason", "field"),
    [
        (CreateAsset("", COIN, 2), "INVALID_VALUE", "code"),
        (CreateAsset("A B", COIN, 2), "INVALID_VALUE", "code"),
        (CreateAsset("É", COIN, 2), "INVALID_VALUE", "code"),
        (CreateAsset("A" * 21, COIN, 2), "INVALID_VALUE", "code"),
        (CreateAsset("BTC", COIN, -1), "INVALID_VALUE", "scale"),
        (CreateAsset("BTC", COIN, 10), "INVALID_VALUE", "scale"),
        (CreateAsset("BASE", COIN, 2), "ALREADY_EXISTS", "code"),
        (instrument("BASE-QUOTE"), "ALREADY_EXISTS", "symbol"),
        (instrument("-"), "INVALID_VALUE", "symbol"),
        (instrument(base="NONE"), "UNKNOWN_ASSET", "base"),
        (instrument(quote="NONE"), "UNKNOWN_ASSET", "quote"),
        (instrument(quote="BASE"), "UNKNOWN_ASSET", "quote"),
        (instrument(tick_size="0.5"), "INVALID_VALUE", "tick_size"),
        (instrument(tick_size="0"), "INVALID_VALUE", "tick_size"),
        (instrument(lot_size="x"), "INVALID_VALUE", "tick_size"),
        (instrument(minimum_lots=-1), "INVALID_VALUE", "limits"),
        (instrument(band_ppm=-1), "INVALID_VALUE", "band_ppm"),
        (instrument(makers_touched_max=0), "INVALID_VALUE", "makers"),
        (instrument(makers_touched_max=10_001), "INVALID_VALUE", "makers"),
        (CreateOwner(""), "INVALID_VALUE", "name"),
        (CreateOwner("x" * 101), "INVALID_VALUE", "name"),
        (OpenAccount(OwnerId(9), "x"), "UNKNOWN_OWNER", "owner"),
        (OpenAccount(OwnerId(1), ""), "INVALID_VALUE", "name"),
        (CreateKey(Role.TRADE, NOBODY, "d"), "UNKNOWN_ACCOUNT", "account"),
        (CreateKey(Role.ADMIN, ANN, "d"), "INVALID_VALUE", "account"),
        (RevokeKey(9), "UNKNOWN_KEY", "key_id"),
        (SetHalt(HaltScope.ACCOUNT, NOBODY, True, "x"), "UNKNOWN_ACCOUNT", "target"),
        (SetHalt(HaltScope.INSTRUMENT, NOWHERE, True, "x"), "UNKNOWN_INSTRUMENT", "target"),
        (SetHalt(HaltScope.EVERYTHING, 0, True, ""), "INVALID_VALUE", "reason"),
        (SetLimits(NOBODY, AccountLimits()), "UNKNOWN_ACCOUNT", "account"),
        (SetTier(NOBODY, "gold"), "UNKNOWN_ACCOUNT", "account"),
        (SetFees("", NOWHERE, 0, 0), "UNKNOWN_INSTRUMENT", "instrument"),
        (SetFees("", HERE, 0, -1), "INVALID_VALUE", "rates"),
        (SetFees("", HERE, -2, 1), "INVALID_VALUE", "rates"),
        (SetFees("", HERE, 0, 1_000_000), "INVALID_VALUE", "rates"),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, str) else value,
)
def test_what_cannot_be_is_refused_and_changes_nothing(
    command: Any, reason: str, field: str
) -> None:
    line = Line()
    before = line.state.accounts.rules.snapshot()
    refusal = line.submit(command).refusal
    assert refusal is not None
    assert (refusal.reason, refusal.field) == (reason, field)
    assert line.state.accounts.rules.snapshot() == before
    line.check_at_rest()


def test_names_are_unique_even_among_commands_in_flight() -> None:
    line = Line()
    pairs = [CreateAsset("NEW", COIN, 2), instrument(), CreateKey(Role.READ, ANN, "digest")]
    for command in pairs:
        assert line.submit(command).refusal is None
        again = line.submit(command).refusal
        assert again is not None
        assert again.reason == "ALREADY_EXISTS"
    line.check_at_rest()


def test_an_account_opened_in_flight_can_be_named_at_once() -> None:
    line = Line()
    line.submit(CreateOwner("new"))
    opened = line.submit(OpenAccount(OwnerId(2), "main")).events[0]
    account_id = opened.account.account_id  # type: ignore[union-attr]
    assert line.submit(CreateKey(Role.TRADE, account_id, "digest")).refusal is None
    line.check_at_rest()


def test_a_revoked_key_is_shut_out_and_its_id_is_not_used_again() -> None:
    line = Line()
    line.submit(CreateKey(Role.READ, ANN, "one"))
    line.submit(RevokeKey(1))
    line.submit(CreateKey(Role.READ, ANN, "two"))
    directory = line.state.accounts.rules.directory
    assert [key.secret_digest for key in directory.keys.values()] == ["two"]
    assert list(directory.keys) == [2]
    assert set(directory.keys_by_digest) == {"two"}
    line.check_at_rest()

"""The audit log: who did what to the house, what it was before, and what it was after."""

import json
from typing import Any

import pytest

from engine.accounts.messages import (
    CancelAll,
    CreateAsset,
    CreateInstrument,
    CreateKey,
    CreateOwner,
    Deposit,
    HaltScope,
    KeyScheme,
    OpenAccount,
    Permission,
    RevokeKey,
    Role,
    SetFees,
    SetHalt,
    SetLimits,
    SetTier,
    Transfer,
)
from engine.history.fold import HistoryFold
from engine.history.rows import AuditRow
from engine.journal.records import Record, decode, encode
from engine.journal.released import Released
from engine.ledger.amounts import AssetKind
from engine.messages import Origin, Refused
from engine.orderbook.messages import (
    ChangeInstrumentState,
    InstrumentState,
    OrderKind,
    PlaceOrder,
)
from engine.refusals import Reason
from engine.risk.limits import AccountLimits, InstrumentLimits
from engine.units import (
    AccountId,
    AmountMinor,
    AssetId,
    InstrumentId,
    OwnerId,
    PriceTicks,
    QuantityLots,
    Sequence,
    Side,
    TimeNs,
)
from tests.products.line import ANN, BOB, HERE, QUOTE, Line

SECRET, SALT = "5ec12e7" * 8, "AAAAAAAAAAAAAAAAAAAAAA"
BY_ADMIN = Origin(1, "r-1", TimeNs(0), "because")
BY_TRADER = Origin(2, "r-2")


class Office:
    """A line with an administrator's key (1) and a trader's (2), and the log of what is done."""

    def __init__(self) -> None:
        self._line = Line()
        self._fold = HistoryFold(Released())
        self._folded = 0
        self.does(CreateKey(Role.ADMIN, AccountId(0), "admin"))
        self.does(CreateKey(Role.TRADE, ANN, "trader"))

    def does(self, command: Any, origin: Origin | None = BY_ADMIN) -> list[AuditRow]:
        """Have a command decided; the acts it and what it led to amount to."""
        self._line.submit(command)
        self._line.settle()
        return self._log(origin)

    def sees(self, command: Any, *events: Any) -> list[AuditRow]:
        """Have a command recorded with these events."""
        self._line.close_undecided(command, (0, 0), *events)
        self._line.release()
        return self._log(BY_ADMIN)

    def _log(self, origin: Origin | None) -> list[AuditRow]:
        for record in self._line.records[self._folded :]:
            self._fold.apply(_sent(record, origin))
        self._folded = len(self._line.records)
        return self._fold.take().audit


def _sent(record: Record, origin: Origin | None) -> Record:
    """The record as it were if this had been its origin."""
    fields = {name: getattr(record, name) for name in record.__struct_fields__}
    return decode(encode([Record(**{**fields, "origin": origin})]))[0]


@pytest.fixture
def office() -> Office:
    return Office()


LIMITS = AccountLimits(7, {HERE: InstrumentLimits(QuantityLots(5))}, {QUOTE: AmountMinor(9)})
PLAIN = {
    "open_orders_max": 7,
    "instruments": {"1": {"quantity_lots_max": 5, "notional_minor_max": 0}},
    "holdings_minor_max": {"2": 9},
}


@pytest.mark.parametrize(
    ("command", "action", "before", "after"),
    [
        (
            SetHalt(HaltScope.ACCOUNT, ANN, True, "why"),
            "set-halt",
            {"halted": False},
            {"halted": True},
        ),
        (
            SetHalt(HaltScope.INSTRUMENT, HERE, True, "why"),
            "set-halt",
            {"halted": False},
            {"halted": True},
        ),
        (
            SetHalt(HaltScope.EVERYTHING, 0, True, "why"),
            "set-halt",
            {"halted": False},
            {"halted": True},
        ),
        (SetLimits(ANN, LIMITS), "set-limits", None, PLAIN),
        (
            SetFees("", InstrumentId(0), -5, 20),
            "set-fees",
            {"maker_ppm": 0, "taker_ppm": 0},
            {"maker_ppm": -5, "taker_ppm": 20},
        ),
        (SetTier(ANN, "vip"), "set-tier", {"tier": ""}, {"tier": "vip"}),
        (
            Deposit(ANN, QUOTE, AmountMinor(5), "x"),
            "deposit",
            [{"account_id": 100, "asset_id": 2, "balance_minor": 100_000}],
            [{"account_id": 100, "asset_id": 2, "balance_minor": 100_005}],
        ),
        (
            Transfer(ANN, BOB, QUOTE, AmountMinor(5)),
            "transfer",
            [
                {"account_id": 100, "asset_id": 2, "balance_minor": 100_000},
                {"account_id": 101, "asset_id": 2, "balance_minor": 100_000},
            ],
            [
                {"account_id": 100, "asset_id": 2, "balance_minor": 99_995},
                {"account_id": 101, "asset_id": 2, "balance_minor": 100_005},
            ],
        ),
        (
            ChangeInstrumentState(HERE, InstrumentState.CANCEL_ONLY),
            "state",
            {"state": "OPEN"},
            {"state": "CANCEL_ONLY"},
        ),
        (CreateOwner("o"), "create-owner", None, {"owner_id": 2, "name": "o"}),
        (
            OpenAccount(OwnerId(1), "a"),
            "open-account",
            None,
            {"account_id": 103, "owner_id": 1, "name": "a", "tier": ""},
        ),
        (
            CreateAsset("GOLD", AssetKind.COIN, 3),
            "create-asset",
            None,
            {"asset_id": 3, "code": "GOLD", "kind": "coin", "scale": 3, "name": ""},
        ),
        (CancelAll(ANN), "cancel-all", None, {"instruments": 0}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_an_act_is_logged_with_what_it_found_and_what_it_left(
    office: Office, command: Any, action: str, before: Any, after: Any
) -> None:
    [row] = office.does(command)
    assert (row.action, json.loads(row.before), json.loads(row.after)) == (action, before, after)


def test_an_act_is_logged_with_who_and_why(office: Office) -> None:
    [row] = office.does(SetTier(ANN, "vip"))
    assert (row.key_id, row.request_id, row.reason) == (1, "r-1", "because")
    assert json.loads(row.command) == {"account_id": 100, "tier": "vip"}
    assert row.time_ns > 0


def test_a_halts_own_reason_counts_where_no_other_is_given(office: Office) -> None:
    halt = SetHalt(HaltScope.ACCOUNT, ANN, True, "its own")
    assert [row.reason for row in office.does(halt, Origin(1))] == ["its own"]
    assert [row.reason for row in office.does(halt, None)] == ["its own"]
    assert [row.reason for row in office.does(halt, BY_ADMIN)] == ["because"]


def test_a_reason_is_logged_as_one_line_that_prints(office: Office) -> None:
    halt = SetHalt(HaltScope.ACCOUNT, ANN, True, "a\x00b\nü")
    assert [row.reason for row in office.does(halt, None)] == ["a b ü"]


def test_a_second_halt_finds_the_first(office: Office) -> None:
    office.does(SetHalt(HaltScope.ACCOUNT, ANN, True, "why"))
    [row] = office.does(SetHalt(HaltScope.ACCOUNT, ANN, False, "why"))
    assert (row.before, row.after) == ('{"halted":true}', '{"halted":false}')


def test_a_refused_act_is_logged_with_its_refusal(office: Office) -> None:
    [row] = office.does(SetTier(AccountId(9), "vip"))
    assert json.loads(row.before) is None
    refusal = {"reason": "UNKNOWN_ACCOUNT", "field": "account", "rule": ""}
    assert json.loads(row.after) == {"refused": refusal}


@pytest.mark.parametrize(
    "command",
    [
        SetHalt(HaltScope.INSTRUMENT, 9, True, "why"),
        SetLimits(AccountId(9), LIMITS),
        SetFees("", InstrumentId(9), 0, 0),
        SetFees("", InstrumentId(0), 0, -1),
        RevokeKey(9),
        CreateKey(Role.TRADE, AccountId(9), "x", replaces=77),
        CreateInstrument("X", "NONE", "NONE", "1", "1"),
        OpenAccount(OwnerId(9), "a"),
        Deposit(AccountId(9), AssetId(9), AmountMinor(1), ""),
        Transfer(AccountId(9), AccountId(8), AssetId(9), AmountMinor(1)),
        ChangeInstrumentState(InstrumentId(9), InstrumentState.OPEN),
        CancelAll(AccountId(9)),
    ],
    ids=lambda command: type(command).__name__,
)
def test_an_act_on_what_does_not_exist_is_logged_all_the_same(office: Office, command: Any) -> None:
    [row] = office.does(command)
    assert "refused" in json.loads(row.after)


def test_an_act_that_its_desk_never_decided_is_logged_as_refused(office: Office) -> None:
    [row] = office.sees(
        ChangeInstrumentState(HERE, InstrumentState.HALTED), Refused(Reason.DESK_FAULT)
    )
    assert json.loads(row.after)["refused"]["reason"] == "DESK_FAULT"


def test_no_secret_of_a_key_is_ever_logged(office: Office) -> None:
    bearer = CreateKey(Role.TRADE, ANN, SECRET)
    signing = CreateKey(Role.TRADE, ANN, "", scheme=KeyScheme.HMAC, verifier=SALT)
    rows = [*office.does(bearer), *office.does(signing)]
    rotated = CreateKey(Role.TRADE, ANN, "other", replaces=3)
    rows += [*office.does(rotated), *office.does(RevokeKey(3)), *office.does(bearer)]
    assert [row.action for row in rows] == ["create-key"] * 3 + ["revoke-key", "create-key"]
    assert not any("refused" in row.after for row in rows)
    text = "".join(row.command + row.before + row.after for row in rows)
    assert SECRET not in text
    assert SALT not in text
    assert "digest" not in text


def test_a_rotated_key_is_logged_beside_the_one_it_replaces(office: Office) -> None:
    [row] = office.does(CreateKey(Role.TRADE, ANN, "other", replaces=2, label="new"))
    before, after = json.loads(row.before), json.loads(row.after)
    assert before["replaced"]["key_id"] == 2
    assert before["replaced"]["expires_at_ns"] == 0
    assert (after["key_id"], after["label"], after["replaced"]["key_id"]) == (3, "new", 2)
    assert after["replaced"]["expires_at_ns"] > 0


def test_what_customers_do_for_themselves_is_not_logged(office: Office) -> None:
    order = PlaceOrder(ANN, HERE, Side.BUY, OrderKind.LIMIT, PriceTicks(9), QuantityLots(1))
    assert office.does(order, BY_TRADER) == []
    assert office.does(CancelAll(ANN), BY_TRADER) == []
    assert office.does(CancelAll(ANN), None) == []
    assert office.does(Transfer(ANN, BOB, QUOTE, AmountMinor(1)), BY_TRADER) == []


def test_a_transfer_that_no_key_sent_is_logged(office: Office) -> None:
    assert len(office.does(Transfer(ANN, BOB, QUOTE, AmountMinor(1)), None)) == 1


def test_a_key_with_the_right_to_administer_is_an_administrators(office: Office) -> None:
    office.does(CreateKey(Role.READ, AccountId(0), "x", permissions=(Permission.ADMIN,)))
    assert len(office.does(CancelAll(ANN), Origin(3))) == 1


def test_rows_are_numbered_by_their_record(office: Office) -> None:
    [first] = office.does(SetTier(ANN, "one"))
    [second] = office.does(SetTier(ANN, "two"))
    assert second.sequence == Sequence(first.sequence + 1)

"""The ledger by text tables: one record per line, what it leaves on the right of the arrow.

    hold o1 alice 60, pay alice bob 10      -> alice 90 (60 held), bob 10
    pay alice bob 31                        -> alice: less than it holds

Movements are separated by commas and form one record. A purpose and an asset may follow the amount
(default: principal, asset 1). "world" and "suspense" are open-ended. A colon announces a
contradiction; the ledger must then be exactly what it was.
"""

import re

import pytest

from engine.errors import InvariantViolated
from engine.ledger.ledger import Ledger
from engine.ledger.messages import Entry, EntryPurpose, HoldChange
from engine.units import INT64_MAX, AccountId, AmountMinor, AssetId, GroupId

ACCOUNTS = {"world": 1, "fees": 2, "suspense": 3, "alice": 100, "bob": 101, "carol": 102}
OPEN_ENDED = (AccountId(1), AccountId(3))
ASSET = 1


def check(table: str) -> Ledger:
    """Run a table against an empty ledger and return what came of it."""
    ledger = Ledger(OPEN_ENDED)
    for line in filter(None, map(str.strip, table.splitlines())):
        record, _, expected = (part.strip() for part in line.partition("->"))
        before = ledger.snapshot()
        entries, holds = parse(record)
        if ":" in expected:
            with pytest.raises(InvariantViolated, match=re.escape(expected.partition(": ")[2])):
                ledger.apply(entries, holds)
            assert ledger.snapshot() == before, line
        else:
            ledger.apply(entries, holds)
            for part in filter(None, expected.split(", ")):
                assert shown(ledger, part) == part, line
        ledger.check_invariants()
    return ledger


def parse(record: str) -> tuple[list[Entry], list[HoldChange]]:
    entries: list[Entry] = []
    holds: list[HoldChange] = []
    for movement in record.split(", "):
        match movement.split():
            case ["hold", group, who, amount, *rest]:
                account, asset = AccountId(ACCOUNTS[who]), AssetId(int(rest[0]) if rest else ASSET)
                holds.append(HoldChange(group_id(group), account, asset, minor(amount)))
            case ["pay", payer, payee, amount, *rest]:
                entries.append(entry(payer, payee, amount, rest))
            case _:
                pytest.fail(f"cannot read {movement!r}")
    return entries, holds


def entry(payer: str, payee: str, amount: str, rest: list[str]) -> Entry:
    assets = [word for word in rest if word.isdecimal()]
    purposes = [word for word in rest if not word.isdecimal()]
    return Entry(
        AccountId(ACCOUNTS[payer]),
        AccountId(ACCOUNTS[payee]),
        AssetId(int(assets[0]) if assets else ASSET),
        minor(amount),
        EntryPurpose[purposes[0].upper()] if purposes else EntryPurpose.PRINCIPAL,
    )


def minor(text: str) -> AmountMinor:
    return AmountMinor(INT64_MAX if text == "max" else int(text))


def group_id(name: str) -> GroupId:
    return GroupId(int(name[1:]))


def shown(ledger: Ledger, part: str) -> str:
    """The balance that `part` speaks of, printed as `part` should read."""
    who, _, *rest = part.split()
    asset = int(rest[-1]) if rest and rest[-1].isdecimal() else ASSET
    balance = ledger.balance(AccountId(ACCOUNTS[who]), AssetId(asset))
    assert balance is not None, part
    held = f" ({balance.held_minor} held)" if balance.held_minor else ""
    return f"{who} {balance.posted_minor}{held}" + (f" {asset}" if asset != ASSET else "")


def test_money_moves_and_the_world_owes_what_came_in() -> None:
    check("""
        pay world alice 100 deposit           -> world -100, alice 100
        pay alice bob 30                      -> alice 70, bob 30
        pay bob world 30 withdrawal           -> bob 0, world -70
    """)


def test_what_is_held_cannot_be_spent_by_anything_else() -> None:
    check("""
        pay world alice 100 deposit           -> alice 100
        hold o1 alice 60                      -> alice 100 (60 held)
        pay alice bob 41                      -> alice: less than it holds
        hold o2 alice 41                      -> alice: less than it holds
        hold o2 alice 40                      -> alice 100 (100 held)
    """)


def test_a_trade_spends_its_holds_in_one_record() -> None:
    check("""
        pay world alice 100 deposit, pay world bob 5 deposit 2           -> alice 100, bob 5 2
        hold o1 alice 100                                                -> alice 100 (100 held)
        hold o2 bob 5 2                                                  -> bob 5 (5 held) 2
        pay alice bob 90, pay bob alice 5 2, hold o1 alice 0, hold o2 bob 0 2 -> alice 10, alice 5 2
        pay alice bob 10                                                 -> alice 0, bob 100
    """)


def test_a_partial_fill_keeps_the_rest_held() -> None:
    check("""
        pay world alice 100 deposit           -> alice 100
        hold o1 alice 100                     -> alice 100 (100 held)
        pay alice bob 30, hold o1 alice 70    -> alice 70 (70 held), bob 30
        pay alice bob 71, hold o1 alice 0     -> alice: less than it holds
        pay alice bob 60, hold o1 alice 10    -> alice 10 (10 held), bob 90
        hold o1 alice 0                       -> alice 10
    """)


def test_a_hold_is_spent_only_once() -> None:
    check("""
        pay world alice 100 deposit           -> alice 100
        hold o1 alice 100                     -> alice 100 (100 held)
        pay alice bob 100, hold o1 alice 0    -> alice 0, bob 100
        pay alice bob 100, hold o1 alice 0    -> alice: less than it holds
    """)


def test_only_the_state_after_the_whole_record_counts() -> None:
    check("""
        pay alice fees 1 fee, pay world alice 100 deposit   -> alice 99, fees 1
        hold o1 bob 50, pay alice bob 50                    -> bob 50 (50 held), alice 49
        pay carol alice 10, pay bob carol 10                -> carol: less than it holds
        pay carol alice 10, pay bob carol 10, hold o1 bob 40 -> bob 40 (40 held), carol 0, alice 59
    """)


def test_a_rise_and_a_fall_of_one_hold_in_a_record_leave_the_last_word() -> None:
    check("""
        pay world alice 10 deposit                         -> alice 10
        hold o1 alice 10, hold o1 alice 4                  -> alice 10 (4 held)
        hold o1 alice 12, hold o1 alice 3                  -> alice 10 (3 held)
        hold o1 alice 0, hold o1 alice 11                  -> alice: less than it holds
        hold o1 alice 0, hold o1 alice 9                   -> alice 10 (9 held)
    """)


def test_only_a_correction_takes_an_account_below_zero() -> None:
    check("""
        pay world alice 10 deposit                      -> alice 10
        pay alice world 11                              -> alice: less than it holds
        pay alice world 15 correction                   -> alice -5
        pay alice world 1 correction                    -> alice -6
        pay alice bob 1                                 -> alice: less than it holds
        hold o1 alice 1                                 -> alice: less than it holds
        pay world alice 4 deposit                       -> alice -2
        pay world alice 3 deposit, pay alice bob 1      -> alice 0
    """)


def test_a_correction_does_not_cover_for_another_debit_in_its_record() -> None:
    check("""
        pay world alice 100 deposit                                 -> alice 100
        pay alice bob 101, pay alice world 50 correction            -> alice: less than it holds
        pay alice world 50 correction, pay alice bob 101            -> alice: less than it holds
        pay alice bob 50, pay alice world 100 correction            -> alice -50
    """)
    check("""
        pay world alice 100 deposit                                 -> alice 100
        pay alice world 100 correction, pay alice bob 50            -> alice -50
    """)


def test_resting_orders_of_an_indebted_account_still_trade_what_they_hold() -> None:
    check("""
        pay world alice 100 deposit                      -> alice 100
        hold o1 alice 80                                 -> alice 100 (80 held)
        pay alice world 90 correction                    -> alice 10 (80 held)
        pay alice bob 30, hold o1 alice 50               -> alice -20 (50 held)
        pay alice bob 51, hold o1 alice 0                -> alice: less than it holds
        pay bob alice 20, pay alice fees 2 fee           -> alice -2 (50 held)
        pay alice bob 40, hold o1 alice 0                -> alice -42
    """)


def test_an_open_ended_account_may_even_hold_what_it_lacks() -> None:
    check("""
        hold o1 suspense 5                    -> suspense 0 (5 held)
        pay suspense alice 7 suspense         -> suspense -7 (5 held), alice 7
        hold o1 suspense 0                    -> suspense -7
    """)


def test_an_impossible_entry_changes_nothing() -> None:
    check("""
        pay world alice 10 deposit                    -> alice 10
        pay alice bob 0                               -> x: cannot be true
        pay alice bob 5, pay bob alice -5             -> x: cannot be true
        pay alice alice 5                             -> x: cannot be true
        hold o1 alice 5, pay alice alice 1            -> x: cannot be true
    """)


def test_an_impossible_hold_changes_nothing() -> None:
    check("""
        pay world alice 10 deposit, pay world alice 10 deposit 2    -> alice 10, alice 10 2
        pay world bob 10 deposit                                    -> bob 10
        hold o1 alice -1                                            -> x: cannot be true
        hold o1 alice 5                                             -> alice 10 (5 held)
        hold o1 alice -5                                            -> x: cannot be true
        hold o1 bob 5                                               -> x: cannot be true
        hold o1 alice 5 2                                           -> x: cannot be true
        hold o1 bob 0                                               -> x: cannot be true
        hold o1 alice 0, hold o1 bob 4                              -> bob 10 (4 held), alice 10
    """)


def test_ending_a_hold_that_never_was_is_nothing() -> None:
    ledger = check("hold o1 alice 0 ->")
    assert ledger.snapshot() == Ledger(OPEN_ENDED).snapshot()


def test_balances_never_leave_the_range_of_the_database() -> None:
    check("""
        pay world alice max deposit                            -> alice 9223372036854775807
        pay suspense alice 1                                   -> alice: out of range
        pay world bob 1 deposit                                -> world: out of range
        pay world bob 1 correction                             -> world: out of range
        hold o1 suspense max                                   ->
        hold o2 suspense 1                                     -> suspense: out of range
    """)


def test_a_contradiction_leaves_no_balance_behind() -> None:
    ledger = check("""
        pay world alice 10 deposit                             -> alice 10
        pay alice bob 5, pay alice carol 6                     -> alice: less than it holds
        pay alice bob 5 2                                      -> alice: less than it holds
        hold o1 bob 5                                          -> bob: less than it holds
    """)
    assert ledger.balances_of(AccountId(101)) == []
    assert [asset for asset, _ in ledger.balances_of(AccountId(100))] == [1]

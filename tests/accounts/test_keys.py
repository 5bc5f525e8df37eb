"""Keys in the books of accounts: what a new one must be, how one replaces another, how they end."""

from base64 import urlsafe_b64encode
from typing import Any

import msgspec
import pytest

from engine.accounts.keys import LABEL_CHARACTERS_MAX, NETWORKS_MAX
from engine.accounts.messages import (
    ApiKey,
    CreateKey,
    KeyCreated,
    KeyExpirySet,
    KeyScheme,
    Permission,
    RevokeKey,
    Role,
    role_with,
)
from engine.accounts.rules import Rules
from engine.journal.redecide import Redecider
from engine.journal.state import EngineState
from engine.units import AccountId, TimeNs
from tests.products.line import ANN, BOB, Line

READ, TRADE, TRANSFER, ADMIN = Permission
NOBODY = AccountId(9)


def verifier(size: int, fill: int = 1) -> str:
    """Some bytes as a verifier."""
    return urlsafe_b64encode(bytes([fill]) * size).rstrip(b"=").decode()


def bearer(
    digest: str, *permissions: Permission, account_id: AccountId = ANN, **terms: Any
) -> CreateKey:
    """A key that shows its secret."""
    return CreateKey(role_with(permissions), account_id, digest, permissions=permissions, **terms)


def signing(scheme: KeyScheme, verifier: str, **terms: Any) -> CreateKey:
    """A key that signs."""
    return CreateKey(
        Role.READ, ANN, "", scheme=scheme, verifier=verifier, permissions=(READ,), **terms
    )


def created(line: Line, command: CreateKey) -> ApiKey:
    """The key that a command makes."""
    record = line.submit(command)
    assert record.refusal is None, record.refusal
    [event] = [event for event in record.events if isinstance(event, KeyCreated)]
    return event.key


def keys_of(line: Line) -> dict[int, ApiKey]:
    """Every key, as the accounts desk sees it at once."""
    return line.state.accounts.rules.directory.keys


@pytest.mark.parametrize(
    ("command", "reason", "field"),
    [
        (bearer("d", READ, ADMIN, account_id=AccountId(0)), "INVALID_VALUE", "permissions"),
        (bearer("d", ADMIN), "INVALID_VALUE", "account"),
        (bearer("d", READ, account_id=AccountId(0)), "UNKNOWN_ACCOUNT", "account"),
        (bearer("d", TRADE, account_id=NOBODY), "UNKNOWN_ACCOUNT", "account"),
        (bearer("", READ), "INVALID_VALUE", "secret"),
        (bearer("d", READ, verifier=verifier(16)), "INVALID_VALUE", "secret"),
        (signing(KeyScheme.HMAC, ""), "INVALID_VALUE", "secret"),
        (signing(KeyScheme.HMAC, verifier(32)), "INVALID_VALUE", "secret"),
        (signing(KeyScheme.ED25519, verifier(16)), "INVALID_VALUE", "public_key"),
        (signing(KeyScheme.ED25519, verifier(32) + "="), "INVALID_VALUE", "public_key"),
        (signing(KeyScheme.ED25519, "é" * 43), "INVALID_VALUE", "public_key"),
        (signing(KeyScheme.ED25519, verifier(32)[:-1] + "F"), "INVALID_VALUE", "public_key"),
        (bearer("d", READ, networks=("10.0.0.1/8",)), "INVALID_VALUE", "networks"),
        (bearer("d", READ, networks=("example.org",)), "INVALID_VALUE", "networks"),
        (bearer("d", READ, networks=("fe80::1%eth0",)), "INVALID_VALUE", "networks"),
        (bearer("d", READ, networks=("0.0.0.0/0",)), "INVALID_VALUE", "networks"),
        (
            bearer("d", READ, networks=tuple(f"10.0.{n}.0/24" for n in range(NETWORKS_MAX + 1))),
            "INVALID_VALUE",
            "networks",
        ),
        (bearer("d", READ, expires_at_ns=TimeNs(1_000)), "ALREADY_EXPIRED", "expires_at_ns"),
        (bearer("d", READ, expires_at_ns=TimeNs(-1)), "INVALID_VALUE", "expires_at_ns"),
        (bearer("d", READ, replaces=7), "UNKNOWN_KEY", "replaces"),
        (
            bearer("d", READ, replaced_expires_at_ns=TimeNs(9_000)),
            "INVALID_VALUE",
            "replaced_expires_at_ns",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_key_that_cannot_be_is_refused(command: CreateKey, reason: str, field: str) -> None:
    line = Line()
    refusal = line.submit(command).refusal
    assert refusal is not None
    assert (refusal.reason, refusal.field) == (reason, field)
    assert keys_of(line) == {}
    line.check_at_rest()


def test_a_key_keeps_each_permission_and_network_once_and_a_bounded_label() -> None:
    line = Line()
    key = created(
        line,
        bearer(
            "d",
            *(TRADE, READ, TRADE),
            networks=("10.0.0.7", "10.0.0.7/32", "2001:DB8::/32"),
            label="x" * 500,
        ),
    )
    assert key.permissions == (READ, TRADE)
    assert key.networks == ("10.0.0.7/32", "2001:db8::/32")
    assert len(key.label) == LABEL_CHARACTERS_MAX


@pytest.mark.parametrize(
    ("role", "rights"),
    [
        (Role.READ, {READ}),
        (Role.TRADE, {READ, TRADE, TRANSFER}),
        (Role.ADMIN, {ADMIN}),
    ],
)
def test_a_key_of_an_old_journal_has_the_permissions_of_its_role(
    role: Role, rights: set[Permission]
) -> None:
    line = Line()
    account_id = AccountId(0) if role is Role.ADMIN else ANN
    key = created(line, CreateKey(role, account_id, "digest"))
    assert (key.role, key.permissions) == (role, ())
    assert key.rights == rights


def test_an_old_journals_bytes_still_mean_the_same_key() -> None:
    old = msgspec.msgpack.encode([3, "TRADE", 100, "digest", "label"])
    assert msgspec.msgpack.decode(old, type=ApiKey) == ApiKey(3, Role.TRADE, ANN, "digest", "label")


def test_keys_that_sign_are_found_by_id_alone_and_share_no_verifier() -> None:
    line = Line()
    first = created(line, signing(KeyScheme.ED25519, verifier(32)))
    again = line.submit(signing(KeyScheme.ED25519, verifier(32))).refusal
    assert again is not None
    assert (again.reason, again.field) == ("ALREADY_EXISTS", "public_key")
    created(line, signing(KeyScheme.HMAC, verifier(16)))
    directory = line.state.accounts.rules.directory
    assert directory.keys_by_digest == {}
    line.submit(RevokeKey(first.key_id))
    assert created(line, signing(KeyScheme.ED25519, verifier(32))).key_id == 3
    line.check_at_rest()


def test_a_replacing_key_takes_over_what_is_not_stated() -> None:
    line = Line()
    old = created(line, bearer("one", READ, TRADE, networks=("10.0.0.0/8",), label="bot"))
    new = created(line, CreateKey(Role.READ, AccountId(0), "two", replaces=old.key_id))
    assert (new.account_id, new.permissions, new.networks, new.label, new.role) == (
        old.account_id,
        old.permissions,
        old.networks,
        old.label,
        old.role,
    )
    other = bearer("three", READ, networks=("192.0.2.0/24",), label="new", replaces=new.key_id)
    changed = created(line, other)
    assert (changed.permissions, changed.networks, changed.label) == (
        (READ,),
        ("192.0.2.0/24",),
        "new",
    )


@pytest.mark.parametrize(
    ("replaced_expires_at_ns", "ends_ns"), [(0, 1_000), (5_000, 5_000), (99_000, 9_000)]
)
def test_a_replaced_key_ends_when_stated_but_never_later_than_before(
    replaced_expires_at_ns: int, ends_ns: int
) -> None:
    line = Line()
    old = created(line, bearer("one", READ, expires_at_ns=TimeNs(9_000)))
    record = line.submit(
        bearer(
            "two",
            replaces=old.key_id,
            replaced_expires_at_ns=TimeNs(replaced_expires_at_ns),
        )
    )
    assert record.events[1] == KeyExpirySet(old.key_id, TimeNs(ends_ns))
    ended = keys_of(line)[old.key_id]
    assert ended.expires_at_ns == ends_ns
    assert line.state.accounts.rules.directory.keys_by_digest["one"] is ended
    assert (ended.has_expired(ends_ns - 1), ended.has_expired(ends_ns)) == (False, True)


@pytest.mark.parametrize(
    ("change", "reason", "field"),
    [
        ({"account_id": BOB}, "INVALID_VALUE", "account"),
        ({"permissions": (ADMIN,)}, "INVALID_VALUE", "account"),
        ({"replaced_expires_at_ns": TimeNs(999)}, "ALREADY_EXPIRED", "replaced_expires_at_ns"),
        ({"secret_digest": "one"}, "ALREADY_EXISTS", "secret"),
    ],
    ids=["account", "permissions", "grace", "secret"],
)
def test_a_replacing_key_gains_nothing_that_the_old_one_could_not_have(
    change: dict[str, Any], reason: str, field: str
) -> None:
    line = Line()
    old = created(line, bearer("one", READ))
    plain = CreateKey(Role.READ, AccountId(0), "two", replaces=old.key_id)
    refusal = line.submit(msgspec.structs.replace(plain, **change)).refusal
    assert refusal is not None
    assert (refusal.reason, refusal.field) == (reason, field)
    assert keys_of(line) == {old.key_id: old}
    line.check_at_rest()


def test_a_replaced_admin_key_stays_an_admins() -> None:
    line = Line()
    old = created(line, bearer("one", ADMIN, account_id=AccountId(0)))
    new = created(line, CreateKey(Role.READ, AccountId(0), "two", replaces=old.key_id))
    assert new.rights == {ADMIN}
    assert (new.role, new.account_id) == (Role.ADMIN, 0)
    weaker = CreateKey(Role.READ, AccountId(0), "three", permissions=(READ,), replaces=new.key_id)
    refusal = line.submit(weaker).refusal
    assert refusal is not None
    assert refusal.field == "account"


def test_rotation_folds_replays_and_snapshots_to_the_same_keys() -> None:
    line = Line()
    old = created(line, bearer("one", READ, TRADE, networks=("10.0.0.0/8",)))
    created(line, signing(KeyScheme.HMAC, verifier(16), expires_at_ns=TimeNs(50_000)))
    line.submit(bearer("two", replaces=old.key_id, replaced_expires_at_ns=TimeNs(7_000)))
    line.release()
    line.check_at_rest()
    rules = line.state.accounts.rules
    assert Rules.restore(rules.snapshot()).snapshot() == rules.snapshot()
    restored = Rules.restore(rules.snapshot()).directory
    assert restored.keys_by_digest == rules.directory.keys_by_digest
    again = Redecider(EngineState())
    for record in line.records:
        decision = again.decide(record)
        assert decision is not None
        assert tuple(decision.events) == tuple(record.events)

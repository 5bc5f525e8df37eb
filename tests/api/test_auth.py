"""The check in front of every handler: who proves a key, and what stands in a holder's way."""

from collections.abc import Mapping
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from api.keys.auth import Caller, Doorkeeper, Login, SentRequest, digest_of
from api.keys.master_secret import MasterSecret
from api.keys.signing import Stamp, base64url, sign_ed25519, sign_hmac, signed_text
from api.rejected import Rejected
from api.settings import ApiSettings
from engine.accounts.directory import Directory
from engine.accounts.messages import ApiKey, KeyCreated, KeyRevoked, KeyScheme, Permission, Role
from engine.units import AccountId, TimeNs

READ, TRADE, TRANSFER, ADMIN = Permission
NOW_MS = 1_795_187_774_000
NOW_NS = NOW_MS * 1_000_000
PRIVATE_KEY = bytes(range(32))
SALT = base64url(bytes(16))
MASTER = MasterSecret("x" * 40)
BEARER_ID, HMAC_ID, ED25519_ID, ADMIN_ID = 1, 2, 3, 4
ALICE, BOB = AccountId(100), AccountId(101)


def public_key() -> str:
    """The public half of the private key."""
    private = Ed25519PrivateKey.from_private_bytes(PRIVATE_KEY)
    return base64url(private.public_key().public_bytes_raw())


def directory(**terms: Any) -> Directory:
    """One key of each scheme for Alice, and an admin's; `terms` are of all that are not."""
    known = Directory()
    terms = {"permissions": (READ, TRADE), **terms}
    for key in (
        ApiKey(BEARER_ID, Role.TRADE, ALICE, digest_of("ock_alice"), **terms),
        ApiKey(HMAC_ID, Role.TRADE, ALICE, "", "", KeyScheme.HMAC, SALT, **terms),
        ApiKey(ED25519_ID, Role.TRADE, ALICE, "", "", KeyScheme.ED25519, public_key(), **terms),
        ApiKey(ADMIN_ID, Role.ADMIN, AccountId(0), digest_of("ock_admin")),
    ):
        known.apply(KeyCreated(key))
    return known


class Headers(dict[str, str]):
    """Headers as the server has them: without regard to case."""

    def get(self, name: str, default: Any = None) -> Any:
        """A header."""
        return {key.lower(): text for key, text in self.items()}.get(name.lower(), default)


def request(
    headers: Mapping[str, str],
    method: str = "GET",
    target: str = "/v1/orders?limit=1",
    body: bytes = b"",
    peer: str = "10.0.0.1",
) -> SentRequest:
    """A request as it arrives."""
    return SentRequest(method, target, Headers(headers), body, peer)


def signed(
    key_id: int = HMAC_ID,
    *,
    stamp: Stamp | None = None,
    method: str = "GET",
    target: str = "/v1/orders?limit=1",
    body: bytes = b"",
    peer: str = "10.0.0.1",
    **changed: str,
) -> SentRequest:
    """A request signed by a key, some of its headers `changed` afterwards."""
    stamp = Stamp(NOW_MS) if stamp is None else stamp
    text = signed_text(stamp, method, target, body)
    if key_id == ED25519_ID:
        signature = sign_ed25519(PRIVATE_KEY, text)
    else:
        signature = sign_hmac(MASTER.secret_of(SALT), text)
    headers = {
        "Outcry-Key": str(key_id),
        "Outcry-Timestamp": str(stamp.timestamp_ms),
        "Outcry-Window": str(stamp.window_ms),
        "Outcry-Nonce": stamp.nonce,
        "Outcry-Signature": signature.hex(),
        **{name.replace("_", "-"): text for name, text in changed.items()},
    }
    return request(headers, method, target, body, peer)


def bearer(secret: str = "ock_alice", peer: str = "10.0.0.1") -> SentRequest:
    """A request that shows a secret."""
    return request({"authorization": f"Bearer {secret}"}, peer=peer)


def doorkeeper(since_ns: int = 0, **settings: Any) -> Doorkeeper:
    """A doorkeeper who has seen nothing yet."""
    return Doorkeeper(MASTER, ApiSettings(**settings), since_ns)


def refused(
    sent: SentRequest,
    needed: Permission = READ,
    *,
    by: Doorkeeper | None = None,
    known: Directory | None = None,
    now_ns: int = NOW_NS,
) -> tuple[int, str, str]:
    """How a request is refused: status, code, field."""
    with pytest.raises(Rejected) as rejected:
        (by or doorkeeper()).caller(known or directory(), sent, needed, now_ns)
    problem = rejected.value.problem
    return problem.status, problem.code, problem.field


@pytest.mark.parametrize("key_id", [HMAC_ID, ED25519_ID])
def test_a_signature_lets_its_keys_holder_in(key_id: int) -> None:
    caller = doorkeeper().caller(directory(), signed(key_id), TRADE, NOW_NS)
    assert caller == Caller(key_id, ALICE, frozenset((READ, TRADE)), TimeNs(NOW_NS + 5 * 10**9))


def test_a_shown_secret_lets_its_keys_holder_in() -> None:
    caller = doorkeeper().caller(directory(), bearer(), TRADE, NOW_NS)
    assert caller == Caller(BEARER_ID, ALICE, frozenset((READ, TRADE)))


def test_who_sends_a_secret_to_sign_with_is_told_never_to() -> None:
    with pytest.raises(Rejected) as rejected:
        doorkeeper().caller(directory(), bearer(MASTER.secret_of(SALT)), READ, NOW_NS)
    assert "never sent" in rejected.value.problem.message


def test_window_and_nonce_may_be_left_out() -> None:
    sent = signed()
    bare = {
        name: text for name, text in sent.headers.items() if name[7:] not in {"Window", "Nonce"}
    }
    assert len(bare) == 3
    assert doorkeeper().caller(directory(), request(bare), READ, NOW_NS).key_id == HMAC_ID


@pytest.mark.parametrize("key_id", [HMAC_ID, ED25519_ID])
@pytest.mark.parametrize(
    "change",
    [
        {"method": "DELETE"},
        {"target": "/v1/orders"},
        {"target": "/v1/orders?limit=2"},
        {"target": "/v1/orders?limit=1&account=101"},
        {"target": "/v1/%6Frders?limit=1"},
        {"body": b"{}"},
    ],
    ids=str,
)
def test_a_request_that_was_changed_on_its_way_is_refused(
    key_id: int, change: dict[str, Any]
) -> None:
    sent = signed(key_id)
    parts = {"method": sent.method, "target": sent.target, "body": sent.body, **change}
    changed = request(sent.headers, **parts)
    assert refused(changed) == (401, "BAD_SIGNATURE", "Outcry-Signature")


def test_a_body_that_was_changed_on_its_way_is_refused() -> None:
    sent = signed(method="POST", target="/v1/orders", body=b'{"quantity":"1"}')
    changed = request(sent.headers, "POST", "/v1/orders", b'{"quantity":"9"}')
    assert refused(changed) == (401, "BAD_SIGNATURE", "Outcry-Signature")


@pytest.mark.parametrize(
    ("headers", "code", "field"),
    [
        ({"Outcry_Signature": ""}, "BAD_SIGNATURE", "Outcry-Signature"),
        ({"Outcry_Signature": "0" * 64}, "BAD_SIGNATURE", "Outcry-Signature"),
        ({"Outcry_Signature": "0" * 128}, "BAD_SIGNATURE", "Outcry-Signature"),
        ({"Outcry_Signature": "x" * 100_000}, "BAD_SIGNATURE", "Outcry-Signature"),
        ({"Outcry_Timestamp": str(NOW_MS + 1)}, "BAD_SIGNATURE", "Outcry-Signature"),
        ({"Outcry_Window": "60000"}, "BAD_SIGNATURE", "Outcry-Signature"),
        ({"Outcry_Nonce": "other"}, "BAD_SIGNATURE", "Outcry-Signature"),
        ({"Outcry_Key": str(ED25519_ID)}, "BAD_SIGNATURE", "Outcry-Signature"),
        ({"Outcry_Key": str(BEARER_ID)}, "UNAUTHORIZED", "Outcry-Key"),
        ({"Outcry_Key": "9"}, "UNAUTHORIZED", "Outcry-Key"),
        ({"Outcry_Key": "9" * 100_000}, "UNAUTHORIZED", "Outcry-Key"),
        ({"Outcry_Key": "-2"}, "UNAUTHORIZED", "Outcry-Key"),
        ({"Outcry_Key": "02"}, "UNAUTHORIZED", "Outcry-Key"),
        ({"Outcry_Key": ""}, "UNAUTHORIZED", "Outcry-Key"),
        ({"Outcry_Timestamp": ""}, "UNAUTHORIZED", "Outcry-Timestamp"),
        ({"Outcry_Timestamp": "1e12"}, "UNAUTHORIZED", "Outcry-Timestamp"),
        ({"Outcry_Timestamp": "9" * 16}, "UNAUTHORIZED", "Outcry-Timestamp"),
        ({"Outcry_Window": "0"}, "UNAUTHORIZED", "Outcry-Window"),
        ({"Outcry_Window": "60001"}, "UNAUTHORIZED", "Outcry-Window"),
        ({"Outcry_Window": "5 000"}, "UNAUTHORIZED", "Outcry-Window"),
        ({"Outcry_Nonce": "x" * 33}, "UNAUTHORIZED", "Outcry-Nonce"),
        ({"Outcry_Nonce": "a b"}, "UNAUTHORIZED", "Outcry-Nonce"),
        ({"Authorization": "Bearer ock_alice"}, "UNAUTHORIZED", ""),
    ],
    ids=lambda value: str(value)[:40],
)
def test_what_proves_no_key_is_refused(headers: dict[str, Any], code: str, field: str) -> None:
    assert refused(signed(**headers)) == (401, code, field)


@pytest.mark.parametrize(
    "authorization",
    [
        "",
        "Bearer",
        "Bearer ock_nobody",
        "Basic b2NrX2FsaWNl",
        "Bearer ock_alice" + "x" * 100_000,
        f"Bearer {digest_of('ock_alice')}",
        f"Bearer {SALT}",
        f"Bearer {MASTER.secret_of(SALT)}",
        f"Bearer {public_key()}",
    ],
    ids=lambda text: text[:30],
)
def test_what_is_no_secret_is_refused_whatever_the_database_knows(authorization: str) -> None:
    sent = request({"Authorization": authorization})
    assert refused(sent) == (401, "UNAUTHORIZED", "")


@pytest.mark.parametrize(
    ("timestamp_ms", "difference_ms"),
    [(NOW_MS - 5_001, -5_001), (NOW_MS + 1_001, 1_001), (1, 1 - NOW_MS)],
)
def test_a_timestamp_outside_the_window_is_told_by_how_much(
    timestamp_ms: int, difference_ms: int
) -> None:
    with pytest.raises(Rejected) as rejected:
        doorkeeper().caller(directory(), signed(stamp=Stamp(timestamp_ms)), READ, NOW_NS)
    problem = rejected.value.problem
    assert (problem.status, problem.code) == (401, "TIMESTAMP_OUTSIDE_WINDOW")
    assert problem.facts == (("difference_ms", difference_ms),)
    assert str(abs(difference_ms)) in problem.message


@pytest.mark.parametrize("timestamp_ms", [NOW_MS - 5_000, NOW_MS + 1_000])
def test_a_timestamp_at_the_windows_edge_counts(timestamp_ms: int) -> None:
    assert doorkeeper().caller(directory(), signed(stamp=Stamp(timestamp_ms)), READ, NOW_NS)


def test_a_signature_from_before_the_start_is_refused_since_nobody_knows_if_it_was_used() -> None:
    by = doorkeeper(since_ns=NOW_NS)
    old = signed(stamp=Stamp(NOW_MS - 1))
    assert refused(old, by=by) == (401, "TIMESTAMP_OUTSIDE_WINDOW", "Outcry-Timestamp")
    assert by.caller(directory(), signed(), READ, NOW_NS)


@pytest.mark.parametrize("key_id", [HMAC_ID, ED25519_ID])
def test_a_signature_counts_once_however_it_is_written(key_id: int) -> None:
    by, known = doorkeeper(), directory()
    sent = signed(key_id)
    assert by.caller(known, sent, READ, NOW_NS)
    again = signed(
        key_id,
        Outcry_Signature=base64url(bytes.fromhex(sent.headers["Outcry-Signature"])) + "=",
    )
    for replayed, now_ns in ((sent, NOW_NS), (again, NOW_NS + 5 * 10**9)):
        found = refused(replayed, by=by, known=known, now_ns=now_ns)
        assert found == (401, "REPLAYED", "Outcry-Signature")
    late = refused(sent, by=by, known=known, now_ns=NOW_NS + 5 * 10**9 + 1)
    assert late == (401, "TIMESTAMP_OUTSIDE_WINDOW", "Outcry-Timestamp")


def test_a_nonce_tells_like_requests_of_one_millisecond_apart() -> None:
    by, known = doorkeeper(), directory()
    for nonce in ("", "1", "2"):
        assert by.caller(known, signed(stamp=Stamp(NOW_MS, nonce=nonce)), READ, NOW_NS)


def test_a_clock_that_is_set_back_does_not_make_old_signatures_new() -> None:
    by, known = doorkeeper(), directory()
    sent = signed()
    by.caller(known, sent, READ, NOW_NS)
    by.caller(known, signed(stamp=Stamp(NOW_MS + 6_000)), READ, NOW_NS + 6 * 10**9)
    assert refused(sent, by=by, known=known)[1] == "TIMESTAMP_OUTSIDE_WINDOW"


def test_what_is_refused_takes_no_room_among_what_was_seen() -> None:
    by, known = doorkeeper(replays_per_key_max=1), directory()
    refused(signed(Outcry_Signature="0" * 64), by=by, known=known)
    refused(signed(), TRANSFER, by=by, known=known)
    assert by.caller(known, signed(), READ, NOW_NS)
    other = signed(stamp=Stamp(NOW_MS, nonce="2"))
    assert refused(other, by=by, known=known) == (429, "RATE_LIMITED", "")


@pytest.mark.parametrize("sent", [bearer(), signed(HMAC_ID), signed(ED25519_ID)])
def test_an_expired_key_is_refused_from_its_last_moment_on(sent: SentRequest) -> None:
    known = directory(expires_at_ns=TimeNs(NOW_NS))
    assert refused(sent, known=known) == (401, "KEY_EXPIRED", "")
    later = directory(expires_at_ns=TimeNs(NOW_NS + 1))
    assert doorkeeper().caller(later, sent, READ, NOW_NS)


@pytest.mark.parametrize("sent", [bearer(), signed(HMAC_ID), signed(ED25519_ID)])
def test_a_revoked_key_is_not_known(sent: SentRequest) -> None:
    known = directory()
    for key_id in (BEARER_ID, HMAC_ID, ED25519_ID):
        known.apply(KeyRevoked(key_id))
    assert refused(sent, known=known)[:2] == (401, "UNAUTHORIZED")


@pytest.mark.parametrize(
    ("peer", "is_let_in"),
    [
        ("10.0.0.1", True),
        ("::ffff:10.0.0.1", True),
        ("2001:db8::7", True),
        ("10.0.1.1", False),
        ("", False),
        ("<local>", False),
    ],
)
@pytest.mark.parametrize("make", [bearer, signed], ids=["shown", "signed"])
def test_a_key_with_networks_is_let_in_from_these_alone(
    make: Any, peer: str, is_let_in: bool
) -> None:
    known = directory(networks=("10.0.0.0/24", "2001:db8::/32"))
    if is_let_in:
        assert doorkeeper().caller(known, make(peer=peer), READ, NOW_NS)
    else:
        assert refused(make(peer=peer), known=known) == (403, "ADDRESS_NOT_ALLOWED", "")


def test_a_stranger_is_not_told_what_stands_in_a_holders_way() -> None:
    known = directory(networks=("192.0.2.0/24",), expires_at_ns=TimeNs(1))
    forged = signed(Outcry_Signature="0" * 64)
    assert refused(forged, known=known)[1] == "BAD_SIGNATURE"


@pytest.mark.parametrize("stated", list(Permission))
@pytest.mark.parametrize("needed", list(Permission))
def test_a_permission_implies_no_other_but_admins(stated: Permission, needed: Permission) -> None:
    known = directory(permissions=(stated,))
    if stated in (needed, ADMIN):
        assert doorkeeper().caller(known, signed(), needed, NOW_NS).may(needed)
    else:
        assert refused(signed(), needed, known=known) == (403, "FORBIDDEN", "")


def test_a_key_acts_for_its_own_account_and_an_admins_for_the_one_it_states() -> None:
    alice = doorkeeper().caller(directory(), bearer(), READ, NOW_NS)
    admin = doorkeeper().caller(directory(), bearer("ock_admin"), ADMIN, NOW_NS)
    assert (alice.acts_for(None), alice.acts_for(ALICE), admin.acts_for(BOB)) == (ALICE, ALICE, BOB)
    for caller, stated, status in ((alice, BOB, 403), (alice, 0, 403), (admin, None, 400)):
        with pytest.raises(Rejected) as rejected:
            caller.acts_for(stated)
        assert rejected.value.problem.status == status


def test_what_was_to_be_signed_is_told_only_where_that_is_wanted() -> None:
    forged = signed(Outcry_Signature="0" * 64)
    for settings, is_told in (({}, False), ({"explain_signatures": True}, True)):
        with pytest.raises(Rejected) as rejected:
            doorkeeper(**settings).caller(directory(), forged, READ, NOW_NS)
        assert (f"{NOW_MS}\\n5000\\n\\nGET\\n" in rejected.value.problem.message) is is_told


@pytest.mark.parametrize("key_id", [HMAC_ID, ED25519_ID])
def test_a_login_on_a_socket_signs_what_its_handshake_would_have(key_id: int) -> None:
    by, known = doorkeeper(), directory()
    sent = signed(key_id, target="/v1/stream")
    login = Login(key_id=key_id, timestamp=NOW_MS, signature=str(sent.headers["Outcry-Signature"]))
    socket = request({}, target="/v1/stream")
    assert by.login(known, login, socket, NOW_NS).key_id == key_id
    with pytest.raises(Rejected) as rejected:
        by.caller(known, sent, READ, NOW_NS)
    assert rejected.value.problem.code == "REPLAYED"


@pytest.mark.parametrize(
    ("login", "code"),
    [
        (Login(), "UNAUTHORIZED"),
        (Login(secret="ock_nobody"), "UNAUTHORIZED"),
        (Login(key_id=HMAC_ID, timestamp=NOW_MS), "BAD_SIGNATURE"),
        (Login(key_id=HMAC_ID, timestamp=NOW_MS, window=10**6), "UNAUTHORIZED"),
        (Login(key_id=HMAC_ID, timestamp=NOW_MS, nonce="a b"), "UNAUTHORIZED"),
        (Login(key_id=-1, timestamp=NOW_MS), "UNAUTHORIZED"),
        (Login(key_id=HMAC_ID, timestamp=NOW_MS - 9_000), "TIMESTAMP_OUTSIDE_WINDOW"),
    ],
)
def test_a_login_that_proves_no_key_is_refused(login: Login, code: str) -> None:
    with pytest.raises(Rejected) as rejected:
        doorkeeper().login(directory(), login, request({}), NOW_NS)
    assert (rejected.value.problem.status, rejected.value.problem.code) == (401, code)


def test_a_secret_logs_in_on_a_socket_too() -> None:
    caller = doorkeeper().login(directory(), Login(secret="ock_alice"), request({}), NOW_NS)
    assert caller.key_id == BEARER_ID


def test_a_key_that_stays_logged_in_is_looked_at_again() -> None:
    by, known = doorkeeper(), directory(expires_at_ns=TimeNs(NOW_NS + 10))
    caller = by.caller(known, bearer(), READ, NOW_NS)
    by.recheck(known, caller, NOW_NS + 9)
    with pytest.raises(Rejected) as expired:
        by.recheck(known, caller, NOW_NS + 10)
    known.apply(KeyRevoked(caller.key_id))
    with pytest.raises(Rejected) as revoked:
        by.recheck(known, caller, NOW_NS)
    assert [one.value.problem.code for one in (expired, revoked)] == ["KEY_EXPIRED", "UNAUTHORIZED"]

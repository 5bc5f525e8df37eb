"""Who sends a request, and what they may: the one check in front of every handler.

A key is proven first, by showing its secret or by a signature; only its holder is then told what
else stands in the way: the key's end, its networks, its permissions. What was signed counts once.
"""

import re
import secrets
from collections.abc import Mapping
from hashlib import sha256
from typing import Annotated, Final

import msgspec

from api.keys import signing
from api.keys.addresses import is_within
from api.keys.master_secret import SIGNING_PREFIX, MasterSecret
from api.keys.replays import ReplayGuard, Sighting
from api.keys.signing import SIGNATURE_BYTES, WINDOW_MS, Stamp
from api.problems import HTTP_CODES, Problem, of_status
from api.rejected import Rejected, forbidden, invalid
from api.settings import ApiSettings
from engine.accounts.directory import Directory
from engine.accounts.messages import ApiKey, CreateKey, KeyScheme, Permission, role_with
from engine.units import AccountId, TimeNs

SECRET_PREFIX: Final = "ock_"
_SECRET_BYTES: Final = 32
_SECRET_CHARACTERS_MAX: Final = 128
_BEARER: Final = "bearer "
_NS_OF_MS: Final = 1_000_000
_matches_number = re.compile(r"[1-9][0-9]{0,14}").fullmatch


def new_secret() -> str:
    """A fresh secret, to be shown once."""
    return SECRET_PREFIX + secrets.token_urlsafe(_SECRET_BYTES)


def digest_of(secret: str) -> str:
    """What the engine keeps of a secret that is shown with each request.

    It has 256 random bits, so a plain digest is enough, and looking it up in a table tells an
    attacker nothing about other keys.
    """
    return sha256(secret.encode()).hexdigest()


def bearer_key(
    secret: str,
    *permissions: Permission,
    account_id: int = 0,
    label: str = "",
) -> CreateKey:
    """The command that lets a key in which shows this secret, from anywhere and for ever."""
    role = role_with(permissions)
    digest = digest_of(secret)
    return CreateKey(role, AccountId(account_id), digest, label, permissions=permissions)


class SentRequest(msgspec.Struct, frozen=True):
    """A request as it was sent: what a signature covers, and where it came from.

    `target` is the path with its query, percent-encoded as sent; `headers` know no upper case;
    `peer` is an IP address.
    """

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes
    peer: str


class Login(msgspec.Struct, frozen=True):
    """What a socket's first message proves a key by: a `secret`, or what signing headers say."""

    secret: Annotated[str, msgspec.Meta(max_length=_SECRET_CHARACTERS_MAX)] = ""
    key_id: int = 0
    timestamp: int = 0
    window: int = WINDOW_MS
    nonce: str = ""
    signature: Annotated[str, msgspec.Meta(max_length=_SECRET_CHARACTERS_MAX)] = ""


class Caller(msgspec.Struct, frozen=True):
    """Who sent a request; account 0 for admins. What is stamped later than the end is refused."""

    key_id: int
    own_account_id: AccountId
    permissions: frozenset[Permission]
    not_after_ns: TimeNs = TimeNs(0)

    @property
    def is_admin(self) -> bool:
        """Whether it may do everything, for every account."""
        return Permission.ADMIN in self.permissions

    def may(self, permission: Permission) -> bool:
        """Whether the key has a permission; an admin's has all."""
        return permission in self.permissions or Permission.ADMIN in self.permissions

    def acts_for(self, stated: int | None) -> AccountId:
        """The account a request is about: here, and nowhere else, it is decided whose it may be.

        The account comes from the key. An admin's key has none, so it must be stated.
        Raises: Rejected.
        """
        if self.is_admin:
            if stated is None:
                raise invalid("account", "An admin key acts for no account of its own: state one.")
            return AccountId(stated)
        if stated is not None and stated != self.own_account_id:
            raise forbidden("This key acts for its own account only.")
        return self.own_account_id


class _Signed(msgspec.Struct, frozen=True):
    """A signature, and what it says of itself."""

    key_id: int
    stamp: Stamp
    signature: str


class Doorkeeper:
    """Tells callers apart. One per server, since it remembers what was signed.

    A signature from before `since_ns` is refused: whether it was used then, nobody remembers.
    """

    def __init__(self, master: MasterSecret, settings: ApiSettings, since_ns: int = 0) -> None:
        self._master = master
        self._explains = settings.explain_signatures
        self._guard = ReplayGuard(settings.replays_per_key_max, settings.replays_max)
        self._since_ms = since_ns // _NS_OF_MS
        self._now_ns = since_ns

    def caller(
        self, directory: Directory, request: SentRequest, needed: Permission, now_ns: int
    ) -> Caller:
        """Who sends a request, if that is enough.

        Raises: Rejected with 401 for what proves no key in force, 403 for a key that may not, 429
        when too many signed requests are to be remembered.
        """
        headers = request.headers
        authorization = headers.get("Authorization")
        if headers.get(signing.KEY_ID_HEADER) is None:
            return self._bearer(directory, _bearer_secret(authorization), request, needed, now_ns)
        if authorization is not None:
            raise _unauthorized("Send one proof of one key: `Authorization`, or a signature.")
        return self._signed(directory, _signed_by(headers), request, needed, now_ns)

    def login(
        self,
        directory: Directory,
        login: Login,
        socket: SentRequest,
        now_ns: int,
        needed: Permission = Permission.READ,
    ) -> Caller:
        """Who logs in on a socket; signed is what the socket's handshake would have signed.

        Raises: Rejected as `caller` does.
        """
        if login.secret:
            return self._bearer(directory, login.secret, socket, needed, now_ns)
        stamp = Stamp(login.timestamp, login.window, login.nonce)
        if login.key_id <= 0 or not stamp.is_sane():
            raise _unauthorized("Send `secret`; or `key_id`, `timestamp`, `signature`.")
        signed = _Signed(login.key_id, stamp, login.signature)
        return self._signed(directory, signed, socket, needed, now_ns)

    def recheck(self, directory: Directory, caller: Caller, now_ns: int) -> None:
        """Look again at a key that stays logged in. Raises: Rejected once it is not in force."""
        key = directory.keys.get(caller.key_id)
        if key is None:
            raise _unauthorized("This key was revoked.")
        _refuse_expired(key, now_ns)

    def _bearer(
        self,
        directory: Directory,
        secret: str,
        request: SentRequest,
        needed: Permission,
        now_ns: int,
    ) -> Caller:
        if secret.startswith(SIGNING_PREFIX):
            raise _unauthorized(
                "A secret to sign with is never sent; it is known now, so have the key replaced."
            )
        sane = len(secret) <= _SECRET_CHARACTERS_MAX
        key = directory.keys_by_digest.get(digest_of(secret)) if sane else None
        if key is None:
            raise _unauthorized("This key is not known.")
        return _let_in(key, request.peer, needed, now_ns)

    def _signed(
        self,
        directory: Directory,
        signed: _Signed,
        request: SentRequest,
        needed: Permission,
        now_ns: int,
    ) -> Caller:
        now_ns = self._now_ns = max(self._now_ns, now_ns)
        stamp = signed.stamp
        self._refuse_untimely(stamp, now_ns)
        key = directory.keys.get(signed.key_id)
        if key is None or key.scheme is KeyScheme.BEARER:
            raise _unauthorized("No key that signs is known by this id.", signing.KEY_ID_HEADER)
        text = signing.signed_text(stamp, request.method, request.target, request.body)
        signature = signing.signature_of(signed.signature, SIGNATURE_BYTES[key.scheme])
        if signature is None or not self._verifies(key, text, signature):
            raise self._bad_signature(text)
        caller = _let_in(key, request.peer, needed, now_ns, stamp.not_after_ns)
        match self._guard.see(key.key_id, signature, stamp.not_after_ns, now_ns):
            case Sighting.REPLAYED:
                message = "This was sent before. Sign anew; a nonce tells like requests apart."
                raise Rejected(Problem(401, "REPLAYED", message, signing.SIGNATURE_HEADER))
            case Sighting.FULL:
                raise _too_many()
            case Sighting.NEW:
                return caller

    def _verifies(self, key: ApiKey, text: bytes, signature: bytes) -> bool:
        if key.scheme is KeyScheme.ED25519:
            return signing.verify_ed25519(key.verifier, text, signature)
        return signing.verify_hmac(self._master.secret_of(key.verifier), text, signature)

    def _refuse_untimely(self, stamp: Stamp, now_ns: int) -> None:
        if stamp.is_fresh(now_ns) and stamp.timestamp_ms >= self._since_ms:
            return
        difference_ms = stamp.timestamp_ms - now_ns // _NS_OF_MS
        if stamp.is_fresh(now_ns):
            message = "Signed before this server started. Sign anew."
        elif difference_ms > 0:
            message = f"The timestamp is {difference_ms} ms ahead of the server's time."
        else:
            message = (
                f"The timestamp is {-difference_ms} ms behind the server's time; "
                f"the window is {stamp.window_ms} ms."
            )
        raise Rejected(
            Problem(
                401,
                "TIMESTAMP_OUTSIDE_WINDOW",
                message,
                signing.TIMESTAMP_HEADER,
                facts=(("difference_ms", difference_ms),),
            )
        )

    def _bad_signature(self, text: bytes) -> Rejected:
        message = "The signature is not that of this key and this request."
        if self._explains:
            shown = text.decode().replace("\n", "\\n")
            message += f" The text to sign is, with \\n for each line feed: {shown}"
        return Rejected(Problem(401, "BAD_SIGNATURE", message, signing.SIGNATURE_HEADER))


def _let_in(
    key: ApiKey, peer: str, needed: Permission, now_ns: int, not_after_ns: int = 0
) -> Caller:
    """The holder of a proven key, if it is in force, from here, for this."""
    _refuse_expired(key, now_ns)
    if key.networks and not is_within(peer, key.networks):
        message = f"This key may not be used from {peer}."
        raise Rejected(Problem(403, "ADDRESS_NOT_ALLOWED", message))
    caller = Caller(key.key_id, key.account_id, key.rights, TimeNs(not_after_ns))
    if not caller.may(needed):
        has = ", ".join(sorted(caller.permissions))
        raise forbidden(f"This needs a key with the permission {needed}; yours has {has}.")
    return caller


def _refuse_expired(key: ApiKey, now_ns: int) -> None:
    if key.has_expired(now_ns):
        message = "This key has expired. Have it replaced."
        raise Rejected(Problem(401, "KEY_EXPIRED", message))


def _bearer_secret(authorization: str | None) -> str:
    if authorization is None or authorization[: len(_BEARER)].lower() != _BEARER:
        raise _unauthorized("Send a key: `Authorization: Bearer ock_...`, or a signature.")
    return authorization[len(_BEARER) :].strip()


def _signed_by(headers: Mapping[str, str]) -> _Signed:
    """What signing headers say. Raises: Rejected for one that is missing or makes no sense."""
    key_id = _number(headers, signing.KEY_ID_HEADER)
    timestamp_ms = _number(headers, signing.TIMESTAMP_HEADER)
    window_ms = _number(headers, signing.WINDOW_HEADER, WINDOW_MS)
    stamp = Stamp(timestamp_ms, window_ms, headers.get(signing.NONCE_HEADER, ""))
    if not stamp.is_sane():
        field = signing.WINDOW_HEADER if window_ms > signing.WINDOW_MS_MAX else signing.NONCE_HEADER
        raise _unauthorized(
            "A window is 1 to 60000 ms, a nonce at most 32 of A-Z a-z 0-9 . _ : -", field
        )
    return _Signed(key_id, stamp, headers.get(signing.SIGNATURE_HEADER, ""))


def _number(headers: Mapping[str, str], name: str, default: int | None = None) -> int:
    text = headers.get(name)
    if text is None and default is not None:
        return default
    if text is None or not _matches_number(text):
        raise _unauthorized("Signed requests need this header, a whole number.", name)
    return int(text)


def _unauthorized(message: str, field: str = "") -> Rejected:
    headers = (("WWW-Authenticate", "Bearer"),)
    return Rejected(Problem(401, HTTP_CODES[401], message, field, headers=headers))


def _too_many() -> Rejected:
    message = "Too many signed requests are fresh. Send fewer, or with smaller windows."
    return Rejected(of_status(429, message, (("Retry-After", "1"),)))

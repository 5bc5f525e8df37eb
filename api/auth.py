"""Bearer keys: what a secret looks like, who presents it, and whose account may be acted for.

The engine knows a key by the SHA-256 of its secret alone. A secret has 256 random bits, so a plain
digest is enough, and looking it up in a table tells an attacker nothing about other keys.
"""

import secrets
from hashlib import sha256
from typing import Final

import msgspec

from api.problems import HTTP_CODES, Problem
from api.rejected import Rejected, forbidden, invalid
from engine.accounts.directory import Directory
from engine.accounts.messages import Role
from engine.units import AccountId

SECRET_PREFIX: Final = "ock_"
_SECRET_BYTES: Final = 32
_SECRET_CHARACTERS_MAX: Final = 128
_SCHEME: Final = "bearer "
_RANKS: Final = {Role.READ: 0, Role.TRADE: 1, Role.ADMIN: 2}


def new_secret() -> str:
    """A fresh secret, to be shown once."""
    return SECRET_PREFIX + secrets.token_urlsafe(_SECRET_BYTES)


def digest_of(secret: str) -> str:
    """What the engine keeps of a secret."""
    return sha256(secret.encode()).hexdigest()


class Caller(msgspec.Struct, frozen=True):
    """Who sent a request; account 0 for admins."""

    key_id: int
    role: Role
    own_account_id: AccountId

    def acts_for(self, stated: int | None) -> AccountId:
        """The account a request is about: here, and nowhere else, it is decided whose it may be.

        The account comes from the key. An admin's key has none, so it must be stated.
        Raises: Rejected.
        """
        if self.role is Role.ADMIN:
            if stated is None:
                raise invalid("account", "An admin key acts for no account of its own: state one.")
            return AccountId(stated)
        if stated is not None and stated != self.own_account_id:
            raise forbidden("This key acts for its own account only.")
        return self.own_account_id


def caller_of(directory: Directory, authorization: str | None, needed: Role) -> Caller:
    """Who presents this `Authorization` header, if that is enough for `needed`.

    Raises: Rejected with 401 for no or an unknown key, 403 for a role that may not.
    """
    if authorization is None or authorization[: len(_SCHEME)].lower() != _SCHEME:
        raise _unauthorized("Send a key: `Authorization: Bearer ock_...`.")
    secret = authorization[len(_SCHEME) :].strip()
    if len(secret) > _SECRET_CHARACTERS_MAX:
        raise _unauthorized("This key is not known.")
    key = directory.keys_by_digest.get(digest_of(secret))
    if key is None:
        raise _unauthorized("This key is not known.")
    if _RANKS[key.role] < _RANKS[needed]:
        raise forbidden(f"This needs a key of role {needed}; yours is {key.role}.")
    return Caller(key.key_id, key.role, key.account_id)


def _unauthorized(message: str) -> Rejected:
    headers = (("WWW-Authenticate", "Bearer"),)
    return Rejected(Problem(401, HTTP_CODES[401], message, headers=headers))

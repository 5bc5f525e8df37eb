"""Letting API keys in: what a new one must be, and what it takes over from one that it replaces."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterable
from ipaddress import ip_network
from typing import Final

import msgspec

from engine.accounts.directory import Directory
from engine.accounts.messages import (
    ApiKey,
    CreateKey,
    KeyCreated,
    KeyExpirySet,
    KeyScheme,
    Permission,
    role_with,
)
from engine.messages import Message, Refused
from engine.refusals import Reason
from engine.units import TimeNs

LABEL_CHARACTERS_MAX: Final = 100
NETWORKS_MAX: Final = 32
#: Bytes of the verifier: the salt of a derived secret, a public key.
VERIFIER_BYTES: Final = {KeyScheme.HMAC: 16, KeyScheme.ED25519: 32}


def create_key(directory: Directory, command: CreateKey, now_ns: TimeNs) -> tuple[Message, ...]:
    """The events of a new key, the end of the one it replaces among them; or a refusal.

    Complexity: O(keys) for one that signs, whose verifier nobody else may have.
    """
    old = directory.keys.get(command.replaces)
    if old is not None:
        command = _taking_over(command, old)
    networks = _plain_networks(command.networks)
    refused = _refused_replacing(command, old, now_ns) or _refused(directory, command, now_ns)
    if refused is None and networks is None:
        refused = Refused(Reason.INVALID_VALUE, "networks")
    if refused is not None:
        return (refused,)
    permissions = tuple(one for one in Permission if one in command.permissions)
    key = ApiKey(
        directory.next_key_id,
        role_with(permissions) if permissions else command.role,
        command.account_id,
        command.secret_digest,
        command.label[:LABEL_CHARACTERS_MAX],
        command.scheme,
        command.verifier,
        permissions,
        networks or (),
        command.expires_at_ns,
    )
    if old is None:
        return (KeyCreated(key),)
    return KeyCreated(key), KeyExpirySet(old.key_id, _end_of(old, command, now_ns))


def _taking_over(command: CreateKey, old: ApiKey) -> CreateKey:
    """The command with what it leaves open as the old key has it."""
    return msgspec.structs.replace(
        command,
        role=old.role,
        account_id=command.account_id or old.account_id,
        permissions=command.permissions or old.permissions,
        networks=command.networks or old.networks,
        label=command.label or old.label,
    )


def _refused_replacing(command: CreateKey, old: ApiKey | None, now_ns: TimeNs) -> Refused | None:
    if old is None:
        if command.replaces:
            return Refused(Reason.UNKNOWN_KEY, "replaces")
        if command.replaced_expires_at_ns:
            return Refused(Reason.INVALID_VALUE, "replaced_expires_at_ns")
    elif command.account_id != old.account_id:
        return Refused(Reason.INVALID_VALUE, "account")
    elif command.replaced_expires_at_ns and command.replaced_expires_at_ns < now_ns:
        return Refused(Reason.ALREADY_EXPIRED, "replaced_expires_at_ns")
    return None


def _refused(directory: Directory, command: CreateKey, now_ns: TimeNs) -> Refused | None:
    if command.secret_digest in directory.keys_by_digest:
        return Refused(Reason.ALREADY_EXISTS, "secret")
    if Permission.ADMIN in command.permissions and len(set(command.permissions)) > 1:
        return Refused(Reason.INVALID_VALUE, "permissions")
    if Permission.ADMIN in command.rights:
        if command.account_id:
            return Refused(Reason.INVALID_VALUE, "account")
    elif command.account_id not in directory.accounts:
        return Refused(Reason.UNKNOWN_ACCOUNT, "account")
    if command.expires_at_ns < 0:
        return Refused(Reason.INVALID_VALUE, "expires_at_ns")
    if 0 < command.expires_at_ns <= now_ns:
        return Refused(Reason.ALREADY_EXPIRED, "expires_at_ns")
    return _refused_proof(directory, command)


def _refused_proof(directory: Directory, command: CreateKey) -> Refused | None:
    """What is kept of a secret must be what its scheme needs, and of this key alone.

    One public key under two ids would let a request signed for one of them count for the other.
    """
    if command.scheme is KeyScheme.BEARER:
        fits = bool(command.secret_digest) and not command.verifier
        return None if fits else Refused(Reason.INVALID_VALUE, "secret")
    field = "public_key" if command.scheme is KeyScheme.ED25519 else "secret"
    size = VERIFIER_BYTES[command.scheme]
    if command.secret_digest or not _is_base64url_of(size, command.verifier):
        return Refused(Reason.INVALID_VALUE, field)
    if any(key.verifier == command.verifier for key in directory.keys.values()):
        return Refused(Reason.ALREADY_EXISTS, field)
    return None


def _is_base64url_of(size: int, text: str) -> bool:
    """Whether a text is the one way to write so many bytes, without padding."""
    try:
        raw = urlsafe_b64decode(text.encode("ascii") + b"=" * (-len(text) % 4))
    except ValueError:
        return False
    return len(raw) == size and urlsafe_b64encode(raw).rstrip(b"=") == text.encode()


def _plain_networks(texts: Iterable[str]) -> tuple[str, ...] | None:
    """Each network once, as CIDR has it; None if one is none, is all there are, or is too many.

    >>> _plain_networks(["10.0.0.7", "2001:DB8::/32", "10.0.0.7/32"])
    ('10.0.0.7/32', '2001:db8::/32')
    >>> _plain_networks(["10.0.0.7/8"])
    """
    networks: dict[str, None] = {}
    for text in texts:
        try:
            network = ip_network(text)
        except ValueError:
            return None
        if not network.prefixlen or "%" in text:
            return None
        networks[str(network)] = None
    return tuple(networks) if len(networks) <= NETWORKS_MAX else None


def _end_of(old: ApiKey, command: CreateKey, now_ns: TimeNs) -> TimeNs:
    """When a replaced key ends: as stated, at once if nothing is, and never later than before."""
    stated = command.replaced_expires_at_ns or now_ns
    return min(stated, old.expires_at_ns) if old.expires_at_ns else stated

"""API keys: made, listed, replaced and revoked by an operator, looked at by their holders."""

from typing import Annotated, Any, Final, NamedTuple

import msgspec
from quart import Response

from api.edge import Edge, answer, body, numbered, query
from api.keys.auth import digest_of, new_secret
from api.keys.master_secret import new_salt
from api.keys.signing import PUBLIC_KEY_CHARACTERS_MAX, public_key_of
from api.queries import AccountNumber, Form, NoQuery, Number, PageQuery, ShortText
from api.rejected import invalid
from api.routes.admin_directory import page, the
from api.routing import Routes
from engine.accounts.keys import LABEL_CHARACTERS_MAX, NETWORKS_MAX
from engine.accounts.messages import (
    ApiKey,
    CreateKey,
    KeyCreated,
    KeyScheme,
    Permission,
    RevokeKey,
    role_with,
)
from engine.units import AccountId, TimeNs

_SECOND_NS: Final = 1_000_000_000
_DAY_S: Final = 86_400


class KeyForm(Form, frozen=True, kw_only=True):
    """A new key; admins have no account. With `replaces`, what is left out is as it was."""

    permissions: Annotated[tuple[Permission, ...], msgspec.Meta(max_length=len(Permission))] = ()
    account: AccountNumber | None = None
    label: Annotated[str, msgspec.Meta(max_length=LABEL_CHARACTERS_MAX)] = ""
    scheme: KeyScheme | None = None
    public_key: Annotated[str, msgspec.Meta(max_length=PUBLIC_KEY_CHARACTERS_MAX)] | None = None
    networks: Annotated[tuple[ShortText, ...], msgspec.Meta(max_length=NETWORKS_MAX)] = ()
    expires_in_days: Annotated[int, msgspec.Meta(ge=1, le=36_500)] | None = None
    expires_at_ns: Number | None = None
    replaces: Number = 0
    grace_s: Annotated[int, msgspec.Meta(ge=0, le=30 * _DAY_S)] = 0


class KeyAnswer(msgspec.Struct, frozen=True):
    """A key that is let in, until it expires; at 0 never."""

    key_id: int
    permissions: list[Permission]
    account: int | None
    label: str
    scheme: KeyScheme
    public_key: str | None
    networks: list[str]
    expires_at_ns: int


class KeyCreatedAnswer(KeyAnswer, frozen=True):
    """A new key; its secret is shown this once."""

    secret: str | None


class KeysAnswer(msgspec.Struct, frozen=True):
    """A page of keys."""

    keys: list[KeyAnswer]


class KeyRevokedAnswer(msgspec.Struct, frozen=True):
    """The key is let in no more."""

    key_id: int
    revoked: bool = True


class _Proof(NamedTuple):
    """What the engine keeps of a secret, and the secret where it is ours to show."""

    secret_digest: str
    verifier: str
    secret: str | None


_KEY: Final = msgspec.json.Decoder(KeyForm)


class KeyRoutes:
    """What an operator does about keys, and what a holder asks of its own."""

    def __init__(self, edge: Edge) -> None:
        self._edge = edge

    def routes(self) -> Routes:
        """What is declared to the app."""
        routes, admin, path = Routes("keys", "/v1"), Permission.ADMIN, "/admin/keys"
        routes.post(path, self.create, admin, body=KeyForm, answer=KeyCreatedAnswer, status=201)
        routes.get(path, self.keys, admin, query=PageQuery, answer=KeysAnswer)
        routes.delete(f"{path}/<key_id>", self.revoke, admin, answer=KeyRevokedAnswer)
        routes.get("/key", self.own_key, Permission.READ, answer=KeyAnswer)
        return routes

    async def create(self) -> Response:
        """POST /v1/admin/keys: the secret is shown once; a repeat answers with null in its place.

        Of a secret that is shown with each request only the digest is kept, and one to sign with is
        not kept at all.
        """
        form = await body(_KEY)
        old = self._edge.directory.keys.get(form.replaces)
        proof = self._new_proof(form, old)
        command = self._command(form, old, proof)
        key = the(KeyCreated, await self._edge.administer(command)).key
        is_new = (key.secret_digest, key.verifier) == (proof.secret_digest, proof.verifier)
        shown: dict[str, Any] = msgspec.structs.asdict(_key_answer(key))
        return answer(KeyCreatedAnswer(**shown, secret=proof.secret if is_new else None), 201)

    async def keys(self) -> Response:
        """GET /v1/admin/keys: those not revoked, in pages; without their secrets or digests."""
        return answer(KeysAnswer(page(self._edge.directory.keys, _key_answer)))

    async def revoke(self, key_id: str) -> Response:
        """DELETE /v1/admin/keys/ID: it is let in no more from here on."""
        query(NoQuery)
        number = int(numbered(key_id))
        await self._edge.administer(RevokeKey(number))
        return answer(KeyRevokedAnswer(number))

    async def own_key(self) -> Response:
        """GET /v1/key: the one that this request was sent with, to see whether it counts."""
        query(NoQuery)
        return answer(_key_answer(self._edge.directory.keys[self._edge.caller.key_id]))

    def _new_proof(self, form: KeyForm, old: ApiKey | None) -> _Proof:
        scheme = _scheme_of(form, old)
        if (form.public_key is not None) != (scheme is KeyScheme.ED25519):
            raise invalid("public_key", "ED25519 needs it, and nothing else has one.")
        if scheme is KeyScheme.BEARER:
            secret = new_secret()
            return _Proof(digest_of(secret), "", secret)
        if scheme is KeyScheme.HMAC:
            salt = new_salt()
            return _Proof("", salt, self._edge.master.secret_of(salt))
        public_key = public_key_of(form.public_key or "")
        if public_key is None:
            raise invalid("public_key", "Use base64url of 32 bytes, or PEM, of an Ed25519 key.")
        return _Proof("", public_key, None)

    def _command(self, form: KeyForm, old: ApiKey | None, proof: _Proof) -> CreateKey:
        if not form.permissions and not form.replaces:
            raise invalid("permissions", "State at least one.")
        networks = form.networks or (() if old is None else old.networks)
        may = form.permissions or (() if old is None else old.rights)
        if (
            Permission.TRANSFER in may
            and not networks
            and self._edge.settings.transfer_needs_networks
        ):
            raise invalid(
                "networks", "A key with TRANSFER must say which networks it is used from."
            )
        now_ns = self._edge.clock.now_ns()
        grace_ns = form.grace_s * _SECOND_NS
        return CreateKey(
            role_with(form.permissions),
            AccountId(form.account or 0),
            proof.secret_digest,
            form.label,
            _scheme_of(form, old),
            proof.verifier,
            form.permissions,
            form.networks,
            self._end(form, now_ns, has_networks=bool(networks)),
            form.replaces,
            TimeNs(now_ns + grace_ns if form.replaces and grace_ns else 0),
        )

    def _end(self, form: KeyForm, now_ns: int, *, has_networks: bool) -> TimeNs:
        """When the key ends: as stated, else never with networks, else after a default time."""
        if form.expires_at_ns is not None:
            if form.expires_in_days is not None:
                raise invalid("expires_in_days", "State this or `expires_at_ns`.")
            return TimeNs(form.expires_at_ns)
        days = form.expires_in_days
        if days is None:
            days = 0 if has_networks else self._edge.settings.key_lifetime_days
        return TimeNs(now_ns + days * _DAY_S * _SECOND_NS if days else 0)


def _scheme_of(form: KeyForm, old: ApiKey | None) -> KeyScheme:
    if form.scheme is not None:
        return form.scheme
    if form.public_key is not None:
        return KeyScheme.ED25519
    return KeyScheme.BEARER if old is None else old.scheme


def _key_answer(key: ApiKey) -> KeyAnswer:
    return KeyAnswer(
        key.key_id,
        sorted(key.rights, key=list(Permission).index),
        key.account_id or None,
        key.label,
        key.scheme,
        key.verifier if key.scheme is KeyScheme.ED25519 else None,
        list(key.networks),
        key.expires_at_ns,
    )

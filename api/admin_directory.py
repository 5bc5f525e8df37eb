"""Administration of what exists: assets, instruments, owners, accounts, keys."""

from collections.abc import Callable, Mapping
from itertools import islice
from typing import Any, Final, TypeVar, cast

import msgspec
from quart import Blueprint, Response

from api.auth import digest_of, new_secret
from api.decimals import amount_minor, steps
from api.edge import Edge, answer, body, numbered, query
from api.queries import AccountNumber, Form, Number, PageQuery, ShortText
from engine.accounts.messages import (
    Account,
    AccountOpened,
    ApiKey,
    AssetCreated,
    CreateAsset,
    CreateInstrument,
    CreateKey,
    CreateOwner,
    InstrumentCreated,
    KeyCreated,
    OpenAccount,
    Owner,
    OwnerCreated,
    RevokeKey,
    Role,
)
from engine.journal.records import Record
from engine.ledger.amounts import Asset, AssetKind
from engine.units import AccountId, AmountMinor, OwnerId, PriceTicks, QuantityLots

Event = TypeVar("Event")
Row = TypeVar("Row")


class AssetForm(Form, frozen=True, kw_only=True):
    """A new asset; one unit of it is 10 ** `scale` of its smallest parts."""

    code: ShortText
    kind: AssetKind
    scale: Number
    name: ShortText = ""


class InstrumentForm(Form, frozen=True, kw_only=True):
    """A new order book for base against quote; null means no limit of that kind."""

    symbol: ShortText
    base: ShortText
    quote: ShortText
    tick_size: ShortText
    lot_size: ShortText
    minimum_quantity: ShortText | None = None
    maximum_quantity: ShortText | None = None
    minimum_notional: ShortText | None = None
    maximum_notional: ShortText | None = None
    reference_price: ShortText | None = None
    band_ppm: Number = 0
    makers_touched_max: Number = 1_000


class OwnerForm(Form, frozen=True, kw_only=True):
    """A new owner of accounts."""

    name: ShortText


class AccountForm(Form, frozen=True, kw_only=True):
    """A new account."""

    owner: Number
    name: ShortText
    tier: ShortText = ""


class KeyForm(Form, frozen=True, kw_only=True):
    """A new bearer key; admins have no account."""

    role: Role
    account: AccountNumber | None = None
    label: ShortText = ""


_ASSET: Final = msgspec.json.Decoder(AssetForm)
_INSTRUMENT: Final = msgspec.json.Decoder(InstrumentForm)
_OWNER: Final = msgspec.json.Decoder(OwnerForm)
_ACCOUNT: Final = msgspec.json.Decoder(AccountForm)
_KEY: Final = msgspec.json.Decoder(KeyForm)


class DirectoryRoutes:
    """What an operator creates and lists."""

    def __init__(self, edge: Edge) -> None:
        self._edge = edge

    def blueprint(self) -> Blueprint:
        """The routes, to be registered with the app."""
        routes = Blueprint("admin_directory", __name__, url_prefix="/v1/admin")
        routes.post("/assets")(self.create_asset)
        routes.get("/assets")(self.assets)
        routes.post("/instruments")(self.create_instrument)
        routes.post("/owners")(self.create_owner)
        routes.get("/owners")(self.owners)
        routes.post("/accounts")(self.open_account)
        routes.get("/accounts")(self.accounts)
        routes.post("/keys")(self.create_key)
        routes.get("/keys")(self.keys)
        routes.delete("/keys/<key_id>")(self.revoke_key)
        return routes

    async def create_asset(self) -> Response:
        """POST /v1/admin/assets."""
        caller, form = self._edge.caller(Role.ADMIN), await body(_ASSET)
        command = CreateAsset(form.code, form.kind, form.scale, form.name)
        record = await self._edge.administer(command, caller)
        return answer(_asset_answer(_the(AssetCreated, record).asset), 201)

    async def create_instrument(self) -> Response:
        """POST /v1/admin/instruments; GET /v1/instruments lists them."""
        caller, form = self._edge.caller(Role.ADMIN), await body(_INSTRUMENT)
        record = await self._edge.administer(self._instrument_command(form), caller)
        instrument = _the(InstrumentCreated, record).instrument
        return answer({"number": instrument.instrument_id, "symbol": instrument.symbol}, 201)

    def _instrument_command(self, form: InstrumentForm) -> CreateInstrument:
        quote = self._edge.asset(form.quote, "quote")
        for size, field in ((form.tick_size, "tick_size"), (form.lot_size, "lot_size")):
            steps(size, size, field)

        def lots(text: str | None, field: str) -> QuantityLots:
            return QuantityLots(0 if text is None else steps(text, form.lot_size, field))

        def minor(text: str | None, field: str) -> AmountMinor:
            return AmountMinor(0) if text is None else amount_minor(text, quote, field)

        reference = form.reference_price
        return CreateInstrument(
            form.symbol,
            form.base,
            form.quote,
            form.tick_size,
            form.lot_size,
            lots(form.minimum_quantity, "minimum_quantity") or QuantityLots(1),
            lots(form.maximum_quantity, "maximum_quantity"),
            minor(form.minimum_notional, "minimum_notional"),
            minor(form.maximum_notional, "maximum_notional"),
            PriceTicks(
                0 if reference is None else steps(reference, form.tick_size, "reference_price")
            ),
            form.band_ppm,
            form.makers_touched_max,
        )

    async def create_owner(self) -> Response:
        """POST /v1/admin/owners."""
        caller, form = self._edge.caller(Role.ADMIN), await body(_OWNER)
        record = await self._edge.administer(CreateOwner(form.name), caller)
        return answer(_owner_answer(_the(OwnerCreated, record).owner), 201)

    async def open_account(self) -> Response:
        """POST /v1/admin/accounts."""
        caller, form = self._edge.caller(Role.ADMIN), await body(_ACCOUNT)
        command = OpenAccount(OwnerId(form.owner), form.name, form.tier)
        record = await self._edge.administer(command, caller)
        return answer(_account_answer(_the(AccountOpened, record).account), 201)

    async def create_key(self) -> Response:
        """POST /v1/admin/keys: the secret is shown once; a repeat answers with null in its place.

        Nobody can show it again, since only its digest is kept.
        """
        caller, form = self._edge.caller(Role.ADMIN), await body(_KEY)
        secret = new_secret()
        account_id = AccountId(form.account or 0)
        command = CreateKey(form.role, account_id, digest_of(secret), form.label)
        record = await self._edge.administer(command, caller)
        key = _the(KeyCreated, record).key
        shown = secret if key.secret_digest == digest_of(secret) else None
        return answer({**_key_answer(key), "secret": shown}, 201)

    async def revoke_key(self, key_id: str) -> Response:
        """DELETE /v1/admin/keys/ID: it is let in no more from here on."""
        caller = self._edge.caller(Role.ADMIN)
        number = int(numbered(key_id))
        await self._edge.administer(RevokeKey(number), caller)
        return answer({"key_id": number, "revoked": True})

    async def assets(self) -> Response:
        """GET /v1/admin/assets, in pages."""
        return self._page("assets", lambda known: known.assets, _asset_answer)

    async def owners(self) -> Response:
        """GET /v1/admin/owners, in pages."""
        return self._page("owners", lambda known: known.owners, _owner_answer)

    async def accounts(self) -> Response:
        """GET /v1/admin/accounts, in pages."""
        return self._page("accounts", lambda known: known.accounts, _account_answer)

    async def keys(self) -> Response:
        """GET /v1/admin/keys: those let in, in pages; without their secrets or digests."""
        return self._page("keys", lambda known: known.keys, _key_answer)

    def _page(
        self,
        name: str,
        rows_of: Callable[[Any], Mapping[Any, Row]],
        write: Callable[[Row], dict[str, Any]],
    ) -> Response:
        self._edge.caller(Role.ADMIN)
        wanted = query(PageQuery)
        known = rows_of(self._edge.directory).items()
        found = (row for number, row in known if number > wanted.after)
        return answer({name: [write(row) for row in islice(found, wanted.limit)]})


def _the(kind: type[Event], record: Record) -> Event:
    """The one event of a kind that a record has."""
    [event] = [cast("Any", event) for event in record.events if type(event) is kind]
    return cast("Event", event)


def _asset_answer(asset: Asset) -> dict[str, Any]:
    return {
        "number": asset.asset_id,
        "code": asset.code,
        "kind": asset.kind,
        "scale": asset.scale,
        "name": asset.name,
    }


def _owner_answer(owner: Owner) -> dict[str, Any]:
    return {"owner": owner.owner_id, "name": owner.name}


def _account_answer(account: Account) -> dict[str, Any]:
    return {
        "account": account.account_id,
        "owner": account.owner_id,
        "name": account.name,
        "tier": account.tier,
    }


def _key_answer(key: ApiKey) -> dict[str, Any]:
    return {
        "key_id": key.key_id,
        "role": key.role,
        "account": key.account_id or None,
        "label": key.label,
    }

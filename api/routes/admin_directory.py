"""Administration of what exists: assets, instruments, owners, accounts."""

from collections.abc import Callable, Mapping
from itertools import islice
from typing import Any, Final, TypeVar, cast

import msgspec
from quart import Response

from api.decimals import amount_minor, steps
from api.edge import Edge, answer, body, query
from api.queries import DecimalText, Form, Number, PageQuery, ShortText
from api.routing import Handler, Routes
from engine.accounts.messages import (
    Account,
    AccountOpened,
    AssetCreated,
    CreateAsset,
    CreateInstrument,
    CreateOwner,
    InstrumentCreated,
    OpenAccount,
    Owner,
    OwnerCreated,
    Permission,
)
from engine.journal.records import Record
from engine.ledger.amounts import Asset, AssetKind
from engine.units import AmountMinor, OwnerId, PriceTicks, QuantityLots

Event = TypeVar("Event")
Row = TypeVar("Row")
Shown = TypeVar("Shown")


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
    tick_size: DecimalText
    lot_size: DecimalText
    minimum_quantity: DecimalText | None = None
    maximum_quantity: DecimalText | None = None
    minimum_notional: DecimalText | None = None
    maximum_notional: DecimalText | None = None
    reference_price: DecimalText | None = None
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


class AssetAnswer(msgspec.Struct, frozen=True):
    """An asset that exists."""

    number: int
    code: str
    kind: AssetKind
    scale: int
    name: str


class AssetsAnswer(msgspec.Struct, frozen=True):
    """A page of assets."""

    assets: list[AssetAnswer]


class InstrumentCreatedAnswer(msgspec.Struct, frozen=True):
    """What a new instrument is called."""

    number: int
    symbol: str


class OwnerAnswer(msgspec.Struct, frozen=True):
    """An owner of accounts."""

    owner: int
    name: str


class OwnersAnswer(msgspec.Struct, frozen=True):
    """A page of owners."""

    owners: list[OwnerAnswer]


class AccountAnswer(msgspec.Struct, frozen=True):
    """An account."""

    account: int
    owner: int
    name: str
    tier: str


class AccountsAnswer(msgspec.Struct, frozen=True):
    """A page of accounts."""

    accounts: list[AccountAnswer]


_ASSET: Final = msgspec.json.Decoder(AssetForm)
_INSTRUMENT: Final = msgspec.json.Decoder(InstrumentForm)
_OWNER: Final = msgspec.json.Decoder(OwnerForm)
_ACCOUNT: Final = msgspec.json.Decoder(AccountForm)


class DirectoryRoutes:
    """What an operator creates and lists."""

    def __init__(self, edge: Edge) -> None:
        self._edge = edge

    def routes(self) -> Routes:
        """What is declared to the app."""
        routes, admin = Routes("admin_directory", "/v1/admin"), Permission.ADMIN

        def create(path: str, handler: Handler, form: Any, shown: Any) -> None:
            routes.post(path, handler, admin, body=form, answer=shown, status=201)

        def pages(path: str, handler: Handler, shown: Any) -> None:
            routes.get(path, handler, admin, query=PageQuery, answer=shown)

        create("/assets", self.create_asset, AssetForm, AssetAnswer)
        pages("/assets", self.assets, AssetsAnswer)
        create("/instruments", self.create_instrument, InstrumentForm, InstrumentCreatedAnswer)
        create("/owners", self.create_owner, OwnerForm, OwnerAnswer)
        pages("/owners", self.owners, OwnersAnswer)
        create("/accounts", self.open_account, AccountForm, AccountAnswer)
        pages("/accounts", self.accounts, AccountsAnswer)
        return routes

    async def create_asset(self) -> Response:
        """POST /v1/admin/assets."""
        form = await body(_ASSET)
        command = CreateAsset(form.code, form.kind, form.scale, form.name)
        record = await self._edge.administer(command)
        return answer(_asset_answer(the(AssetCreated, record).asset), 201)

    async def create_instrument(self) -> Response:
        """POST /v1/admin/instruments; GET /v1/instruments lists them."""
        form = await body(_INSTRUMENT)
        record = await self._edge.administer(self._instrument_command(form))
        instrument = the(InstrumentCreated, record).instrument
        return answer(InstrumentCreatedAnswer(instrument.instrument_id, instrument.symbol), 201)

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
        form = await body(_OWNER)
        record = await self._edge.administer(CreateOwner(form.name))
        return answer(_owner_answer(the(OwnerCreated, record).owner), 201)

    async def open_account(self) -> Response:
        """POST /v1/admin/accounts."""
        form = await body(_ACCOUNT)
        command = OpenAccount(OwnerId(form.owner), form.name, form.tier)
        record = await self._edge.administer(command)
        return answer(_account_answer(the(AccountOpened, record).account), 201)

    async def assets(self) -> Response:
        """GET /v1/admin/assets, in pages."""
        return answer(AssetsAnswer(page(self._edge.directory.assets, _asset_answer)))

    async def owners(self) -> Response:
        """GET /v1/admin/owners, in pages."""
        return answer(OwnersAnswer(page(self._edge.directory.owners, _owner_answer)))

    async def accounts(self) -> Response:
        """GET /v1/admin/accounts, in pages."""
        return answer(AccountsAnswer(page(self._edge.directory.accounts, _account_answer)))


def page(known: Mapping[Any, Row], write: Callable[[Row], Shown]) -> list[Shown]:
    """The rows that the query at hand asks for, as they are shown. Raises: Rejected."""
    wanted = query(PageQuery)
    found = (row for number, row in known.items() if number > wanted.after)
    return [write(row) for row in islice(found, wanted.limit)]


def the(kind: type[Event], record: Record) -> Event:
    """The one event of a kind that a record has."""
    [event] = [cast("Any", event) for event in record.events if type(event) is kind]
    return cast("Event", event)


def _asset_answer(asset: Asset) -> AssetAnswer:
    return AssetAnswer(asset.asset_id, asset.code, asset.kind, asset.scale, asset.name)


def _owner_answer(owner: Owner) -> OwnerAnswer:
    return OwnerAnswer(owner.owner_id, owner.name)


def _account_answer(account: Account) -> AccountAnswer:
    return AccountAnswer(account.account_id, account.owner_id, account.name, account.tier)

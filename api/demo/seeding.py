"""A market for newcomers: instruments, two funded accounts, and traders with keys of their own.

Seeding is idempotent: every command has a key of its own, so a second start finds what the first
one made. The secrets are kept in files for this user alone, since nobody can show them again.
"""

import os
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec

from api.demo.lines import Lines
from api.keys.auth import bearer_key, digest_of, new_secret
from engine.accounts.messages import (
    AccountOpened,
    CreateAsset,
    CreateInstrument,
    CreateOwner,
    Deposit,
    OpenAccount,
    OwnerCreated,
    Permission,
    SetFees,
)
from engine.errors import EngineError
from engine.journal.records import Record
from engine.ledger.amounts import AssetKind, parse_minor
from engine.service import Service
from engine.units import AccountId, InstrumentId, OwnerId, PriceTicks

KEYS_FILE: Final = "demo-keys.json"
TRADERS_FILE: Final = "demo-traders.json"

_ASSETS: Final = (
    CreateAsset("USD", AssetKind.CURRENCY, 6, "US dollar"),
    CreateAsset("BTC", AssetKind.COIN, 8, "Bitcoin"),
    CreateAsset("ETH", AssetKind.COIN, 8, "Ether"),
)
_INSTRUMENTS: Final = (
    CreateInstrument(
        "BTC-USD", "BTC", "USD", "0.01", "0.0001", reference_price_ticks=PriceTicks(60_000_00)
    ),
    CreateInstrument(
        "ETH-USD", "ETH", "USD", "0.01", "0.001", reference_price_ticks=PriceTicks(3_000_00)
    ),
)
_FUNDS: Final = (("USD", "1000000"), ("BTC", "50"), ("ETH", "500"))
_OF_TRADERS: Final = (Permission.READ, Permission.TRADE, Permission.TRANSFER)
_MAKER_PPM, _TAKER_PPM = 1_000, 2_000

#: Beside them, once traders are wanted.
_MORE_ASSETS: Final = (CreateAsset("DOGE", AssetKind.COIN, 8, "Dogecoin"),)
_MORE_INSTRUMENTS: Final = (
    CreateInstrument(
        "ETH-BTC", "ETH", "BTC", "0.00001", "0.001", reference_price_ticks=PriceTicks(5_000)
    ),
    CreateInstrument(
        "DOGE-USD", "DOGE", "USD", "0.00001", "10", reference_price_ticks=PriceTicks(15_000)
    ),
)
#: Enough for years: what traders lose to each other and to fees is small beside it.
_TRADERS_FUNDS: Final = (
    ("USD", "1000000000"),
    ("BTC", "100000"),
    ("ETH", "1000000"),
    ("DOGE", "1000000000"),
)
_TRADERS_TIER: Final = "house"
_TRADERS_MAKER_PPM, _TRADERS_TAKER_PPM = 0, 200
_MAKERS, _TAKERS = 2, 2

T = TypeVar("T")


class Secrets(msgspec.Struct, frozen=True):
    """The keys of people."""

    admin: str
    alice: str
    bob: str


class TraderSecrets(msgspec.Struct, frozen=True):
    """The keys of those who make the market move."""

    makers: tuple[str, ...]
    takers: tuple[str, ...]


class Demo:
    """Seeds and greets; `folder` keeps the secrets between starts, None keeps them nowhere.

    With a `speed` there are traders to be run: `trader_secrets` are theirs once it has greeted.
    """

    def __init__(self, folder: Path | None, speed: float = 0.0) -> None:
        self._folder = folder
        self._speed = speed
        self.trader_secrets = TraderSecrets((), ())

    async def greet(self, service: Service, url: str) -> str:
        """Seed what is missing; returns the lines to paste.

        Raises: EngineError when the journal is not a demo's.
        """
        secrets = kept_secrets(self._folder)
        await seed(service, secrets)
        if self._speed:
            self.trader_secrets = kept(self._folder, TRADERS_FILE, _new_trader_secrets)
            await seed_traders(service, self.trader_secrets)
        people = msgspec.structs.asdict(secrets)
        tag = str(service.released.sequence)
        return str(Lines(url, **people, tag=tag, price=_offer(service), speed=self._speed))


async def seed(service: Service, secrets: Secrets) -> None:
    """Make assets, instruments, fees, accounts, keys and deposits, each of them once."""
    for asset in _ASSETS:
        await _once(service, f"asset-{asset.code}", asset)
    for instrument in _INSTRUMENTS:
        await _once(service, f"instrument-{instrument.symbol}", instrument)
    await _once(service, "fees", SetFees("", InstrumentId(0), _MAKER_PPM, _TAKER_PPM))
    await _let_in(service, secrets.admin, AccountId(0), Permission.ADMIN)
    for name, secret in (("Alice", secrets.alice), ("Bob", secrets.bob)):
        account_id = await _account(service, name)
        await _let_in(service, secret, account_id, *_OF_TRADERS)
        await _fund(service, name, account_id, _FUNDS)


async def seed_traders(service: Service, secrets: TraderSecrets) -> None:
    """Make more instruments, and accounts with money for the traders, each of them once."""
    for asset in _MORE_ASSETS:
        await _once(service, f"asset-{asset.code}", asset)
    for instrument in _MORE_INSTRUMENTS:
        await _once(service, f"instrument-{instrument.symbol}", instrument)
    fees = SetFees(_TRADERS_TIER, InstrumentId(0), _TRADERS_MAKER_PPM, _TRADERS_TAKER_PPM)
    await _once(service, "traders-fees", fees)
    for kind, of_kind in (("Maker", secrets.makers), ("Taker", secrets.takers)):
        for place, secret in enumerate(of_kind, 1):
            name = f"{kind} {place}"
            account_id = await _account(service, name, _TRADERS_TIER)
            await _let_in(service, secret, account_id, Permission.READ, Permission.TRADE)
            await _fund(service, name, account_id, _TRADERS_FUNDS)


def _offer(service: Service) -> str:
    """A price at which a bitcoin may be offered: the reference, when nobody has traded."""
    directory = service.released.rules.directory
    bitcoin = directory.instruments_by_symbol["BTC-USD"]
    ticks = service.released.reference_price_ticks(bitcoin.instrument_id)
    return f"{ticks * Decimal(bitcoin.tick_size):f}"


async def _account(service: Service, name: str, tier: str = "") -> AccountId:
    owned = await _once(service, f"owner-{name}", CreateOwner(name))
    [owner] = [event.owner for event in owned.events if isinstance(event, OwnerCreated)]
    command = OpenAccount(OwnerId(owner.owner_id), name, tier)
    opened = await _once(service, f"account-{name}", command)
    [account] = [event.account for event in opened.events if isinstance(event, AccountOpened)]
    return account.account_id


async def _fund(
    service: Service, name: str, account_id: AccountId, funds: tuple[tuple[str, str], ...]
) -> None:
    known = service.released.rules.directory.assets_by_code
    for code, text in funds:
        asset = known[code]
        amount = parse_minor(text, asset.scale)
        deposit = Deposit(account_id, asset.asset_id, amount, "demo")
        await _once(service, f"funds-{name}-{code}", deposit)


async def _let_in(
    service: Service, secret: str, account_id: AccountId, *permissions: Permission
) -> None:
    """For ever and from anywhere: it is play money."""
    command = bearer_key(secret, *permissions, account_id=account_id, label="demo")
    await _once(service, f"key-{digest_of(secret)[:32]}", command)


async def _once(service: Service, name: str, command: Any) -> Record:
    """Have a command decided under a name of its own: the first start's record, ever after."""
    record = await service.submit(command, key=f"demo-{name}")
    if record.refusal is not None:
        raise EngineError(f"the demo needs a data folder of its own: {record.refusal}")
    return record


def kept_secrets(folder: Path | None) -> Secrets:
    """The keys of people, as `kept` keeps them."""
    return kept(folder, KEYS_FILE, _new_secrets)


def kept(folder: Path | None, file_name: str, make: Callable[[], T]) -> T:
    """The secrets in a file of the folder; made and kept when there is none.

    Raises: OSError, msgspec.DecodeError.
    """
    made = make()
    if folder is None:
        return made
    path = folder / file_name
    if path.exists():
        return msgspec.json.decode(path.read_bytes(), type=type(made))
    folder.mkdir(mode=0o711, parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(msgspec.json.encode(made))
    return made


def _new_secrets() -> Secrets:
    return Secrets(new_secret(), new_secret(), new_secret())


def _new_trader_secrets() -> TraderSecrets:
    return TraderSecrets(
        tuple(new_secret() for _ in range(_MAKERS)), tuple(new_secret() for _ in range(_TAKERS))
    )

"""A market for newcomers: two instruments, two funded accounts, and lines that make them trade.

Seeding is idempotent: every command has a key of its own, so a second start finds what the first
one made. The secrets are kept in a file for this user alone, since nobody can show them again.
"""

import os
from pathlib import Path
from typing import Any, Final

import msgspec

from api.auth import digest_of, new_secret
from engine.accounts.messages import (
    AccountOpened,
    CreateAsset,
    CreateInstrument,
    CreateKey,
    CreateOwner,
    Deposit,
    OpenAccount,
    OwnerCreated,
    Role,
    SetFees,
)
from engine.errors import EngineError
from engine.journal.records import Record
from engine.ledger.amounts import AssetKind, parse_minor
from engine.service import Service
from engine.units import AccountId, InstrumentId, OwnerId, PriceTicks

KEYS_FILE: Final = "demo-keys.json"

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
_MAKER_PPM, _TAKER_PPM = 1_000, 2_000

_LINES: Final = """
Outcry's demo listens on {url} with BTC-USD, ETH-USD and two accounts: Alice and Bob.
Paste this into another terminal:

    export ALICE='Authorization: Bearer {alice}'
    export BOB='Authorization: Bearer {bob}'
    export ADMIN='Authorization: Bearer {admin}'
    export JSON='Content-Type: application/json'

Alice offers half a bitcoin, Bob buys a fifth of one, Alice looks at her order and her money:

    curl {url}/v1/orders -H "$ALICE" -H "$JSON" -d '{{"client_order_id":"alice-{tag}",
      "instrument":"BTC-USD","side":"sell","type":"limit","price":"60000.00","quantity":"0.5"}}'
    curl {url}/v1/orders -H "$BOB" -H "$JSON" -d '{{"client_order_id":"bob-{tag}",
      "instrument":"BTC-USD","side":"buy","type":"limit","price":"60000.00","quantity":"0.2"}}'
    curl {url}/v1/orders/by-client-id/alice-{tag} -H "$ALICE"
    curl {url}/v1/balances -H "$ALICE"

More to look at:

    curl "{url}/v1/depth?instrument=BTC-USD" -H "$BOB"
    curl -X DELETE {url}/v1/orders -H "$ALICE"
    curl {url}/v1/admin/actors -H "$ADMIN"

Sending a line again does nothing twice. Ctrl-C stops.
"""


class Secrets(msgspec.Struct, frozen=True):
    """The demo's keys."""

    admin: str
    alice: str
    bob: str


class Demo:
    """Seeds and greets; `folder` keeps the secrets between starts, None keeps them nowhere."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    async def greet(self, service: Service, url: str) -> str:
        """Seed what is missing; returns the lines to paste.

        Raises: EngineError when the journal is not a demo's.
        """
        secrets = _new_secrets() if self._folder is None else kept_secrets(self._folder)
        await seed(service, secrets)
        # a name that no earlier start has used
        tag = str(service.released.sequence)
        return _LINES.format(url=url, tag=tag, **msgspec.structs.asdict(secrets))


async def seed(service: Service, secrets: Secrets) -> None:
    """Make assets, instruments, fees, accounts, keys and deposits, each of them once."""
    for asset in _ASSETS:
        await _once(service, f"asset-{asset.code}", asset)
    for instrument in _INSTRUMENTS:
        await _once(service, f"instrument-{instrument.symbol}", instrument)
    await _once(service, "fees", SetFees("", InstrumentId(0), _MAKER_PPM, _TAKER_PPM))
    await _let_in(service, Role.ADMIN, AccountId(0), secrets.admin)
    for name, secret in (("Alice", secrets.alice), ("Bob", secrets.bob)):
        account_id = await _account(service, name)
        await _let_in(service, Role.TRADE, account_id, secret)
        await _fund(service, name, account_id)


async def _account(service: Service, name: str) -> AccountId:
    owned = await _once(service, f"owner-{name}", CreateOwner(name))
    [owner] = [event.owner for event in owned.events if isinstance(event, OwnerCreated)]
    command = OpenAccount(OwnerId(owner.owner_id), name)
    opened = await _once(service, f"account-{name}", command)
    [account] = [event.account for event in opened.events if isinstance(event, AccountOpened)]
    return account.account_id


async def _fund(service: Service, name: str, account_id: AccountId) -> None:
    known = service.released.rules.directory.assets_by_code
    for code, text in _FUNDS:
        asset = known[code]
        amount = parse_minor(text, asset.scale)
        deposit = Deposit(account_id, asset.asset_id, amount, "demo")
        await _once(service, f"funds-{name}-{code}", deposit)


async def _let_in(service: Service, role: Role, account_id: AccountId, secret: str) -> None:
    digest = digest_of(secret)
    await _once(service, f"key-{digest[:32]}", CreateKey(role, account_id, digest, "demo"))


async def _once(service: Service, name: str, command: Any) -> Record:
    """Have a command decided under a name of its own: the first start's record, ever after."""
    record = await service.submit(command, key=f"demo-{name}")
    if record.refusal is not None:
        raise EngineError(f"the demo needs a data folder of its own: {record.refusal}")
    return record


def kept_secrets(folder: Path) -> Secrets:
    """The secrets in the folder's file; made and kept when there is none.

    Raises: OSError, msgspec.DecodeError.
    """
    path = folder / KEYS_FILE
    if path.exists():
        return msgspec.json.decode(path.read_bytes(), type=Secrets)
    secrets = _new_secrets()
    folder.mkdir(mode=0o711, parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(msgspec.json.encode(secrets))
    return secrets


def _new_secrets() -> Secrets:
    return Secrets(new_secret(), new_secret(), new_secret())

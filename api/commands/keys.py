"""`outcry keys`: list, make, replace and revoke API keys of a running server, as its operator.

Which server, and by which admin key, the environment says: `OUTCRY_URL` (else the one at home) and
`OUTCRY_KEY`, or `OUTCRY_KEY_ID` and `OUTCRY_SECRET` for one that signs.
"""

import secrets
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
from cyclopts import App, Parameter
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from api.client.admin_calls import KeyForm, create_key, keys, revoke_key
from api.client.environment import NoKey, NoServer, server_of
from api.client.errors import ClientError, Refused, Unanswered, Unreachable
from api.client.http import Client
from api.client.resending import Patience
from api.routes.admin_keys import KeyAnswer
from engine.accounts.messages import KeyScheme, Permission

app = App(name="keys", help="List, make, replace and revoke API keys of a running server.")

#: Whoever waits at a terminal would rather know.
_PATIENCE: Final = Patience(attempts_max=3)

AsJson = Annotated[bool, Parameter(name="--json", help="Print JSON in place of a table.")]
Label = Annotated[str | None, Parameter(help="What you call it.")]
Permissions = Annotated[
    list[Permission] | None,
    Parameter(name="--permission", help="What it may do; state each.", negative=""),
]
Networks = Annotated[
    list[str] | None,
    Parameter(name="--network", help="Where it may come from, in CIDR; state each.", negative=""),
]
Scheme = Annotated[KeyScheme | None, Parameter(help="How a request proves it.")]
PublicKey = Annotated[
    Path | None, Parameter(help="A file with an Ed25519 public key, PEM or base64url.")
]
Days = Annotated[int | None, Parameter(help="Days that it lives; 0: for ever.")]


class Failed(Exception):
    """A file did not serve; the text says why."""


@app.command(name="list")
def list_keys(*, as_json: AsJson = False) -> int:
    """Show every key that is not revoked."""

    def list_them(client: Client) -> None:
        _show(list(client.each(keys())), as_json=as_json)

    return _done(list_them)


@app.command
def create(
    *,
    permission: Permissions = None,
    account: Annotated[int | None, Parameter(help="Whose; none for ADMIN.")] = None,
    label: Label = None,
    scheme: Scheme = None,
    public_key: PublicKey = None,
    network: Networks = None,
    expires_in_days: Days = None,
    as_json: AsJson = False,
) -> int:
    """Make a key, and show its secret this once."""
    terms = _terms(permission, label, scheme, network, expires_in_days)
    return _made({**terms, "account": account}, public_key, as_json=as_json)


@app.command
def rotate(
    key_id: int,
    *,
    grace_s: Annotated[int, Parameter(help="Seconds that the old one lives on.")] = 0,
    permission: Permissions = None,
    label: Label = None,
    scheme: Scheme = None,
    public_key: PublicKey = None,
    network: Networks = None,
    expires_in_days: Days = None,
    as_json: AsJson = False,
) -> int:
    """Put a new key in the place of one; what is not stated stays, except when it ends."""
    terms = _terms(permission, label, scheme, network, expires_in_days)
    replacing = {**terms, "replaces": key_id, "grace_s": grace_s}
    return _made(replacing, public_key, as_json=as_json)


@app.command
def revoke(key_id: int) -> int:
    """Shut a key out at once."""

    def revoke_it(client: Client) -> None:
        client.send(revoke_key(key_id, _new_key()))
        print(f"Key {key_id} is shut out.")

    return _done(revoke_it)


def _terms(
    permissions: list[Permission] | None,
    label: str | None,
    scheme: KeyScheme | None,
    networks: list[str] | None,
    days: int | None,
) -> dict[str, Any]:
    end = {"expires_at_ns": 0} if days == 0 else {"expires_in_days": days}
    stated = {"permissions": permissions, "label": label, "scheme": scheme, "networks": networks}
    return {**stated, **end}


def _made(terms: dict[str, Any], public_key: Path | None, *, as_json: bool) -> int:
    def make(client: Client) -> None:
        stated = {name: term for name, term in terms.items() if term is not None}
        if public_key is not None:
            stated["public_key"] = _text_of(public_key)
        try:
            form = msgspec.convert(stated, KeyForm)
        except msgspec.ValidationError as error:
            raise Failed(str(error)) from error
        key = client.send(create_key(form, _new_key()))
        _show([key], as_json=as_json)
        if key.secret and not as_json:
            print(f"\nIts secret, shown this once and never again:\n\n    {key.secret}\n")

    return _done(make)


def _new_key() -> str:
    """So that the client may repeat a command until it is answered."""
    return f"cli-{secrets.token_hex(12)}"


def _show(shown: Sequence[KeyAnswer], *, as_json: bool) -> None:
    if as_json:
        print(msgspec.json.encode(shown).decode())
        return
    table = Table("key", "account", "permissions", "scheme", "networks", "expires", "label")
    for key in shown:
        table.add_row(
            str(key.key_id),
            str(key.account or ""),
            " ".join(key.permissions),
            key.scheme,
            "\n".join(key.networks) or "any",
            _moment(key.expires_at_ns),
            escape(key.label),
        )
    Console().print(table)


def _moment(time_ns: int) -> str:
    if not time_ns:
        return "never"
    try:
        moment = datetime.fromtimestamp(time_ns // 1_000_000_000, UTC)
    except (OverflowError, ValueError):  # further away than calendars go
        return "never"
    return f"{moment:%Y-%m-%d %H:%M}" + (" (over)" if moment < datetime.now(UTC) else "")


def _text_of(path: Path) -> str:
    try:
        return path.read_text("ascii").strip()
    except (OSError, ValueError) as error:
        raise Failed(f"{path}: {error}") from error


def _done(do: Callable[[Client], None]) -> int:
    """The exit code; what failed is told in one line."""
    try:
        url, credentials = server_of()
        with Client(url, credentials, patience=_PATIENCE) as client:
            do(client)
    except (Failed, ClientError) as error:
        print(f"outcry: {_told(error)}", file=sys.stderr)
        return 1
    return 0


def _told(error: Exception) -> str:
    match error:
        case NoServer():
            return str(error)
        case NoKey():
            return f"{error}. `outcry serve --new-admin-key` makes an admin key."
        case Refused():
            told = error.error
            return f"{told.code}: {told.message}" + (f" ({told.field})" if told.field else "")
        case Unreachable():
            return f"no answer: {error}"
        case Unanswered():
            return f"no answer: {error}. It may have happened: see `outcry keys list`."
        case _:
            return str(error)

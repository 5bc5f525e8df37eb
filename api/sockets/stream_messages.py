"""What is said on the private stream: a client's operations, the server's answers and events.

Every message is a map. A client's has an `op` and an `id`, which its answer repeats; the server's
have a `type`.
"""

from typing import Annotated, Any, Literal, TypeAlias

import msgspec

from api.edge import KEY_PATTERN
from api.orders.answers import OrderAnswer
from api.orders.forms import ClientOrderId
from api.queries import AccountNumber, Number
from api.routes.accounts import BalanceAnswer
from api.routes.dead_man import TimeoutMs
from engine.units import INT64_MAX

MessageId: TypeAlias = (
    Annotated[int, msgspec.Meta(ge=-INT64_MAX, le=INT64_MAX)]
    | Annotated[str, msgspec.Meta(pattern=KEY_PATTERN)]
)
#: A place in an account's events: the sequence of a record, and an index in it.
EventNumber: TypeAlias = tuple[Number, Annotated[int, msgspec.Meta(ge=0, le=65_535)]]
#: After everything that a record did.
LAST_INDEX = 65_535


class Op(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="op"):
    """One message of a client."""

    id: MessageId


class _AccountOp(Op, frozen=True, kw_only=True):
    """One about an account; only admins need to say which."""

    account: AccountNumber | None = None


class CommandOp(_AccountOp, frozen=True, kw_only=True):
    """One that leads to a command; stamped later than `not_after_ns` it is refused."""

    not_after_ns: Number = 0


class LoginOp(Op, frozen=True, kw_only=True, tag="login"):
    """Proves a key: by its `secret`, or by what the headers of a signed handshake would say."""

    secret: Annotated[str, msgspec.Meta(max_length=128)] = ""
    key_id: Number = 0
    timestamp: Number = 0
    window: Number = 5_000
    nonce: Annotated[str, msgspec.Meta(max_length=32)] = ""
    signature: Annotated[str, msgspec.Meta(max_length=128)] = ""


class LogoutOp(Op, frozen=True, kw_only=True, tag="logout"):
    """Ends the session; its orders stand, whatever was agreed for a lost connection."""


class PingOp(Op, frozen=True, kw_only=True, tag="ping"):
    """Asks for an answer."""


class SubscribeOp(_AccountOp, frozen=True, kw_only=True, tag="subscribe"):
    """Asks for a snapshot of the account, then for everything that happens to it."""


class ResumeOp(_AccountOp, frozen=True, kw_only=True, tag="resume"):
    """Asks for everything that happened after an event, then for what happens from now on."""

    after: EventNumber


class UnsubscribeOp(_AccountOp, frozen=True, kw_only=True, tag="unsubscribe"):
    """Asks for no more events of the account."""


class PlaceOp(CommandOp, frozen=True, kw_only=True, tag="place"):
    """Places an order, in the form of `POST /v1/orders`."""

    order: msgspec.Raw


class ValidateOp(_AccountOp, frozen=True, kw_only=True, tag="validate"):
    """Asks what placing an order would say."""

    order: msgspec.Raw


class CancelOp(CommandOp, frozen=True, kw_only=True, tag="cancel"):
    """Cancels an order, by either of its ids."""

    order_id: str | None = None
    client_order_id: ClientOrderId | None = None


class ReplaceOp(CommandOp, frozen=True, kw_only=True, tag="replace"):
    """Gives a resting order a new price and total quantity; `key` is its idempotency key."""

    price: str
    quantity: str
    order_id: str | None = None
    client_order_id: ClientOrderId | None = None
    key: ClientOrderId | None = None


class CancelAllOp(CommandOp, frozen=True, kw_only=True, tag="cancel_all"):
    """Cancels every order of the account, or those of this key, on all instruments or one."""

    instrument: str | None = None
    scope: Literal["account", "key"] = "account"


class DeadManOp(CommandOp, frozen=True, kw_only=True, tag="dead_man"):
    """Cancels the key's orders unless it is sent again within `timeout_ms`; 0 disarms."""

    timeout_ms: TimeoutMs


class CancelOnDisconnectOp(CommandOp, frozen=True, kw_only=True, tag="cancel_on_disconnect"):
    """Says whether the key's orders end with this connection."""

    enabled: bool


AnyOp: TypeAlias = (
    LoginOp
    | LogoutOp
    | PingOp
    | SubscribeOp
    | ResumeOp
    | UnsubscribeOp
    | PlaceOp
    | ValidateOp
    | CancelOp
    | ReplaceOp
    | CancelAllOp
    | DeadManOp
    | CancelOnDisconnectOp
)


class Answer(msgspec.Struct, frozen=True, omit_defaults=True, tag_field="type", tag="answer"):
    """How one message is answered; the status and content are those of HTTP."""

    id: int | str | None
    status: int
    result: Any = None
    error: dict[str, Any] | None = None
    replayed: bool = False  # this is the answer to an earlier command with the same key


class _Event(msgspec.Struct, frozen=True, kw_only=True, tag_field="type"):
    """Something that happened to an account; `previous` is the event before it on this stream."""

    account: int
    number: tuple[int, int]
    previous: tuple[int, int]
    time_ns: int


class OrderEvent(_Event, frozen=True, kw_only=True, tag="order"):
    """An order changed: here it is as that record left it."""

    order: OrderAnswer


class FillEvent(_Event, frozen=True, kw_only=True, tag="fill"):
    """An order traded. `trade` names the trade, the same for both sides.

    A negative `fee` was given, in what the order paid with.
    """

    trade: str
    instrument: str
    order_id: str
    client_order_id: str
    side: str
    price: str
    quantity: str
    liquidity: str
    fee: str
    fee_asset: str


class BalanceEvent(_Event, frozen=True, kw_only=True, tag="balance"):
    """What the account has of an asset changed; `total` = `held` + `available`."""

    asset: str
    total: str
    held: str
    available: str


class Snapshot(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="snapshot"):
    """The account as `number` left it: open orders, oldest first, and balances.

    It comes in parts with the same number; the last one is `complete` and has the balances.
    """

    account: int
    number: tuple[int, int]
    orders: list[OrderAnswer]
    balances: list[BalanceAnswer]
    complete: bool

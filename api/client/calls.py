"""Every use of the API by those who trade, as values that a client sends.

    order = client.send(calls.place(calls.LimitForm(...)))
    for fill in client.each(calls.fills(after="0-0")):

The forms and answers are the server's own, so the two cannot drift apart. `account` is for admin
keys alone: theirs have none. What operators use besides is in `api.client.admin_calls`.
"""

from collections.abc import Sequence
from typing import Any, Literal, TypeVar

import msgspec

from api.client.call import ROWS_MAX, Call, PagedCall, deleting, paging, reading, segment, sending
from api.client.errors import ErrorBody, Refused, Unanswered
from api.client.resending import is_definite, leaves_doubt
from api.orders.answers import CancelAnswer, OrderAnswer, ReplaceAnswer
from api.orders.forms import AnyOrderForm
from api.orders.forms import CancelForm as CancelForm
from api.orders.forms import LimitForm as LimitForm
from api.orders.forms import LimitLeg as LimitLeg
from api.orders.forms import MarketForm as MarketForm
from api.orders.forms import OcoForm as OcoForm
from api.orders.forms import ReplaceForm as ReplaceForm
from api.orders.forms import StopForm as StopForm
from api.orders.forms import StopLeg as StopLeg
from api.orders.forms import StopLimitForm as StopLimitForm
from api.orders.forms import StopLimitLeg as StopLimitLeg
from api.orders.forms import TakeProfitForm as TakeProfitForm
from api.orders.forms import TakeProfitLeg as TakeProfitLeg
from api.orders.forms import TakeProfitLimitForm as TakeProfitLimitForm
from api.orders.forms import TakeProfitLimitLeg as TakeProfitLimitLeg
from api.routes.accounts import BalancesAnswer
from api.routes.admin_keys import KeyAnswer
from api.routes.dead_man import DeadManAnswer, DeadManForm
from api.routes.documents import OverviewAnswer
from api.routes.health import LiveAnswer
from api.routes.markets import DepthAnswer, InstrumentAnswer, InstrumentsAnswer, TimeAnswer
from api.routes.order_batches import (
    BatchAnswer,
    CancelBatchForm,
    PlaceBatchForm,
    ValidAnswer,
)
from api.routes.order_history import OrderHistoryAnswer
from api.routes.orders import CancelAllAnswer, OrdersAnswer
from api.routes.statements import StatementAnswer, StatementEntry
from api.routes.tickers import TickersAnswer
from api.routes.trades import CandlesAnswer, Fill, FillsAnswer, MarketTradesAnswer
from api.routes.withdrawals import (
    WithdrawalAnswer,
    WithdrawalCancelledAnswer,
    WithdrawalForm,
    WithdrawalsAnswer,
)
from api.sockets.feed_messages import TradeText
from engine.products.withdrawals.desk import WithdrawalStatus as WithdrawalStatus
from engine.service import Health

Interval = Literal["1s", "5s", "1m", "5m", "15m", "1h", "4h", "1d"]
Scope = Literal["account", "key"]
_ORDERS = "/v1/orders"
T = TypeVar("T")


class InFlight(msgspec.Struct, frozen=True):
    """An order that is not decided yet."""

    status: Literal["IN_FLIGHT"]


# -- the server


def server_time() -> Call[TimeAnswer]:
    """The engine's clock."""
    return reading("/v1/time", TimeAnswer)


def health() -> Call[Health]:
    """How the engine fares; also while it accepts nothing."""
    return msgspec.structs.replace(reading("/v1/health", Health), also=(503,))


def live() -> Call[LiveAnswer]:
    """Whether the process answers at all, its engine aside."""
    return reading("/v1/health/live", LiveAnswer)


def overview() -> Call[OverviewAnswer]:
    """Every route, with a word about it."""
    return reading("/v1", OverviewAnswer)


def openapi() -> Call[dict[str, Any]]:
    """The API in OpenAPI 3.1."""
    return reading("/v1/openapi.json", dict[str, Any])


def own_key() -> Call[KeyAnswer]:
    """What the key in use may do, and until when."""
    return reading("/v1/key", KeyAnswer)


# -- markets


def instruments(
    after: int = 0, limit: int = ROWS_MAX
) -> PagedCall[InstrumentsAnswer, InstrumentAnswer]:
    """What can be traded."""
    return paging(
        "/v1/instruments",
        InstrumentsAnswer,
        InstrumentAnswer,
        "instruments",
        "number",
        after=after,
        limit=limit,
    )


def instrument(symbol: str) -> Call[InstrumentAnswer]:
    """The terms of one instrument."""
    return reading(f"/v1/instruments/{segment(symbol)}", InstrumentAnswer)


def depth(instrument: str, limit: int = 100) -> Call[DepthAnswer]:
    """The best levels of a book; to follow one, subscribe to the feed."""
    return reading("/v1/depth", DepthAnswer, instrument=instrument, limit=limit)


def ticker(instrument: str) -> Call[TickersAnswer]:
    """The last 24 hours of one instrument."""
    return reading("/v1/ticker", TickersAnswer, instrument=instrument)


def tickers(after: int = 0, limit: int = ROWS_MAX) -> Call[TickersAnswer]:
    """The last 24 hours of all instruments; `after` is the last one's `number`."""
    return reading("/v1/ticker", TickersAnswer, after=after, limit=limit)


def candles(
    instrument: str,
    interval: Interval = "1m",
    *,
    from_ns: int | None = None,
    to_ns: int | None = None,
    limit: int = ROWS_MAX,
    min_sequence: int | None = None,
) -> Call[CandlesAnswer]:
    """The newest candles that start in [from_ns, to_ns), oldest first."""
    return reading(
        "/v1/candles",
        CandlesAnswer,
        instrument=instrument,
        interval=interval,
        from_ns=from_ns,
        to_ns=to_ns,
        limit=limit,
        min_sequence=min_sequence,
    )


def trades(
    instrument: str,
    *,
    after: str | None = None,
    before: str | None = None,
    limit: int = ROWS_MAX,
    min_sequence: int | None = None,
) -> PagedCall[MarketTradesAnswer, TradeText]:
    """Everybody's trades: newest first, or oldest first from `after` on."""
    return paging(
        "/v1/trades",
        MarketTradesAnswer,
        TradeText,
        "trades",
        "trade",
        instrument=instrument,
        after=after,
        before=before,
        limit=limit,
        min_sequence=min_sequence,
    )


# -- orders


def place(form: AnyOrderForm) -> Call[OrderAnswer]:
    """Place an order; its `client_order_id` is its key, so it is repeated until answered."""
    return sending("POST", _ORDERS, form, OrderAnswer, repeatable=True)


def place_batch(
    orders: Sequence[AnyOrderForm], account: int | None = None
) -> Call[BatchAnswer[OrderAnswer]]:
    """Place up to 100 orders, each answered by itself; see `outcomes`.

    Repeated until each answer is definite: those that are, come the same again.
    """
    form = PlaceBatchForm(orders=list(orders), account=account)
    call = sending("POST", f"{_ORDERS}/batch", form, BatchAnswer[OrderAnswer], repeatable=True)
    return msgspec.structs.replace(call, is_settled=_all_definite)


def validate(form: AnyOrderForm) -> Call[ValidAnswer]:
    """What placing an order would say."""
    return sending("POST", f"{_ORDERS}/validate", form, ValidAnswer, repeatable=True)


def replace(client_order_id: str, form: ReplaceForm, key: str = "") -> Call[ReplaceAnswer]:
    """Give a resting order a new price and total quantity."""
    return sending("PUT", _by_client_id(client_order_id), form, ReplaceAnswer, key)


def replace_id(order_id: str, form: ReplaceForm, key: str = "") -> Call[ReplaceAnswer]:
    """The same by the exchange's own id."""
    return sending("PUT", f"{_ORDERS}/{segment(order_id)}", form, ReplaceAnswer, key)


def cancel(client_order_id: str, account: int | None = None, key: str = "") -> Call[CancelAnswer]:
    """Cancel an order; what has ended by then is refused as UNKNOWN_ORDER.

    So may be a repeat that the client makes by itself; with a `key` it gets the first answer.
    """
    return deleting(_by_client_id(client_order_id), CancelAnswer, key, account=account)


def cancel_id(order_id: str, account: int | None = None, key: str = "") -> Call[CancelAnswer]:
    """The same by the exchange's own id."""
    return deleting(f"{_ORDERS}/{segment(order_id)}", CancelAnswer, key, account=account)


def cancel_batch(
    orders: Sequence[CancelForm], account: int | None = None
) -> Call[BatchAnswer[CancelAnswer]]:
    """Cancel up to 100 orders, each answered by itself; see `outcomes`."""
    form = CancelBatchForm(orders=list(orders), account=account)
    return sending(
        "POST", f"{_ORDERS}/batch-cancel", form, BatchAnswer[CancelAnswer], repeatable=True
    )


def cancel_all(
    instrument: str | None = None, *, scope: Scope | None = None, account: int | None = None
) -> Call[CancelAllAnswer]:
    """Cancel every order, or all of one instrument; of the account, or of this key alone.

    Not `complete`: it goes on; look at the open orders.
    """
    return deleting(_ORDERS, CancelAllAnswer, instrument=instrument, scope=scope, account=account)


def order(client_order_id: str, account: int | None = None) -> Call[OrderAnswer]:
    """An order by the id that its owner gave it; one still in flight is asked for until it is not.

    Refused as it was, if it was; NOT_FOUND: it never arrived.
    """
    call = reading(_by_client_id(client_order_id), OrderAnswer, account=account)
    return msgspec.structs.replace(call, not_yet=InFlight)


def order_id(order_id: str, account: int | None = None) -> Call[OrderAnswer]:
    """An order by the exchange's own id."""
    return reading(f"{_ORDERS}/{segment(order_id)}", OrderAnswer, account=account)


def open_orders(
    instrument: str | None = None,
    *,
    after: int = 0,
    limit: int = ROWS_MAX,
    account: int | None = None,
) -> PagedCall[OrdersAnswer, OrderAnswer]:
    """Open orders, oldest first."""
    return paging(
        _ORDERS,
        OrdersAnswer,
        OrderAnswer,
        "orders",
        "order_id",
        instrument=instrument,
        after=after,
        limit=limit,
        account=account,
    )


def order_history(
    instrument: str | None = None,
    *,
    after: int | None = None,
    before: int | None = None,
    limit: int = ROWS_MAX,
    min_sequence: int | None = None,
    account: int | None = None,
) -> PagedCall[OrderHistoryAnswer, OrderAnswer]:
    """Every order ever: newest first, or oldest first from `after` on."""
    return paging(
        f"{_ORDERS}/history",
        OrderHistoryAnswer,
        OrderAnswer,
        "orders",
        "order_id",
        instrument=instrument,
        after=after,
        before=before,
        limit=limit,
        min_sequence=min_sequence,
        account=account,
    )


def fills(
    instrument: str | None = None,
    *,
    after: str | None = None,
    before: str | None = None,
    limit: int = ROWS_MAX,
    min_sequence: int | None = None,
    account: int | None = None,
) -> PagedCall[FillsAnswer, Fill]:
    """The account's halves of trades: newest first, or oldest first from `after` on."""
    return paging(
        "/v1/fills",
        FillsAnswer,
        Fill,
        "fills",
        "trade",
        instrument=instrument,
        after=after,
        before=before,
        limit=limit,
        min_sequence=min_sequence,
        account=account,
    )


def outcomes(batch: BatchAnswer[T]) -> list[T | Refused | Unanswered]:
    """What became of each order of a batch, in their order."""
    found: list[T | Refused | Unanswered] = []
    for item in batch.answers:
        if item.order is not None:
            found.append(item.order)
            continue
        refused = Refused(item.status, msgspec.convert(item.error, ErrorBody))
        found.append(Unanswered(str(refused)) if leaves_doubt(item.status) else refused)
    return found


def set_dead_man(timeout_ms: int, account: int | None = None) -> Call[DeadManAnswer]:
    """Cancel this key's orders unless it is sent again in time; 0 disarms. Repeated as needed."""
    form = DeadManForm(timeout_ms=timeout_ms, account=account)
    return sending("POST", "/v1/dead-man", form, DeadManAnswer, repeatable=True)


def dead_man(account: int | None = None) -> Call[DeadManAnswer]:
    """This key's own timer."""
    return reading("/v1/dead-man", DeadManAnswer, account=account)


# -- money


def balances(account: int | None = None) -> Call[BalancesAnswer]:
    """What the account has."""
    return reading("/v1/balances", BalancesAnswer, account=account)


def statement(
    asset: str | None = None,
    *,
    after: str | None = None,
    before: str | None = None,
    limit: int = ROWS_MAX,
    min_sequence: int | None = None,
    account: int | None = None,
) -> PagedCall[StatementAnswer, StatementEntry]:
    """Every movement on the account: newest first, or oldest first from `after` on."""
    return paging(
        "/v1/statement",
        StatementAnswer,
        StatementEntry,
        "entries",
        "entry",
        asset=asset,
        after=after,
        before=before,
        limit=limit,
        min_sequence=min_sequence,
        account=account,
    )


def withdraw(
    asset: str, amount: str, destination: str, *, key: str, account: int | None = None
) -> Call[WithdrawalAnswer]:
    """Send money out, once for ever under a key that you choose and keep."""
    form = WithdrawalForm(asset=asset, amount=amount, destination=destination, account=account)
    return sending("POST", "/v1/withdrawals", form, WithdrawalAnswer, key)


def withdrawals(
    status: WithdrawalStatus | None = None, *, limit: int = 100, account: int | None = None
) -> Call[WithdrawalsAnswer]:
    """The account's withdrawals, newest first."""
    named = None if status is None else status.value
    return reading("/v1/withdrawals", WithdrawalsAnswer, status=named, limit=limit, account=account)


def withdrawal(withdrawal_id: str, account: int | None = None) -> Call[WithdrawalAnswer]:
    """One withdrawal."""
    return reading(f"/v1/withdrawals/{segment(withdrawal_id)}", WithdrawalAnswer, account=account)


def cancel_withdrawal(
    withdrawal_id: str, account: int | None = None, key: str = ""
) -> Call[WithdrawalCancelledAnswer]:
    """Take a withdrawal back while it is cooling off."""
    path = f"/v1/withdrawals/{segment(withdrawal_id)}"
    return deleting(path, WithdrawalCancelledAnswer, key, account=account)


def _by_client_id(client_order_id: str) -> str:
    return f"{_ORDERS}/by-client-id/{segment(client_order_id)}"


def _all_definite(batch: BatchAnswer[Any]) -> bool:
    errors = [(item.status, item.error) for item in batch.answers if item.error is not None]
    return all(is_definite(status, error["code"]) for status, error in errors)

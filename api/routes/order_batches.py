"""Many orders in one request: placed, cancelled, or only looked at, each answered by itself."""

from collections.abc import Callable, Sequence
from typing import Annotated, Any, Final, Generic, TypeAlias, TypeVar

import msgspec
from quart import Response

from api.edge import Edge, answer, sent_json
from api.orders.answers import CancelAnswer, OrderAnswer
from api.orders.entry import EnteredCancel, EnteredOrder, OrderEntry, read_order
from api.orders.forms import PLACE, AnyOrderForm, CancelForm
from api.problems import error_object, request_id
from api.queries import AccountNumber, Form
from api.rejected import Rejected, problem_of, refused
from api.routing import Routes
from engine.accounts.messages import Permission
from engine.errors import EngineError
from engine.ledger.amounts import format_minor
from engine.messages import Refused

ORDERS_PER_BATCH_MAX: Final = 100
#: What a batch counts beside the single requests that it stands for.
_BATCH_WEIGHT: Final = 10
_Several: Final = msgspec.Meta(min_length=1, max_length=ORDERS_PER_BATCH_MAX)
_Entered: TypeAlias = EnteredOrder | EnteredCancel
Shown = TypeVar("Shown")


class PlaceBatchForm(Form, frozen=True, kw_only=True):
    """Orders to place, in this order."""

    orders: Annotated[list[AnyOrderForm], _Several]
    account: AccountNumber | None = None


class CancelBatchForm(Form, frozen=True, kw_only=True):
    """Orders to cancel, in this order."""

    orders: Annotated[list[CancelForm], _Several]
    account: AccountNumber | None = None


class _Envelope(Form, frozen=True, kw_only=True):
    """A batch of either kind with its items unread, so that a bad one spoils no other."""

    orders: Annotated[list[msgspec.Raw], _Several]
    account: AccountNumber | None = None


_ENVELOPE: Final = msgspec.json.Decoder(_Envelope)
#: What can be wrong with an item itself; anything else ends the whole request.
_BAD_ITEM: Final = (
    Rejected,
    EngineError,
    msgspec.DecodeError,
    UnicodeDecodeError,
    RecursionError,
)
_CANCEL: Final = msgspec.json.Decoder(CancelForm)


class ItemAnswer(msgspec.Struct, Generic[Shown], frozen=True, omit_defaults=True):
    """How one of several is answered: the status, and the content, that it had got by itself."""

    status: int
    order: Shown | None = None
    error: dict[str, Any] | None = None
    replayed: bool = False  # this is the answer to an earlier order with the same key


class BatchAnswer(msgspec.Struct, Generic[Shown], frozen=True):
    """One answer for each item, in their order."""

    answers: list[ItemAnswer[Shown]]


class HeldAnswer(msgspec.Struct, frozen=True):
    """What an order would hold from before it is matched."""

    asset: str
    amount: str


class ValidAnswer(msgspec.Struct, frozen=True):
    """An order that would be accepted, as far as can be told without placing it."""

    holds: HeldAnswer
    valid: bool = True


class OrderBatchRoutes:
    """What a trader does with many orders at once."""

    def __init__(self, edge: Edge) -> None:
        self._edge = edge
        self._entry = OrderEntry(edge)

    def routes(self) -> Routes:
        """What is declared to the app."""
        routes = Routes("order_batches", "/v1/orders")
        routes.post(
            "/batch",
            self.place,
            Permission.TRADE,
            body=PlaceBatchForm,
            answer=BatchAnswer[OrderAnswer],
            weight=_BATCH_WEIGHT,
        )
        routes.post(
            "/batch-cancel",
            self.cancel,
            Permission.TRADE,
            body=CancelBatchForm,
            answer=BatchAnswer[CancelAnswer],
            is_calming=True,
        )
        routes.post(
            "/validate", self.validate, Permission.TRADE, body=AnyOrderForm, answer=ValidAnswer
        )
        return routes

    async def place(self) -> Response:
        """POST /v1/orders/batch: up to 100 orders, in order, each answered by itself."""
        batch = _ENVELOPE.decode(await sent_json())
        caller = self._edge.caller

        def enter(item: msgspec.Raw) -> EnteredOrder:
            form, sent = read_order(item, PLACE)
            return self._entry.order(form, sent, caller, batch.account)

        return await self._submit(_each(enter, batch.orders), 201)

    async def cancel(self) -> Response:
        """POST /v1/orders/batch-cancel: up to 100 orders, by either id, each answered by itself."""
        batch = _ENVELOPE.decode(await sent_json())
        caller = self._edge.caller

        def enter(item: msgspec.Raw) -> EnteredCancel:
            return self._entry.cancel(_CANCEL.decode(item), caller, batch.account)

        return await self._submit(_each(enter, batch.orders), 200)

    async def _submit(self, items: Sequence[_Entered | Exception], status: int) -> Response:
        """Have the good ones decided in order, and answer all."""
        good = [one for one in items if not isinstance(one, Exception)]
        results = iter(await self._edge.submit_batch([one.keyed for one in good]))
        answers: list[ItemAnswer[OrderAnswer | CancelAnswer]] = []
        for item in items:
            if isinstance(item, Exception):
                answers.append(self._failure(item))
                continue
            result, replayed = next(results)
            if isinstance(result, Exception):
                answers.append(self._failure(result))
                continue
            try:
                answers.append(ItemAnswer(status, item.answer(result), replayed=replayed))
            except Rejected as rejected:
                answers.append(self._failure(rejected, replayed=replayed))
        return answer(BatchAnswer(answers))

    def _failure(self, error: Exception, *, replayed: bool = False) -> ItemAnswer[Any]:
        problem = problem_of(error)
        self._edge.traffic.refused(problem.code)
        told = error_object(problem, self._edge.clock.now_ns(), request_id())
        return ItemAnswer(problem.status, error=told, replayed=replayed)

    async def validate(self) -> Response:
        """POST /v1/orders/validate: what placing this order would say, without placing it."""
        form, sent = read_order(await sent_json(), PLACE)
        entered = self._entry.order(form, sent, self._edge.caller)
        found = self._edge.service.validate(entered.command)
        if isinstance(found, Refused):
            raise refused(found, entered.command)
        asset = self._edge.directory.assets[found.asset_id]
        held = HeldAnswer(asset.code, format_minor(found.held_minor, asset.scale))
        return answer(ValidAnswer(held))


def _each(
    enter: Callable[[msgspec.Raw], _Entered], items: Sequence[msgspec.Raw]
) -> list[_Entered | Exception]:
    """What each item comes to: fit to be submitted, or what is wrong with it."""
    entered: list[_Entered | Exception] = []
    for item in items:
        try:
            entered.append(enter(item))
        except _BAD_ITEM as error:
            entered.append(error)
    return entered

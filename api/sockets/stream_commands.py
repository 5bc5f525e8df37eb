"""From a client's operation to the command that the engine journals, and how it is answered."""

from functools import partial
from hashlib import blake2b
from typing import Any, Final, TypeAlias

import msgspec

from api.decimals import InstrumentText
from api.edge import Edge, checked_key, numbered
from api.keys.auth import Caller
from api.orders import answers as order_answers
from api.orders.answers import ReplaceAnswer
from api.orders.commands import CommandsOf
from api.orders.entry import EnteredOrder, OrderEntry
from api.orders.forms import AnyOrderForm, CancelForm, ReplaceForm
from api.problems import message_request_id
from api.rejected import invalid, refused
from api.routes import dead_man
from api.routes.order_batches import HeldAnswer, ValidAnswer
from api.sockets.codec import Codec
from api.sockets.pipeline import Request
from api.sockets.stream_messages import (
    CancelAllOp,
    CancelOp,
    CommandOp,
    DeadManOp,
    PlaceOp,
    ReplaceOp,
    ValidateOp,
)
from engine.accounts.messages import CancelAll, CancelAllStarted
from engine.journal.records import Record
from engine.ledger.amounts import format_minor
from engine.messages import Origin, Refused
from engine.units import AccountId, InstrumentId, OrderId, TimeNs

_DIGEST_BYTES: Final = 8
_PERSON: Final = b"replace"  # no other body's digest is made alike

#: Operations that become one command of their own.
AnyCommandOp: TypeAlias = PlaceOp | CancelOp | ReplaceOp | CancelAllOp | DeadManOp


class CancelAllResult(msgspec.Struct, frozen=True):
    """A cancel-all was recorded; each order that it ends is told as an event."""

    sequence: int
    open_instruments: int


class StreamCommands:
    """Makes requests of one caller's operations: `of`. Raises: Rejected, NotFound, Halted."""

    def __init__(self, edge: Edge, codec: Codec, caller: Caller, connection_id: str) -> None:
        self._edge = edge
        self._codec = codec
        self._caller = caller
        self._connection_id = connection_id
        self._entry = OrderEntry(edge)

    def of(self, op: AnyCommandOp) -> Request:
        """The request that an operation stands for."""
        match op:
            case PlaceOp():
                return self._place(op)
            case CancelOp():
                return self._cancel(op)
            case ReplaceOp():
                return self._replace(op)
            case CancelAllOp():
                return self._cancel_all(op)
            case DeadManOp():
                account_id = self._caller.acts_for(op.account)
                command = dead_man.command_of(account_id, self._caller.key_id, op.timeout_ms)
                return self._request(op, command, account_id, dead_man.of_setting)

    def order(self, op: PlaceOp | ValidateOp) -> EnteredOrder:
        """The order that an operation is about. Raises also: msgspec.DecodeError."""
        form: AnyOrderForm = self._codec.decode(op.order, AnyOrderForm)
        sent: dict[str, Any] = self._codec.decode(op.order, dict)
        return self._entry.order(form, sent, self._caller, op.account)

    def validate(self, op: ValidateOp) -> ValidAnswer:
        """What placing an order would say. Raises also: msgspec.DecodeError."""
        entered = self.order(op)
        found = self._edge.service.validate(entered.command)
        if isinstance(found, Refused):
            raise refused(found, entered.command)
        asset = self._edge.directory.assets[found.asset_id]
        return ValidAnswer(HeldAnswer(asset.code, format_minor(found.held_minor, asset.scale)))

    def origin(self, op: CommandOp) -> Origin:
        """What the journal keeps of where a command comes from."""
        return Origin(self._caller.key_id, self.request_id(op.id), TimeNs(op.not_after_ns))

    def request_id(self, message_id: int | str | None) -> str:
        """What log lines call a message."""
        return message_request_id(self._connection_id, message_id)

    def _place(self, op: PlaceOp) -> Request:
        entered = self.order(op)
        return Request(
            op.id,
            entered.command,
            entered.account_id,
            entered.answer,
            self.origin(op),
            entered.key,
            entered.body_digest,
            201,
        )

    def _cancel(self, op: CancelOp) -> Request:
        form = CancelForm(order_id=op.order_id, client_order_id=op.client_order_id)
        entered = self._entry.cancel(form, self._caller, op.account)
        return self._request(op, entered.command, entered.command.account_id, entered.answer)

    def _replace(self, op: ReplaceOp) -> Request:
        account_id, service = self._caller.acts_for(op.account), self._edge.service
        if (op.order_id is None) is (op.client_order_id is None):
            raise invalid("order_id", "State either `order_id` or `client_order_id`.")
        order_id, client_order_id = OrderId(0), ""
        if op.order_id is not None:
            order = service.order(numbered(op.order_id), account_id)
            order_id, instrument_id = order.order_id, order.instrument_id
        else:
            client_order_id = checked_key(op.client_order_id or "", "client_order_id")
            instrument_id = service.order_instrument(account_id, client_order_id)
        directory = self._edge.directory
        text = InstrumentText.of(directory.instruments[instrument_id], directory)
        commands = CommandsOf(account_id, text, 0, 0, self._caller.key_id)
        form = ReplaceForm(price=op.price, quantity=op.quantity)
        command = commands.replace(order_id, client_order_id, form)
        answering = partial(_replaced, text=text)
        if op.key is None:
            return self._request(op, command, account_id, answering)
        return self._request(op, command, account_id, answering, op.key, _digest_of(op))

    def _cancel_all(self, op: CancelAllOp) -> Request:
        account_id = self._caller.acts_for(op.account)
        instrument_id = InstrumentId(0)
        if op.instrument is not None:
            instrument_id = self._edge.instrument(op.instrument).instrument_id
        key_id = self._caller.key_id if op.scope == "key" else 0
        command = CancelAll(account_id, instrument_id, key_id)
        return self._request(op, command, account_id, _cancelling)

    def _request(
        self,
        op: CommandOp,
        command: Any,
        account_id: AccountId,
        answering: Any,
        key: str = "",
        body_digest: int = 0,
    ) -> Request:
        origin = self.origin(op)
        return Request(op.id, command, account_id, answering, origin, key, body_digest)


def _replaced(record: Record, text: InstrumentText) -> ReplaceAnswer:
    return order_answers.of_replacing(record, text)


def _cancelling(record: Record) -> CancelAllResult:
    [started] = [event for event in record.events if type(event) is CancelAllStarted]
    return CancelAllResult(record.sequence, started.instruments)


def _digest_of(op: ReplaceOp) -> int:
    """What a replace's key stands for: what was asked, and not under which message id."""
    asked = (op.order_id, op.client_order_id, op.price, op.quantity)
    digest = blake2b(msgspec.json.encode(asked), digest_size=_DIGEST_BYTES, person=_PERSON)
    return int.from_bytes(digest.digest(), "big")

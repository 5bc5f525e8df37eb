"""From an order as it was sent to what the engine takes, and from its record to the answer.

One way for orders that come by themselves, in a batch or over a socket.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec

from api.decimals import InstrumentText
from api.edge import Edge, checked_key, numbered
from api.keys.auth import Caller
from api.orders import answers as order_answers
from api.orders.answers import CancelAnswer, OrderAnswer
from api.orders.commands import CommandsOf
from api.orders.forms import AnyOrderForm, CancelForm
from api.orders.keys import digest_of_order
from api.rejected import invalid, refused
from engine.journal.records import Record
from engine.orderbook.messages import CancelOrder, PlaceOrder
from engine.products.exchange.messages import PlaceConditional
from engine.units import AccountId, InstrumentId, OrderId


class EnteredOrder(NamedTuple):
    """An order that is fit to be submitted, under its key and with its digest."""

    command: PlaceOrder | PlaceConditional
    account_id: AccountId
    key: str
    body_digest: int
    text: InstrumentText

    @property
    def keyed(self) -> tuple[PlaceOrder | PlaceConditional, int, str, int]:
        """What `Service.submit_batch` takes."""
        return self.command, self.account_id, self.key, self.body_digest

    def answer(self, record: Record) -> OrderAnswer:
        """What became of it. Raises: Rejected if it was refused."""
        _raise_refusal(record)
        return order_answers.of_placing(record, self.text)


class EnteredCancel(NamedTuple):
    """A cancel that is fit to be submitted; it has no key, since to repeat it does no harm."""

    command: CancelOrder
    text: InstrumentText

    @property
    def keyed(self) -> tuple[CancelOrder, int, str, int]:
        """What `Service.submit_batch` takes."""
        return self.command, self.command.account_id, "", 0

    def answer(self, record: Record) -> CancelAnswer:
        """What became of it. Raises: Rejected if it was refused."""
        _raise_refusal(record)
        return order_answers.of_cancelling(record, self.text)


class OrderEntry:
    """Makes commands of forms. `order`, `cancel`; both ask whose account it may be."""

    def __init__(self, edge: Edge) -> None:
        self._edge = edge

    def order(
        self,
        form: AnyOrderForm,
        sent: Mapping[str, Any],
        caller: Caller,
        account: int | None = None,
    ) -> EnteredOrder:
        """An order to place; `sent` is what `form` was read from, `account` stands beside it.

        Raises: Rejected.
        """
        account_id = caller.acts_for(account if form.account is None else form.account)
        text = self._text(self._edge.instrument(form.instrument).instrument_id)
        reference = self._edge.service.released.reference_price_ticks(text.instrument.instrument_id)
        slippage_ppm = self._edge.settings.market_slippage_ppm
        command = CommandsOf(account_id, text, reference, slippage_ppm, caller.key_id).place(form)
        digest = digest_of_order(sent)
        return EnteredOrder(command, account_id, form.client_order_id, digest, text)

    def cancel(self, form: CancelForm, caller: Caller, account: int | None = None) -> EnteredCancel:
        """An order to cancel, by either of its ids; also behind a place still in flight.

        Raises: Rejected, NotFound.
        """
        service, account_id = self._edge.service, caller.acts_for(account)
        if (form.order_id is None) is (form.client_order_id is None):
            raise invalid("order_id", "State either `order_id` or `client_order_id`.")
        order_id, key = OrderId(0), ""
        if form.order_id is not None:
            order = service.order(numbered(form.order_id), account_id)
            order_id, instrument_id = order.order_id, order.instrument_id
        else:
            key = checked_key(form.client_order_id or "", "client_order_id")
            instrument_id = service.order_instrument(account_id, key)
        command = CancelOrder(account_id, instrument_id, order_id, key)
        return EnteredCancel(command, self._text(instrument_id))

    def _text(self, instrument_id: InstrumentId) -> InstrumentText:
        directory = self._edge.directory
        return InstrumentText.of(directory.instruments[instrument_id], directory)


def read_order(
    raw: bytes | msgspec.Raw, decoder: "msgspec.json.Decoder[AnyOrderForm]"
) -> tuple[AnyOrderForm, dict[str, Any]]:
    """An order's form, and what was sent before defaults filled it in.

    Raises: msgspec.DecodeError, and what else `api.rejected.problem_of` knows.
    """
    form = decoder.decode(raw)
    return form, msgspec.json.decode(raw)


def _raise_refusal(record: Record) -> None:
    refusal = record.refusal
    if refusal is not None:
        raise refused(refusal, record.command)

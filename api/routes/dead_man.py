"""The dead-man timer: a key's orders are cancelled unless it keeps saying that it is alive."""

from typing import Annotated, Final

import msgspec
from quart import Response

from api.edge import Edge, answer, body, query, sent_key
from api.queries import AccountNumber, AccountQuery, Form, NoQuery
from api.routing import Routes
from engine.accounts.messages import Permission
from engine.journal.records import Record
from engine.products.sessions.desk import TIMEOUT_NS_MAX, DeadMan
from engine.products.sessions.messages import DeadManSet, SetDeadMan
from engine.units import AccountId, TimeNs

_NS_OF_MS: Final = 1_000_000

TimeoutMs = Annotated[int, msgspec.Meta(ge=0, le=TIMEOUT_NS_MAX // _NS_OF_MS)]


class DeadManForm(Form, frozen=True, kw_only=True):
    """How long the key may be silent: 1,000 to 3,600,000 ms, or 0 to disarm."""

    timeout_ms: TimeoutMs
    account: AccountNumber | None = None


class DeadManAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A key's timer for an account; `deadline_ns` null while it does not run."""

    account: int
    key_id: int
    timeout_ms: int
    deadline_ns: int | None
    sequence: int


class ArmedSessionAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A connection whose end cancels its key's orders."""

    account: int
    key_id: int


class SessionsAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Every running timer, the next to run out first, and every such connection."""

    timers: list[DeadManAnswer]
    cancel_on_disconnect: list[ArmedSessionAnswer]
    as_of_sequence: int


class DeadManRoutes:
    """What keeps a key's orders alive, and what an operator sees of it."""

    def __init__(self, edge: Edge) -> None:
        self._edge = edge

    def routes(self) -> Routes:
        """What is declared to the app."""
        routes = Routes("dead_man", "/v1")
        trade, read, admin = Permission.TRADE, Permission.READ, Permission.ADMIN
        routes.post("/dead-man", self.set, trade, body=DeadManForm, answer=DeadManAnswer)
        routes.get("/dead-man", self.show, read, query=AccountQuery, answer=DeadManAnswer)
        routes.get("/admin/sessions", self.sessions, admin, answer=SessionsAnswer)
        return routes

    async def set(self) -> Response:
        """POST /v1/dead-man: cancel this key's orders unless sent again in time; 0 disarms."""
        form = await body(_FORM)
        caller = self._edge.caller
        command = command_of(caller.acts_for(form.account), caller.key_id, form.timeout_ms)
        record = await self._edge.submit(command, command.account_id, sent_key())
        return answer(of_setting(record))

    async def show(self) -> Response:
        """GET /v1/dead-man: this key's own timer."""
        account_id = self._edge.caller.acts_for(query(AccountQuery).account)
        released, key_id = self._edge.service.released, self._edge.caller.key_id
        timer = released.sessions.timer(account_id, key_id)
        stopped = DeadMan(account_id, key_id, TimeNs(0), TimeNs(0))
        return answer(_of_timer(timer or stopped, released.sequence))

    async def sessions(self) -> Response:
        """GET /v1/admin/sessions: running dead-man timers, and who cancels on disconnect."""
        query(NoQuery)
        released = self._edge.service.released
        desk, sequence = released.sessions, released.sequence
        found = SessionsAnswer(
            timers=[_of_timer(timer, sequence) for timer in desk.timers],
            cancel_on_disconnect=[
                ArmedSessionAnswer(account=one.account_id, key_id=one.key_id)
                for one in desk.armed.values()
            ],
            as_of_sequence=sequence,
        )
        return answer(found)


_FORM: Final = msgspec.json.Decoder(DeadManForm)


def command_of(account_id: AccountId, key_id: int, timeout_ms: int) -> SetDeadMan:
    """The command to set a key's timer, or with 0 to stop it."""
    return SetDeadMan(account_id, key_id, TimeNs(timeout_ms * _NS_OF_MS))


def of_setting(record: Record) -> DeadManAnswer:
    """What setting a timer did."""
    [told] = [event for event in record.events if type(event) is DeadManSet]
    timer = DeadMan(told.account_id, told.key_id, told.deadline_ns, told.timeout_ns)
    return _of_timer(timer, record.sequence)


def _of_timer(timer: DeadMan, sequence: int) -> DeadManAnswer:
    return DeadManAnswer(
        account=timer.account_id,
        key_id=timer.key_id,
        timeout_ms=timer.timeout_ns // _NS_OF_MS,
        deadline_ns=timer.deadline_ns or None,
        sequence=sequence,
    )

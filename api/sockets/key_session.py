"""What a proven key does on the private stream: subscriptions, order entry, the dead man's hands.

Every operation is checked and counted here, as the door does for every request over HTTP. Cancels
are counted and never made to wait.
"""

import secrets
from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar, Final, NamedTuple

import trio

from api.door import Door, too_many
from api.keys.auth import Caller
from api.problems import of_refusal, of_status
from api.rejected import Rejected, forbidden, unknown
from api.sockets.pipeline import Pipeline, Request
from api.sockets.stream_commands import StreamCommands
from api.sockets.stream_events import ORDERS_PER_PART_MAX
from api.sockets.stream_messages import (
    LAST_INDEX,
    Answer,
    AnyOp,
    CancelAllOp,
    CancelOnDisconnectOp,
    CancelOp,
    DeadManOp,
    LogoutOp,
    PlaceOp,
    ReplaceOp,
    ResumeOp,
    SubscribeOp,
    UnsubscribeOp,
    ValidateOp,
)
from api.sockets.subscription import Subscription, TooOld, too_old
from api.sockets.wire import Socket, SocketClosed
from engine.accounts.messages import Permission
from engine.actors.envelope import Envelope, Ticket
from engine.actors.keys_recall import Held
from engine.errors import EngineError, OutcomeUnknown
from engine.messages import Origin, Refused
from engine.products.sessions.messages import ArmSession, DisarmSession
from engine.refusals import Reason
from engine.units import AccountId

#: Accounts that one socket may subscribe to, or arm; only admins have more than one.
ACCOUNTS_MAX: Final = 10
#: Commands of one socket without an answer yet; the next is answered OVERLOADED.
UNDER_WAY_MAX: Final = 1_000
#: What asking for a snapshot or for what was missed counts.
SNAPSHOT_WEIGHT: Final = 5
_COMMANDS: Final = frozenset((PlaceOp, ReplaceOp, CancelOp, CancelAllOp, DeadManOp))
_READING: Final = frozenset((SubscribeOp, ResumeOp, UnsubscribeOp, LogoutOp))
#: Never made to wait.
_CALMING: Final = frozenset((CancelOp, CancelAllOp, DeadManOp, CancelOnDisconnectOp, LogoutOp))


class _Armed(NamedTuple):
    """A session of ours whose end cancels orders, and its way to the journal."""

    session_id: int
    ticket: Ticket | Held | None


class _Following(NamedTuple):
    """A subscription and what ends it."""

    subscription: Subscription
    scope: trio.CancelScope


class KeySession:
    """One key on one socket. `do` each operation, `send` after several; `finish`, `leave`."""

    #: What a key must at least be allowed to do.
    NEEDED: ClassVar = Permission.READ

    def __init__(
        self,
        door: Door,
        socket: Socket,
        caller: Caller,
        connection_id: str,
        nursery: trio.Nursery,
    ) -> None:
        self.caller: Final = caller
        #: Whether the client has said farewell.
        self.is_over = False
        self._door = door
        self._edge = edge = door.edge
        self._socket = socket
        self._nursery = nursery
        self._commands = StreamCommands(edge, socket.codec, caller, connection_id)
        self._following: dict[AccountId, _Following] = {}
        self._armed: dict[AccountId, _Armed] = {}
        self._farewell: int | str | None = None
        self._disarming: list[Ticket | Held] = []
        #: The last command of an account that waits at the gate, those before it with it.
        self._held: dict[AccountId, Held] = {}
        self._pipeline = Pipeline(
            edge.service,
            socket.outbox,
            now_ns=edge.clock.now_ns,
            before_answers=self._flush,
            under_way_max=UNDER_WAY_MAX,
            traffic=edge.traffic,
        )
        nursery.start_soon(self._pipeline.answer_all)

    def do(self, op: AnyOp) -> None:
        """Perform one operation; its answer comes when it is ready. Never waits.

        Raises: what is to be answered in place of a result.
        """
        kind = type(op)
        self._check(op)
        if kind in _COMMANDS:
            request = self._commands.of(op)  # type: ignore[arg-type]
            way = self._pipeline.enter(request)
            if type(way) is Held:
                self._held[AccountId(request.scope)] = way
            return
        match op:
            case SubscribeOp():
                self._subscribe(op)
            case ResumeOp():
                self._resume(op)
            case UnsubscribeOp():
                account_id = self.caller.acts_for(op.account)
                self._end_following(account_id)
                self._answer(op.id, {"account": account_id})
            case ValidateOp():
                self._answer(op.id, self._commands.validate(op))
            case CancelOnDisconnectOp():
                self._cancel_on_disconnect(op)
            case LogoutOp():
                self._log_out(op)

    def send(self) -> None:
        """Send commands on their way."""
        self._pipeline.send()

    async def finish(self) -> None:
        """Wait until everything under way is answered; then the farewell is, if there was one."""
        self._pipeline.send()
        await self._pipeline.drained()
        await self._flush()
        if self._farewell is None:
            return
        if not all(map(_is_recorded, self._disarming)):
            self._refuse(self._farewell, OutcomeUnknown("the orders may end with the connection"))
        else:
            self._answer(self._farewell, {"logged_out": True})

    def revoke(self) -> None:
        """Take nothing more from a key that is no longer in force."""
        self.is_over = True

    def leave(self) -> None:
        """The connection is gone: watch no more, and let the engine end what was armed."""
        for account_id in list(self._following):
            self._end_following(account_id)
        attendance = self._edge.service.attendance
        for account_id, armed in self._armed.items():
            attendance.leave(armed.session_id, armed.ticket, self._held.get(account_id))

    def _check(self, op: AnyOp) -> None:
        kind = type(op)
        needed = Permission.READ if kind in _READING else Permission.TRADE
        caller = self.caller
        if not caller.may(needed):
            has = ", ".join(sorted(caller.permissions))
            raise forbidden(f"This needs a key with the permission {needed}; yours has {has}.")
        standing = self._door.rates.of_caller(
            caller.key_id,
            caller.own_account_id,
            self._weight_of(op),
            self._door.monotonic_ns(),
            always=kind in _CALMING,
        )
        if standing is not None and standing.wait_ns:
            raise Rejected(too_many(standing))

    def _weight_of(self, op: AnyOp) -> int:
        """What an operation counts: a snapshot as five, and more if it is long."""
        if not isinstance(op, SubscribeOp | ResumeOp):
            return 1
        account_id = AccountId(op.account or self.caller.own_account_id)
        orders = self._edge.service.released.orders.open_of(account_id)
        return SNAPSHOT_WEIGHT + len(orders) // ORDERS_PER_PART_MAX

    # -- what happens to accounts

    def _subscribe(self, op: SubscribeOp) -> None:
        subscription = self._new_subscription(op.account)
        account_id = subscription.account_id
        parts = subscription.subscribe()
        number = (self._edge.service.released.sequence, LAST_INDEX)
        self._answer(op.id, {"account": account_id, "number": number})

        async def begin() -> None:
            await subscription.send_snapshot(parts)

        self._follow(subscription, begin)

    def _resume(self, op: ResumeOp) -> None:
        subscription = self._new_subscription(op.account)

        async def begin() -> None:
            try:
                await subscription.resume(op.after)
            except TooOld:
                self._refuse(op.id, too_old())
                await subscription.send_snapshot(subscription.subscribe())
            except (EngineError, Rejected) as error:
                self._refuse(op.id, error)
                subscription.end()
            except trio.Cancelled:  # a later message is about the same account
                given_up = of_status(409, "Given up: a later message or the end took its place.")
                self._refuse(op.id, Rejected(given_up))
                raise
            else:
                self._answer(op.id, {"account": subscription.account_id, "after": op.after})

        self._follow(subscription, begin)

    def _new_subscription(self, account: int | None) -> Subscription:
        account_id = self.caller.acts_for(account)
        if account_id not in self._edge.directory.accounts:
            raise unknown(Reason.UNKNOWN_ACCOUNT, "account")
        self._end_following(account_id)
        _check_room(self._following)
        return Subscription(self._edge.service, self._socket, account_id)

    def _follow(self, subscription: Subscription, begin: Callable[[], Any]) -> None:
        following = _Following(subscription, trio.CancelScope())
        self._following[subscription.account_id] = following
        self._nursery.start_soon(self._run, following, begin)

    async def _run(self, following: _Following, begin: Callable[[], Any]) -> None:
        subscription = following.subscription
        with following.scope:
            try:
                await begin()
                await subscription.follow()
            except SocketClosed:
                pass  # whoever serves the socket learns of it too
        subscription.end()
        if self._following.get(subscription.account_id) is following:
            del self._following[subscription.account_id]

    def _end_following(self, account_id: AccountId) -> None:
        following = self._following.pop(account_id, None)
        if following is not None:
            following.scope.cancel()
            following.subscription.end()

    async def _flush(self) -> None:
        for following in list(self._following.values()):
            await following.subscription.flush()

    # -- orders that end with the connection

    def _cancel_on_disconnect(self, op: CancelOnDisconnectOp) -> None:
        account_id, key_id = self.caller.acts_for(op.account), self.caller.key_id
        armed = self._armed.get(account_id)
        answering = partial(_agreed, {"account": account_id, "enabled": op.enabled})
        origin = self._commands.origin(op)
        if not op.enabled:
            if armed is None:
                self._answer(op.id, answering(None))
            else:
                command: Any = DisarmSession(armed.session_id)
                self._pipeline.enter(Request(op.id, command, account_id, answering, origin))
            return
        if armed is None:
            _check_room(self._armed)
        session_id = secrets.randbits(63) if armed is None else armed.session_id
        command = ArmSession(account_id, key_id, session_id)
        ticket = self._pipeline.enter(Request(op.id, command, account_id, answering, origin))
        self._edge.service.attendance.arrive(session_id)
        self._armed[account_id] = _Armed(session_id, ticket)

    def _log_out(self, op: LogoutOp) -> None:
        """Let the orders stand, then go; answered once everything before it is."""
        origin = Origin(self.caller.key_id, self._commands.request_id(op.id))
        for account_id, armed in list(self._armed.items()):
            command = DisarmSession(armed.session_id)
            way = self._pipeline.enter(Request(None, command, account_id, _agreed, origin))
            if way is not None:
                self._disarming.append(way)
            self._edge.service.attendance.forget(armed.session_id)
            del self._armed[account_id]
        self._farewell = op.id
        self.is_over = True

    def _answer(self, message_id: int | str, result: Any) -> None:
        self._socket.outbox.send(Answer(message_id, 200, result))

    def _refuse(self, message_id: int | str, error: Exception) -> None:
        self._pipeline.refuse(message_id, self._commands.request_id(message_id), error)


def _is_recorded(way: Ticket | Held) -> bool:
    """Whether a command has its record."""
    admitted = way.admitted if isinstance(way, Held) else way
    ticket = admitted.ticket if isinstance(admitted, Envelope) else admitted
    return isinstance(ticket, Ticket) and ticket.record is not None


def _agreed(result: Any, _record: Any = None) -> Any:
    return result


def _check_room(taken: dict[AccountId, Any]) -> None:
    if len(taken) >= ACCOUNTS_MAX:
        refusal = Refused(Reason.LIMIT_EXCEEDED, "account", "accounts_of_a_socket_max")
        raise Rejected(of_refusal(refusal))

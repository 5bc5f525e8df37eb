"""Records: what one sequence did, from its command to its last ledger row.

`encode` and `decode` are the only place that turns them into bytes and back.
"""

from collections.abc import Sequence
from typing import Any, Final, get_args

import msgspec

from engine.accounts.messages import AccountsCommand, AccountsEvent
from engine.errors import InvalidCommand
from engine.ledger.messages import Entry, HoldChange
from engine.messages import Deferred, Message, Origin, Refused, Wake
from engine.orderbook.messages import BookCommand, BookEvent
from engine.products.exchange.messages import ExchangeCommand, ExchangeEvent
from engine.products.sessions.messages import SessionCommand, SessionEvent
from engine.products.withdrawals.messages import WithdrawalCommand, WithdrawalEvent
from engine.refusals import Reason
from engine.units import ACCOUNTS_DESK, SESSIONS_DESK, WITHDRAWALS_DESK, DeskId, TimeNs
from engine.units import Sequence as SequenceNumber

#: Raised whenever a desk would decide a recorded command differently than before. Snapshots of
#: other versions are still folded from; only re-deciding is limited to records of one's own.
RULES_VERSION: Final = 1

Command = (
    AccountsCommand | BookCommand | ExchangeCommand | WithdrawalCommand | SessionCommand | Wake
)
Event = (
    AccountsEvent | BookEvent | ExchangeEvent | WithdrawalEvent | SessionEvent | Deferred | Refused
)


class Record(Message, frozen=True):
    """One sequence, closed.

    Units: `released_through` is the newest sequence whose effects accounts had seen when it
    reserved; `scope` and `key` name the idempotency key ("" for none) and `body_digest` the body
    it came with; `answers` is the (sequence, index) of the follow-up this record closes, or (0, 0).
    `origin` is None for what the engine itself caused.
    """

    sequence: SequenceNumber
    now_ns: TimeNs
    released_through: SequenceNumber
    command: Command
    events: Sequence[Event]
    entries: Sequence[Entry] = ()
    holds: Sequence[HoldChange] = ()
    follow_ups: Sequence[Command] = ()
    answers_sequence: int = 0
    answers_index: int = 0
    scope: int = 0
    key: str = ""
    body_digest: int = 0
    origin: Origin | None = None

    @property
    def refusal(self) -> Refused | None:
        """Why the command changed nothing, if it was refused."""
        return next((e for e in self.events if type(e) is Refused), None)

    @property
    def is_deferred(self) -> bool:
        """Whether the work stays outstanding although the sequence is closed."""
        return len(self.events) == 1 and type(self.events[0]) is Deferred


#: What is stamped after its own window has passed gets this answer, from no desk.
EXPIRED: Final = Refused(Reason.REQUEST_EXPIRED, rule="window")
_EXCHANGE: Final = frozenset((*get_args(BookCommand), *get_args(ExchangeCommand)))
_WITHDRAWALS: Final = frozenset(get_args(WithdrawalCommand))
_SESSIONS: Final = frozenset(get_args(SessionCommand))


def desk_of(command: Command) -> DeskId:
    """Which desk decides a command: its instrument's, withdrawals, sessions, or accounts."""
    kind: Any = type(command)
    if kind in _EXCHANGE:
        return command.instrument_id  # type: ignore[union-attr]
    if kind in _WITHDRAWALS:
        return WITHDRAWALS_DESK
    if kind in _SESSIONS:
        return SESSIONS_DESK
    return command.desk_id if type(command) is Wake else ACCOUNTS_DESK


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(list[Record])
_splitter = msgspec.msgpack.Decoder(list[msgspec.Raw])
_one_decoder = msgspec.msgpack.Decoder(Record)
_command_decoder = msgspec.msgpack.Decoder(Command)


def encode(records: Sequence[Record]) -> bytes:
    """The payload of a block: a MessagePack array of records."""
    return _encoder.encode(records)


def check_command(command: Command) -> None:
    """Refuse a command that a journal could not give back as it was, before it gets near one.

    Raises: InvalidCommand, for a number beyond 64 bits, a text where a number belongs, and so on.
    """
    try:
        _command_decoder.decode(_encoder.encode(command))
    except (msgspec.MsgspecError, OverflowError, TypeError, ValueError) as error:
        raise InvalidCommand(f"{type(command).__name__}: {error}") from error


def decode(payload: bytes) -> list[Record]:
    """The records of a block's payload."""
    return _decoder.decode(payload)


def split(payload: bytes) -> list[msgspec.Raw]:
    """The records of a block's payload, each still encoded: for who needs only one of many."""
    return _splitter.decode(payload)


def decode_one(record: msgspec.Raw) -> Record:
    """One record that `split` gave."""
    return _one_decoder.decode(record)

"""The audit log: which commands are acts of administration, and what each of them changed.

An act is read twice: `state_concerned` right before its record is folded, `audit_row` right after.
All texts are JSON in the engine's own units; what proves a key's holder is in none of them.
"""

from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any, Final

import msgspec

from engine.accounts.messages import (
    CancelAll,
    CancelAllStarted,
    CreateAsset,
    CreateInstrument,
    CreateKey,
    CreateOwner,
    Deposit,
    HaltScope,
    OpenAccount,
    Permission,
    RevokeKey,
    SetFees,
    SetHalt,
    SetLimits,
    SetTier,
    Transfer,
)
from engine.accounts.rules import Rules
from engine.history.rows import AuditRow
from engine.journal.records import Record
from engine.journal.released import Released
from engine.messages import Origin
from engine.orderbook.messages import ChangeInstrumentState, InstrumentState
from engine.units import AccountId, AssetId

#: Never shown: a bearer key's digest; the salt or public key of one that signs.
_UNSHOWN: Final = frozenset(("secret_digest", "verifier"))
_NOTHING: Final = "null"
_CREATES: Final = frozenset(
    (CreateAsset, CreateInstrument, CreateOwner, OpenAccount, CreateKey, CancelAll)
)

_View = Callable[[Any, Released], Any]


def is_act(record: Record, rules: Rules) -> bool:
    """Whether the record's command was an act of administration, by the rules that it met.

    Customers cancel and transfer as well: that is one if an administrator's key sent it, and a
    transfer also if nobody's did.
    """
    kind = type(record.command)
    if kind not in ACTS:
        return False
    if kind is not CancelAll and kind is not Transfer:
        return True
    key_id = record.origin.key_id if record.origin is not None else 0
    if not key_id:
        return kind is Transfer
    key = rules.directory.keys.get(key_id)
    return key is not None and Permission.ADMIN in key.rights


def state_concerned(record: Record, released: Released) -> str:
    """What an act is about, as it stands now; "null" for what does not exist.

    Ask before the record is folded. A refused one changes nothing, and may name nothing there is.
    """
    view = _VIEWS.get(type(record.command))
    if view is None or record.refusal is not None:
        return _NOTHING
    return json_text(view(record.command, released))


def audit_row(record: Record, before: str, released: Released) -> AuditRow:
    """The row of an act; `before` is what it found, `released` the state right after it."""
    command: Any = record.command
    origin = record.origin or Origin()
    return AuditRow(
        record.sequence,
        record.now_ns,
        origin.key_id,
        origin.request_id,
        str(type(command).__struct_config__.tag),
        _reason(record),
        json_text(command),
        before,
        _outcome(record, released),
    )


def json_text(value: Any) -> str:
    """JSON of anything a record holds, with names for its fields and without secrets."""
    return msgspec.json.encode(_plain(value)).decode()


def _reason(record: Record) -> str:
    """What the operator gave, else what the command itself says; in one line that prints."""
    origin = record.origin or Origin()
    reason: str = origin.reason or getattr(record.command, "reason", "")
    return "".join(one if one.isprintable() else " " for one in reason)


def _outcome(record: Record, released: Released) -> str:
    refusal = record.refusal
    if refusal is not None:
        return json_text({"refused": refusal})
    if type(record.command) in _CREATES:
        return json_text(_created(record, released))
    return state_concerned(record, released)


def _created(record: Record, released: Released) -> Any:
    """What the record's first event made; beside a new key, the one it replaces."""
    command, event = record.command, record.events[0]
    if type(event) is CancelAllStarted:
        return event
    made = _plain(getattr(event, event.__struct_fields__[0]))
    if type(command) is CreateKey and command.replaces:
        made["replaced"] = _replaced(command, released)
    return made


def _plain(value: Any) -> Any:
    """Maps, lists, texts and numbers in place of structs and enums."""
    if isinstance(value, msgspec.Struct):
        return {
            name: _plain(getattr(value, name))
            for name in value.__struct_fields__
            if name not in _UNSHOWN
        }
    if isinstance(value, Enum):
        return value.value if isinstance(value, str) else value.name
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return value


def _halt(command: SetHalt, released: Released) -> Any:
    thrown = released.rules.halts.snapshot()
    match command.scope:
        case HaltScope.EVERYTHING:
            return {"halted": thrown.everything}
        case HaltScope.INSTRUMENT:
            return {"halted": command.target_id in thrown.instruments}
        case HaltScope.ACCOUNT:
            return {"halted": command.target_id in thrown.accounts}


def _limits(command: SetLimits, released: Released) -> Any:
    in_force = released.rules.limits.get(command.account_id)
    return in_force[-1] if in_force else None


def _fees(command: SetFees, released: Released) -> Any:
    return released.rules.fees.rates(command.tier, command.instrument_id)


def _tier(command: SetTier, released: Released) -> Any:
    return {"tier": released.rules.directory.accounts[command.account_id].tier}


def _key(command: RevokeKey, released: Released) -> Any:
    return released.rules.directory.keys.get(command.key_id)


def _replaced(command: CreateKey, released: Released) -> Any:
    return released.rules.directory.keys.get(command.replaces)


def _replaced_alone(command: CreateKey, released: Released) -> Any:
    return {"replaced": _replaced(command, released)} if command.replaces else None


def _instrument_state(command: ChangeInstrumentState, released: Released) -> Any:
    return {"state": released.states.get(command.instrument_id, InstrumentState.OPEN)}


def _deposited(command: Deposit, released: Released) -> Any:
    return [_balance(command.account_id, command.asset_id, released)]


def _transferred(command: Transfer, released: Released) -> Any:
    both = (command.account_id, command.to_account_id)
    return [_balance(account_id, command.asset_id, released) for account_id in both]


def _balance(account_id: AccountId, asset_id: AssetId, released: Released) -> Any:
    balance = released.ledger.balance(account_id, asset_id)
    posted_minor = 0 if balance is None else balance.posted_minor
    return {"account_id": account_id, "asset_id": asset_id, "balance_minor": posted_minor}


_VIEWS: Final[dict[type, _View]] = {
    SetHalt: _halt,
    SetLimits: _limits,
    SetFees: _fees,
    SetTier: _tier,
    RevokeKey: _key,
    CreateKey: _replaced_alone,
    ChangeInstrumentState: _instrument_state,
    Deposit: _deposited,
    Transfer: _transferred,
}
#: Commands that are acts of administration, some of them only when an administrator sent them.
ACTS: Final = _CREATES | _VIEWS.keys()

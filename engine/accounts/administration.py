"""The rules for changing reference data, halts, limits and fees: what is refused, and why."""

from typing import Any, Final

from engine.accounts.keys import create_key
from engine.accounts.messages import (
    Account,
    AccountOpened,
    AssetCreated,
    ChangeRules,
    CreateAsset,
    CreateInstrument,
    CreateKey,
    CreateOwner,
    FeesSet,
    HaltScope,
    HaltSet,
    InstrumentCreated,
    KeyRevoked,
    LimitsSet,
    OpenAccount,
    Owner,
    OwnerCreated,
    RevokeKey,
    RulesChanged,
    SetFees,
    SetHalt,
    SetLimits,
    SetTier,
    TierSet,
)
from engine.accounts.rules import Rules
from engine.errors import InvariantViolated
from engine.ledger.amounts import ASSET_SCALE_MAX, Asset, InvalidAmount, instrument_units
from engine.messages import Message, Refused
from engine.orderbook.instrument import Instrument
from engine.products.decision import Decision
from engine.refusals import Reason
from engine.units import AccountId, InstrumentId, TimeNs

CODE_CHARACTERS_MAX: Final = 20
NAME_CHARACTERS_MAX: Final = 100


def decide(rules: Rules, command: Any, now_ns: TimeNs) -> Decision:
    """The events an administrative command leads to, or its refusal."""
    if type(command) is CreateKey:
        return Decision(create_key(rules.directory, command, now_ns))
    return Decision((_event(rules, command),))


def _event(rules: Rules, command: Any) -> Message:
    match command:
        case CreateAsset():
            return _create_asset(rules, command)
        case CreateInstrument():
            return _create_instrument(rules, command)
        case CreateOwner(name):
            if not 0 < len(name) <= NAME_CHARACTERS_MAX:
                return Refused(Reason.INVALID_VALUE, "name")
            return OwnerCreated(Owner(rules.directory.next_owner_id, name))
        case OpenAccount():
            return _open_account(rules, command)
        case RevokeKey(key_id):
            if key_id not in rules.directory.keys:
                return Refused(Reason.UNKNOWN_KEY, "key_id")
            return KeyRevoked(key_id)
        case SetHalt():
            return _set_halt(rules, command)
        case SetLimits(account_id, limits):
            if account_id not in rules.directory.accounts:
                return Refused(Reason.UNKNOWN_ACCOUNT, "account")
            return LimitsSet(account_id, limits)
        case SetFees():
            return _set_fees(rules, command)
        case SetTier(account_id, tier):
            if account_id not in rules.directory.accounts:
                return Refused(Reason.UNKNOWN_ACCOUNT, "account")
            return TierSet(account_id, tier)
        case ChangeRules(rules_version):
            return RulesChanged(rules_version)
        case _:
            raise InvariantViolated(f"accounts cannot decide {command}")


def _create_asset(rules: Rules, command: CreateAsset) -> Message:
    if not _is_code(command.code):
        return Refused(Reason.INVALID_VALUE, "code")
    if not 0 <= command.scale <= ASSET_SCALE_MAX:
        return Refused(Reason.INVALID_VALUE, "scale")
    if command.code in rules.directory.assets_by_code:
        return Refused(Reason.ALREADY_EXISTS, "code")
    asset_id = rules.directory.next_asset_id
    return AssetCreated(Asset(asset_id, command.code, command.kind, command.scale, command.name))


def _create_instrument(rules: Rules, command: CreateInstrument) -> Message:
    directory = rules.directory
    if not _is_code(command.symbol):
        return Refused(Reason.INVALID_VALUE, "symbol")
    if command.symbol in directory.instruments_by_symbol:
        return Refused(Reason.ALREADY_EXISTS, "symbol")
    base = directory.assets_by_code.get(command.base)
    quote = directory.assets_by_code.get(command.quote)
    if base is None or quote is None or base is quote:
        return Refused(Reason.UNKNOWN_ASSET, "base" if base is None else "quote")
    try:
        lot_minor, tick_lot_minor = instrument_units(
            command.tick_size, command.lot_size, base.scale, quote.scale
        )
    except InvalidAmount:
        return Refused(Reason.INVALID_VALUE, "tick_size", "tick_times_lot_whole")
    limits = (command.minimum_lots, command.maximum_lots, command.minimum_notional_minor)
    if min(*limits, command.maximum_notional_minor, command.reference_price_ticks) < 0:
        return Refused(Reason.INVALID_VALUE, "limits")
    if not command.band_ppm >= 0 or not 1 <= command.makers_touched_max <= 10_000:
        return Refused(Reason.INVALID_VALUE, "band_ppm" if command.band_ppm < 0 else "makers")
    return InstrumentCreated(
        Instrument(
            directory.next_instrument_id,
            command.symbol,
            base.asset_id,
            quote.asset_id,
            lot_minor,
            tick_lot_minor,
            command.tick_size,
            command.lot_size,
            command.minimum_lots,
            command.maximum_lots,
            command.minimum_notional_minor,
            command.maximum_notional_minor,
            command.reference_price_ticks,
            command.band_ppm,
            command.makers_touched_max,
        )
    )


def _open_account(rules: Rules, command: OpenAccount) -> Message:
    if command.owner_id not in rules.directory.owners:
        return Refused(Reason.UNKNOWN_OWNER, "owner")
    if not 0 < len(command.name) <= NAME_CHARACTERS_MAX:
        return Refused(Reason.INVALID_VALUE, "name")
    account_id = rules.directory.next_account_id
    return AccountOpened(Account(account_id, command.owner_id, command.name, command.tier))


def _set_halt(rules: Rules, command: SetHalt) -> Message:
    directory = rules.directory
    known = {
        HaltScope.EVERYTHING: command.target_id == 0,
        HaltScope.INSTRUMENT: InstrumentId(command.target_id) in directory.instruments,
        HaltScope.ACCOUNT: AccountId(command.target_id) in directory.accounts,
    }
    if not known[command.scope]:
        instrument = command.scope == HaltScope.INSTRUMENT
        return Refused(
            Reason.UNKNOWN_INSTRUMENT if instrument else Reason.UNKNOWN_ACCOUNT, "target"
        )
    if not command.reason:
        return Refused(Reason.INVALID_VALUE, "reason")
    return HaltSet(command.scope, command.target_id, command.halted, command.reason)


def _set_fees(rules: Rules, command: SetFees) -> Message:
    if command.instrument_id and command.instrument_id not in rules.directory.instruments:
        return Refused(Reason.UNKNOWN_INSTRUMENT, "instrument")
    if not 0 <= command.taker_ppm < 1_000_000 or not (
        -command.taker_ppm <= command.maker_ppm < 1_000_000
    ):
        return Refused(Reason.INVALID_VALUE, "rates")
    return FeesSet(command.tier, command.instrument_id, command.maker_ppm, command.taker_ppm)


def _is_code(text: str) -> bool:
    plain = text.replace("-", "").replace("/", "").replace("_", "")
    return 0 < len(text) <= CODE_CHARACTERS_MAX and plain.isascii() and plain.isalnum()

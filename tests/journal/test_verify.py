"""Whatever is changed in a journal, verification finds it."""

from collections.abc import Callable, Iterable
from random import Random
from typing import Any

import msgspec
import pytest

from engine.accounts.messages import ChangeRules, CreateAsset, Deposit
from engine.journal.blocks import GENESIS_DIGEST, Block, Head, seal
from engine.journal.records import RULES_VERSION, Record, decode, encode
from engine.journal.snapshots import take
from engine.journal.state import EngineState
from engine.journal.verify import Check, Contradiction, Report, Verifier
from engine.ledger.amounts import AssetKind
from engine.ledger.messages import Entry, EntryPurpose, HoldChange
from engine.orderbook.messages import OrderRested, PlaceOrder, Trade
from engine.products.exchange.desk import InstrumentDesk
from engine.products.exchange.messages import Reserved, TradeSettled
from engine.refusals import Reason
from engine.storage.memory import MemoryJournal
from engine.units import AccountId, AmountMinor, AssetId, PriceTicks, Sequence
from tests.journal.flow import journal_of, records_of

Change = Callable[[Record], Record]


def verified(journal: MemoryJournal, blocks: Iterable[Block] | None = None) -> Report:
    verifier = Verifier(list(journal.snapshots.values()))
    for block in journal.blocks if blocks is None else blocks:
        verifier.take(block)
    return verifier.finish(journal.head)


def first(report: Report) -> Contradiction:
    assert not report.is_clean
    return report.contradictions[0]


def resealed(journal: MemoryJournal, change: Callable[[list[Record]], list[Record]]) -> list[Block]:
    """The same journal with other records and a chain that fits them."""
    changed = change(records_of(journal))
    head, blocks = Head(1, 0, 0, GENESIS_DIGEST), []
    for block in journal.blocks:
        part = changed[block.first_sequence - 1 : block.last_sequence]
        head = Head(block.epoch, head.number, head.sequence, head.digest)
        blocks.append(seal(head, block.last_sequence, encode(part)))
        head = blocks[-1].head
    return blocks


def verified_anew(journal: MemoryJournal, blocks: list[Block]) -> Report:
    verifier = Verifier()
    for block in blocks:
        verifier.take(block)
    return verifier.finish(blocks[-1].head)


def with_changed(journal: MemoryJournal, sequence: int, change: Change) -> list[Block]:
    def changed(records: list[Record]) -> list[Record]:
        records[sequence - 1] = change(records[sequence - 1])
        return records

    return resealed(journal, changed)


def find(journal: MemoryJournal, wanted: Callable[[Record], bool]) -> Record:
    return next(record for record in records_of(journal) if wanted(record))


def has(kind: type[Any]) -> Callable[[Record], bool]:
    return lambda record: any(type(event) is kind for event in record.events)


def altered(record: Record, **fields: Any) -> Record:
    return msgspec.structs.replace(record, **fields)


def with_event(record: Record, kind: type[Any], **fields: Any) -> Record:
    events = [
        msgspec.structs.replace(event, **fields) if type(event) is kind else event
        for event in record.events
    ]
    return altered(record, events=events)


# -- journals as engines leave them


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(100, 108))
def test_what_an_engine_wrote_is_what_its_rules_decide_again(seed: int) -> None:
    journal = journal_of(seed, commands=600, lives=3)
    report = verified(journal)
    assert report.contradictions == []
    assert report.is_clean
    assert report.records == journal.head.sequence
    assert report.redecided + report.not_redecided == report.records
    assert report.redecided > report.records * 0.9
    assert report.snapshots == len(journal.snapshots)


def test_an_empty_journal_is_clean() -> None:
    report = verified(MemoryJournal())
    assert report.is_clean
    assert report.records == 0


def test_folding_alone_decides_nothing(journal: MemoryJournal) -> None:
    verifier = Verifier(redeciding=False)
    for block in journal.blocks:
        verifier.take(block)
    report = verifier.finish(journal.head)
    assert report.is_clean
    assert report.redecided == 0


# -- bytes and chain


@pytest.mark.slow
def test_two_hundred_flipped_bytes_are_all_found() -> None:
    journal = journal_of(seed=9, commands=60, lives=1)
    journal.snapshots.clear()
    draw = Random(1)
    for _ in range(200):
        index = draw.randrange(len(journal.blocks))
        block = journal.blocks[index]
        place, bit = draw.randrange(len(block.payload)), 1 << draw.randrange(8)
        payload = bytearray(block.payload)
        payload[place] ^= bit
        blocks = list(journal.blocks)
        blocks[index] = msgspec.structs.replace(block, payload=bytes(payload))
        found = first(verified(journal, blocks))
        assert (found.check, found.block) == (Check.CHAIN, block.number)


@pytest.mark.parametrize("field", ["epoch", "first_sequence", "last_sequence", "digest"])
def test_a_changed_block_header_is_found(journal: MemoryJournal, field: str) -> None:
    block = journal.blocks[20]
    old = getattr(block, field)
    changed = msgspec.structs.replace(
        block, **{field: old + 1 if isinstance(old, int) else bytes(32)}
    )
    blocks = [*journal.blocks[:20], changed, *journal.blocks[21:]]
    assert first(verified(journal, blocks)).check == Check.CHAIN


def test_a_missing_block_is_found_wherever_it_was(journal: MemoryJournal) -> None:
    for index in (0, 50):
        blocks = [*journal.blocks[:index], *journal.blocks[index + 1 :]]
        found = first(verified(journal, blocks))
        assert found.check == Check.CHAIN
        assert found.block == journal.blocks[index].number + 1
    found = first(verified(journal, journal.blocks[:-1]))
    assert found.check == Check.HEAD


def test_swapped_blocks_are_found(journal: MemoryJournal) -> None:
    blocks = list(journal.blocks)
    blocks[30], blocks[31] = blocks[31], blocks[30]
    found = first(verified(journal, blocks))
    assert (found.check, found.block) == (Check.CHAIN, 32)


def test_another_journal_s_head_is_found(journal: MemoryJournal) -> None:
    verifier = Verifier()
    for block in journal.blocks:
        verifier.take(block)
    other = msgspec.structs.replace(journal.head, digest=bytes(32))
    assert first(verifier.finish(other)).check == Check.HEAD


@pytest.mark.parametrize("payload", [b"", b"\xc1", msgspec.msgpack.encode([1, 2]), encode([])])
def test_a_block_that_holds_no_records_is_found(journal: MemoryJournal, payload: bytes) -> None:
    block = journal.blocks[10]
    head = journal.blocks[9].head
    blocks = [*journal.blocks[:10], seal(head, block.last_sequence, payload)]
    found = first(verified(journal, blocks))
    assert (found.check, found.block) == (Check.PAYLOAD, 11)


# -- records whose chain was made to fit


def test_a_changed_price_is_caught_by_deciding_again(journal: MemoryJournal) -> None:
    traded = find(journal, has(Trade))
    trade = next(event for event in traded.events if type(event) is Trade)
    blocks = with_changed(
        journal,
        traded.sequence,
        lambda record: with_event(record, Trade, price_ticks=trade.price_ticks + 1),
    )
    found = first(verified_anew(journal, blocks))
    assert (found.check, found.sequence) == (Check.DECISION, traded.sequence)
    assert "Trade(" in found.expected
    assert found.expected != found.found


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        (TradeSettled, {"taker_fee_minor": 123_456}),
        (OrderRested, {"quantity_lots": 1_000}),
        (Reserved, {"held_minor": 1}),
        (Reserved, {"taker_ppm": 77}),
    ],
)
def test_a_changed_event_is_caught_by_deciding_again(
    journal: MemoryJournal, kind: type[Any], fields: dict[str, Any]
) -> None:
    record = find(journal, has(kind))
    blocks = with_changed(
        journal, record.sequence, lambda record: with_event(record, kind, **fields)
    )
    found = first(verified_anew(journal, blocks))
    assert (found.check, found.sequence) == (Check.DECISION, record.sequence)


def test_a_changed_command_is_caught_by_deciding_again(journal: MemoryJournal) -> None:
    rested = find(journal, has(OrderRested))
    assert isinstance(rested.command, PlaceOrder)
    other = msgspec.structs.replace(rested.command, price_ticks=PriceTicks(1))
    blocks = with_changed(journal, rested.sequence, lambda record: altered(record, command=other))
    assert first(verified_anew(journal, blocks)).sequence == rested.sequence


def test_a_raised_deposit_and_its_entry_are_caught_by_deciding_again(
    journal: MemoryJournal,
) -> None:
    deposit = find(journal, lambda record: type(record.command) is Deposit)
    entry = msgspec.structs.replace(deposit.entries[0], amount_minor=AmountMinor(1))
    blocks = with_changed(
        journal, deposit.sequence, lambda record: altered(record, entries=[entry])
    )
    found = first(verified_anew(journal, blocks))
    assert (found.check, found.sequence) == (Check.DECISION, deposit.sequence)


def test_a_refusal_that_was_none_is_caught(journal: MemoryJournal) -> None:
    refused = find(
        journal,
        lambda record: record.refusal is not None and record.refusal.reason is Reason.UNKNOWN_ORDER,
    )
    rested = find(journal, has(OrderRested))
    blocks = with_changed(
        journal, rested.sequence, lambda record: altered(record, events=refused.events, holds=[])
    )
    found = first(verified_anew(journal, blocks))
    assert (found.check, found.sequence) == (Check.DECISION, rested.sequence)


def test_after_a_difference_the_desk_goes_on_from_its_records(journal: MemoryJournal) -> None:
    """A changed fee rate that was never used again is one contradiction, not hundreds."""
    records = records_of(journal)
    record = next(
        r for r in records if type(r.command) is PlaceOrder and r.follow_ups == [] and has(Trade)(r)
    )
    blocks = with_changed(
        journal, record.sequence, lambda record: with_event(record, Reserved, held_minor=10**9)
    )
    report = verified_anew(journal, blocks)
    assert [one.sequence for one in report.contradictions] == [record.sequence]
    assert report.finished


@pytest.mark.parametrize(
    ("fields", "check"),
    [
        ({"now_ns": 1}, Check.SEQUENCE),
        ({"released_through": 1}, Check.SEQUENCE),
        ({"key": "used"}, Check.KEY),
        ({"answers_sequence": 3, "answers_index": 1}, Check.FOLLOW_UP),
    ],
)
def test_a_record_that_cannot_stand_there_is_found(
    journal: MemoryJournal, fields: dict[str, Any], check: Check
) -> None:
    if "key" in fields:
        used = find(journal, lambda record: bool(record.key))
        fields = {"scope": used.scope, "key": used.key}
    blocks = with_changed(journal, 300, lambda record: altered(record, **fields))
    found = first(verified_anew(journal, blocks))
    assert (found.check, found.sequence) == (check, 300)


def test_a_follow_up_answered_twice_is_found(journal: MemoryJournal) -> None:
    answering = find(journal, lambda record: record.answers_sequence > 0)
    again = next(
        record
        for record in records_of(journal)
        if record.answers_sequence and record.sequence > answering.sequence
    )
    blocks = with_changed(
        journal,
        again.sequence,
        lambda record: altered(
            record,
            answers_sequence=answering.answers_sequence,
            answers_index=answering.answers_index,
        ),
    )
    found = first(verified_anew(journal, blocks))
    assert (found.check, found.sequence) == (Check.FOLLOW_UP, again.sequence)


def test_records_of_other_rules_are_folded_and_not_decided(journal: MemoryJournal) -> None:
    """Rules that decide otherwise are no contradiction, as long as the records say so."""
    head = Head(1, 0, 0, GENESIS_DIGEST)
    asset = CreateAsset("BTC", AssetKind.COIN, 8)
    [created] = [record for record in records_of(journal) if record.command == asset]
    renamed = msgspec.structs.replace(created.events[0].asset, name="by other rules")  # type: ignore[union-attr]
    events = [msgspec.structs.replace(created.events[0], asset=renamed)]
    change, back = ChangeRules(RULES_VERSION + 1), ChangeRules(RULES_VERSION)
    records: list[Record] = []
    for command, decided in (
        (change, None),
        (asset, events),
        (back, None),
        (Deposit(AccountId(100), AssetId(1), AmountMinor(1), ""), None),
    ):
        state = EngineState()
        state.apply_all(records)
        sequence = len(records) + 1
        answer = decided or state.accounts.decide(sequence, 1, command).events  # type: ignore[arg-type]
        records.append(Record(sequence, 1, sequence - 1, command, answer))  # type: ignore[arg-type]
    blocks = []
    for record in records:
        blocks.append(seal(head, record.sequence, encode([record])))
        head = blocks[-1].head
    report = verified_anew(journal, blocks)
    assert report.contradictions == []
    assert (report.redecided, report.not_redecided) == (2, 2)


# -- state


def test_a_hold_that_belongs_to_nothing_is_found(journal: MemoryJournal) -> None:
    deposit = find(journal, lambda record: type(record.command) is Deposit)
    lost = HoldChange(Sequence(9_999), AccountId(100), AssetId(1), AmountMinor(5))
    blocks = with_changed(journal, deposit.sequence, lambda record: altered(record, holds=[lost]))
    verifier = Verifier(redeciding=False)
    for block in blocks:
        verifier.take(block)
    found = first(verifier.finish(blocks[-1].head))
    assert found.check == Check.BOOKS
    assert "9999" in found.found


def test_a_record_that_cannot_be_folded_stops_the_judging(journal: MemoryJournal) -> None:
    rested = find(journal, has(OrderRested))
    overdrawn = Entry(
        AccountId(100), AccountId(101), AssetId(1), AmountMinor(10**18), EntryPurpose.TRANSFER
    )
    blocks = with_changed(
        journal, rested.sequence, lambda record: altered(record, entries=[overdrawn])
    )
    report = verified_anew(journal, blocks)
    assert [one.check for one in report.contradictions] == [Check.DECISION, Check.FOLD]
    assert not report.finished


def test_a_fold_that_forgets_what_deciding_knows_is_found(
    journal: MemoryJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a bug in recovery would: every decision is right, and yet a restart would go astray."""
    honest = InstrumentDesk.apply

    def forgetful(desk: InstrumentDesk, record: Record) -> None:
        honest(desk, record)
        desk.book.reference_price_ticks = PriceTicks(1)

    monkeypatch.setattr(InstrumentDesk, "apply", forgetful)
    found = first(verified_anew(journal, list(journal.blocks)))
    assert found.check == Check.FOLD
    assert "desk 1" in found.found


# -- snapshots


def snapshot_at(journal: MemoryJournal, block: Block, spoil: Callable[[EngineState], None]) -> None:
    state = EngineState()
    state.apply_all(records_of(journal)[: block.last_sequence])
    spoil(state)
    journal.snapshots = {block.number: take(block.head, state.snapshot())}


def test_a_snapshot_that_lies_is_found() -> None:
    journal = journal_of(seed=9, commands=60, lives=1)
    block = journal.blocks[30]
    snapshot_at(journal, block, lambda state: None)
    assert verified(journal).is_clean

    def enrich(state: EngineState) -> None:
        for account_id, asset_id in ((1, 3), (100, 3)):
            balance = state.released.ledger.balance(AccountId(account_id), AssetId(asset_id))
            assert balance is not None
            balance.credits_minor += 5 * (account_id == 100)
            balance.debits_minor += 5 * (account_id == 1)

    snapshot_at(journal, block, enrich)
    found = first(verified(journal))
    assert (found.check, found.block) == (Check.SNAPSHOT, block.number)
    assert "ledger" in found.found


def test_a_snapshot_beyond_the_journal_or_of_another_is_found(journal: MemoryJournal) -> None:
    lonely = take(Head(1, 9_999, 99_999, bytes(32)), b"")
    verifier = Verifier([lonely])
    for block in journal.blocks:
        verifier.take(block)
    found = first(verifier.finish(journal.head))
    assert (found.check, found.block) == (Check.SNAPSHOT, 9_999)
    foreign = take(Head(1, 5, journal.blocks[4].last_sequence, bytes(32)), b"")
    verifier = Verifier([foreign])
    for block in journal.blocks:
        verifier.take(block)
    assert "another journal" in first(verifier.finish(journal.head)).found


def test_a_snapshot_written_with_fewer_closed_orders_is_no_lie(journal: MemoryJournal) -> None:
    block = journal.blocks[80]
    state = EngineState(closed_orders_max=3)
    state.apply_all(records_of(journal)[: block.last_sequence])
    verifier = Verifier([take(block.head, state.snapshot())])
    for each in journal.blocks:
        verifier.take(each)
    report = verifier.finish(journal.head)
    assert report.is_clean
    assert report.snapshots == 1


def test_decoding_gives_back_what_was_encoded(journal: MemoryJournal) -> None:
    for block in journal.blocks:
        assert encode(decode(block.payload)) == block.payload

"""The same bytes for everybody: our encoder, the msgpack package, and older releases."""

import msgpack
import msgspec
import pytest

from engine.accounts.messages import Account, AccountOpened, OpenAccount
from engine.journal.records import Record, decode, encode
from engine.messages import Refused
from engine.orderbook.messages import OrderKind, PlaceOrder, SelfTradePrevention, TimeInForce
from engine.refusals import Reason
from engine.storage.memory import MemoryJournal
from engine.units import (
    AccountId,
    InstrumentId,
    OwnerId,
    PriceTicks,
    QuantityLots,
    Sequence,
    Side,
    TimeNs,
)
from tests.journal.flow import journal_of


def test_the_msgpack_package_reads_and_writes_the_very_same_bytes(journal: MemoryJournal) -> None:
    for block in journal.blocks:
        plain = msgpack.unpackb(block.payload, strict_map_key=False)
        assert plain == msgspec.msgpack.decode(block.payload)
        assert msgpack.packb(plain) == block.payload
        assert decode(msgpack.packb(plain)) == decode(block.payload)


@pytest.mark.slow
def test_every_kind_of_message_is_in_the_journals_compared() -> None:
    """Some kinds are rare: a few more markets hold nearly all of them."""
    seen: set[str] = set()
    for seed in range(3):
        for block in journal_of(seed, commands=300).blocks:
            assert msgpack.packb(msgpack.unpackb(block.payload, strict_map_key=False)) == (
                block.payload
            )
            for record in decode(block.payload):
                seen.add(type(record.command).__name__)
                seen.update(type(event).__name__ for event in record.events)
    assert len(seen) >= 40, sorted(seen)


def test_a_record_written_before_its_newest_fields_existed_can_be_read() -> None:
    opened = AccountOpened(Account(AccountId(100), OwnerId(1), "a"))
    command = OpenAccount(OwnerId(1), "a")
    record = Record(Sequence(1), TimeNs(2), Sequence(0), command, [opened])
    [whole] = msgpack.unpackb(encode([record]))
    for fields in range(5, len(whole) + 1):
        assert encode(decode(msgpack.packb([whole[:fields]]))) == encode([record])


def test_a_message_written_before_its_newest_fields_existed_can_be_read() -> None:
    order = PlaceOrder(
        AccountId(1),
        InstrumentId(1),
        Side.BUY,
        OrderKind.LIMIT,
        PriceTicks(5),
        QuantityLots(7),
    )
    refused = Refused(Reason.UNKNOWN_ORDER)
    record = Record(Sequence(1), TimeNs(2), Sequence(0), order, [refused])
    [whole] = msgpack.unpackb(encode([record]))
    whole[3], whole[4] = whole[3][:7], [whole[4][0][:2]]
    [read] = decode(msgpack.packb([whole]))
    assert read.command == order
    assert list(read.events) == [refused]
    assert order.time_in_force is TimeInForce.GTC
    assert order.self_trade is SelfTradePrevention.CANCEL_TAKER


def test_a_message_from_a_later_release_is_read_without_what_it_added() -> None:
    record = Record(Sequence(1), TimeNs(2), Sequence(0), OpenAccount(OwnerId(1), "a"), [])
    [whole] = msgpack.unpackb(encode([record]))
    whole[3].append("a later field")
    [read] = decode(msgpack.packb([[*whole, "another"]]))
    assert read.command == record.command

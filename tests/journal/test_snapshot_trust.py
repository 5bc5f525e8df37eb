"""Which snapshots may be used."""

import msgspec
import pytest

from engine.journal.blocks import GENESIS_DIGEST, Block, Head, seal
from engine.journal.records import RULES_VERSION
from engine.journal.snapshots import FORMAT_VERSION, Snapshot, flaw, take

PAYLOAD = msgspec.msgpack.encode([FORMAT_VERSION, 1, 2, 3])


@pytest.fixture
def block() -> Block:
    return seal(Head(1, 0, 0, GENESIS_DIGEST), 3, b"records")


def test_a_snapshot_of_this_block_is_usable(block: Block) -> None:
    snapshot = take(block.head, PAYLOAD)
    assert flaw(snapshot, block) == ""
    assert snapshot.rules_version == RULES_VERSION


def test_a_flipped_byte_is_found(block: Block) -> None:
    snapshot = take(block.head, PAYLOAD)
    for place in range(len(PAYLOAD)):
        flipped = bytes([*PAYLOAD[:place], PAYLOAD[place] ^ 1, *PAYLOAD[place + 1 :]])
        assert "digest" in flaw(msgspec.structs.replace(snapshot, payload=flipped), block)


def test_a_snapshot_of_another_journal_is_not_taken_for_ours(block: Block) -> None:
    other = seal(Head(1, 0, 0, GENESIS_DIGEST), 3, b"other records")
    assert "another journal" in flaw(take(other.head, PAYLOAD), block)
    assert "no block 1" in flaw(take(block.head, PAYLOAD), None)


def test_the_rules_of_its_writer_make_a_snapshot_no_worse(block: Block) -> None:
    snapshot = take(block.head, PAYLOAD)
    assert flaw(msgspec.structs.replace(snapshot, rules_version=99), block) == ""


@pytest.mark.parametrize("payload", [b"", b"\xc1", msgspec.msgpack.encode({"a": 1})])
def test_a_payload_without_a_version_cannot_be_read(block: Block, payload: bytes) -> None:
    assert "cannot be read" in flaw(take(block.head, payload), block)


def test_an_unknown_format_is_skipped_and_a_known_older_one_read(block: Block) -> None:
    snapshot = take(block.head, msgspec.msgpack.encode([2, "whatever came later"]))
    assert "format 2" in flaw(snapshot, block, readable={1})
    assert flaw(snapshot, block, readable={1, 2}) == ""
    assert isinstance(snapshot, Snapshot)

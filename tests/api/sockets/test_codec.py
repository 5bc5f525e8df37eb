"""Both languages say the same, refuse the same, and frame it as RFC 6455 asks."""

from __future__ import annotations

import json

import msgpack
import msgspec
import pytest
from websockets.frames import Frame as WireFrame
from websockets.frames import Opcode
from websockets.protocol import Protocol, Side, State

from api.sockets.codec import CODECS, JSON, MSGPACK, Codec, Frame

MESSAGE = {"type": "depth", "bids": [["0.50", "3"]], "sequence": 2**53 + 1, "none": None}


class Subscribe(msgspec.Struct, tag_field="op", tag="subscribe", forbid_unknown_fields=True):
    """One message of a client."""

    id: int
    channels: list[str]


class Ping(msgspec.Struct, tag_field="op", tag="ping", forbid_unknown_fields=True):
    """Another one."""

    id: int


def plain(codec: Codec, payload: bytes) -> object:
    """The payload as another library reads it."""
    return json.loads(payload) if codec is JSON else msgpack.unpackb(payload)


@pytest.mark.parametrize("codec", CODECS, ids=str)
def test_a_message_reads_the_same_in_other_libraries(codec: Codec) -> None:
    assert plain(codec, codec.encode(MESSAGE)) == MESSAGE


@pytest.mark.parametrize("codec", CODECS, ids=str)
@pytest.mark.parametrize("size", [0, 125, 126, 65_535, 65_536, 100_000])
def test_a_frame_of_any_length_is_read_back_whole(codec: Codec, size: int) -> None:
    framing = Protocol(Side.CLIENT, state=State.OPEN, max_size=None)
    framing.receive_data(codec.framed({"pad": "x" * size}))
    [frame] = framing.events_received()
    assert isinstance(frame, WireFrame)
    assert frame.opcode is (Opcode.TEXT if codec is JSON else Opcode.BINARY)
    assert plain(codec, bytes(frame.data)) == {"pad": "x" * size}


@pytest.mark.parametrize("codec", CODECS, ids=str)
def test_messages_of_clients_are_decoded_into_the_struct_that_their_op_names(codec: Codec) -> None:
    form = Subscribe | Ping
    for message in (Subscribe(1, ["trades"]), Ping(2)):
        assert codec.decode(codec.encode(message), form) == message


@pytest.mark.parametrize("codec", CODECS, ids=str)
@pytest.mark.parametrize("wrong", [{"op": "ping", "id": "x"}, {"op": "ping"}, {"op": "no"}, []])
def test_a_message_of_another_shape_is_a_validation_error(codec: Codec, wrong: object) -> None:
    with pytest.raises(msgspec.ValidationError):
        codec.decode(codec.encode(wrong), Subscribe | Ping)


@pytest.mark.parametrize(
    ("codec", "payload"),
    [
        (JSON, b"{"),
        (JSON, b'{"op":"ping","id":1}x'),
        (JSON, b'{"op":"\xff"}'),
        (JSON, b"[" * 100_000),
        (MSGPACK, b"\x82\xa2op"),
        (MSGPACK, b"\x81\xa2op\xa4\xff\xff\xff\xff"),
        (MSGPACK, b"\x91" * 100_000),
    ],
)
def test_garbage_is_a_decode_error_and_nothing_else(codec: Codec, payload: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        codec.decode(payload, object)
    with pytest.raises(msgspec.DecodeError):
        codec.decode(payload, Subscribe | Ping)


def test_a_message_for_many_is_encoded_once_per_language() -> None:
    frame = Frame(MESSAGE)
    assert frame.bytes_for(JSON) is frame.bytes_for(JSON)
    assert frame.bytes_for(MSGPACK) is frame.bytes_for(MSGPACK)
    assert frame.bytes_for(JSON) == JSON.framed(MESSAGE)

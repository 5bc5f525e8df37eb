"""The door's benchmark measures what it claims to measure."""

import json
import socket
import threading
import time
from contextlib import suppress

import pytest

from bench.http import MEASURES, http_report
from bench.wires import Driven, HttpWire, drive, frame_at, masked
from engine.errors import InvariantViolated

#: Between two pieces of an answer.
PIECE_S = 0.002


def answering_in_pieces(answers: list[bytes], piece_bytes: int) -> int:
    """A server on one connection that answers each request with these bytes, piece by piece."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with suppress(OSError), listener, listener.accept()[0] as client:
            for answer in answers:
                client.recv(65_536)
                for at in range(0, len(answer), piece_bytes):
                    client.sendall(answer[at : at + piece_bytes])
                    time.sleep(PIECE_S)

    threading.Thread(target=serve, daemon=True).start()
    return int(listener.getsockname()[1])


def answer(status: int, body: bytes) -> bytes:
    return b"HTTP/1.1 %d \r\ncontent-length: %d\r\n\r\n%b" % (status, len(body), body)


def test_each_request_waits_for_the_whole_answer_to_the_one_before() -> None:
    first = answer(201, b"{}\r\n\r\n")
    port = answering_in_pieces([first, answer(201, b"")], 7)
    driven = drive([HttpWire(port, [b"one", b"two"], 1)])
    assert driven.accepted == len(driven.latencies_s) == 2
    assert driven.latencies_s[0] >= PIECE_S * (len(first) // 7 - 1)
    assert driven.wall_s >= max(driven.latencies_s)


def test_an_order_that_is_not_accepted_ends_the_measure() -> None:
    port = answering_in_pieces([answer(422, b"no")], 100)
    with pytest.raises(InvariantViolated, match="422"):
        drive([HttpWire(port, [b"one"], 1)])


def test_a_batch_counts_its_accepted_orders_and_wants_all_of_them() -> None:
    items = b'[{"status":201,"order":1},{"status":201,"order":2}]'
    assert drive([HttpWire(answering_in_pieces([answer(200, items)], 20), [b"x"], 2)]).accepted == 2
    with pytest.raises(InvariantViolated):
        drive([HttpWire(answering_in_pieces([answer(200, items)], 20), [b"x"], 3)])


@pytest.mark.parametrize("size", [0, 125, 126, 300])
def test_a_frame_is_found_where_it_is_whole(size: int) -> None:
    payload = b"x" * size
    head = bytes([0x81, size]) if size < 126 else b"\x81\x7e" + size.to_bytes(2, "big")
    data = b"ab" + head + payload
    assert frame_at(data, 2) == (1, len(data) - size, len(data))
    assert frame_at(data[:-1], 2) is None
    assert masked(payload).endswith(payload)
    assert Driven().accepted == 0


@pytest.mark.slow
def test_every_measure_is_taken_and_every_order_is_in_the_journal() -> None:
    report = http_report(store="memory", requests=20, repeats=1)
    assert json.loads(json.dumps(report)) == report
    for measure in MEASURES:
        assert report[measure.name][str(measure.connections)]["per_second"]["min"] > 0
    assert report["accepted"] == report["in_journal"] > 0
    assert report["order_bearer"]["1"]["of_empty"]["median"] > 0

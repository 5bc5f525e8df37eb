"""What is sent again, and what is not: a real server behind a door with faults, both clients."""

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest
import trio

from api.client import Bearer, Client, Patience, Refused, TrioClient, Unanswered, Unreachable, calls
from api.client import admin_calls as admin
from api.client.call import Call
from api.client.credentials import Anonymous, Credentials
from api.client.exchange import Exchange
from tests.api.client.faults import Fault, Said, faulty
from tests.api.client.server import ADMIN_KEY, ALICE_KEY, Server, in_thread, limit

LOSE_REQUEST, LOSE_ANSWER = Fault.LOSE_REQUEST, Fault.LOSE_ANSWER
QUICK = Patience(attempts_max=4, pause_s_min=0.001, pause_s_max=0.002)
DEPOSIT = admin.DepositForm(account=100, asset="USD", amount="1", reference="x")
Send = Callable[[str, Credentials, Call[Any]], Awaitable[Any]]


async def by_trio(url: str, credentials: Credentials, call: Call[Any]) -> Any:
    """Send by the client for trio."""
    async with TrioClient(url, credentials, patience=QUICK) as client:
        return await client.send(call)


async def by_thread(url: str, credentials: Credentials, call: Call[Any]) -> Any:
    """Send by the client for plain threads."""

    def send() -> Any:
        with Client(url, credentials, patience=QUICK) as client:
            return client.send(call)

    return await in_thread(send)


@pytest.fixture(params=[by_trio, by_thread])
def send(request: pytest.FixtureRequest) -> Send:
    """Either client."""
    chosen: Send = request.param
    return chosen


def orders_of_alice(server: Server) -> list[str]:
    """The client order ids of her open orders."""
    released = server.service.released
    return [str(one.terms.client_order_id) for one in released.orders.open_of(_ALICE).values()]


_ALICE: Any = 100


@pytest.mark.parametrize("fault", [LOSE_REQUEST, LOSE_ANSWER, Said(500, "INTERNAL_ERROR")])
async def test_an_order_whose_answer_is_lost_is_placed_once(
    server: Server, send: Send, fault: Fault | Said
) -> None:
    async with faulty(server, fault, fault) as door:
        placed = await send(door.url, server.signed(), calls.place(limit("once")))
    assert (placed.client_order_id, placed.status) == ("once", "OPEN")
    assert orders_of_alice(server) == ["once"]
    assert len(door.requests) == 3


async def test_every_attempt_is_signed_anew_and_says_the_same(server: Server, send: Send) -> None:
    async with faulty(server, LOSE_ANSWER, Said(504, "OUTCOME_UNKNOWN")) as door:
        await send(door.url, server.signed(), calls.place(limit("signed")))
    assert len({one.header("Outcry-Nonce") for one in door.requests}) == 3
    assert len({one.header("Outcry-Signature") for one in door.requests}) == 3
    assert len({one.body for one in door.requests}) == 1


async def test_what_has_no_key_is_never_sent_twice(server: Server, send: Send) -> None:
    admin_key = Bearer(ADMIN_KEY)
    for fault in (LOSE_REQUEST, LOSE_ANSWER, Said(504, "OUTCOME_UNKNOWN"), Said(500, "X")):
        async with faulty(server, fault) as door:
            with pytest.raises(Unanswered):
                await send(door.url, admin_key, admin.deposit(DEPOSIT))
        assert len(door.requests) == 1
    for said in (Said(503, "OVERLOADED"), Said(429, "RATE_LIMITED")):
        async with faulty(server, said) as door:
            with pytest.raises(Refused, match=said.code):
                await send(door.url, admin_key, admin.deposit(DEPOSIT))
        assert len(door.requests) == 1


async def test_money_under_a_key_moves_once(server: Server, send: Send) -> None:
    async with faulty(server, LOSE_ANSWER, LOSE_ANSWER) as door:
        first = await send(door.url, Bearer(ADMIN_KEY), admin.deposit(DEPOSIT, key="d-1"))
    again = await send(server.url, Bearer(ADMIN_KEY), admin.deposit(DEPOSIT, key="d-1"))
    assert first == again


async def test_a_batch_is_sent_again_until_each_of_its_orders_is_answered(
    server: Server, send: Send
) -> None:
    error = {"code": "OVERLOADED", "message": "later"}
    half = {"answers": [{"status": 503, "error": error}, {"status": 503, "error": error}]}
    async with faulty(server, Said(200, "", (), msgspec.json.encode(half)), LOSE_ANSWER) as door:
        batch = await send(
            door.url, Bearer(ALICE_KEY), calls.place_batch([limit("x-1"), limit("x-2")])
        )
    assert [item.status for item in batch.answers] == [201, 201]
    assert orders_of_alice(server) == ["x-1", "x-2"]
    assert len(door.requests) == 3


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 409, 413, 415, 422, 431])
async def test_a_definite_answer_is_the_last_word(server: Server, send: Send, status: int) -> None:
    async with faulty(server, Said(status, "SOME_CODE")) as door:
        with pytest.raises(Refused) as refused:
            await send(door.url, Bearer(ALICE_KEY), calls.place(limit("bad")))
    assert (refused.value.status, refused.value.code) == (status, "SOME_CODE")
    assert len(door.requests) == 1


@pytest.mark.parametrize("code", ["DESK_FAULT", "DESK_HALTED"])
async def test_a_recorded_fault_of_a_desk_is_definite(
    server: Server, send: Send, code: str
) -> None:
    async with faulty(server, Said(503, code)) as door:
        with pytest.raises(Refused, match=code):
            await send(door.url, Bearer(ALICE_KEY), calls.place(limit("desk")))
    assert len(door.requests) == 1


async def test_a_recorded_refusal_is_the_same_for_a_repeat(server: Server, send: Send) -> None:
    call = calls.place(limit("poor", quantity="999999999"))
    async with faulty(server, LOSE_ANSWER) as door:
        with pytest.raises(Refused) as refused:
            await send(door.url, Bearer(ALICE_KEY), call)
    assert (refused.value.status, refused.value.code) == (422, "INSUFFICIENT_FUNDS")
    assert len(door.requests) == 2


async def test_what_only_one_attempt_is_told_leaves_the_one_before_in_doubt(
    server: Server, send: Send
) -> None:
    """It was placed; then the key is said to have expired. That does not undo it."""
    async with faulty(server, LOSE_ANSWER, Said(401, "KEY_EXPIRED")) as door:
        with pytest.raises(Unanswered, match="earlier attempt"):
            await send(door.url, Bearer(ALICE_KEY), calls.place(limit("doubt")))
    assert orders_of_alice(server) == ["doubt"]


async def test_being_turned_away_at_last_leaves_an_earlier_attempt_in_doubt(
    server: Server, send: Send
) -> None:
    away = Said(503, "OVERLOADED")
    async with faulty(server, LOSE_ANSWER, away, away, away) as door:
        with pytest.raises(Unanswered, match="OVERLOADED"):
            await send(door.url, Bearer(ALICE_KEY), calls.place(limit("later")))
    async with faulty(server, away, away, away, away) as door:
        with pytest.raises(Refused, match="OVERLOADED"):
            await send(door.url, Bearer(ALICE_KEY), calls.place(limit("never")))
    assert len(door.requests) == QUICK.attempts_max
    assert orders_of_alice(server) == ["later"]


async def test_words_that_are_not_our_servers_are_no_answer(server: Server, send: Send) -> None:
    page = b"<html>Bad gateway</html>"
    for said in (Said(502, "", (), page), Said(200, "", (), page)):
        async with faulty(server, said) as door:
            placed = await send(door.url, Bearer(ALICE_KEY), calls.place(limit(f"p-{said.status}")))
        assert placed.status == "OPEN"
        assert len(door.requests) == 2
    async with faulty(server, Said(502, "", (), page)) as door:
        with pytest.raises(Unanswered):
            await send(door.url, Bearer(ADMIN_KEY), admin.deposit(DEPOSIT))


async def test_a_server_that_is_not_there_was_sent_nothing(send: Send) -> None:
    with pytest.raises(Unreachable):
        await send("http://127.0.0.1:9", Anonymous(), calls.server_time())


@pytest.mark.slow
@pytest.mark.parametrize("repeatable", [True, False])
async def test_a_wrong_clock_is_set_by_the_servers_and_the_request_sent_once_more(
    server: Server, send: Send, repeatable: bool
) -> None:
    credentials = server.signed(now_ms=lambda: 1_000_000)
    form = calls.ReplaceForm(price="99.00", quantity="1.000")
    await send(server.url, credentials, calls.place(limit("clock")))
    credentials = server.signed(now_ms=lambda: 1_000_000)
    async with faulty(server) as door:
        replaced = await send(
            door.url, credentials, calls.replace("clock", form, key="r" if repeatable else "")
        )
        assert replaced.price == "99.00"
        assert len(door.requests) == 2
        await send(door.url, credentials, calls.own_key())  # the difference is remembered
    assert len(door.requests) == 3


async def test_a_clock_that_stays_wrong_is_definite(server: Server, send: Send) -> None:
    """`faulty` claims that it is 1970."""
    wrong = Said(401, "TIMESTAMP_OUTSIDE_WINDOW")
    async with faulty(server, wrong, wrong) as door:
        with pytest.raises(Refused, match="TIMESTAMP_OUTSIDE_WINDOW"):
            await send(door.url, server.signed(), calls.own_key())
    assert len(door.requests) == 2


@pytest.mark.slow
async def test_the_servers_pause_is_kept(server: Server, send: Send) -> None:
    async with faulty(server, Said(503, "UNAVAILABLE", ("Retry-After: 1",))) as door:
        began_s = trio.current_time()
        await send(door.url, Bearer(ALICE_KEY), calls.balances())
    assert trio.current_time() - began_s >= 1.0


def test_a_pause_is_the_servers_or_else_grows_and_never_exceeds_its_limit() -> None:
    patience = Patience(pause_s_min=0.1, pause_s_max=1.0, asked_s_max=20.0)
    exchange = Exchange(calls.server_time(), Anonymous(), patience)
    pauses = []
    for _ in zip(range(6), exchange.attempts(), strict=False):
        exchange.take(503, b'{"error": {"code": "OVERLOADED"}}')
        pauses.append(exchange.pause_s)
    for pause_s, whole_s in zip(pauses, (0.1, 0.2, 0.4, 0.8, 1.0, 1.0), strict=True):
        assert whole_s / 2 <= pause_s <= whole_s
    exchange.take(503, b"{}", "7")
    assert exchange.pause_s == 7.0
    exchange.take(429, b'{"error": {"code": "RATE_LIMITED", "retry_after_s": 0.25}}', "1")
    assert exchange.pause_s >= 0.25
    exchange.take(503, b"{}", "99999999999")
    assert exchange.pause_s == 20.0
    exchange.take(503, b"{}", "Fri, 20 Nov 2026 10:00:00 GMT")
    assert exchange.pause_s <= 1.0


async def test_a_cancelled_call_gives_its_connection_back(server: Server) -> None:
    async with TrioClient(server.url, Bearer(ALICE_KEY)) as client:
        server.store.stall()
        with trio.move_on_after(0.05) as scope:
            await client.send(calls.place(limit("cancelled")))
        assert scope.cancelled_caught
        server.store.move_on()
        assert (await client.send(calls.order("cancelled"))).status == "OPEN"

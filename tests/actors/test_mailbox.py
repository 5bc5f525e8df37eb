"""What a mailbox promises: nothing waits to be left, everything waiting is taken at once."""

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from engine.actors.mailbox import Mailbox
from engine.errors import InvariantViolated


async def test_everything_that_waits_is_taken_in_one_go_and_in_order() -> None:
    mailbox = Mailbox[int]("box", 10)
    for number in range(5):
        mailbox.tell(number)
    assert mailbox.depth == 5
    assert await mailbox.take() == [0, 1, 2, 3, 4]
    assert mailbox.depth == 0


async def test_a_taker_of_an_empty_mailbox_waits_for_the_first_message() -> None:
    mailbox, taken = Mailbox[int]("box", 10), list[int]()

    async def take() -> None:
        taken.extend(await mailbox.take())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(take)
        await wait_all_tasks_blocked()
        assert taken == []
        mailbox.tell(1)
        mailbox.tell(2)
    assert taken == [1, 2]


async def test_a_full_mailbox_is_a_contradiction() -> None:
    mailbox = Mailbox[int]("box", 2)
    mailbox.tell(1)
    mailbox.tell(2)
    with pytest.raises(InvariantViolated, match="box is full"):
        mailbox.tell(3)
    assert await mailbox.take() == [1, 2]


async def test_a_closed_mailbox_delivers_what_waits_and_then_ends() -> None:
    mailbox = Mailbox[int]("box", 2)
    mailbox.tell(1)
    mailbox.close()
    assert await mailbox.take() == [1]
    with pytest.raises(trio.EndOfChannel):
        await mailbox.take()


async def test_closing_ends_a_waiting_taker() -> None:
    mailbox = Mailbox[int]("box", 2)
    async with trio.open_nursery() as nursery:

        async def take() -> None:
            with pytest.raises(trio.EndOfChannel):
                await mailbox.take()

        nursery.start_soon(take)
        await wait_all_tasks_blocked()
        mailbox.close()


async def test_taking_without_waiting_gives_what_is_there_or_nothing() -> None:
    mailbox = Mailbox[int]("box", 3)
    assert mailbox.take_nowait() == []
    mailbox.tell(1)
    mailbox.tell(2)
    assert mailbox.take_nowait() == [1, 2]
    mailbox.tell(3)
    mailbox.close()
    assert mailbox.take_nowait() == [3]
    assert mailbox.take_nowait() == []

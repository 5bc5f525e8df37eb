"""What every actor does: rebuild first, handle batches, hand over what it leaves unfinished."""

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from engine.actors.actor import Actor, Vitals
from engine.actors.mailbox import Mailbox


class Recorder(Actor[str]):
    """Writes down what happens to it; stumbles over "bad", gets stuck on "slow"."""

    def __init__(self, mailbox: Mailbox[str], vitals: Vitals | None = None) -> None:
        super().__init__(mailbox, vitals or Vitals("recorder"))
        self.log: list[str] = []

    async def started(self) -> None:
        await trio.lowlevel.checkpoint()
        self.log.append("started")

    async def receive(self, batch: list[str]) -> None:
        self.log.append("+".join(batch))
        if "bad" in batch:
            raise ValueError("bad")
        if "slow" in batch:
            await trio.sleep_forever()

    def fell(self, batch: list[str], error: BaseException) -> None:
        self.log.append(f"fell on {'+'.join(batch)}: {type(error).__name__}")


async def test_an_actor_rebuilds_before_its_first_message_and_takes_batches() -> None:
    mailbox = Mailbox[str]("box", 10)
    actor = Recorder(mailbox)
    mailbox.tell("a")
    mailbox.tell("b")
    async with trio.open_nursery() as nursery:
        await nursery.start(actor.run)
        await wait_all_tasks_blocked()
        mailbox.tell("c")
        await wait_all_tasks_blocked()
        assert actor.log == ["started", "a+b", "c"]
        mailbox.close()


async def test_an_actor_ends_when_its_mailbox_is_closed_and_empty() -> None:
    mailbox = Mailbox[str]("box", 10)
    actor = Recorder(mailbox)
    mailbox.tell("last")
    mailbox.close()
    await actor.run()
    assert actor.log == ["started", "last"]
    assert not actor.vitals.running


async def test_an_actor_that_raises_hands_over_its_batch_and_falls() -> None:
    mailbox = Mailbox[str]("box", 10)
    actor = Recorder(mailbox)
    mailbox.tell("good")
    mailbox.tell("bad")
    with pytest.raises(ValueError, match="bad"):
        await actor.run()
    assert actor.log == ["started", "good+bad", "fell on good+bad: ValueError"]


async def test_a_cancelled_actor_hands_over_its_batch_too() -> None:
    mailbox = Mailbox[str]("box", 10)
    actor = Recorder(mailbox)
    mailbox.tell("slow")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(actor.run)
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert actor.log == ["started", "slow", "fell on slow: Cancelled"]


async def test_the_mailbox_outlives_the_actor_and_keeps_what_came_meanwhile() -> None:
    mailbox, vitals = Mailbox[str]("box", 10), Vitals("recorder")
    mailbox.tell("bad")
    with pytest.raises(ValueError, match="bad"):
        await Recorder(mailbox, vitals).run()
    mailbox.tell("meanwhile")
    mailbox.close()
    second = Recorder(mailbox, vitals)
    await second.run()
    assert second.log == ["started", "meanwhile"]
    assert vitals.as_dict()["restarts"] == 1


async def test_vitals_count_messages_batches_and_time(
    autojump_clock: trio.testing.MockClock,
) -> None:
    class Slow(Recorder):
        async def receive(self, batch: list[str]) -> None:
            await trio.sleep(2)

    mailbox = Mailbox[str]("box", 10)
    actor = Slow(mailbox)
    for message in "abc":
        mailbox.tell(message)
    assert actor.vitals.as_dict()["mailbox_depth"] == 3
    mailbox.close()
    await actor.run()
    assert actor.vitals.as_dict() == {
        "name": "recorder",
        "running": False,
        "restarts": 0,
        "batches": 1,
        "messages": 3,
        "busy_s": 2.0,
        "mailbox_depth": 0,
    }

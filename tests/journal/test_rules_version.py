"""Which rules decided a record is itself in the journal."""

import trio

from engine.accounts.messages import ChangeRules, CreateOwner, RulesChanged
from engine.gateways.custody import SimulatedCustody
from engine.journal.records import RULES_VERSION
from engine.journal.verify import Verifier
from engine.service import Service
from engine.storage.memory import MemoryJournal, MemoryJournalStore
from engine.storage.memory_history import FollowingHistory
from engine.wiring import Engine
from tests.journal.flow import records_of


async def live(journal: MemoryJournal, *commands: object) -> None:
    """One life that takes these commands, one after the other."""
    engine = Engine(MemoryJournalStore(journal), SimulatedCustody())
    async with trio.open_nursery() as nursery:
        await nursery.start(engine.run)
        for command in commands:
            await Service(engine, FollowingHistory(engine.store)).submit(command)
        nursery.cancel_scope.cancel()


async def test_a_release_with_other_rules_says_so_before_anything_else() -> None:
    journal = MemoryJournal()
    await live(journal, CreateOwner("a"), ChangeRules(RULES_VERSION + 1))  # as another release did
    await live(journal, CreateOwner("b"))
    await live(journal, CreateOwner("c"))
    commands = [record.command for record in records_of(journal)]
    assert commands == [
        CreateOwner("a"),
        ChangeRules(RULES_VERSION + 1),
        ChangeRules(RULES_VERSION),
        CreateOwner("b"),
        CreateOwner("c"),
    ]
    assert list(records_of(journal)[2].events) == [RulesChanged(RULES_VERSION)]
    verifier = Verifier()
    for block in journal.blocks:
        verifier.take(block)
    report = verifier.finish(journal.head)
    assert report.is_clean
    assert (report.redecided, report.not_redecided) == (4, 1)

"""`outcry journal`: print what is recorded, one line of JSON per record.

Read without a schema, so that records of any release can be looked at: each message is an array
with its tag first, as `engine.journal.records` and the `messages` modules define them.
"""

import sys
from typing import Annotated, Final

import msgpack
import orjson
from cyclopts import Parameter

from api.commands.journal_store import reading
from api.commands.settings import ConfigPath, settings_of
from engine.errors import EngineError
from engine.ports import JournalStore

_BLOCKS_PER_READ_MAX: Final = 16

From = Annotated[int, Parameter(name="--from", help="The first sequence to print.")]
Count = Annotated[int, Parameter(help="How many records to print at most.")]


async def journal(path: ConfigPath = None, *, first: From = 1, count: Count = 20) -> int:
    """Print recorded commands with everything they led to. Takes no lock."""
    try:
        async with reading(settings_of(path).database) as store:
            await _print_records(store, max(1, first), count)
    except EngineError as error:
        print(f"the journal cannot be read: {error}", file=sys.stderr)
        return 2
    return 0


async def _print_records(store: JournalStore, first: int, count: int) -> None:
    block = await store.read_block_of(first)
    number = 0 if block is None else block.number
    while number and count > 0:
        blocks = await store.read_blocks(number, _BLOCKS_PER_READ_MAX)
        if not blocks:
            return
        for block in blocks:
            records = msgpack.unpackb(block.payload, strict_map_key=False)
            wanted = records[max(0, first - block.first_sequence) :][:count]
            for record in wanted:
                print(orjson.dumps(record, option=orjson.OPT_NON_STR_KEYS).decode())
            count -= len(wanted)
        number = blocks[-1].number + 1

"""What a test does to a database behind the engine's back."""

from typing import Any

import asyncpg

from engine.storage.bridge import AsyncioThread


async def ask(bridge: AsyncioThread, dsn: str, statement: str, *args: Any) -> Any:
    """Run one statement; the first column of its first row."""

    async def run() -> Any:
        session = await asyncpg.connect(dsn)
        try:
            return await session.fetchval(statement, *args)
        finally:
            await session.close()

    return await bridge.run(run)

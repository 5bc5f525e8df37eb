"""The end of a server under load: quick, and every request it took is answered."""

from collections.abc import AsyncIterator

import pytest
import trio
from quart_trio import QuartTrio

from tests.api.conftest import ExampleApp, Start


async def two_parts() -> AsyncIterator[bytes]:
    """A body whose second part comes later."""
    yield b"slow "
    await trio.sleep(0.1)
    yield b"but hello"


@pytest.mark.parametrize("path", ["/slow", "/parts"])
async def test_a_request_behind_the_last_answer_does_not_hold_up_the_end(
    path: str, guarded: Start
) -> None:
    app = ExampleApp()
    app.get("/parts")(two_parts)
    site = await guarded(app, shutdown_s_max=5.0, write_s_max=5.0)
    client = await site.connect()
    await client.send_head(f"GET {path}")
    await client.send_head("GET /hello")
    await trio.sleep(0.02)
    site.stopping.set()
    heard = await client.hear()
    assert b"slow " in heard
    assert b"but hello" in heard
    assert heard.endswith(b"<closed>")
    with trio.fail_after(0.5):
        await site.stopped.wait()


async def test_the_last_answer_says_that_the_connection_ends(
    guarded: Start, example: QuartTrio
) -> None:
    site = await guarded(example)
    client = await site.connect()
    await client.send_head("GET /slow")
    await trio.sleep(0.02)
    site.stopping.set()
    assert b"connection: close" in (await client.hear()).lower()

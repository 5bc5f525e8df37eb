"""The web server inside our own trio loop: hypercorn's protocol, our doors and guards.

`connection` guards a client's socket and `body` its requests; this file opens the doors and shuts
them: stop accepting, close what is idle, let requests in flight finish, cut off the rest.
"""

import logging
import resource
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Final

import trio
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Config
from hypercorn.trio.lifespan import Lifespan
from hypercorn.typing import AppWrapper, ASGIFramework, ConnectionState, LifespanState

from api.sockets.wire import Session
from api.web.body import WholeBody
from api.web.connection import House
from api.web.limits import FILES_BESIDE_CONNECTIONS, Bind, ServerCounts, ServerLimits

log = logging.getLogger(__name__)

#: For an app to get ready, and to clean up after its last request.
_LIFESPAN_S_MAX: Final = 60


async def serve(
    app: ASGIFramework,
    bind: Bind,
    limits: ServerLimits,
    *,
    sessions: Mapping[str, Session] | None = None,
    stopping: trio.Event | None = None,
    counts: ServerCounts | None = None,
    now_ns: Callable[[], int] = time.time_ns,
    task_status: trio.TaskStatus[list[Bind]] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve `app` until `stopping` is set, then finish what is in flight and return.

    Reports started, with the addresses in use, once clients can connect. Setting `stopping` closes
    the doors at once and idle connections with them, and leaves requests in flight
    `shutdown_s_max`; cancellation cuts everything off. `counts` shows what happens meanwhile.
    `sessions` are the websockets by path: these requests never reach `app`.

    Raises: OSError when an address cannot be had; whatever the app raises while it starts.
    """
    stopping = trio.Event() if stopping is None else stopping
    counts = ServerCounts() if counts is None else counts
    guarded = ASGIWrapper(WholeBody(app, limits, counts, now_ns))
    config = hypercorn_config(limits)
    make_room_for_files(limits)
    state: LifespanState = {}
    async with AsyncExitStack() as stack:
        listeners = await trio.open_tcp_listeners(
            bind.port, host=bind.host, backlog=limits.backlog_max
        )
        for listener in listeners:
            await stack.enter_async_context(listener)
        await stack.enter_async_context(_started(guarded, config, state))
        house = House(guarded, config, limits, counts, ConnectionState(state), sessions or {})
        addresses = [Bind(*listener.socket.getsockname()[:2]) for listener in listeners]
        await _welcome_until(stopping, house, listeners, partial(task_status.started, addresses))


async def _welcome_until(
    stopping: trio.Event,
    house: House,
    listeners: list[trio.SocketListener],
    started: Callable[[], None],
) -> None:
    async with trio.open_nursery() as writers:
        await writers.start(house.switchboard.run)
        async with trio.open_nursery() as clients:
            async with trio.open_nursery() as doors:
                accepting = partial(trio.serve_listeners, handler_nursery=clients)
                await doors.start(accepting, house.welcome, listeners)
                started()
                await stopping.wait()
                doors.cancel_scope.cancel()
            await house.close_when_idle()
            clients.cancel_scope.deadline = trio.current_time() + house.limits.shutdown_s_max
        writers.cancel_scope.cancel()
    if clients.cancel_scope.cancelled_caught:
        log.warning("some requests were cut off: they took over %s s", house.limits.shutdown_s_max)


@asynccontextmanager
async def _started(app: AppWrapper, config: Config, state: LifespanState) -> AsyncIterator[None]:
    """The app between its own start-up and shutdown."""
    lifespan = Lifespan(app, config, state)
    async with trio.open_nursery() as nursery:
        await nursery.start(lifespan.handle_lifespan)
        await lifespan.wait_for_startup()
        yield
        await lifespan.wait_for_shutdown()
        nursery.cancel_scope.cancel()


def make_room_for_files(limits: ServerLimits) -> None:
    """Let this process open a file for each connection, as far as the system allows."""
    needed = limits.connections_max + FILES_BESIDE_CONNECTIONS
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return
    possible = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (possible, hard))
    if possible < needed:
        log.warning("%s open files are allowed; connections_max needs %s", possible, needed)


def hypercorn_config(limits: ServerLimits) -> Config:
    """Hypercorn's settings for our limits; its log is ours."""
    config = Config()
    config.include_server_header = False
    config.errorlog = log
    config.startup_timeout = _LIFESPAN_S_MAX
    config.shutdown_timeout = _LIFESPAN_S_MAX
    config.h11_max_incomplete_size = limits.head_bytes_max
    config.keep_alive_max_requests = limits.requests_per_connection_max
    config.websocket_max_message_size = limits.websocket_message_bytes_max
    config.websocket_ping_interval = limits.websocket_ping_s
    return config

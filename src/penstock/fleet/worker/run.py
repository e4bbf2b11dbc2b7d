"""A worker as a process: for one that was started anew, and for one that was forked, alike.

A template that forks workers imports this module first, with `scripted` and whatever else is to be warm; nothing here
has a loop, a thread or a descriptor before `run_worker`.
"""

from __future__ import annotations

import asyncio
import io
import socket
from collections.abc import Callable
from contextlib import suppress

import uvicorn.lifespan.off
import uvicorn.protocols.http.httptools_impl  # noqa: F401  it would import both by name, after the fork

from penstock.core.fleet.policy import WorkerPolicy
from penstock.fleet.logs import Log, quiet_uvicorn
from penstock.fleet.orders import Model, WorkerOrder
from penstock.fleet.processes import name_process, tie_to_parent
from penstock.fleet.serving import url_of
from penstock.fleet.worker.engines import engine_of
from penstock.fleet.worker.worker import Worker

new_loop: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop
with suppress(ImportError):
    from uvloop import new_event_loop as new_loop

Reached = Callable[[str], None]


def run_worker(order: WorkerOrder, listening: socket.socket, reached: Reached = lambda url: None) -> int:
    """Serve on a socket that listens already, until the end: 0 drained, 1 failed. From the main thread.

    `reached`: told the URL once. After a failure the hive was told first, where it could be.
    """
    name_process(f"penstock worker {order.worker_id}")
    tie_to_parent(order.parent_pid, order.owner_fd)
    quiet_uvicorn()
    with asyncio.Runner(loop_factory=new_loop) as runner:
        return runner.run(_serve(order, listening, reached))


def warm_up() -> None:
    """Start a worker that nobody wants, and let it end: what the first start makes and keeps, a fork has already.

    Its hive is itself, which knows of no callbacks.
    """
    quiet_uvicorn()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        url = url_of(listening)
        order = WorkerOrder(
            worker_id="warm-up",
            model=Model(name="warm-up", backend="scripted"),
            listen_fd=-1,
            hive_url=url,
            url=url,
            policy=WorkerPolicy(callback_tries_max=1),
        )
        worker = Worker(order, url, Log("warm-up", io.StringIO()), engine_of(order))
        with asyncio.Runner(loop_factory=new_loop) as runner:
            runner.run(worker.run(listening))


async def _serve(order: WorkerOrder, listening: socket.socket, reached: Reached) -> int:
    url = order.url or url_of(listening)
    log = Log(f"worker {order.worker_id}")
    worker = Worker(order, url, log, engine_of(order), lambda: reached(url))
    return await worker.run(listening)

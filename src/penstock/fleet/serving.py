"""Serves an application on a socket that was bound before, until it is told to drain.

A program of the fleet binds first, then listens, then says where it can be reached: whoever is told can connect. The
first SIGTERM or SIGINT drains. The second ends at once: who waits is answered DRAINING, who streams is told it. Being
asked to drain over HTTP is no signal: asking again changes nothing, and the first signal after it neither, as that is
what a service manager sends to a program that it had drained.
"""

from __future__ import annotations

import asyncio
import ipaddress
import signal
import socket
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import cast

import uvicorn
from starlette.types import ASGIApp

from penstock.core.fleet.policy import HEAD_S_MAX
from penstock.fleet.connections import Connection
from penstock.ports import BadInput, Problem

SIGNALS = (signal.SIGTERM, signal.SIGINT)
BACKLOG = 2_048
LAST_S_MAX = 0.5
"""For who is cut off to be told."""
Step = Callable[[], Awaitable[None]]


def bound(host: str, port: int, token: str) -> socket.socket:
    """A socket that listens. Raises `BadInput` where the address cannot be had, or others reach it without a token."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        made = socket.socket(family, kind, protocol)
    except OSError as error:
        raise _problem(host, port, f"no such address: {error.strerror or error}") from None
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        made.bind(address)
        refuse_public(made, token)
        made.listen(BACKLOG)
    except OSError as error:
        made.close()
        fix = "choose another with --port, or 0 for any that is free"
        raise _problem(host, port, f"cannot be bound: {error.strerror or error}", fix) from None
    except BadInput:
        made.close()
        raise
    return made


def refuse_public(made: socket.socket, token: str) -> None:
    """Raise `BadInput` where other machines reach the socket and no token is asked for."""
    host, port = made.getsockname()[:2]
    if not token and not ipaddress.ip_address(host).is_loopback:
        fix = "give one with --token-file, or bind 127.0.0.1"
        raise _problem(host, port, "other machines reach this address: a token is needed", fix)


def url_of(made: socket.socket, host: str = "") -> str:
    """Where it is reached. `host`: the name to be told in place of the address."""
    address, port = made.getsockname()[:2]
    shown = host or ("127.0.0.1" if ipaddress.ip_address(address).is_unspecified else address)
    return f"http://[{shown}]:{port}" if ":" in shown else f"http://{shown}:{port}"


def _problem(host: str, port: int, message: str, fix: str = "") -> BadInput:
    return BadInput([Problem(file=f"{host}:{port}", line=0, field="", message=message, fix=fix)])


class Server(uvicorn.Server):
    """`ready` is awaited once the socket accepts. `drain` is awaited when the first signal comes, then it ends. `cut`:
    in its place when the second comes; takes a second at most.
    """

    def __init__(
        self,
        app: ASGIApp,
        ready: Callable[[], Awaitable[None]],
        drain: Callable[[], Awaitable[None]],
        head_s_max: float = HEAD_S_MAX,
        cut: Step | None = None,
    ) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                access_log=False,
                backlog=BACKLOG,
                http=cast("type[asyncio.Protocol]", partial(Connection, head_s_max=head_s_max)),
                lifespan="off",
                log_config=None,
                loop="none",
                proxy_headers=False,
                server_header=False,
                timeout_graceful_shutdown=1,
                timeout_keep_alive=75,
                ws="none",
            )
        )
        self._ready, self._drain, self._cut = ready, drain, cut
        self._signals = 0
        self._ending: asyncio.Task[None] | None = None
        self._beginning: asyncio.Task[None] | None = None
        self._cutting: asyncio.Task[None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept, then tell."""
        await super().startup(sockets)
        self._beginning = asyncio.ensure_future(self._ready())

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """In place of uvicorn's, which raises the signal once more at the end."""
        loop = asyncio.get_running_loop()
        for each in SIGNALS:
            loop.add_signal_handler(each, self.end)
        try:
            yield
        finally:
            for each in SIGNALS:
                loop.remove_signal_handler(each)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """As uvicorn's; and what it cuts off is told before the loop ends."""
        await super().shutdown(sockets)
        if self.server_state.tasks and not self.force_exit:
            await asyncio.wait(self.server_state.tasks, timeout=LAST_S_MAX)

    def drain(self) -> None:
        """Begin the end; again is nothing."""
        if self._ending is None:
            self._ending = asyncio.ensure_future(self._drained())

    def end(self) -> None:
        """A signal. The first: drain; the second: end at once; one more: whoever is not told."""
        self._signals += 1
        if self._ending is None or self._signals == 1:
            self.drain()
        elif self._cutting is None:
            self._cutting = asyncio.ensure_future(self._cut_short())
            self._ending.cancel()
        else:
            self.should_exit = self.force_exit = True

    async def _drained(self) -> None:
        try:
            await self._drain()
        finally:
            self.should_exit |= self._cutting is None

    async def _cut_short(self) -> None:
        self.config.timeout_graceful_shutdown = 0
        try:
            if self._cut is not None:
                await self._cut()
        finally:
            self.should_exit = True


async def serve(server: Server, listening: socket.socket) -> None:
    """Until it was drained. Cancelling ends it at once."""
    try:
        await server.serve([listening])
    finally:
        for task in (server._beginning, server._ending, server._cutting):
            if task is not None and not task.done():
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task

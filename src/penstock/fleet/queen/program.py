"""The program `penstock queen`."""

from __future__ import annotations

import asyncio
import gc
import socket
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import uvloop

from penstock.core.fleet.policy import QueenPolicy
from penstock.core.fleet.routing import Routing
from penstock.fleet.app import ENDED_RETRY_S, App
from penstock.fleet.errors import FleetError
from penstock.fleet.logs import Log, quiet_uvicorn
from penstock.fleet.measures import Measures
from penstock.fleet.queen.counts import Counts
from penstock.fleet.queen.dispatching import Dispatcher
from penstock.fleet.queen.endpoints import Answers
from penstock.fleet.queen.exchange import Floor
from penstock.fleet.queen.hives import Hives
from penstock.fleet.queen.holding import held
from penstock.fleet.queen.registry import HiveRegistry
from penstock.fleet.queen.upstream import Upstreams
from penstock.fleet.serving import Server, bound, serve, url_of

DEFAULT = QueenPolicy()
CUT_S_MAX = 1.0
"""For those who still wait at the end of draining to be told."""


@dataclass(frozen=True)
class QueenOptions:
    """`home`: held as long as it runs. `token`: empty where the fleet has none. `port` 0: any that is free."""

    home: Path
    host: str = "127.0.0.1"
    port: int = 8080
    token: str = ""
    policy: QueenPolicy = DEFAULT
    verbose: bool = False


def run_queen(options: QueenOptions, registry: HiveRegistry) -> int:
    """Serve until told to end; the registry is closed then. Raises `BadInput` where the address cannot be had,
    `HomeTaken`.
    """
    listening = bound(options.host, options.port, options.token)
    quiet_uvicorn()
    with listening, held(options.home), asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(Queen(options, registry).serve(listening))


class Queen:
    """Everything of one queen. Make it inside a running loop."""

    def __init__(self, options: QueenOptions, registry: HiveRegistry) -> None:
        self._options, self._registry = options, registry
        self._log = Log("queen", verbose=options.verbose)

    async def serve(self, listening: socket.socket) -> int:
        """Until it was drained."""
        options = self._options
        measures, routing = Measures("queen"), Routing(options.policy)
        upstreams = Upstreams(options.token)
        hives = Hives(self._registry, options.policy, self._log, options.token)
        self._dispatcher = hives.dispatcher = Dispatcher(routing, hives, self._log)
        floor = Floor(self._dispatcher, upstreams, Counts(measures, routing), self._log, options.policy)
        answers = Answers(floor, hives, lambda: server.drain())
        app = App("Penstock queen", answers.endpoints(), self._log, measures, options.token)
        self._hives, self._url = hives, url_of(listening)
        server = Server(app, self._ready, self._drain, cut=self._cut)
        watching = asyncio.ensure_future(hives.watch())
        try:
            await serve(server, listening)
        finally:
            watching.cancel()
            await self._dispatcher.close()
            upstreams.close()
            await hives.close()
        return 0

    async def _ready(self) -> None:
        gc.collect()
        gc.freeze()  # else a collection walks all modules, for 40 ms, and every stream waits
        sys.stdout.write(f"queen at {self._url}\n")
        sys.stdout.flush()
        await self._hives.recall()

    async def _drain(self) -> None:
        """What is under way is finished, as long as that may take; the rest is told."""
        self._dispatcher.routing.is_draining = True
        self._log.info("draining", requests=len(self._dispatcher.routing.asked))
        with suppress(TimeoutError):
            async with asyncio.timeout(self._options.policy.drain_ms_max / 1_000):
                await self._dispatcher.over()
        await self._cut()

    async def _cut(self) -> None:
        """Tell all that are still there."""
        self._dispatcher.routing.is_draining = True
        await self._dispatcher.cut(lambda: FleetError("DRAINING", "the queen ended first", retry_after_s=ENDED_RETRY_S))
        with suppress(TimeoutError):
            async with asyncio.timeout(CUT_S_MAX):
                await self._dispatcher.over()

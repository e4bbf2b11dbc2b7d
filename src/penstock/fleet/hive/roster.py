"""The workers of a hive: those that live, and for a while those that were."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from penstock.core.fleet.life import LIVE, WorkerState, moved
from penstock.fleet.errors import FleetError
from penstock.fleet.hive.child import Child
from penstock.fleet.hive.worker_log import WorkerLog
from penstock.fleet.logs import Log
from penstock.fleet.orders import Model
from penstock.fleet.schema import Progress, WorkerInfo

ENDED_KEPT_MS = 600_000
ENDED_KEPT_MAX = 256
FAILED_TOLD_MS = 60_000
"""How long a worker that failed is still listed, so that its end is not missed."""


def now_ms() -> int:
    """Of a clock that goes on through an exec."""
    return time.monotonic_ns() // 1_000_000


@dataclass(eq=False)
class Worker:
    """One worker. `child` is None before it is forked, and for one that was started by hand (`is_ours` False)."""

    id: str
    model: Model
    url: str
    nonce: str
    log: WorkerLog
    memory_bytes: int = 0
    is_ours: bool = True
    restarts: int = 0
    state: WorkerState = "starting"
    began_ms: int = 0
    progressed_ms: int = 0
    """Of its loading, as far as was heard."""
    loaded_ms: int = 0
    """0 until it was ready to serve."""
    ended_ms: int = 0
    busy: int = 0
    has_served: bool = False
    """A request that made tokens has ended, and it lives."""
    tokens_total: int = 0
    loading: Progress | None = None
    """As far as it said."""
    pid: int = 0
    exit_code: int | None = None
    code: str = ""
    message: str = ""
    child: Child | None = None
    turn: asyncio.Event = field(default_factory=asyncio.Event)
    """Set, and made anew, whenever the state changes."""

    @property
    def is_live(self) -> bool:
        """Whether it has not ended, nor failed."""
        return self.state in LIVE

    @property
    def is_coming(self) -> bool:
        """Whether it cannot serve yet."""
        return self.state in ("starting", "loading")

    @property
    def is_over(self) -> bool:
        """Whether nothing of it runs any more."""
        return not self.is_live and (self.child is None or self.child.ended.done())

    def has_proven(self, proven_ms: int) -> bool:
        """Whether it was well, before it failed: it has served, or was there for long."""
        return bool(self.loaded_ms) and (self.has_served or now_ms() - self.loaded_ms >= proven_ms)

    def info(self, hive: str, *, has_log: bool = False) -> WorkerInfo:
        """What is told of it."""
        return WorkerInfo(
            worker_id=self.id,
            url=self.url,
            state=self.state,
            model=self.model.name,
            backend=self.model.backend,
            device=self.model.device,
            slots=self.model.slots,
            busy=self.busy,
            pid=self.pid,
            hive=hive,
            memory_bytes=self.memory_bytes,
            restarts=self.restarts,
            exit_code=self.exit_code,
            code=self.code,
            message=self.message,
            tokens_total=self.tokens_total,
            loading=self.loading if self.state == "loading" else None,
            log=tuple(self.log.lines()) if has_log else (),
        )

    def failure(self) -> FleetError:
        """Why it will never serve, for who waited for it."""
        if self.state == "stopped":
            return FleetError("GONE", "the worker was ended before it was ready", {"worker_id": self.id})
        details = {"worker_id": self.id, "exit_code": self.exit_code, "log": self.log.lines()}
        return FleetError(self.code, self.message, details)

    async def until(self, is_so: Callable[[], bool], timeout_s: float | None = None) -> bool:
        """Wait for what a change of the state makes true; False where the time is over before."""
        try:
            async with asyncio.timeout(timeout_s):
                while not is_so():
                    await self.turn.wait()
        except TimeoutError:
            return is_so()
        return True


class Roster:
    """`changed` is called whenever somebody should hear."""

    def __init__(self, log: Log, changed: Callable[[], None]) -> None:
        self._log, self.changed = log, changed
        self._workers: dict[str, Worker] = {}

    def __iter__(self) -> Iterator[Worker]:
        return iter(list(self._workers.values()))

    def add(self, worker: Worker) -> None:
        """One more."""
        self._workers[worker.id] = worker
        self.changed()

    def find(self, worker_id: str) -> Worker | None:
        """It, though it may have ended."""
        return self._workers.get(worker_id)

    def live(self, model: str = "") -> list[Worker]:
        """Those that have not ended; of one model, or of all."""
        return [w for w in self._workers.values() if w.is_live and (not model or w.model.name == model)]

    def told(self) -> list[Worker]:
        """Those that are listed: alive, or failed just now."""
        since = now_ms() - FAILED_TOLD_MS
        return [w for _, w in sorted(self._workers.items()) if w.is_live or _failed_since(w, since)]

    def move(self, worker: Worker, state: WorkerState, **why: object) -> None:
        """It is `state` now. Raises `IllegalMove`."""
        if worker.state == state:
            return
        before, worker.state = worker.state, moved(worker.state, state)
        if not worker.is_live:
            worker.busy, worker.ended_ms = 0, now_ms()
        self._log.info("worker", worker_id=worker.id, model=worker.model.name, was=before, state=state, **why)
        turned, worker.turn = worker.turn, asyncio.Event()
        turned.set()
        self.changed()

    def loads(self, worker: Worker, loading: Progress) -> None:
        """It has come so far."""
        worker.loading, worker.progressed_ms = loading, now_ms()
        self.changed()

    def forget(self) -> None:
        """Drop who ended long ago, or is one of too many."""
        ended = sorted((w for w in self._workers.values() if w.is_over), key=lambda w: w.ended_ms)
        since = now_ms() - ENDED_KEPT_MS
        surplus = max(0, len(ended) - ENDED_KEPT_MAX)
        for number, worker in enumerate(ended):
            if number < surplus or worker.ended_ms < since:
                del self._workers[worker.id]


def _failed_since(worker: Worker, since_ms: int) -> bool:
    return worker.state == "failed" and worker.ended_ms > since_ms

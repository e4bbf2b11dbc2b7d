"""Watches one worker: its process, its socket, and whether it gets on.

The end of the process is seen elsewhere, at once, on its pidfd. Here is what a living process may still do wrong: not
call back, not load, not answer, make no token. A stopped process answers nothing, a hung engine behind a healthy
server makes no token: both are ended and replaced.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

from penstock.core.fleet.life import WorkerState, may_move
from penstock.core.fleet.policy import HivePolicy
from penstock.fleet.calling import Caller, Unreachable
from penstock.fleet.errors import FleetError
from penstock.fleet.hive.roster import Roster, Worker, now_ms
from penstock.fleet.schema import Progress, WorkerHealth
from penstock.fleet.sse import Malformed, Reader, TooLong, read_event

LISTEN_AGAIN_S = 0.2


class Verdicts(Protocol):
    """Who acts on what is seen."""

    def fail(self, worker: Worker, code: str, message: str) -> None:
        """It is of no use any more."""

    def rest(self, worker: Worker) -> None:
        """Nobody has asked it for too long."""

    def serves(self, worker: Worker) -> None:
        """It has loaded."""


class Watch:
    """Of one worker. `run` returns when there is nothing more to be seen."""

    def __init__(self, worker: Worker, roster: Roster, policy: HivePolicy, token: str, verdicts: Verdicts) -> None:
        self._worker, self._roster, self._policy = worker, roster, policy
        self._token, self._verdicts = token, verdicts
        self._missed = 0

    async def run(self) -> None:
        """Until the worker has ended, or failed."""
        if await self._has_called():
            if self._worker.state != "loading":
                await self._pause()  # it was heard just now; and when many start at once, others need the time
            await self._see()
            await self._has_left()

    async def _see(self) -> None:
        async with Caller(self._worker.url, self._token, self._policy.health_ms / 1_000) as caller:
            listening = asyncio.ensure_future(self._follow_loading(caller))
            try:
                while self._worker.is_live and self._worker.state != "draining":
                    await self._look(caller)
                    await self._pause()
            finally:
                listening.cancel()
                await asyncio.gather(listening, return_exceptions=True)

    async def _has_left(self) -> None:
        """Who drains may be too busy to answer, but not for ever. It may do so unasked, when somebody signals it."""
        limit_ms = self._policy.drain_ms_max + self._policy.term_ms_max
        if not await self._worker.until(lambda: not self._worker.is_live, limit_ms / 1_000):
            self._verdicts.fail(self._worker, "WORKER_HUNG", f"it drained for {limit_ms} ms")

    async def _has_called(self) -> bool:
        worker, limit_ms = self._worker, self._policy.start_ms_max
        left_s = max(0, worker.began_ms + limit_ms - now_ms()) / 1_000
        if not await worker.until(lambda: worker.state != "starting", left_s):
            self._verdicts.fail(worker, "START_FAILED", f"it did not call back within {limit_ms} ms")
        return worker.is_live

    async def _pause(self) -> None:
        """Until the next look: sooner where a deadline comes before."""
        worker, now = self._worker, now_ms()
        due = [self._policy.health_ms]
        if worker.state == "loading":
            due.append(worker.progressed_ms + self._policy.load_ms_max - now)
        before = worker.state
        await worker.until(lambda: worker.state != before, max(0.001, min(due) / 1_000))

    async def _look(self, caller: Caller) -> None:
        worker = self._worker
        try:
            health = await caller.get("/v1/health", WorkerHealth)
        except (Unreachable, FleetError) as error:
            self._miss(str(error))
            return
        self._missed = 0
        if worker.is_live and worker.id == health.worker_id:
            self._note(health)
        self._judge(health)

    def _miss(self, why: str) -> None:
        self._missed += 1
        if self._missed >= self._policy.health_misses_max and self._worker.state in ("loading", "idle", "busy"):
            self._verdicts.fail(self._worker, "WORKER_HUNG", f"it left {self._missed} questions unanswered: {why}")

    def _note(self, health: WorkerHealth) -> None:
        worker = self._worker
        worker.tokens_total = health.tokens_total
        worker.has_served |= health.tokens_total > 0 and not health.busy
        if health.busy != worker.busy:
            worker.busy = health.busy
            self._roster.changed()
        if worker.state == "loading" and health.state in ("idle", "busy"):
            self._verdicts.serves(worker)
        if worker.state in ("idle", "busy") and _is_told(health.state) and may_move(worker.state, health.state):
            self._roster.move(worker, health.state)

    def _judge(self, health: WorkerHealth) -> None:
        worker, policy = self._worker, self._policy
        if worker.state == "loading" and now_ms() - worker.progressed_ms >= policy.load_ms_max:
            message = f"no progress of loading for {policy.load_ms_max} ms"
            self._verdicts.fail(worker, "LOADING_TIMEOUT", message)
        elif worker.state in ("idle", "busy") and health.busy and health.stalled_ms > policy.stall_ms_max:
            message = f"no token for {health.stalled_ms} ms, with {health.busy} requests"
            self._verdicts.fail(worker, "WORKER_HUNG", message)
        elif worker.state == "idle" and not health.busy and 0 < policy.idle_ms_max <= self._rested_ms(health):
            self._verdicts.rest(worker)

    def _rested_ms(self, health: WorkerHealth) -> int:
        """Since its last request, or since it could have had one. What asks for its health is no request."""
        return min(health.idle_ms, now_ms() - self._worker.loaded_ms)

    async def _follow_loading(self, caller: Caller) -> None:
        """Each step that is told gives it more time to load; the same step told again does not."""
        seen: Progress | None = None
        while self._worker.state == "loading":
            try:
                async with caller.listen("/v1/loading/progress") as told:
                    reader = Reader()
                    async for data in told.aiter_raw():
                        for said in reader.feed(data):
                            event = read_event(said)
                            if isinstance(event, Progress) and event != seen:
                                seen = event
                                self._roster.loads(self._worker, event)
            except (Unreachable, FleetError, Malformed, TooLong):
                pass
            await self._worker.until(lambda: self._worker.state != "loading", LISTEN_AGAIN_S)


def _is_told(state: WorkerState) -> bool:
    """What a worker knows better than we do."""
    return state in ("idle", "busy", "draining")

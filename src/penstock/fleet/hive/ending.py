"""Ends workers. First they are asked to: what is active may finish, nothing new is taken. Then they are killed, with
everybody below them. Each signal is written down.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Coroutine, Iterable
from contextlib import suppress

from penstock.core.fleet.policy import HivePolicy
from penstock.fleet import processes
from penstock.fleet.calling import Caller, Unreachable
from penstock.fleet.errors import FleetError
from penstock.fleet.hive.child import Child
from penstock.fleet.hive.roster import Roster, Worker
from penstock.fleet.logs import Log
from penstock.fleet.measures import Measures
from penstock.fleet.schema import WorkerHealth

CUT_S_MAX = 1.0
"""For workers to say to whom they serve that they end."""
SWEEPS_MAX = 50
SWEEP_S = 0.01


class Ending:
    """How workers end. `known`: children of this process that are not strays; asked after the children were listed."""

    def __init__(
        self,
        roster: Roster,
        policy: HivePolicy,
        token: str,
        log: Log,
        measures: Measures,
        known: Callable[[], set[int]],
    ) -> None:
        self._roster, self._policy, self._token, self._log, self._known = roster, policy, token, log, known
        self._signals = measures.counter("signals", "Signals to workers, by signal and reason.", ("signal", "reason"))
        self._under_way: dict[str, asyncio.Task[None]] = {}

    def end(self, worker: Worker, reason: str) -> asyncio.Task[None]:
        """Drain it, then end it. Asked twice it is the same end."""
        return self._do(worker, self._end, reason)

    def resume(self, worker: Worker) -> asyncio.Task[None]:
        """It was asked to end by a predecessor of ours: a second TERM would end what is active."""
        return self._do(worker, self._see_end, "drain")

    def _do(
        self, worker: Worker, work: Callable[[Worker, str], Coroutine[None, None, None]], reason: str
    ) -> asyncio.Task[None]:
        under_way = self._under_way.get(worker.id)
        if under_way is None:
            under_way = asyncio.ensure_future(work(worker, reason))
            self._under_way[worker.id] = under_way
            under_way.add_done_callback(lambda _: self._under_way.pop(worker.id, None))
        return under_way

    async def kill(self, worker: Worker, reason: str) -> None:
        """At once, with everybody below it."""
        child = worker.child
        if child is None or child.ended.done():
            return
        self._note(worker.id, worker.pid, signal.SIGKILL, reason)
        for process in await child.kill():
            if process.pid != worker.pid:
                self._note(worker.id, process.pid, signal.SIGKILL, reason)
        if not child.ended.done():
            self._log.error("a worker cannot be killed", worker_id=worker.id, pid=worker.pid)

    async def end_all(self, workers: Iterable[Worker], reason: str) -> None:
        """All at the same time; how far it is, is told."""
        ending = [asyncio.ensure_future(self._end_shielded(worker, reason)) for worker in workers]
        for number, each in enumerate(asyncio.as_completed(ending), 1):
            await each
            self._log.info("draining", ended=number, workers=len(ending))

    async def cut(self, workers: Iterable[Worker]) -> None:
        """They drain already. A second signal has them tell those they serve; INT, as two TERM may become one."""
        left = [worker for worker in workers if worker.child is not None and not worker.child.ended.done()]
        for worker in left:
            self._note(worker.id, worker.pid, signal.SIGINT, "at once")
            if worker.child is not None:
                worker.child.send(signal.SIGINT)
        ended = {worker.child.ended for worker in left if worker.child is not None}
        if ended:
            await asyncio.wait(ended, timeout=CUT_S_MAX)

    async def _end_shielded(self, worker: Worker, reason: str) -> None:
        await asyncio.shield(self.end(worker, reason))

    async def _end(self, worker: Worker, reason: str) -> None:
        if not worker.is_live:
            return
        self._roster.move(worker, "draining", reason=reason)
        await self._begun(worker)
        child = worker.child
        if child is None or child.ended.done():
            return
        self._note(worker.id, worker.pid, signal.SIGTERM, reason)
        child.send(signal.SIGTERM)
        await self._see_end(worker, reason)

    async def _see_end(self, worker: Worker, reason: str) -> None:
        child = worker.child
        assert child is not None
        await asyncio.wait({child.ended}, timeout=self._policy.term_ms_max / 1_000)
        await self._let_finish(worker, (self._policy.drain_ms_max - self._policy.term_ms_max) / 1_000)
        await self.kill(worker, f"{reason}: it did not end")

    async def _begun(self, worker: Worker) -> None:
        """One that is being forked cannot be signalled before that is done."""
        while worker.is_live and worker.child is None and worker.is_ours:
            await asyncio.sleep(SWEEP_S)

    async def _let_finish(self, worker: Worker, limit_s: float) -> None:
        """As long as it says that requests are active, and the time is not over; then it is given time to end."""
        child, policy = worker.child, self._policy
        assert child is not None
        with suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, limit_s)):
                if not child.ended.done() and await self._has_done(worker, child):
                    await asyncio.wait({child.ended}, timeout=policy.term_ms_max / 1_000)

    async def _has_done(self, worker: Worker, child: Child) -> bool:
        """Return when it has nothing more to do: True; or does not answer any more: False."""
        missed, pause_s = 0, self._policy.health_ms / 1_000
        async with Caller(worker.url, self._token, pause_s) as caller:
            while not child.ended.done() and missed < self._policy.health_misses_max:
                try:
                    is_busy = (await caller.get("/v1/health", WorkerHealth)).busy > 0
                except (Unreachable, FleetError):
                    missed += 1
                else:
                    missed = 0
                    if not is_busy:
                        return True
                await asyncio.wait({child.ended}, timeout=pause_s)
        return False

    def _note(self, worker_id: str, pid: int, number: signal.Signals, reason: str) -> None:
        self._signals.labels(number.name, reason.partition(":")[0]).inc()
        self._log.info("signal", worker_id=worker_id, pid=pid, signal=number.name, reason=reason)

    # --- strays -----------------------------------------------------------------------------------------------------

    async def sweep(self) -> None:
        """Kill and reap whoever a worker left behind: its orphans are our children now."""
        for _ in range(SWEEPS_MAX):
            strays = self._strays()
            if not strays:
                return
            for pid in strays:
                await self._remove(pid)
            await asyncio.sleep(SWEEP_S)

    def _strays(self) -> list[int]:
        here = processes.child_pids(os.getpid())  # listed first: who is announced afterwards is not among them
        known = self._known()
        return [pid for pid in here if pid not in known]

    async def _remove(self, pid: int) -> None:
        process = processes.identify(pid)
        if process is not None:
            self._note("", pid, signal.SIGKILL, "left behind")
            await asyncio.to_thread(processes.kill_tree, process)
        with suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)

"""The driver: inputs are appended with the decisions they cause, and only then are effects performed.

    input -> append -> evolve -> owed -> decisions appended -> effects performed -> input ...

Write-ahead: an input and its decisions are durable, in one commit, before any effect of theirs begins. Level-triggered:
what is performed is read from the state (jobs that are owed and that nobody performs), so a start and a restart are the
same code. Inputs that arrive while a commit is under way wait for the next one: that is the group commit.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

from penstock import ports
from penstock.core import events as e
from penstock.core.evolve import evolve
from penstock.core.owed import next_due_ms, owed
from penstock.core.state import State
from penstock.shell.perform import Performer

Observer = Callable[[e.Record, State], None]
Seal = Callable[[int], Awaitable[e.ReportSealed]]
SNAPSHOT_EVERY = 2_000
OPERATOR_INPUTS = (e.PauseAsked, e.ResumeAsked, e.DrainAsked, e.CancelAsked, e.Approved, e.BudgetRaised)


class Stopped(Exception):
    """The operator wants the run to stop at once: it stays unfinished and can be continued."""


class Driver:
    """Runs one log to its end. All state changes happen in `_commit`, one batch at a time."""

    def __init__(
        self,
        *,
        state: State,
        log: ports.EventLog,
        clock: ports.Clock,
        performer: Performer,
        seal: Seal,
        observers: Sequence[Observer] = (),
        save: Callable[[State], None] | None = None,
    ) -> None:
        self._state = state
        self._log = log
        self._clock = clock
        self._performer = performer
        self._seal = seal
        self._observers = tuple(observers)
        self._save = save
        self._inbox: list[e.Input] = []
        self._wake = asyncio.Event()
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._waiting: dict[int, asyncio.Future[int]] = {}
        self._writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="log")
        self._is_stopping = False
        self._fenced: ports.Fenced | None = None
        self._saved_at = state.seq

    def tell(self, event: e.Input) -> None:
        """Hand in something that happened; it is appended with the next commit."""
        self._inbox.append(event)
        self._wake.set()

    async def ask(self, event: e.Input) -> int:
        """Hand in an operator's input; its seq, once it is durable. Raises `Stopped` when the run is ending."""
        if self._is_stopping or self._state.conclusion is not None:
            raise Stopped("the run is ending")
        future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._waiting[id(event)] = future
        self.tell(event)
        return await future

    def stop(self) -> None:
        """End at once: all process trees are ended, nothing more is appended."""
        self._is_stopping = True
        self._wake.set()

    async def run(self, first: Sequence[e.Input]) -> State:
        """Append `first`, then go on until the run is finished. Raises `Stopped` after `stop`, `Fenced` when fenced."""
        try:
            await self._commit(first)
            while self._state.finished is None:
                self._perform_owed()
                batch = await self._next_batch()
                if self._is_stopping:
                    raise self._fenced or Stopped("stopped by the operator")
                await self._commit(batch)
            return self._state
        finally:
            self._is_stopping = True
            await self._end_tasks()
            for future in self._waiting.values():
                if not future.done():
                    future.set_exception(Stopped("the run is ending"))
            self._writer.shutdown(wait=True)

    async def _next_batch(self) -> list[e.Input]:
        """Everything that has happened by now; waits for the first, or for the time at which something is due."""
        if self._state.conclusion is not None and not self._state.sealed:
            return [await self._seal(self._state.seq)]
        due = next_due_ms(self._state)
        if not self._inbox:
            timer = None if due is None else asyncio.create_task(self._wake_at(due))
            await self._wake.wait()
            if timer is not None:
                timer.cancel()
        self._wake.clear()
        batch, self._inbox = self._inbox, []
        if not batch and due is not None and self._clock.now_ms() >= due:
            batch.append(e.TimerFired(due_ms=due))
        return batch

    async def _wake_at(self, due_ms: int) -> None:
        await self._clock.sleep_until(due_ms)
        self._wake.set()

    async def _commit(self, inputs: Sequence[e.Input]) -> None:
        """Fold the inputs and every decision they cause, and make them durable together."""
        records: list[e.Record] = []
        seqs: dict[int, int] = {}
        for event in inputs:
            if self._state.conclusion is not None and not isinstance(event, e.ReportSealed):
                continue  # what comes after the conclusion changes nothing and must not stand before the seal
            records.append(self._fold(event))
            seqs[id(event)] = self._state.seq
        while decisions := owed(self._state):
            records.extend(self._fold(decision) for decision in decisions)
        if not records:
            return
        await asyncio.get_running_loop().run_in_executor(self._writer, self._log.append, records)
        self._answer(seqs)
        for record in records:
            for observe in self._observers:
                observe(record, self._state)
        if self._save is not None and (self._state.seq - self._saved_at >= SNAPSHOT_EVERY or self._state.finished):
            self._saved_at = self._state.seq
            self._save(self._state)

    def _answer(self, seqs: dict[int, int]) -> None:
        """Tell who asked that the input is durable, by the identity of the input."""
        for key in self._waiting.keys() & seqs.keys():
            future = self._waiting.pop(key)
            if not future.done():
                future.set_result(seqs[key])

    def _fold(self, event: e.AnyEvent) -> e.Record:
        now = max(self._clock.now_ms(), self._state.now_ms)
        record = e.Record(seq=self._state.seq + 1, at_ms=now, event=event)
        evolve(self._state, record)
        for key in [key for key in self._tasks if key not in self._state.jobs]:
            del self._tasks[key]
        return record

    # --- effects ----------------------------------------------------------------------------------------------------

    def _perform_owed(self) -> None:
        """Begin what nobody performs. A task stays listed until its end is folded: its job is owed until then."""
        for key, job in self._state.jobs.items():
            if key not in self._tasks and not job.unwanted:
                self._tasks[key] = asyncio.create_task(self._perform(key, job.order), name=key)
            elif job.unwanted and key in self._tasks:
                cancel_once(self._tasks[key])
            elif job.unwanted:
                self.tell(e.JobCanceled(key=key))

    async def _perform(self, key: str, order: e.Order) -> None:
        def started(identity: ports.ProcessIdentity) -> None:
            self.tell(
                e.JobStarted(key=key, pid=identity.pid, start_ticks=identity.start_ticks, boot=identity.boot),
            )

        try:
            end: e.Input = await self._performer.perform(key, order, started)
        except asyncio.CancelledError:
            if self._is_stopping:
                raise
            end = e.JobCanceled(key=key)
        except ports.Fenced as fenced:
            self._fenced = fenced
            self.stop()
            return
        except Exception as bug:  # the supervisor: a job's own bug costs that job, not the run
            end = e.JobLost(key=key, reason=f"{type(bug).__name__}: {bug}"[:500])
        self.tell(end)

    async def _end_tasks(self) -> None:
        tasks = list(self._tasks.values())
        for task in tasks:
            cancel_once(task)
        await asyncio.gather(*tasks, return_exceptions=True)


def cancel_once(task: asyncio.Task[None]) -> None:
    """Cancel it, unless it is at its end already: a second time would cut off what the first makes it tidy up."""
    if not task.cancelling():
        task.cancel()

"""The hive: what is asked of it, what it sees, and what follows from that.

A worker's life is moved on from four sides: the API (spawn, end, drain), the worker's own callback, the watch, and the
end of its process. All of them are on one event loop, and each takes its decision in one go, without waiting in
between. What takes time comes after: the fork, the kill, the restart.

A worker that could serve and then failed is replaced, after a backoff. One that never could is not: whoever asked for
it is told why, and asks again or not. Failures of both kinds open the breaker of the model.

A worker that was started by hand, and calls back with an empty nonce, is taken in: it is listed and watched, and
requests are sent to it. It is never signalled, and never replaced, for it is not ours.
"""

from __future__ import annotations

import asyncio
import hmac
import math
import os
import secrets
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

import msgspec

from penstock.core.fleet.names import suits
from penstock.core.fleet.parties import Device, Offer, PortsLeft
from penstock.core.fleet.restarts import Restarts
from penstock.fleet.bodies import refuse
from penstock.fleet.errors import FleetError
from penstock.fleet.hive.child import Child
from penstock.fleet.hive.ending import Ending
from penstock.fleet.hive.memory import CPU, cpu_device, left_of, refuse_too_large, required_bytes, show_memory
from penstock.fleet.hive.options import HiveOptions
from penstock.fleet.hive.ports import Ports
from penstock.fleet.hive.roster import Roster, Worker, now_ms
from penstock.fleet.hive.spawning import Spawner
from penstock.fleet.hive.watching import Watch
from penstock.fleet.hive.worker_log import WorkerLog, forget_old
from penstock.fleet.logs import Log
from penstock.fleet.measures import Measures
from penstock.fleet.orders import Model, WorkerOrder
from penstock.fleet.processes import child_pids
from penstock.fleet.schema import (
    Acknowledged,
    FieldProblem,
    ReadyCallback,
    Spawned,
    SpawnRequest,
    WorkerInfo,
)
from penstock.fleet.serving import url_of
from penstock.ports import BadInput

LOGS_TOLD_MAX = 8
"""Of workers that failed, in one report: it has a limit."""


class Hive:
    """`url`: where its workers call back. `changed` is called whenever there is news for the queen."""

    def __init__(
        self, options: HiveOptions, url: str, log: Log, measures: Measures, changed: Callable[[], None]
    ) -> None:
        self.options, self.policy, self._url, self._log = options, options.policy, url, log
        self._beside = options.beside()
        self.roster = Roster(log, changed)
        self.ports = Ports(options.host, self.policy.port_first, self.policy.port_last)
        self.restarts: dict[str, Restarts] = {}
        self.due: dict[str, list[Due]] = {}
        """Replacements to come, by model."""
        self.strangers = frozenset(child_pids(os.getpid()))
        """Children that this process had before: an exec brings them along, and they are not ours."""
        self.visitors: set[int] = set()
        """Children that are here for a moment, and none of the spawner's."""
        self.is_draining = False
        self._models: tuple[Model, ...] = ()
        self.spawner = Spawner(options.cold, log, has_template=options.has_template)
        self.ending = Ending(self.roster, self.policy, options.token, log, measures, self._known_pids)
        self._failures = measures.counter("failures", "Workers that failed, by model and code.", ("model", "code"))
        self._spawns = measures.counter("spawns", "Workers that were spawned, by model and way.", ("model", "way"))
        self._background: set[asyncio.Task[Any]] = set()
        self._has_new_logs = False
        measures.reading("workers", "Workers that are alive.", lambda: len(self.roster.live()))
        show_memory(measures, (CPU, *self._beside), self._device)

    # --- spawn ------------------------------------------------------------------------------------------------------

    async def spawn(self, asked: SpawnRequest) -> Spawned:
        """One more worker. Raises `FleetError`: why there is none; with `wait`, why it cannot serve."""
        model = self._asked_model(asked)
        worker, starting = self._begin(model, asked.port, self._restart_taken(model.name))
        await asyncio.shield(starting)
        if asked.wait:
            await worker.until(lambda: bool(worker.loaded_ms) or not worker.is_live)
        if not worker.is_live:
            raise worker.failure()
        device = worker.model.device
        return Spawned(worker_id=worker.id, url=worker.url, state=worker.state, pid=worker.pid, device=device)

    def _asked_model(self, asked: SpawnRequest) -> Model:
        models = {model.name: model for model in self.models()}
        if not asked.model and len(models) == 1:
            return next(iter(models.values()))
        if not asked.model:
            refuse([FieldProblem(field="model", message=f"is missing: this hive has {len(models)} models")])
        if asked.model not in models:
            raise FleetError("MODEL_NOT_FOUND", "the catalogue of this hive has no such model")
        model = models[asked.model]
        if asked.backend not in (None, model.backend):
            refuse([FieldProblem(field="backend", message=f"is not that of the model: {model.backend}")])
        return model

    def _begin(self, model: Model, port: int | None, restarts: int) -> tuple[Worker, asyncio.Task[None]]:
        """Everything that can be refused is refused here, at once."""
        self._refuse(model)
        model = self._placed(model)
        listening = self.ports.take(port, self._with_ports())
        worker_id = f"w-{secrets.token_hex(6)}"
        worker = Worker(
            id=worker_id,
            model=model,
            url=url_of(listening, self.options.advertise),
            nonce=secrets.token_hex(16),
            log=self.log_of(worker_id),
            memory_bytes=required_bytes(model),
            restarts=restarts,
            began_ms=now_ms(),
        )
        self.restarts_of(model.name).start(now_ms())
        self.roster.add(worker)
        return worker, self.go(self._start(worker, listening))

    def _refuse(self, model: Model) -> None:
        if self.is_draining:
            raise FleetError("DRAINING", "the hive is draining", retry_after_s=5)
        if len(self.roster.live(model.name)) >= model.workers_max:
            message = f"the model has {model.workers_max} workers already"
            raise FleetError("WORKERS_EXHAUSTED", message, {"model": model.name, "workers_max": model.workers_max})
        if len(self.roster.live()) >= self.policy.workers_max:
            message = f"the hive has {self.policy.workers_max} workers already"
            raise FleetError("WORKERS_EXHAUSTED", message, {"workers_max": self.policy.workers_max})
        if not self._suited(model):
            why = "".join(f"; {problem}" for problem in self.options.found.problems)
            message = f"the hive has no device {model.device}: none was found, or told with --device{why}"
            raise FleetError("BACKEND_UNAVAILABLE", message, {"device": model.device})
        if why := self.options.why_not(model):
            raise FleetError("BACKEND_UNAVAILABLE", why, {"backend": model.backend})
        if wait_ms := self._closed_ms(model.name):
            message = "the model failed too often"
            raise FleetError("MODEL_FAILING", message, {"retry_ms": wait_ms}, math.ceil(wait_ms / 1_000))

    def _placed(self, model: Model) -> Model:
        """With the one device that it is loaded on: the one with most memory free."""
        device = max(self._suited(model), key=lambda each: each.memory_free)
        refuse_too_large(required_bytes(model), device)
        return msgspec.structs.replace(model, device=device.name)

    def _suited(self, model: Model) -> list[Device]:
        return [self._device(name) for name in (CPU, *self._beside) if suits(name, model.device)]

    async def _start(self, worker: Worker, listening: Any) -> None:
        options = self.options
        order = WorkerOrder(
            worker_id=worker.id,
            model=worker.model,
            listen_fd=-1,
            hive_url=self._url,
            nonce=worker.nonce,
            token=options.token,
            url=worker.url,
            keeper=options.keeper,
            policy=options.worker_policy,
        )
        try:
            child = await self.spawner.spawn(order, listening, worker.log)
        except OSError as error:
            self.fail(worker, "START_FAILED", f"it cannot be started: {error}")
            return
        self._spawns.labels(worker.model.name, "cold" if child.is_cold else "fork").inc()
        self._log.info("spawned", worker_id=worker.id, pid=child.pid, url=worker.url, cold=child.is_cold)
        self.adopt(worker, child)
        self._has_new_logs = True
        if not worker.is_live:
            await self.ending.kill(worker, "it failed while it was started")

    def adopt(self, worker: Worker, child: Child) -> None:
        """It has a process now: watch over both."""
        worker.child, worker.pid = child, child.pid
        child.ended.add_done_callback(lambda ended: self._note_end(worker, ended.result()))
        self.watch(worker)

    def watch(self, worker: Worker) -> None:
        """See what becomes of it."""
        self.go(Watch(worker, self.roster, self.policy, self.options.token, self).run())

    # --- what a worker says -----------------------------------------------------------------------------------------

    def hear(self, told: ReadyCallback) -> Acknowledged:
        """A worker's callback. Raises `FleetError`."""
        worker = self.roster.find(told.worker_id)
        if worker is None or not (worker.is_ours or worker.is_live):
            return self._take_in(told)
        if not hmac.compare_digest(worker.nonce.encode(), told.nonce.encode()):
            self._log.warning("forged callback", worker_id=worker.id)
            raise FleetError("FORGED", "the nonce is not the one of this spawn")
        if not worker.is_live:
            raise FleetError("GONE", "the worker was ended", {"state": worker.state})
        return Acknowledged(worker_id=worker.id, repeated=not self._note_callback(worker, told))

    def _note_callback(self, worker: Worker, told: ReadyCallback) -> bool:
        """False where it says nothing new."""
        if told.state == "failed":
            self.fail(worker, "LOAD_FAILED", told.message or "the model cannot be loaded")
            return True
        if told.state == "idle" and worker.is_coming:
            self.serves(worker)
            return True
        if worker.state == "starting":
            worker.progressed_ms = now_ms()
            self.roster.move(worker, "loading")
            return True
        return False

    def serves(self, worker: Worker) -> None:
        """It has loaded."""
        worker.loaded_ms = now_ms()
        self.restarts_of(worker.model.name).loaded()
        self.roster.move(worker, "idle", took_ms=worker.loaded_ms - worker.began_ms)

    def _take_in(self, told: ReadyCallback) -> Acknowledged:
        if told.nonce:
            raise FleetError("GONE", "this hive has spawned no such worker, or long ago")
        worker = Worker(
            id=told.worker_id,
            model=self._told_model(told),
            url=told.url,
            nonce="",
            log=self.log_of(told.worker_id),
            is_ours=False,
            pid=told.pid,
            began_ms=now_ms(),
        )
        self._log.info("taken in", worker_id=worker.id, url=worker.url, model=worker.model.name)
        self.roster.add(worker)
        self._note_callback(worker, told)
        self.watch(worker)
        return Acknowledged(worker_id=worker.id)

    def _told_model(self, told: ReadyCallback) -> Model:
        return Model(name=told.model_ref, backend=_backend(told), slots=told.slots, device=told.device)

    # --- what goes wrong, and what follows --------------------------------------------------------------------------

    def fail(self, worker: Worker, code: str, message: str) -> None:
        """It is of no use any more: say so at once, kill it, replace it where it has served."""
        if not worker.is_live:
            return
        if worker.child is not None:
            worker.child.read_log()
        worker.code, worker.message = code, message
        self._failures.labels(worker.model.name, code).inc()
        if worker.is_ours:
            self.restarts_of(worker.model.name).failed(now_ms(), had_proven=worker.has_proven(self.policy.proven_ms))
            self._plan_replacement(worker)
        self.roster.move(worker, "failed", code=code, why=message, log=worker.log.lines())
        self.go(self.ending.kill(worker, code))

    def rest(self, worker: Worker) -> None:
        """Nobody has asked it for too long."""
        if worker.is_ours:
            self.ending.end(worker, "idle")

    def _note_end(self, worker: Worker, code: int | None) -> None:
        worker.exit_code = code
        self._log.info("ended", worker_id=worker.id, pid=worker.pid, exit_code=code)
        if worker.state == "draining":
            self.roster.move(worker, "stopped", exit_code=code)
        elif worker.is_live:
            kind = {"starting": "START_FAILED", "loading": "LOAD_FAILED"}.get(worker.state, "WORKER_FAILED")
            self.fail(worker, kind, _ended(code))
        self.roster.changed()
        self.go(self.ending.sweep())

    def _plan_replacement(self, worker: Worker) -> None:
        if worker.loaded_ms and not self.is_draining:
            wait_ms = self.restarts_of(worker.model.name).backoff_ms()
            self._log.info("to be replaced", worker_id=worker.id, model=worker.model.name, wait_ms=wait_ms)
            self.replace_at(worker.model.name, worker.restarts + 1, now_ms() + wait_ms)

    def replace_at(self, model: str, restarts: int, due_ms: int) -> None:
        """A replacement is owed then. A spawn that somebody asks for before is it."""
        loop = asyncio.get_running_loop()
        due = Due(model, restarts, due_ms)
        due.timer = loop.call_later(max(0, due_ms - now_ms()) / 1_000, self._replace, due)
        self.due.setdefault(model, []).append(due)

    def _replace(self, due: Due) -> None:
        self._forget_due(due)
        if self.is_draining:
            return
        if wait_ms := self._closed_ms(due.model):
            self.replace_at(due.model, due.restarts, now_ms() + wait_ms)
            return
        model = next((model for model in self.models() if model.name == due.model), None)
        try:
            if model is not None:
                self._begin(model, None, due.restarts)
        except FleetError as error:
            self._log.warning("not replaced", model=due.model, why=str(error))

    def _restart_taken(self, model: str) -> int:
        """A spawn that was asked for is the replacement that was owed: how often there was one."""
        waiting = self.due.get(model)
        if not waiting:
            return 0
        due = waiting[0]
        self._forget_due(due)
        return due.restarts

    def _forget_due(self, due: Due) -> None:
        if due.timer is not None:
            due.timer.cancel()
        with suppress(ValueError):
            self.due.get(due.model, []).remove(due)

    def restarts_of(self, model: str) -> Restarts:
        """How often it failed."""
        return self.restarts.setdefault(model, Restarts(self.policy))

    def _closed_ms(self, model: str) -> int:
        """How long the breaker refuses; 0: it does not."""
        found = self.restarts_of(model)
        if found.is_trying and not any(worker.is_coming for worker in self.roster.live(model)):
            found.is_trying = False  # the one try was ended before it could show anything
        return found.wait_ms(now_ms()) or (self.policy.backoff_base_ms if found.is_trying else 0)

    # --- the end ----------------------------------------------------------------------------------------------------

    async def end(self, worker_id: str) -> None:
        """Ask it to end; returns when it has, or when it takes long. Raises `FleetError`."""
        worker = self.roster.find(worker_id)
        if worker is None:
            raise FleetError("UNKNOWN_WORKER", "this hive has no such worker, and had none lately")
        if not worker.is_ours:
            raise FleetError("NOT_OURS", "the worker was started by hand, and is not ended from here")
        await asyncio.wait({self.ending.end(worker, "asked")}, timeout=self.policy.term_ms_max / 1_000)

    async def drain(self) -> None:
        """End every worker of ours, all at the same time."""
        self.stop_spawning()
        ours = [worker for worker in self.roster.live() if worker.is_ours]
        self._log.info("draining", ended=0, workers=len(ours))
        await self.ending.end_all(ours, "drain")
        await self.ending.sweep()

    async def cut(self) -> None:
        """The same at once: who is served is told."""
        self.stop_spawning()
        await self.ending.cut([worker for worker in self.roster.live() if worker.is_ours])

    def stop_spawning(self) -> None:
        """Nothing new from now on."""
        self.is_draining = True
        for due in [due for waiting in self.due.values() for due in waiting]:
            self._forget_due(due)
        self.roster.changed()

    async def close(self) -> None:
        """Kill what is left; idempotent."""
        self.stop_spawning()
        left = [worker for worker in self.roster if worker.child is not None and not worker.child.ended.done()]
        await asyncio.gather(*(self.ending.kill(worker, "the hive ends") for worker in left))
        self.spawner.close()
        await self.ending.sweep()
        for each in list(self._background):
            each.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)

    # --- what there is ----------------------------------------------------------------------------------------------

    def models(self) -> tuple[Model, ...]:
        """Of the catalogue, as it is now; as it was, where it cannot be read."""
        try:
            self._models = tuple(self.options.models())
        except (BadInput, OSError) as error:
            self._log.warning("the catalogue cannot be read", why=str(error))
        return self._models

    def devices(self) -> tuple[Device, ...]:
        """The memory of this machine, and of what is beside it."""
        return tuple(self._device(name) for name in (CPU, *self._beside))

    def _device(self, name: str) -> Device:
        there = [worker for worker in self.roster.live() if worker.model.device == name]
        held = [worker.memory_bytes for worker in there]
        if name != CPU:
            return left_of(self._beside[name], held)
        return cpu_device(self.options.memory_bytes, held, (w.memory_bytes for w in there if w.is_coming))

    def offers(self) -> tuple[Offer, ...]:
        """What can be spawned here, now or later."""
        return tuple(self._offer(model) for model in sorted(self.models(), key=lambda model: model.name))

    def _offer(self, model: Model) -> Offer:
        return Offer(
            name=model.name,
            backend=model.backend,
            slots=model.slots,
            workers_max=model.workers_max,
            memory_bytes=required_bytes(model),
            device=model.device,
            retry_ms=self._closed_ms(model.name),
        )

    def infos(self) -> tuple[WorkerInfo, ...]:
        """Of those that are listed; the last that failed to come with the end of their logs."""
        told = self.roster.told()
        failed = sorted((w for w in told if w.state == "failed" and not w.loaded_ms), key=lambda w: w.ended_ms)
        with_log = {worker.id for worker in failed[-LOGS_TOLD_MAX:]}
        return tuple(worker.info(self.options.name, has_log=worker.id in with_log) for worker in told)

    def ports_left(self) -> PortsLeft:
        """Whether workers may have another port; where all were taken, that is seen anew."""
        if not self.ports.look_again():
            return "free"
        return "own" if self._with_ports() else "foreign"

    def _with_ports(self) -> int:
        """Workers of ours that have not given theirs back."""
        return sum(worker.is_ours and not worker.is_over for worker in self.roster)

    def forget_old(self) -> None:
        """Drop who ended long ago, and the logs that are too many. It looks at all of them: no spawn waits for that."""
        self.roster.forget()
        if self._has_new_logs:
            self._has_new_logs = False
            forget_old(self.options.home / "logs")

    def log_of(self, worker_id: str) -> WorkerLog:
        """Where a worker's words go."""
        path = self.options.home / "logs" / f"worker-{worker_id}.log"
        return WorkerLog(path, self.policy, is_shown=self.options.shows_output)

    def _known_pids(self) -> set[int]:
        """Children that are no strays."""
        self.spawner.hear()
        workers = {worker.pid for worker in self.roster if worker.child is not None and not worker.child.ended.done()}
        return workers | self.spawner.pids() | self.strangers | self.visitors

    def go(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """In the background; what goes wrong there is a defect, and is told."""
        doing = asyncio.ensure_future(work)
        self._background.add(doing)
        doing.add_done_callback(self._note_done)
        return doing

    def _note_done(self, done: asyncio.Task[Any]) -> None:
        self._background.discard(done)
        if not done.cancelled() and (error := done.exception()) is not None:
            self._log.error("a defect", error=repr(error))


class Due:
    """A replacement that is owed."""

    def __init__(self, model: str, restarts: int, due_ms: int) -> None:
        self.model, self.restarts, self.due_ms = model, restarts, due_ms
        self.timer: asyncio.TimerHandle | None = None


def _backend(told: ReadyCallback) -> Any:
    return told.backend


def _ended(code: int | None) -> str:
    if code is None:
        return "its process has ended"
    return f"its process was ended by signal {-code}" if code < 0 else f"its process exited with status {code}"

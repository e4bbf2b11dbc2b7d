"""What the queen knows: the hives and workers that are heard, the requests, and what was ordered and is under way.

Facts go in, in whatever order they come; one that comes twice changes nothing. Nothing is decided here.

A slot is taken until `end`, also when the worker was lost in between: a hive that was only out of reach comes back
with workers that still serve. So what a worker has taken is kept by its id, not with what its hive says of it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Literal

import msgspec

from penstock.core.fleet.life import LIVE, SERVING
from penstock.core.fleet.parties import Asked, Assign, Evict, Failed, Held, Hive, Order, Refuse, Spawn, Worker, Working
from penstock.core.fleet.policy import QueenPolicy
from penstock.core.fleet.queues import Queues

MEAN_WEIGHT = 0.2
"""Of the newest service time in the running mean."""
COMING = ("starting", "loading")
Phase = Literal["queued", "spawning", "loading"]
ROOM_CODES = ("WORKERS_EXHAUSTED", "PORT_TAKEN", "DRAINING")
"""A hive that answers a spawn so has no room just now, or not there: who waits goes on waiting."""
WAIT_CODES = ("MODEL_FAILING", "DRAINING", "HIVE_UNREACHABLE")
"""A hive that answers so is asked again when it says, not sooner."""


class Ledger:
    """The state. All times are milliseconds of one clock that never goes back."""

    def __init__(self, policy: QueenPolicy) -> None:
        self.policy = policy
        self.hives: dict[str, Hive] = {}
        self.workers: dict[str, Worker] = {}
        self.asked: dict[str, Asked] = {}
        self.queues = Queues()
        self.spawning: dict[tuple[str, str], int] = {}
        """Spawns under way, by hive and model: since when."""
        self.held: dict[tuple[str, str], Held] = {}
        """Hive and model: no spawn before, and why."""
        self.unheard: dict[str, frozenset[str]] = {}
        """Hives that were lost: the models that they offered."""
        self.is_draining = False
        self._serves: dict[str, dict[str, Worker]] = {}
        """Workers by model and id."""
        self._taken: dict[str, set[str]] = {}
        self._service_ms: dict[str, float] = {}
        self._arrivals = 0

    # --- facts of hives ---------------------------------------------------------------------------------------------

    def hear(self, hive: Hive, workers: list[Working]) -> set[str]:
        """A hive's report, whole. Requests whose worker is gone are named; they are the caller's to end or to retry.

        A worker that another hive has, as long as that one is heard, is not taken from it.
        """
        self.hives[hive.name] = hive
        self.unheard.pop(hive.name, None)
        told = {working.worker_id: working for working in workers if self.is_of(working.worker_id, hive.name)}
        live = {worker_id for worker_id, working in told.items() if working.state in LIVE}
        gone = [w for w, known in self.workers.items() if known.hive == hive.name and w not in live]
        for worker_id in [*gone, *sorted(live)]:
            self._note_failure(self.workers.get(worker_id), told.get(worker_id), hive.name)
        lost = {r for w in gone if not self._is_awaited(w, hive.heard_ms) for r in self.lose_worker(w)}
        for worker_id in sorted(live):
            self._list(told[worker_id], hive)
        return lost

    def is_of(self, worker_id: str, hive: str) -> bool:
        """Whether no other hive has it."""
        known = self.workers.get(worker_id)
        return known is None or known.hive == hive

    def lose_hive(self, name: str) -> set[str]:
        """A hive is not heard, and what it served is lost: the requests that were with its workers."""
        if (hive := self.hives.pop(name, None)) is not None:
            self.unheard[name] = frozenset(hive.offers)
        self.spawning = {key: at for key, at in self.spawning.items() if key[0] != name}
        self.held = {key: held for key, held in self.held.items() if key[0] != name}
        gone = sorted(worker_id for worker_id, worker in self.workers.items() if worker.hive == name)
        return {request for worker_id in gone for request in self.lose_worker(worker_id)}

    def forget_hive(self, name: str) -> None:
        """A hive that was lost will not be heard again."""
        self.unheard.pop(name, None)

    def lose_worker(self, worker_id: str) -> set[str]:
        """A worker is gone: the requests that were with it."""
        worker = self.workers.pop(worker_id, None)
        if worker is None:
            return set()
        self._unlist(worker)
        self._forget_taken(worker_id)
        return set(worker.taken)

    def suspect(self, worker_id: str, now_ms: int) -> None:
        """It hung up, or does not answer: nothing new for it until its hive says more."""
        if (worker := self.workers.get(worker_id)) is not None and worker.suspected_ms is None:
            worker.suspected_ms = now_ms

    def spawned(self, hive: str, model: str, worker: Working | None, now_ms: int) -> None:
        """The hive answered a spawn. `worker`: what it said, so that it counts before the next report has it."""
        self.spawning.pop((hive, model), None)
        if worker is None or worker.worker_id in self.workers or worker.state not in LIVE or hive not in self.hives:
            return
        self._list(worker, self.hives[hive])
        known = self.workers[worker.worker_id]
        known.is_listed, known.ended_ms = False, now_ms

    def spawn_failed(self, hive: str, model: str, failed: Failed, now_ms: int, retry_ms: int = 0) -> None:
        """The hive refused a spawn, or did not answer. That it has no port holds until it says another thing."""
        self.spawning.pop((hive, model), None)
        if failed.code == "PORTS_EXHAUSTED" and (known := self.hives.get(hive)) is not None:
            known.ports = "own" if failed.details.get("workers") else "foreign"
            return
        wait_ms = retry_ms if failed.code in WAIT_CODES else 0
        self.held[hive, model] = Held(now_ms + max(wait_ms, self.policy.spawn_again_ms), failed)
        if failed.code not in ROOM_CODES:
            self._tell_waiting(hive, model, failed)

    def stayed(self, worker_id: str) -> None:
        """The hive would not end it."""
        if (worker := self.workers.get(worker_id)) is not None:
            worker.is_leaving = False

    # --- facts of requests ------------------------------------------------------------------------------------------

    def admit(self, request: str, model: str, now_ms: int, deadline_ms: int) -> None:
        """It waits from now on."""
        self._arrivals += 1
        self.asked[request] = asked = Asked(request, model, now_ms, deadline_ms, self._arrivals)
        self.queues.join(asked)

    def end(self, request: str, now_ms: int, *, served: bool) -> None:
        """A request has ended, wherever it was. `served`: to its end, so that it says how long one takes."""
        asked = self.asked.pop(request, None)
        if asked is None:
            return
        if not asked.worker:
            self.queues.leave(asked)
            return
        self._give_back(asked, now_ms)
        if served:
            took = now_ms - asked.given_ms
            mean = self._service_ms.get(asked.model, float(took))
            self._service_ms[asked.model] = mean + MEAN_WEIGHT * (took - mean)

    def retry(self, request: str, now_ms: int) -> bool:
        """Its worker failed before anything was sent: it waits again, in its old place. False: it has ended instead."""
        asked = self.asked[request]
        if asked.tries >= self.policy.tries_max:
            self.end(request, now_ms, served=False)
            return False
        asked.shunned.add(asked.worker)
        self._wait_again(asked, now_ms)
        self.queues.wary.add(asked.model)
        return True

    def bounced(self, request: str, now_ms: int) -> None:
        """Its worker has no slot for it, whatever we thought: it waits again, in its old place. This was no try."""
        asked = self.asked[request]
        asked.tries -= 1
        if (worker := self.workers.get(asked.worker)) is not None:
            worker.full_until_ms = now_ms + self.policy.full_ms
        self._wait_again(asked, now_ms)

    # --- what was ordered -------------------------------------------------------------------------------------------

    def take(self, order: Order, now_ms: int) -> None:
        """It is taken as done: a slot that is given is taken, a spawn is under way."""
        match order:
            case Assign(request=request, worker=worker):
                asked = self.asked[request]
                self.queues.leave(asked)
                asked.worker, asked.given_ms, asked.tries = worker, now_ms, asked.tries + 1
                self.workers[worker].taken.add(request)
            case Spawn(hive=hive, model=model):
                self.spawning[hive, model] = now_ms
            case Evict(worker=worker):
                known = self.workers[worker]
                known.is_leaving, known.told = True, _draining(known.told)
            case Refuse(request=request):
                self.end(request, now_ms, served=False)

    # --- questions --------------------------------------------------------------------------------------------------

    def stale(self, now_ms: int) -> list[str]:
        """Hives that have not been heard for too long."""
        return sorted(name for name, hive in self.hives.items() if now_ms - hive.heard_ms > self.policy.stale_ms)

    def waiting(self, model: str = "") -> list[Asked]:
        """Who waits, the first first."""
        return self.queues.of(model) if model else self.queues.everyone()

    def queued(self) -> dict[str, int]:
        """How many wait, by model."""
        return self.queues.lengths()

    def workers_of(self, model: str) -> Iterator[Worker]:
        """In whatever state."""
        return iter(self._serves.get(model, {}).values())

    def serving(self, model: str) -> Iterator[Worker]:
        """Workers of the model that have slots, free or not."""
        return (worker for worker in self.workers_of(model) if worker.told.state in SERVING)

    def offering(self, model: str) -> list[Hive]:
        """Hives that can load it and take work, by name."""
        return [hive for _, hive in sorted(self.hives.items()) if model in hive.offers and not hive.is_draining]

    def is_loaded(self, model: str) -> bool:
        """Whether a worker of the model serves."""
        return any(True for _ in self.serving(model))

    def is_coming(self, model: str) -> bool:
        """A worker of the model is on its way somewhere."""
        return any(name == model for _, name in self.spawning) or any(
            w.told.state in COMING for w in self.workers_of(model)
        )

    def phase(self, model: str) -> Phase:
        """What who waits for the model waits for."""
        states = {worker.told.state for worker in self.workers_of(model)}
        if "loading" in states and not states & SERVING:
            return "loading"
        return "spawning" if self.is_coming(model) and not states & SERVING else "queued"

    def retry_after_s(self, model: str) -> int:
        """When a slot of the model should be free for one more, from how many wait and how long one takes."""
        slots = sum(worker.told.slots for worker in self.serving(model))
        ahead = self.queues.length(model) + 1
        mean_ms = self._service_ms.get(model, float(self.policy.service_ms_assumed))
        return max(1, min(self.policy.retry_after_s_max, math.ceil(ahead * mean_ms / max(1, slots) / 1_000)))

    # --- what is kept in step ---------------------------------------------------------------------------------------

    def _list(self, told: Working, hive: Hive) -> None:
        known = self.workers.get(told.worker_id)
        if known is None:
            taken = self._taken.setdefault(told.worker_id, set())
            known = self.workers[told.worker_id] = Worker(hive.name, told, taken, ended_ms=hive.heard_ms)
        self._unlist(known)
        known.hive, known.is_listed = hive.name, True
        known.told = _draining(told) if known.is_leaving else told
        self._serves.setdefault(told.model, {})[told.worker_id] = known
        if known.suspected_ms is not None and hive.heard_ms - known.suspected_ms > self.policy.suspicion_ms:
            known.suspected_ms = None

    def _unlist(self, worker: Worker) -> None:
        served = self._serves.get(worker.told.model, {})
        served.pop(worker.told.worker_id, None)
        if not served:
            self._serves.pop(worker.told.model, None)

    def _is_awaited(self, worker_id: str, heard_ms: int) -> bool:
        """It was spawned, and this report may be older than it."""
        worker = self.workers[worker_id]
        return not worker.is_listed and heard_ms - worker.ended_ms <= self.policy.heartbeat_ms

    def _note_failure(self, known: Worker | None, told: Working | None, hive: str) -> None:
        """A worker that was on its way has failed: who waits for it has seen that."""
        if known is None or told is None or known.told.state not in COMING or told.state != "failed":
            return
        known.is_listed = True
        code = told.code or ("START_FAILED" if known.told.state == "starting" else "LOAD_FAILED")
        details = {"worker_id": told.worker_id, "exit_code": told.exit_code, "log": list(told.log)}
        message = told.message or "the worker failed before it could serve"
        self._tell_waiting(hive, told.model, Failed(code, message, details))

    def _tell_waiting(self, hive: str, model: str, failed: Failed) -> None:
        for asked in self.queues.of(model):
            self.queues.wary.add(model)
            asked.failed_on.pop(hive, None)
            asked.failed_on[hive] = failed

    def _wait_again(self, asked: Asked, now_ms: int) -> None:
        self._give_back(asked, now_ms)
        asked.worker = ""
        self.queues.join(asked)

    def _give_back(self, asked: Asked, now_ms: int) -> None:
        """The slot that it had, once."""
        self._taken.get(asked.worker, set()).discard(asked.id)
        if (worker := self.workers.get(asked.worker)) is not None:
            worker.ended_ms = now_ms
        self._forget_taken(asked.worker)

    def _forget_taken(self, worker_id: str) -> None:
        if worker_id not in self.workers and not self._taken.get(worker_id):
            self._taken.pop(worker_id, None)


def _draining(told: Working) -> Working:
    return msgspec.structs.replace(told, state="draining")

"""Where a request goes: to a warm worker with a free slot, else a worker is asked for where it fits, else it waits.

`Routing` is owned by one caller and changed in place. Facts go in (`hear`, `arrive`, `end`, `lose_...`), and then
`owed` is asked what is to be done now: it is derived from the whole state, so the order in which facts came does not
matter, and a fact that came twice changes nothing. What `owed` answers has been taken account of: a slot that it gives
is taken, a spawn that it orders is under way. All times are milliseconds of one clock that never goes back.

What must always hold, and is tested with random histories:
- a worker never has more requests than slots, and no request is with two workers;
- every request that arrived has been refused, is waiting, or is with a worker, until it ends;
- within a model, who came first is given a slot first, retries included;
- one spawn at a time for a model on a hive, however many wait for it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec

from penstock.core.fleet.life import LIVE, SERVING, WorkerState
from penstock.core.fleet.policy import QueenPolicy
from penstock.core.policy import Frozen

MEAN_WEIGHT = 0.2
"""Of the newest service time in the running mean."""

# --- what a hive says -----------------------------------------------------------------------------------------------


class Device(Frozen):
    """Where a model can be loaded. `cpu` stands for the memory of the machine. Bytes."""

    name: str
    memory_total: int
    memory_free: int


class Offer(Frozen):
    """A model that a hive can load. `memory_bytes`: what a worker of it takes, 0 where that is not known."""

    name: str
    backend: str
    slots: int = 1
    workers_max: int = 1
    memory_bytes: int = 0
    device: str = "cpu"
    retry_ms: int = 0
    """No spawn before so long: the model failed here."""


class Working(Frozen):
    """A worker as its hive sees it."""

    worker_id: str
    url: str
    model: str
    state: WorkerState
    slots: int = 1
    backend: str = ""
    device: str = "cpu"
    pid: int = 0
    memory_bytes: int = 0


# --- what is kept ---------------------------------------------------------------------------------------------------


@dataclass
class Hive:
    """A hive as last heard."""

    name: str
    url: str
    is_draining: bool
    devices: dict[str, Device]
    offers: dict[str, Offer]
    workers_free: int
    heard_ms: int


@dataclass
class Worker:
    """A worker, and the requests that were given to it."""

    hive: str
    told: Working
    taken: set[str] = field(default_factory=set)
    ended_ms: int = 0
    """When its last request ended."""

    @property
    def free(self) -> int:
        """Slots that may be given."""
        return self.told.slots - len(self.taken) if self.told.state in SERVING else 0


@dataclass
class Asked:
    """A request that has not ended. `shunned`: workers that failed it."""

    id: str
    model: str
    arrived_ms: int
    deadline_ms: int
    order: int
    tries: int = 0
    worker: str = ""
    given_ms: int = 0
    shunned: frozenset[str] = frozenset()


# --- what is to be done ---------------------------------------------------------------------------------------------


class Assign(Frozen):
    """Give the request to the worker."""

    request: str
    worker: str
    url: str


class Spawn(Frozen):
    """Ask the hive for a worker of the model."""

    hive: str
    model: str


class Evict(Frozen):
    """End an idle worker: its room is needed for another model."""

    worker: str
    hive: str


class Refuse(Frozen):
    """The request cannot be served, now or at all. `retry_after_s`: 0 where trying again does not help."""

    request: str
    code: str
    message: str
    retry_after_s: int = 0
    required_bytes: int = 0
    available_bytes: int = 0


Order = Assign | Spawn | Evict | Refuse


class Routing:
    """The state, and the decisions."""

    def __init__(self, policy: QueenPolicy) -> None:
        self.policy = policy
        self.hives: dict[str, Hive] = {}
        self.workers: dict[str, Worker] = {}
        self.asked: dict[str, Asked] = {}
        self.spawning: dict[tuple[str, str], int] = {}
        """Spawns under way, by hive and model: since when."""
        self.is_draining = False
        self._service_ms: dict[str, float] = {}
        self._arrivals = 0

    # --- facts ------------------------------------------------------------------------------------------------------

    def hear(self, hive: Hive, workers: list[Working]) -> set[str]:
        """A hive's report, whole. Requests whose worker is gone are named; they are the caller's to end or to retry."""
        self.hives[hive.name] = hive
        told = {working.worker_id: working for working in workers if working.state in LIVE}
        lost = {w for w, known in self.workers.items() if known.hive == hive.name and w not in told}
        for worker_id, working in told.items():
            known = self.workers.setdefault(worker_id, Worker(hive.name, working, ended_ms=hive.heard_ms))
            known.hive, known.told = hive.name, working
        return {request for worker in sorted(lost) for request in self.lose_worker(worker)}

    def lose_hive(self, name: str) -> set[str]:
        """A hive is gone, with what it served: the requests that were with its workers."""
        self.hives.pop(name, None)
        self.spawning = {key: at for key, at in self.spawning.items() if key[0] != name}
        gone = sorted(worker_id for worker_id, worker in self.workers.items() if worker.hive == name)
        return {request for worker_id in gone for request in self.lose_worker(worker_id)}

    def lose_worker(self, worker_id: str) -> set[str]:
        """A worker is gone: the requests that were with it."""
        worker = self.workers.pop(worker_id, None)
        return set(worker.taken) if worker else set()

    def spawned(self, hive: str, model: str) -> None:
        """The hive answered a spawn, in whatever way. What it has now comes with its reports."""
        self.spawning.pop((hive, model), None)

    def stale(self, now_ms: int) -> list[str]:
        """Hives that have not been heard for too long."""
        return sorted(name for name, hive in self.hives.items() if now_ms - hive.heard_ms > self.policy.stale_ms)

    def arrive(self, request: str, model: str, now_ms: int, deadline_ms: int = 0) -> Refuse | None:
        """A request comes; refused at once where it could only wait in vain. `deadline_ms`: of the same clock."""
        assert request not in self.asked
        refused = self._refused(request, model, now_ms)
        if refused is None:
            self._arrivals += 1
            deadline = deadline_ms or now_ms + self.policy.request_deadline_ms
            self.asked[request] = Asked(request, model, now_ms, deadline, self._arrivals)
        return refused

    def end(self, request: str, now_ms: int, *, served: bool) -> None:
        """A request has ended, wherever it was. `served`: to its end, so that it says how long one takes."""
        asked = self.asked.pop(request, None)
        if asked is None:
            return
        worker = self.workers.get(asked.worker)
        if worker is not None and request in worker.taken:
            worker.taken.discard(request)
            worker.ended_ms = now_ms
        if served and asked.worker:
            took = now_ms - asked.given_ms
            mean = self._service_ms.get(asked.model, float(took))
            self._service_ms[asked.model] = mean + MEAN_WEIGHT * (took - mean)

    def retry(self, request: str, now_ms: int) -> bool:
        """Its worker failed before anything was sent: it waits again, in its old place. False: no try is left."""
        asked = self.asked[request]
        worker = self.workers.get(asked.worker)
        if worker is not None:
            worker.taken.discard(request)
            worker.ended_ms = now_ms
        asked.shunned |= {asked.worker}
        asked.worker = ""
        return asked.tries < self.policy.tries_max

    # --- decisions --------------------------------------------------------------------------------------------------

    def owed(self, now_ms: int) -> list[Order]:
        """What is to be done now; it is taken as done."""
        orders: list[Order] = []
        for model in sorted({asked.model for asked in self.waiting()}):
            for asked in self.waiting(model):
                if (order := self._next(asked, now_ms)) is None:
                    continue
                self._take(order, now_ms)
                orders.append(order)
        return orders

    def waiting(self, model: str = "") -> list[Asked]:
        """Who waits, the first first."""
        found = [a for a in self.asked.values() if not a.worker and (not model or a.model == model)]
        return sorted(found, key=lambda asked: asked.order)

    def retry_after_s(self, model: str) -> int:
        """When a slot of the model should be free for one more, from how many wait and how long one takes."""
        slots = sum(w.told.slots for w in self.workers.values() if w.told.model == model and w.told.state in SERVING)
        ahead = len(self.waiting(model)) + 1
        mean_ms = self._service_ms.get(model, float(self.policy.service_ms_assumed))
        return max(1, min(self.policy.retry_after_s_max, math.ceil(ahead * mean_ms / max(1, slots) / 1_000)))

    def _take(self, order: Order, now_ms: int) -> None:
        match order:
            case Assign(request=request, worker=worker):
                asked = self.asked[request]
                asked.worker, asked.given_ms, asked.tries = worker, now_ms, asked.tries + 1
                self.workers[worker].taken.add(request)
            case Spawn(hive=hive, model=model):
                self.spawning[hive, model] = now_ms
            case Evict(worker=worker):
                known = self.workers[worker]
                known.told = _draining(known.told)
            case Refuse(request=request):
                self.end(request, now_ms, served=False)

    def _next(self, asked: Asked, now_ms: int) -> Order | None:
        if worker := self._best(asked, now_ms):
            return Assign(request=asked.id, worker=worker.told.worker_id, url=worker.told.url)
        if self._is_coming(asked.model):
            return None
        hives = [hive for hive in self._offering(asked.model) if self._may_spawn(hive, asked.model)]
        if fitting := [hive for hive in hives if self._fits(hive, hive.offers[asked.model])]:
            return Spawn(hive=max(fitting, key=_roomiest(asked.model)).name, model=asked.model)
        for hive in hives:
            if victim := self._idle_victim(hive, asked):
                return Evict(worker=victim.told.worker_id, hive=hive.name)
        return self._refused_waiting(asked, now_ms)

    def _best(self, asked: Asked, now_ms: int) -> Worker | None:
        """A worker of the model with a free slot: an idle one first, then the least loaded."""
        free = [
            worker
            for worker in self._serving(asked.model)
            if worker.free > 0 and worker.told.worker_id not in asked.shunned and not self._gives_way(worker, now_ms)
        ]
        return min(free, key=lambda w: (len(w.taken) / w.told.slots, w.told.worker_id)) if free else None

    def _serving(self, model: str) -> list[Worker]:
        return [w for w in self.workers.values() if w.told.model == model and w.told.state in SERVING]

    def _is_coming(self, model: str) -> bool:
        """A worker of the model is on its way somewhere."""
        if any(name == model for _, name in self.spawning):
            return True
        return any(w.told.model == model and w.told.state in ("starting", "loading") for w in self.workers.values())

    def _offering(self, model: str) -> list[Hive]:
        return [h for _, h in sorted(self.hives.items()) if model in h.offers and not h.is_draining]

    def _may_spawn(self, hive: Hive, model: str) -> bool:
        offer = hive.offers[model]
        have = [w for w in self.workers.values() if w.hive == hive.name and w.told.model == model]
        return len(have) < offer.workers_max and not offer.retry_ms

    def _fits(self, hive: Hive, offer: Offer, freed: int = 0) -> bool:
        starting = [hive.offers[m].memory_bytes for (h, m) in self.spawning if h == hive.name and m in hive.offers]
        device = hive.devices.get(offer.device)
        has_place = hive.workers_free - len(starting) + (1 if freed else 0) > 0
        return has_place and (device is None or offer.memory_bytes + sum(starting) <= device.memory_free + freed)

    def _idle_victim(self, hive: Hive, asked: Asked) -> Worker | None:
        """The idle worker of another model that was used least recently, if its end makes room."""
        offer = hive.offers[asked.model]
        idle = [
            worker
            for worker in self.workers.values()
            if worker.hive == hive.name and worker.told.model != asked.model and worker.told.state == "idle"
            if not worker.taken and self._fits(hive, offer, max(1, worker.told.memory_bytes))
        ]
        if any(w.hive == hive.name and w.told.state == "draining" for w in self.workers.values()):
            return None  # room is being made already
        return min(idle, key=lambda w: (w.ended_ms, w.told.worker_id)) if idle else None

    def _gives_way(self, worker: Worker, now_ms: int) -> bool:
        """Another model has waited too long for the room that this worker holds: it is given nothing new."""
        hive = self.hives.get(worker.hive)
        if hive is None:
            return True
        return any(
            now_ms - asked.arrived_ms > self.policy.patience_ms and self._needs_room_of(asked, worker, hive)
            for asked in self.waiting()
        )

    def _needs_room_of(self, asked: Asked, worker: Worker, hive: Hive) -> bool:
        offer = hive.offers.get(asked.model)
        if offer is None or asked.model == worker.told.model:
            return False
        if self._serving(asked.model) or self._is_coming(asked.model):
            return False
        if not self._may_spawn(hive, asked.model) or self._fits(hive, offer):
            return False
        return self._fits(hive, offer, max(1, worker.told.memory_bytes))

    # --- refusals ---------------------------------------------------------------------------------------------------

    def _refused(self, request: str, model: str, now_ms: int) -> Refuse | None:
        if self.is_draining:
            return Refuse(request=request, code="DRAINING", message="the queen is draining", retry_after_s=5)
        if not self.hives:
            told = "no hive has registered: start one with `penstock hive`"
            return Refuse(request=request, code="NO_HIVE", message=told, retry_after_s=2)
        if not any(model in hive.offers for hive in self.hives.values()) and not self._serving(model):
            told = "no hive offers this model: see `penstock models`"
            return Refuse(request=request, code="MODEL_NOT_FOUND", message=told)
        if len(self.waiting(model)) >= self.policy.queue_per_model_max and not self._has_slot(model, now_ms):
            told = f"{self.policy.queue_per_model_max} requests wait for this model already"
            return Refuse(request=request, code="QUEUE_FULL", message=told, retry_after_s=self.retry_after_s(model))
        return None

    def _has_slot(self, model: str, now_ms: int) -> bool:
        return len(self.waiting(model)) < sum(w.free for w in self._serving(model) if not self._gives_way(w, now_ms))

    def _refused_waiting(self, asked: Asked, now_ms: int) -> Refuse | None:
        """Refuses who could only wait in vain: nothing serves the model, and nothing will soon."""
        if any(w.told.model == asked.model for w in self.workers.values()):
            live = [w for w in self._serving(asked.model) if w.told.worker_id not in asked.shunned]
            return None if live or self._is_leaving(asked.model) else self._no_other(asked)
        offering = self._offering(asked.model)
        if not offering:
            told = "no hive that takes work offers this model"
            return Refuse(request=asked.id, code="NO_HIVE", message=told, retry_after_s=2)
        wait_ms = min(hive.offers[asked.model].retry_ms for hive in offering)
        if wait_ms:
            told = "the model failed on every hive that offers it"
            wait_s = math.ceil(wait_ms / 1_000)
            return Refuse(request=asked.id, code="MODEL_FAILING", message=told, retry_after_s=wait_s)
        return self._too_large(asked, offering)

    def _is_leaving(self, model: str) -> bool:
        return any(w.told.model == model and w.told.state == "draining" for w in self.workers.values())

    def _no_other(self, asked: Asked) -> Refuse:
        told = "its worker failed, and there is no other"
        return Refuse(request=asked.id, code="WORKER_FAILED", message=told, retry_after_s=1)

    def _too_large(self, asked: Asked, offering: list[Hive]) -> Refuse | None:
        """Not even an empty machine would do."""
        places = [(h.offers[asked.model], h.devices.get(h.offers[asked.model].device)) for h in offering]
        if any(device is None or offer.memory_bytes <= device.memory_total for offer, device in places):
            return None
        offer, device = max(places, key=lambda place: place[1].memory_total if place[1] else 0)
        assert device is not None
        return Refuse(
            request=asked.id,
            code="INSUFFICIENT_MEMORY",
            message=f"the model needs {offer.memory_bytes} bytes, {device.name} has {device.memory_total}",
            required_bytes=offer.memory_bytes,
            available_bytes=device.memory_total,
        )


def _draining(told: Working) -> Working:
    return msgspec.structs.replace(told, state="draining")


def _roomiest(model: str) -> Callable[[Hive], tuple[int, int]]:
    def room(hive: Hive) -> tuple[int, int]:
        device = hive.devices.get(hive.offers[model].device)
        return (device.memory_free if device else 0, hive.workers_free)

    return room

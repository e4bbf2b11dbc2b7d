"""Where a request goes: to a warm worker with a free slot, else a worker is asked for where it fits, else it waits.

`Routing` is owned by one caller and changed in place. Facts go in (`hear`, `arrive`, `end`, `lose_...`), and then
`owed` is asked what is to be done now: it is derived from the whole state, so the order in which facts came does not
matter, and a fact that came twice changes nothing. What `owed` answers has been taken account of: a slot that it gives
is taken, a spawn that it orders is under way. All times are milliseconds of one clock that never goes back.

What must always hold, and is tested with random histories:
- a worker never has more requests than slots, and no request is with two workers;
- every request that arrived has been refused, is waiting, or is with a worker, until it ends;
- within a model, who came first is given a slot first, retries included; who has seen a worker fail may be overtaken
  at that worker, and nowhere else;
- one spawn at a time for a model, however many wait for it.

A slot is taken until `end`, also when the worker was lost in between: a hive that was only out of reach comes back
with workers that still serve. Models take turns by their oldest request. An idle worker is ended for another model
if nobody waits for its own, or if the other has waited for `patience_ms` and came before; a busy one then gets nothing
new. Without the second condition two models that are both impatient would end each other's workers for ever.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Callable, Iterator
from typing import Literal

import msgspec

from penstock.core.fleet.life import LIVE, SERVING
from penstock.core.fleet.parties import (
    Asked,
    Assign,
    Evict,
    Failed,
    Hive,
    Offer,
    Order,
    Refuse,
    Spawn,
    Worker,
    Working,
)
from penstock.core.fleet.policy import QueenPolicy

MEAN_WEIGHT = 0.2
"""Of the newest service time in the running mean."""
COMING = ("starting", "loading")
Phase = Literal["queued", "spawning", "loading"]
ROOM_CODES = ("WORKERS_EXHAUSTED", "PORTS_EXHAUSTED", "DRAINING")
"""A hive that answers a spawn so has no room just now: who waits goes on waiting."""


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
        self._queues: dict[str, list[Asked]] = {}
        """Who waits, by model, the first first. No queue is empty."""
        self._wary: set[str] = set()
        """Models for which somebody waits who has seen a failure."""
        self._serves: dict[str, dict[str, Worker]] = {}
        """Workers by model and id."""
        self._taken: dict[str, set[str]] = {}
        self._held_ms: dict[tuple[str, str], int] = {}
        """Hive and model: no spawn before."""
        self._service_ms: dict[str, float] = {}
        self._unheard: dict[str, frozenset[str]] = {}
        """Hives that were lost: the models that they offered."""
        self._arrivals = 0

    # --- facts of hives ---------------------------------------------------------------------------------------------

    def hear(self, hive: Hive, workers: list[Working]) -> set[str]:
        """A hive's report, whole. Requests whose worker is gone are named; they are the caller's to end or to retry.

        A worker that another hive has, as long as that one is heard, is not taken from it.
        """
        self.hives[hive.name] = hive
        self._unheard.pop(hive.name, None)
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
            self._unheard[name] = frozenset(hive.offers)
        self.spawning = {key: at for key, at in self.spawning.items() if key[0] != name}
        self._held_ms = {key: at for key, at in self._held_ms.items() if key[0] != name}
        gone = sorted(worker_id for worker_id, worker in self.workers.items() if worker.hive == name)
        return {request for worker_id in gone for request in self.lose_worker(worker_id)}

    def forget_hive(self, name: str) -> None:
        """A hive that was lost will not be heard again."""
        self._unheard.pop(name, None)

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
        """The hive refused a spawn, or did not answer."""
        self.spawning.pop((hive, model), None)
        self._held_ms[hive, model] = now_ms + max(retry_ms, self.policy.spawn_again_ms)
        if failed.code not in ROOM_CODES:
            self._tell_waiting(hive, model, failed)

    def stayed(self, worker_id: str) -> None:
        """The hive would not end it."""
        if (worker := self.workers.get(worker_id)) is not None:
            worker.is_leaving = False

    def stale(self, now_ms: int) -> list[str]:
        """Hives that have not been heard for too long."""
        return sorted(name for name, hive in self.hives.items() if now_ms - hive.heard_ms > self.policy.stale_ms)

    # --- facts of requests ------------------------------------------------------------------------------------------

    def arrive(self, request: str, model: str, now_ms: int, deadline_ms: int = 0) -> Refuse | None:
        """A request comes; refused at once where it could only wait in vain. `deadline_ms`: of the same clock."""
        assert request not in self.asked
        refused = self._refused(request, model, now_ms)
        if refused is None:
            self._arrivals += 1
            deadline = deadline_ms or now_ms + self.policy.request_deadline_ms
            self.asked[request] = asked = Asked(request, model, now_ms, deadline, self._arrivals)
            self._queues.setdefault(model, []).append(asked)
        return refused

    def end(self, request: str, now_ms: int, *, served: bool) -> None:
        """A request has ended, wherever it was. `served`: to its end, so that it says how long one takes."""
        asked = self.asked.pop(request, None)
        if asked is None:
            return
        if not asked.worker:
            self._leave_queue(asked)
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
        self._requeue(asked, now_ms)
        self._wary.add(asked.model)
        return True

    def bounced(self, request: str, now_ms: int) -> None:
        """Its worker has no slot for it, whatever we thought: it waits again, in its old place. This was no try."""
        asked = self.asked[request]
        asked.tries -= 1
        if (worker := self.workers.get(asked.worker)) is not None:
            worker.full_until_ms = now_ms + self.policy.full_ms
        self._requeue(asked, now_ms)

    # --- questions --------------------------------------------------------------------------------------------------

    def waiting(self, model: str = "") -> list[Asked]:
        """Who waits, the first first."""
        if model:
            return list(self._queues.get(model, ()))
        return sorted((a for queue in self._queues.values() for a in queue), key=lambda asked: asked.order)

    def queued(self) -> dict[str, int]:
        """How many wait, by model."""
        return {model: len(queue) for model, queue in self._queues.items()}

    def is_coming(self, model: str) -> bool:
        """A worker of the model is on its way somewhere."""
        return any(name == model for _, name in self.spawning) or any(
            w.told.state in COMING for w in self._workers(model)
        )

    def phase(self, model: str) -> Phase:
        """What who waits for the model waits for."""
        states = {worker.told.state for worker in self._workers(model)}
        if "loading" in states and not states & SERVING:
            return "loading"
        return "spawning" if self.is_coming(model) and not states & SERVING else "queued"

    def is_loaded(self, model: str) -> bool:
        """Whether a worker of the model serves."""
        return any(True for _ in self._serving(model))

    def retry_after_s(self, model: str) -> int:
        """When a slot of the model should be free for one more, from how many wait and how long one takes."""
        slots = sum(worker.told.slots for worker in self._serving(model))
        ahead = len(self._queues.get(model, ())) + 1
        mean_ms = self._service_ms.get(model, float(self.policy.service_ms_assumed))
        return max(1, min(self.policy.retry_after_s_max, math.ceil(ahead * mean_ms / max(1, slots) / 1_000)))

    def place(self, model: str, now_ms: int) -> Spawn | Refuse:
        """Where one more worker of the model fits; taken as ordered. For somebody who asks for just that."""
        offering = self._offering(model)
        able = [hive for hive in offering if self._may_spawn(hive, model, now_ms)]
        if fitting := [hive for hive in able if self._fits(hive, hive.offers[model])]:
            order = Spawn(hive=max(fitting, key=_roomiest(model)).name, model=model)
            self._take(order, now_ms)
            return order
        if not offering:
            return self._unknown("", model)
        if able and (refused := self._too_large("", model, able, "now")):
            return refused
        told = "every hive that offers the model has as many workers as it may, or is not to try again yet"
        return Refuse(request="", code="WORKERS_EXHAUSTED", message=told, retry_after_s=1)

    # --- decisions --------------------------------------------------------------------------------------------------

    def owed(self, now_ms: int) -> list[Order]:
        """What is to be done now; it is taken as done."""
        orders: list[Order] = []
        while self._queues:
            impatient = self._impatient(now_ms)
            for model in self._models_in_turn():
                orders += self._given(model, impatient, now_ms)
            made_ready = [order for model in self._models_in_turn() for order in self._made_ready(model, now_ms)]
            orders += made_ready
            if not made_ready:
                break  # else: who got what it needed may have kept a worker from others
        return orders

    def _models_in_turn(self) -> list[str]:
        return sorted(self._queues, key=lambda model: self._queues[model][0].order)

    def _given(self, model: str, impatient: list[Asked], now_ms: int) -> list[Order]:
        """Free slots to who waits: an idle worker first, then the least loaded."""
        free = [w for w in self._serving(model) if w.free(now_ms) and not self._gives_way(w, impatient, now_ms)]
        orders: list[Order] = []
        for asked in self.waiting(model) if free else ():
            able = [worker for worker in free if worker.told.worker_id not in asked.shunned]
            if not able:
                continue
            worker = min(able, key=lambda w: (len(w.taken) / w.told.slots, w.told.worker_id))
            orders.append(Assign(request=asked.id, worker=worker.told.worker_id, url=worker.told.url))
            self._take(orders[-1], now_ms)
            free = [worker for worker in free if worker.free(now_ms)]
        return orders

    def _made_ready(self, model: str, now_ms: int) -> list[Order]:
        """What the first who waits needs; and who waits in vain is told. Only who has seen failures differs from it."""
        orders: list[Order] = []
        while (queue := self._queues.get(model)) and self._settled(queue[0], orders, now_ms):
            pass
        for asked in self.waiting(model)[1:] if model in self._wary else ():
            if asked.shunned or asked.failed_on:
                self._settled(asked, orders, now_ms)
        return orders

    def _settled(self, asked: Asked, orders: list[Order], now_ms: int) -> bool:
        """Order what it needs. True: it waits no more."""
        if (order := self._needed(asked, now_ms)) is not None:
            self._take(order, now_ms)
            orders.append(order)
        return isinstance(order, Refuse)

    def _take(self, order: Order, now_ms: int) -> None:
        match order:
            case Assign(request=request, worker=worker):
                asked = self.asked[request]
                self._leave_queue(asked)
                asked.worker, asked.given_ms, asked.tries = worker, now_ms, asked.tries + 1
                self.workers[worker].taken.add(request)
            case Spawn(hive=hive, model=model):
                self.spawning[hive, model] = now_ms
            case Evict(worker=worker):
                known = self.workers[worker]
                known.is_leaving, known.told = True, _draining(known.told)
            case Refuse(request=request):
                self.end(request, now_ms, served=False)

    def _needed(self, asked: Asked, now_ms: int) -> Order | None:
        if self.is_coming(asked.model):
            return None
        offering = self._offering(asked.model)
        able = [h for h in offering if h.name not in asked.failed_on and self._may_spawn(h, asked.model, now_ms)]
        if fitting := [hive for hive in able if self._fits(hive, hive.offers[asked.model])]:
            return Spawn(hive=max(fitting, key=_roomiest(asked.model)).name, model=asked.model)
        for hive in able:
            if victim := self._victim(hive, asked, now_ms):
                return Evict(worker=victim.told.worker_id, hive=hive.name)
        return self._in_vain(asked, offering, able, now_ms)

    # --- room -------------------------------------------------------------------------------------------------------

    def _may_spawn(self, hive: Hive, model: str, now_ms: int) -> bool:
        if self._hold_ms(hive, model, now_ms) or (hive.name, model) in self.spawning:
            return False
        return sum(w.hive == hive.name for w in self._workers(model)) < hive.offers[model].workers_max

    def _hold_ms(self, hive: Hive, model: str, now_ms: int) -> int:
        """How long no worker of the model is to be spawned there."""
        backoff = hive.offers[model].retry_ms - (now_ms - hive.heard_ms)
        return max(0, backoff, self._held_ms.get((hive.name, model), 0) - now_ms)

    def _fits(self, hive: Hive, offer: Offer, freed: int = 0, ended: int = 0) -> bool:
        """`freed`: bytes of the offer's device, and `ended`: workers that would be gone."""
        expected = [*self._ordered(hive)]
        device = hive.devices.get(offer.device)
        promised = sum(each.memory_bytes for each in expected if each.device == offer.device)
        has_place = hive.workers_free - len(expected) + ended > 0
        return has_place and (device is None or offer.memory_bytes + promised <= device.memory_free + freed)

    def _ordered(self, hive: Hive) -> Iterator[Offer]:
        """What was ordered there and is in no report yet, so that the memory it takes still counts as free."""
        for name, model in self.spawning:
            if name == hive.name and model in hive.offers:
                yield hive.offers[model]
        for worker in self.workers.values():
            if worker.hive == hive.name and not worker.is_listed and worker.told.model in hive.offers:
                yield hive.offers[worker.told.model]

    def _victim(self, hive: Hive, asked: Asked, now_ms: int) -> Worker | None:
        """The idle worker of another model that was used least recently, if its end makes room, or helps to."""
        here = [worker for worker in self.workers.values() if worker.hive == hive.name]
        if any(worker.told.state == "draining" for worker in here):
            return None  # room is being made already
        offer, is_impatient = hive.offers[asked.model], now_ms - asked.arrived_ms > self.policy.patience_ms
        idle = [
            w
            for w in here
            if w.told.state == "idle" and not w.taken and w.told.model != asked.model
            if w.told.model not in self._queues or (is_impatient and self._is_before(asked, w.told.model))
        ]
        enough = [w for w in idle if self._fits(hive, offer, _freed(w, offer), 1)]
        if not enough and self._fits(hive, offer, sum(_freed(w, offer) for w in idle), len(idle)):
            enough = [w for w in idle if _freed(w, offer)]
        return min(enough, key=lambda w: (w.ended_ms, w.told.worker_id), default=None)

    def _impatient(self, now_ms: int) -> list[Asked]:
        """The first of each model that has waited too long."""
        heads = (queue[0] for queue in self._queues.values())
        return [asked for asked in heads if now_ms - asked.arrived_ms > self.policy.patience_ms]

    def _gives_way(self, worker: Worker, impatient: list[Asked], now_ms: int) -> bool:
        """Another model has waited too long for the room that this worker holds: it is given nothing new."""
        if not impatient or (hive := self.hives.get(worker.hive)) is None:
            return False
        return any(self._needs_room_of(asked, worker, hive, now_ms) for asked in impatient)

    def _needs_room_of(self, asked: Asked, worker: Worker, hive: Hive, now_ms: int) -> bool:
        offer = hive.offers.get(asked.model)
        if offer is None or hive.is_draining or not self._is_before(asked, worker.told.model):
            return False
        if self.is_loaded(asked.model) or self.is_coming(asked.model):
            return False
        if not self._may_spawn(hive, asked.model, now_ms) or self._fits(hive, offer):
            return False
        return self._fits(hive, offer, _freed(worker, offer), 1)

    def _is_before(self, asked: Asked, model: str) -> bool:
        """Whether it is of another model and came before all who wait for this one."""
        queue = self._queues.get(model)
        return asked.model != model and (not queue or asked.order < queue[0].order)

    # --- refusals ---------------------------------------------------------------------------------------------------

    def _refused(self, request: str, model: str, now_ms: int) -> Refuse | None:
        if self.is_draining:
            return Refuse(request=request, code="DRAINING", message="the queen is draining", retry_after_s=5)
        if not any(model in hive.offers for hive in self.hives.values()) and not self.is_loaded(model):
            return self._unknown(request, model)
        waiting = len(self._queues.get(model, ()))
        if waiting >= self.policy.queue_per_model_max and not self._has_slot(model, waiting, now_ms):
            told = f"{waiting} requests wait for this model already"
            return Refuse(request=request, code="QUEUE_FULL", message=told, retry_after_s=self.retry_after_s(model))
        return None

    def _unknown(self, request: str, model: str) -> Refuse:
        if not self.hives:
            told = "no hive is heard: start one with `penstock hive`"
            return Refuse(request=request, code="NO_HIVE", message=told, retry_after_s=2)
        if any(model in hive.offers for hive in self.hives.values()):
            told = "no hive that takes work offers this model"
            return Refuse(request=request, code="NO_HIVE", message=told, retry_after_s=2)
        if any(model in offered for offered in self._unheard.values()):
            told = "the hive that offers this model is not heard: see `penstock hives`"
            return Refuse(request=request, code="NO_HIVE", message=told, retry_after_s=2)
        told = "no hive offers this model: see `penstock models`"
        return Refuse(request=request, code="MODEL_NOT_FOUND", message=told)

    def _has_slot(self, model: str, waiting: int, now_ms: int) -> bool:
        if waiting >= sum(worker.free(now_ms) for worker in self._serving(model)):
            return False
        impatient = self._impatient(now_ms)
        staying = [w for w in self._serving(model) if not self._gives_way(w, impatient, now_ms)]
        return waiting < sum(worker.free(now_ms) for worker in staying)

    def _in_vain(self, asked: Asked, offering: list[Hive], able: list[Hive], now_ms: int) -> Refuse | None:
        """Refuses who could only wait in vain: nothing serves the model for it, and nothing will soon."""
        if self._may_yet_serve(asked):
            return None
        if able:
            is_new = now_ms - asked.arrived_ms < self.policy.spawn_again_ms
            return self._too_large(asked.id, asked.model, able, "ever" if is_new else "soon")
        if not offering:
            return self._unknown(asked.id, asked.model)
        untried = [hive for hive in offering if hive.name not in asked.failed_on]
        if not untried:
            return self._failed(asked, offering, now_ms)
        holds = [self._hold_ms(hive, asked.model, now_ms) for hive in untried]
        if min(holds) > self.policy.backoff_patience_ms:
            told, wait_s = "the model failed on every hive that offers it", math.ceil(min(holds) / 1_000)
            return Refuse(request=asked.id, code="MODEL_FAILING", message=told, retry_after_s=wait_s)
        is_stuck = all(hold == 0 for hold in holds) and not self._is_leaving(asked.model)
        told = "its worker failed, and there is no other"
        return Refuse(request=asked.id, code="WORKER_FAILED", message=told, retry_after_s=1) if is_stuck else None

    def _may_yet_serve(self, asked: Asked) -> bool:
        """A worker of the model serves others and may serve it next; or one is believed dead, not known to be."""
        serving = self._serving(asked.model)
        return any(w.suspected_ms is not None or w.told.worker_id not in asked.shunned for w in serving)

    def _is_leaving(self, model: str) -> bool:
        return any(worker.told.state == "draining" for worker in self._workers(model))

    def _failed(self, asked: Asked, offering: list[Hive], now_ms: int) -> Refuse:
        last = list(asked.failed_on.values())[-1]
        wait_s = math.ceil(min(self._hold_ms(hive, asked.model, now_ms) for hive in offering) / 1_000)
        return Refuse(request=asked.id, code=last.code, message=last.message, retry_after_s=max(1, wait_s))

    def _too_large(
        self, request: str, model: str, able: list[Hive], when: Literal["now", "soon", "ever"]
    ) -> Refuse | None:
        """It does not fit as it is; or not even when all that we have there has ended; or into no empty machine.

        What others take of the memory may be given back at any time, and what we gave back is told with a delay: so
        only who has waited for a moment is refused for it.
        """
        best = -1, 0, ""
        for hive in able:
            offer = hive.offers[model]
            if (device := hive.devices.get(offer.device)) is None:
                return None
            ours = [w for w in self.workers.values() if w.hive == hive.name and w.told.device == offer.device]
            soon = device.memory_free + sum(worker.told.memory_bytes for worker in ours)
            if offer.memory_bytes <= {"now": device.memory_free, "soon": soon, "ever": device.memory_total}[when]:
                return None
            best = max(best, (device.memory_free if when == "now" else soon, offer.memory_bytes, device.name))
        available, required, name = best
        told = f"the model needs {required} bytes, {name} has {available}"
        return Refuse(
            request=request,
            code="INSUFFICIENT_MEMORY",
            message=told,
            retry_after_s=0 if when == "ever" else 5,
            required_bytes=required,
            available_bytes=available,
            device=name,
        )

    # --- what is kept in step ---------------------------------------------------------------------------------------

    def _workers(self, model: str) -> Iterator[Worker]:
        return iter(self._serves.get(model, {}).values())

    def _serving(self, model: str) -> Iterator[Worker]:
        return (worker for worker in self._workers(model) if worker.told.state in SERVING)

    def _offering(self, model: str) -> list[Hive]:
        return [hive for _, hive in sorted(self.hives.items()) if model in hive.offers and not hive.is_draining]

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
        self._tell_waiting(hive, told.model, Failed(code, told.message or "the worker failed before it could serve"))

    def _tell_waiting(self, hive: str, model: str, failed: Failed) -> None:
        for asked in self._queues.get(model, ()):
            self._wary.add(model)
            asked.failed_on.pop(hive, None)
            asked.failed_on[hive] = failed

    def _leave_queue(self, asked: Asked) -> None:
        queue = self._queues[asked.model]
        del queue[bisect.bisect_left(queue, asked.order, key=_order)]
        if not queue:
            del self._queues[asked.model]
            self._wary.discard(asked.model)

    def _requeue(self, asked: Asked, now_ms: int) -> None:
        self._give_back(asked, now_ms)
        asked.worker = ""
        bisect.insort(self._queues.setdefault(asked.model, []), asked, key=_order)

    def _give_back(self, asked: Asked, now_ms: int) -> None:
        """The slot that it had, once."""
        self._taken.get(asked.worker, set()).discard(asked.id)
        if (worker := self.workers.get(asked.worker)) is not None:
            worker.ended_ms = now_ms
        self._forget_taken(asked.worker)

    def _forget_taken(self, worker_id: str) -> None:
        if worker_id not in self.workers and not self._taken.get(worker_id):
            self._taken.pop(worker_id, None)


def _order(asked: Asked) -> int:
    return asked.order


def _draining(told: Working) -> Working:
    return msgspec.structs.replace(told, state="draining")


def _freed(worker: Worker, offer: Offer) -> int:
    """Bytes that its end frees where the offer needs them."""
    return worker.told.memory_bytes if worker.told.device == offer.device else 0


def _roomiest(model: str) -> Callable[[Hive], tuple[int, int]]:
    def room(hive: Hive) -> tuple[int, int]:
        device = hive.devices.get(hive.offers[model].device)
        return (device.memory_free if device else 0, hive.workers_free)

    return room

"""Which worker makes way for another model.

An idle worker is ended for another model if nobody waits for its own, or if the other has waited for `patience_ms` and
came before; a busy one then gets nothing new. Without the second condition two models that are both impatient would
end each other's workers for ever.
"""

from __future__ import annotations

from penstock.core.fleet.ledger import Ledger
from penstock.core.fleet.parties import Asked, Hive, Offer, Worker
from penstock.core.fleet.room import fits, fitting, may_spawn


def victim(ledger: Ledger, hive: Hive, asked: Asked, now_ms: int) -> Worker | None:
    """The idle worker of another model that was used least recently, if its end makes room, or helps to."""
    here = [worker for worker in ledger.workers.values() if worker.hive == hive.name]
    if any(worker.told.state == "draining" for worker in here):
        return None  # room is being made already
    offer = hive.offers[asked.model]
    idle = [worker for worker in here if _may_be_ended(ledger, worker, asked, now_ms)]
    idle.sort(key=lambda worker: (worker.ended_ms, worker.told.worker_id))
    enough = (worker for worker in idle if fits(ledger, hive, offer, [worker]))
    return next(enough, None) or _first_of_several(ledger, hive, offer, idle)


def _first_of_several(ledger: Ledger, hive: Hive, offer: Offer, idle: list[Worker]) -> Worker | None:
    """Where one is not enough: of the device where the fewest need to go, so that the next to go is of it too."""
    firsts: list[tuple[int, Worker]] = []
    for device in fitting(ledger, hive, offer, idle):
        there = [worker for worker in idle if worker.told.device == device and worker.told.memory_bytes]
        elsewhere = [worker for worker in idle if worker.told.device != device]
        gone = ([*there[:count], *elsewhere] for count in range(len(there)))
        needed = sum(device not in fitting(ledger, hive, offer, each) for each in gone)
        firsts += [(needed, worker) for worker in there[:1]]
    return min(firsts, key=lambda first: first[0], default=(0, None))[1]


def impatient(ledger: Ledger, now_ms: int) -> list[Asked]:
    """The first of each model that has waited too long."""
    return [asked for asked in ledger.queues.firsts() if _is_impatient(ledger, asked, now_ms)]


def gives_way(ledger: Ledger, worker: Worker, pressing: list[Asked], now_ms: int) -> bool:
    """Another model has waited too long for the room that this worker holds: it is given nothing new."""
    if not pressing or (hive := ledger.hives.get(worker.hive)) is None:
        return False
    return any(_needs_room_of(ledger, asked, worker, hive, now_ms) for asked in pressing)


def _may_be_ended(ledger: Ledger, worker: Worker, asked: Asked, now_ms: int) -> bool:
    model = worker.told.model
    if worker.told.state != "idle" or worker.taken or model == asked.model:
        return False
    return model not in ledger.queues or (_is_impatient(ledger, asked, now_ms) and _is_before(ledger, asked, model))


def _needs_room_of(ledger: Ledger, asked: Asked, worker: Worker, hive: Hive, now_ms: int) -> bool:
    offer = hive.offers.get(asked.model)
    if offer is None or hive.is_draining or not _is_before(ledger, asked, worker.told.model):
        return False
    if ledger.is_loaded(asked.model) or ledger.is_coming(asked.model):
        return False
    if not may_spawn(ledger, hive, asked.model, now_ms) or fits(ledger, hive, offer):
        return False
    return fits(ledger, hive, offer, [worker])


def _is_impatient(ledger: Ledger, asked: Asked, now_ms: int) -> bool:
    return now_ms - asked.arrived_ms > ledger.policy.patience_ms


def _is_before(ledger: Ledger, asked: Asked, model: str) -> bool:
    """Whether it is of another model and came before all who wait for this one."""
    first = ledger.queues.first(model)
    return asked.model != model and (first is None or asked.order < first.order)

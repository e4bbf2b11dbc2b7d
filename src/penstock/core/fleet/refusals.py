"""Who is refused, with which code and in which words: where a request comes, and where it could only wait in vain."""

from __future__ import annotations

import math
from typing import Literal

from penstock.core.fleet.ledger import Ledger
from penstock.core.fleet.making_way import gives_way, impatient
from penstock.core.fleet.parties import Asked, Hive, Refuse
from penstock.core.fleet.room import backoff_ms, hold_ms, may_have_more, suited


def at_the_door(ledger: Ledger, request: str, model: str, now_ms: int) -> Refuse | None:
    """A request that comes and may not even wait."""
    if ledger.is_draining:
        return Refuse(request=request, code="DRAINING", message="the queen is draining", retry_after_s=5)
    if not _is_offered(ledger, model) and not ledger.is_loaded(model):
        return unknown(ledger, request, model)
    waiting = ledger.queues.length(model)
    if waiting >= ledger.policy.queue_per_model_max and not _has_slot(ledger, model, waiting, now_ms):
        told = f"{waiting} requests wait for this model already"
        return Refuse(request=request, code="QUEUE_FULL", message=told, retry_after_s=ledger.retry_after_s(model))
    return None


def in_vain(ledger: Ledger, asked: Asked, offering: list[Hive], able: list[Hive], now_ms: int) -> Refuse | None:
    """Who could only wait in vain: nothing serves the model for it, and nothing will soon."""
    if _may_yet_serve(ledger, asked):
        return None
    if able:
        is_new = now_ms - asked.arrived_ms < ledger.policy.spawn_again_ms
        left = [hive for hive in able if hive.ports != "foreign"]
        return no_port(ledger, asked.id, able) or too_large(
            ledger, asked.id, asked.model, left, "ever" if is_new else "soon"
        )
    if not offering:
        return unknown(ledger, asked.id, asked.model)
    untried = [hive for hive in offering if hive.name not in asked.failed_on]
    if not untried:
        return _failed_everywhere(ledger, asked, offering, now_ms)
    return _held_everywhere(ledger, asked, untried, now_ms)


def unknown(ledger: Ledger, request: str, model: str) -> Refuse:
    """No hive that is heard loads the model."""
    if not ledger.hives:
        told = "no hive is heard: start one with `penstock hive`"
    elif _is_offered(ledger, model):
        told = "no hive that takes work offers this model"
    elif any(model in offered for offered in ledger.unheard.values()):
        told = "the hive that offers this model is not heard: see `penstock hives`"
    else:
        told = "no hive offers this model: see `penstock models`"
        return Refuse(request=request, code="MODEL_NOT_FOUND", message=told)
    return Refuse(request=request, code="NO_HIVE", message=told, retry_after_s=2)


def too_large(
    ledger: Ledger, request: str, model: str, able: list[Hive], when: Literal["now", "soon", "ever"]
) -> Refuse | None:
    """It does not fit as it is; or not even when all that we have there has ended; or into no empty machine.

    What others take of the memory may be given back at any time, and what we gave back is told with a delay: so only
    who has waited for a moment is refused for it.
    """
    best = -1, 0, ""
    for hive in able:
        offer = hive.offers[model]
        if not (devices := suited(hive, offer)):
            return None
        for device in devices:
            ours = [w for w in ledger.workers.values() if w.hive == hive.name and w.told.device == device.name]
            soon = device.memory_free + sum(worker.told.memory_bytes for worker in ours)
            if offer.memory_bytes <= {"now": device.memory_free, "soon": soon, "ever": device.memory_total}[when]:
                return None
            best = max(best, (device.memory_free if when == "now" else soon, offer.memory_bytes, device.name))
    available, required, name = best
    return Refuse(
        request=request,
        code="INSUFFICIENT_MEMORY",
        message=f"the model needs {required} bytes, {name} has {available}",
        retry_after_s=0 if when == "ever" else 5,
        details={"device": name, "required_bytes": required, "available_bytes": available},
    )


def no_port(ledger: Ledger, request: str, able: list[Hive]) -> Refuse | None:
    """Other programs have every port of every hive that might load it; each looks again at its heartbeat."""
    if any(hive.ports != "foreign" for hive in able):
        return None
    names = ", ".join(hive.name for hive in able)
    told = f"other programs have every port that workers may have here: {names}"
    wait_s = math.ceil(ledger.policy.heartbeat_ms / 1_000)
    return Refuse(request=request, code="PORTS_EXHAUSTED", message=told, retry_after_s=wait_s)


def no_place(ledger: Ledger, model: str, offering: list[Hive], now_ms: int) -> Refuse:
    """Who asks for one more worker is told why there is none to be had: no place, or not yet."""
    more = [hive for hive in offering if may_have_more(ledger, hive, model)]
    if any((hive.name, model) in ledger.spawning for hive in more):
        told = "a worker of the model is being spawned: ask for another one when it is there"
        return Refuse(request="", code="NOT_READY", message=told, retry_after_s=1)
    if more and all(hold_ms(ledger, hive, model, now_ms) for hive in more):
        return _not_yet(ledger, model, more, now_ms)
    if any(hive.ports == "own" for hive in more):
        told = "every port that workers may have is taken, some by workers"
        return Refuse(request="", code="PORTS_EXHAUSTED", message=told, retry_after_s=1)
    told = "every hive that offers the model has as many workers as it may"
    return Refuse(request="", code="WORKERS_EXHAUSTED", message=told, retry_after_s=1)


def _not_yet(ledger: Ledger, model: str, held: list[Hive], now_ms: int) -> Refuse:
    """Of the hive that may try first: its own backoff, or what it answered last."""
    soonest = min(held, key=lambda hive: hold_ms(ledger, hive, model, now_ms))
    wait_s = math.ceil(hold_ms(ledger, soonest, model, now_ms) / 1_000)
    if backoff_ms(soonest, model, now_ms):
        return _failing("", wait_s)
    last = ledger.held[soonest.name, model].failed
    return Refuse(request="", code=last.code, message=last.message, retry_after_s=wait_s, details=dict(last.details))


def _failing(request: str, wait_s: int) -> Refuse:
    told = "the model failed on every hive that offers it"
    return Refuse(request=request, code="MODEL_FAILING", message=told, retry_after_s=wait_s)


def _failed_everywhere(ledger: Ledger, asked: Asked, offering: list[Hive], now_ms: int) -> Refuse:
    last = list(asked.failed_on.values())[-1]
    wait_s = math.ceil(min(hold_ms(ledger, hive, asked.model, now_ms) for hive in offering) / 1_000)
    return Refuse(
        request=asked.id,
        code=last.code,
        message=last.message,
        retry_after_s=max(1, wait_s),
        details=dict(last.details),
    )


def _held_everywhere(ledger: Ledger, asked: Asked, untried: list[Hive], now_ms: int) -> Refuse | None:
    holds = [hold_ms(ledger, hive, asked.model, now_ms) for hive in untried]
    if min(holds) > ledger.policy.backoff_patience_ms:
        return _failing(asked.id, math.ceil(min(holds) / 1_000))
    if any(holds) or _is_leaving(ledger, asked.model):
        return None
    told = "its worker failed, and there is no other"
    return Refuse(request=asked.id, code="WORKER_FAILED", message=told, retry_after_s=1)


def _is_offered(ledger: Ledger, model: str) -> bool:
    return any(model in hive.offers for hive in ledger.hives.values())


def _is_leaving(ledger: Ledger, model: str) -> bool:
    return any(worker.told.state == "draining" for worker in ledger.workers_of(model))


def _may_yet_serve(ledger: Ledger, asked: Asked) -> bool:
    """A worker of the model serves others and may serve it next; or one is believed dead, not known to be."""
    serving = ledger.serving(asked.model)
    return any(w.suspected_ms is not None or w.told.worker_id not in asked.shunned for w in serving)


def _has_slot(ledger: Ledger, model: str, waiting: int, now_ms: int) -> bool:
    if waiting >= sum(worker.free(now_ms) for worker in ledger.serving(model)):
        return False
    pressing = impatient(ledger, now_ms)
    staying = [w for w in ledger.serving(model) if not gives_way(ledger, w, pressing, now_ms)]
    return waiting < sum(worker.free(now_ms) for worker in staying)

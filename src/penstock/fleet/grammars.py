"""What a type cannot say of a field: which names and addresses are sound, in words for who wrote them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from penstock.core.fleet.names import is_hive, is_model, is_request, is_worker
from penstock.core.fleet.parties import Offer
from penstock.fleet.choices import is_address
from penstock.fleet.schema import (
    ChatRequest,
    FieldProblem,
    HiveReport,
    InferenceRequest,
    ReadyCallback,
    SpawnRequest,
    WorkerInfo,
)

Rule = tuple[Callable[[Any], bool], str]
BACKENDS = ("scripted", "llama", "upstream")


def _may_be_empty(rule: Rule) -> Rule:
    is_sound, message = rule
    return lambda value: not value or is_sound(value), message


def _are_offers(offers: tuple[Offer, ...]) -> bool:
    return all(is_model(offer.name) for offer in offers)


def _are_workers(workers: tuple[WorkerInfo, ...]) -> bool:
    ids = {worker.worker_id for worker in workers}
    return len(ids) == len(workers) and all(is_worker(w.worker_id) and is_address(w.url) for w in workers)


MODEL: Final[Rule] = (is_model, "is no name of a model: letters, digits and `._:/@+-`, at most 128")
REQUEST: Final[Rule] = (is_request, "is no id: letters, digits, `_` and `-`, at most 128")
WORKER: Final[Rule] = (is_worker, "is no id of a worker: letters, digits, `_` and `-`, at most 64")
HIVE: Final[Rule] = (is_hive, "is no name of a hive: a-z, 0-9 and `-` inside, at most 63")
URL: Final[Rule] = (is_address, "is no address: write it as http://HOST:PORT")
BACKEND: Final[Rule] = (lambda name: name in BACKENDS, f"is none of {', '.join(BACKENDS)}")
OFFERS: Final[Rule] = (_are_offers, "has a name that is none of a model")
WORKERS: Final[Rule] = (_are_workers, "has an id or an address that is not sound, or an id twice")

RULES: Final[dict[type[msgspec.Struct], dict[str, Rule]]] = {
    InferenceRequest: {"model": _may_be_empty(MODEL), "request_id": _may_be_empty(REQUEST)},
    ChatRequest: {"model": MODEL},
    SpawnRequest: {"model": _may_be_empty(MODEL)},
    ReadyCallback: {"worker_id": WORKER, "url": URL, "model_ref": MODEL, "backend": BACKEND},
    HiveReport: {"name": HIVE, "url": URL, "offers": OFFERS, "workers": WORKERS},
}
NONE: Mapping[str, Rule] = {}


def unlike(body: msgspec.Struct) -> list[FieldProblem]:
    """All that is not sound in what was read."""
    kind = type(body)
    return [found for name in RULES.get(kind, NONE) for found in unlike_field(kind, name, getattr(body, name))]


def unlike_field(kind: type[msgspec.Struct], name: str, value: Any) -> list[FieldProblem]:
    """What is not sound in one field, which has the right type."""
    rule = RULES.get(kind, NONE).get(name)
    if rule is None or rule[0](value):
        return []
    return [FieldProblem(field=name, message=rule[1])]

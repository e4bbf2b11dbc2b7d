"""Where one more worker of a model fits: memory, places, ports, and hives that are not to try again yet."""

from __future__ import annotations

from collections.abc import Iterator

from penstock.core.fleet.ledger import Ledger
from penstock.core.fleet.parties import Hive, Offer, Worker


def may_spawn(ledger: Ledger, hive: Hive, model: str, now_ms: int) -> bool:
    """Whether the hive may be asked for one, room or not."""
    if hold_ms(ledger, hive, model, now_ms) or (hive.name, model) in ledger.spawning:
        return False
    return may_have_more(ledger, hive, model)


def may_have_more(ledger: Ledger, hive: Hive, model: str) -> bool:
    """Whether it has fewer of the model than it may."""
    return sum(w.hive == hive.name for w in ledger.workers_of(model)) < hive.offers[model].workers_max


def hold_ms(ledger: Ledger, hive: Hive, model: str, now_ms: int) -> int:
    """How long no worker of the model is to be spawned there."""
    held = ledger.held.get((hive.name, model))
    return max(0, backoff_ms(hive, model, now_ms), held.until_ms - now_ms if held else 0)


def backoff_ms(hive: Hive, model: str, now_ms: int) -> int:
    """How long the hive itself refuses it, as it failed there."""
    return max(0, hive.offers[model].retry_ms - (now_ms - hive.heard_ms))


def roomiest(ledger: Ledger, hives: list[Hive], model: str) -> Hive | None:
    """Of those where it fits, the one with most memory free, then with most places."""

    def room(hive: Hive) -> tuple[int, int]:
        device = hive.devices.get(hive.offers[model].device)
        return (device.memory_free if device else 0, hive.workers_free)

    return max((hive for hive in hives if fits(ledger, hive, hive.offers[model])), key=room, default=None)


def fits(ledger: Ledger, hive: Hive, offer: Offer, freed: int = 0, ended: int = 0) -> bool:
    """`freed`: bytes of the offer's device, and `ended`: workers that would be gone."""
    expected = [*_ordered(ledger, hive)]
    device = hive.devices.get(offer.device)
    promised = sum(each.memory_bytes for each in expected if each.device == offer.device)
    return _has_place(hive, len(expected), ended) and (
        device is None or offer.memory_bytes + promised <= device.memory_free + freed
    )


def _has_place(hive: Hive, expected: int, ended: int) -> bool:
    """A worker that ends gives its port back, and somebody else's may be waited for in vain."""
    if hive.ports == "foreign":
        return False
    places = hive.workers_free - expected
    return (places if hive.ports == "free" else min(places, 0)) + ended > 0


def freed_by(worker: Worker, offer: Offer) -> int:
    """Bytes that its end frees where the offer needs them."""
    return worker.told.memory_bytes if worker.told.device == offer.device else 0


def _ordered(ledger: Ledger, hive: Hive) -> Iterator[Offer]:
    """What was ordered there and is in no report yet, so that the memory it takes still counts as free."""
    for name, model in ledger.spawning:
        if name == hive.name and model in hive.offers:
            yield hive.offers[model]
    for worker in ledger.workers.values():
        if worker.hive == hive.name and not worker.is_listed and worker.told.model in hive.offers:
            yield hive.offers[worker.told.model]

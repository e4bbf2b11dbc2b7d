"""Where one more worker of a model fits: memory, places, ports, and hives that are not to try again yet."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from penstock.core.fleet.ledger import Ledger
from penstock.core.fleet.names import suits
from penstock.core.fleet.parties import Device, Hive, Offer, Worker

Ordered = tuple[str, int]
"""The device that a worker to come is loaded on, as far as it is known, and the bytes that it will take."""


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
        free = [device.memory_free for device in suited(hive, hive.offers[model])]
        return (max(free, default=0), hive.workers_free)

    return max((hive for hive in hives if fits(ledger, hive, hive.offers[model])), key=room, default=None)


def suited(hive: Hive, offer: Offer) -> list[Device]:
    """Those that the model may be loaded on; none where the hive has no such device, as it will say itself."""
    return [device for device in hive.devices.values() if suits(device.name, offer.device)]


def fits(ledger: Ledger, hive: Hive, offer: Offer, without: Iterable[Worker] = ()) -> bool:
    """`without`: workers that would be gone."""
    return bool(fitting(ledger, hive, offer, [*without]))


def fitting(ledger: Ledger, hive: Hive, offer: Offer, without: list[Worker]) -> list[str]:
    """The devices that it fits on."""
    expected = [*_ordered(ledger, hive)]
    if not _has_place(hive, len(expected), len(without)):
        return []
    if not (devices := suited(hive, offer)):
        return [offer.device]
    free = _free(hive, expected)
    for worker in without:
        free[worker.told.device] = free.get(worker.told.device, 0) + worker.told.memory_bytes
    return [device.name for device in devices if offer.memory_bytes <= free[device.name]]


def _has_place(hive: Hive, expected: int, ended: int) -> bool:
    """A worker that ends gives its port back, and somebody else's may be waited for in vain."""
    if hive.ports == "foreign":
        return False
    places = hive.workers_free - expected
    return (places if hive.ports == "free" else min(places, 0)) + ended > 0


def _free(hive: Hive, expected: list[Ordered]) -> dict[str, int]:
    """Bytes of each device, less what is ordered: where there is a choice, the hive takes the one with most left."""
    free = {device.name: device.memory_free for device in hive.devices.values()}
    for wanted, size in expected:
        if able := [name for name in free if suits(name, wanted)]:
            free[max(able, key=free.__getitem__)] -= size
    return free


def _ordered(ledger: Ledger, hive: Hive) -> Iterator[Ordered]:
    """What was ordered there and is in no report yet, so that the memory it takes still counts as free."""
    for worker in ledger.workers.values():
        if worker.hive == hive.name and not worker.is_listed:
            yield worker.told.device, worker.told.memory_bytes
    for name, model in ledger.spawning:
        if name == hive.name and model in hive.offers:
            yield hive.offers[model].device, hive.offers[model].memory_bytes

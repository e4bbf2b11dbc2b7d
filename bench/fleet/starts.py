"""From asking a hive for a worker to a worker that the queen sends requests to."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from bench.fleet.figure import Figure
from bench.fleet.world import Fleet, called, fleet, paced, percentile

MODEL = "bench"
GOALS = {"cold": 500.0, "template": 100.0}
TIMES = {"cold": 20, "template": 40}
AT_ONCE = 32
ROUNDS = 3


def measure() -> Iterator[Figure]:
    """Cold and from the template; then many at once."""
    alone: dict[str, float] = {}
    for way, goal in GOALS.items():
        with fleet({MODEL: paced(4, 0, 0)}, has_template=way == "template") as here:
            _ended(here, here.spawn(MODEL))
            took = [_spawned_ms(here) for _ in range(TIMES[way])]
            alone[way] = statistics.median(took)
            note = f"p50 {alone[way]:.0f} ms, {len(took)} spawns, one after the other"
            yield Figure(f"spawn to routable, {way}, p95", percentile(took, 95), "ms", goal, note=note)
            if way == "template":
                yield from _many(here, alone)


def _many(here: Fleet, alone: dict[str, float]) -> Iterator[Figure]:
    """Beside one that is spawned alone in the same way, and beside a cold one."""
    took = statistics.median(_at_once_ms(here) for _ in range(ROUNDS))
    note = f"median of {ROUNDS} rounds: {took:.0f} ms for all, {took / AT_ONCE:.1f} ms each; one alone "
    for way, goal in (("template", 4.0), ("cold", None)):
        name = f"{AT_ONCE} spawned at once, to one alone, {way}"
        yield Figure(name, took / alone[way], "times", goal, note=f"{note}{alone[way]:.0f} ms")


def _spawned_ms(here: Fleet) -> float:
    begun = time.perf_counter()
    made = here.spawn(MODEL)
    took = (time.perf_counter() - begun) * 1_000
    _ended(here, made)
    return took


def _at_once_ms(here: Fleet) -> float:
    body = {"model": MODEL, "wait": True}
    with ThreadPoolExecutor(AT_ONCE) as pool:
        begun = time.perf_counter()
        made = list(pool.map(lambda _: called(here.hive.url, "POST", "/v1/workers/spawn", body), range(AT_ONCE)))
        took = (time.perf_counter() - begun) * 1_000
    for each in made:
        _ended(here, each)
    return took


def _ended(here: Fleet, made: dict[str, str]) -> None:
    called(here.hive.url, "DELETE", f"/v1/workers/{made['worker_id']}")

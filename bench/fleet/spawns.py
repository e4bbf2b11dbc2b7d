"""Time from asking a hive for a worker to a worker that serves: `python -m bench.fleet.spawns`.

One after the other, cold and by a fork of the template, and so many at once. The hive is a real one, with an idle
scripted model; it is asked over HTTP, with `wait`.
"""

from __future__ import annotations

import argparse
import http.client
import json
import statistics
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.fleet.hives import ECHO, HiveProcess, hive, port_of


def main() -> None:
    """One JSON line of milliseconds."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--times", type=int, default=20)
    asked.add_argument("--at-once", type=int, default=32)
    told = asked.parse_args()
    models = [{**ECHO, "workers_max": max(told.times, told.at_once)}]
    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as scratch:
        for way in ("fork", "cold"):
            with hive(Path(scratch) / way, models, {"workers_max": 1_000}, has_template=way == "fork") as here:
                here.spawn()
                took = sorted(_spawned_and_ended(here) for _ in range(told.times))
                found[f"{way}_p50_ms"] = statistics.median(took)
                found[f"{way}_p95_ms"] = took[min(len(took) - 1, round(len(took) * 0.95) - 1)]
                found[f"{way}_{told.at_once}_at_once_ms"] = _at_once(here, told.at_once - 1)
    print(json.dumps({name: round(value, 1) for name, value in found.items()}))


def _spawned_and_ended(here: HiveProcess) -> float:
    begun = time.perf_counter()
    spawned = _spawned(here)
    took = time.perf_counter() - begun
    here.call("DELETE", f"/v1/workers/{spawned['worker_id']}")
    return took * 1_000


def _spawned(here: HiveProcess) -> dict[str, str]:
    """Asked for with as little of a client as there is: it runs on the same processors."""
    asking = http.client.HTTPConnection("127.0.0.1", port_of(here.url))
    try:
        asking.request("POST", "/v1/workers/spawn", b'{"wait": true}')
        answer = asking.getresponse()
        told: dict[str, str] = json.loads(answer.read())
        assert answer.status == 200, told
        return told
    finally:
        asking.close()


def _at_once(here: HiveProcess, count: int) -> float:
    with ThreadPoolExecutor(count) as pool:
        begun = time.perf_counter()
        list(pool.map(lambda _: _spawned(here), range(count)))
        return (time.perf_counter() - begun) * 1_000


if __name__ == "__main__":
    main()

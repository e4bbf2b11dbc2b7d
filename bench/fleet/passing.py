"""What it costs that a stream goes through the queen: time to the first token, and tokens a second.

The streams are paced as those of a model are, and the workers are several, so that no worker is what is measured: all
of it, the clients too, runs on the processors of one machine. How much of a processor each part took is told beside.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from contextlib import ExitStack

from bench.fleet import litellm
from bench.fleet.figure import Figure
from bench.fleet.world import Fleet, fleet, loaded, paced, percentile, processor_s

CLIENTS = {1: 300, 32: 10}
"""So many at once, and so many requests of each to each: some three hundred, so that three are above the 99th."""
GOAL_MS = {50: 3.0, 99: 15.0}
STREAMS = 64
Urls = dict[str, list[str]]
BRIEF = "brief"
"""2 tokens after 20 ms: for one client alone, who has to wait for each."""
SLOW = "slow"
"""32 tokens after 100 ms, one every 20 ms: as a model of some size says them."""
SLOW_S = 0.75
"""For all of them: the clients begin spread over it."""
QUICK = "quick"
"""100 tokens, one every 10 ms: 6,400 a second for 64 streams, as long as nobody holds them up."""
COUNTS = {BRIEF: 1, SLOW: 2, QUICK: 4}
"""Workers of each."""
ROUNDS = 3


def measure() -> Iterator[Figure]:
    """Ours beside no one at all, then beside LiteLLM's proxy."""
    scripts = {BRIEF: paced(2, 20, 0), SLOW: paced(32, 100, 20), QUICK: paced(100, 0, 10)}
    with fleet(scripts, slots=STREAMS) as here, ExitStack() as stack:
        workers = {name: [here.spawn(name) for _ in range(count)] for name, count in COUNTS.items()}
        urls = {name: [each["url"] for each in made] for name, made in workers.items()}
        other = stack.enter_context(litellm.proxy(here.folder, urls))
        yield from _first_token(here, urls)
        yield from _tokens_per_s(here, urls[QUICK], other)
        if other:
            yield from _other_first_token(other, urls)


def _first_token(here: Fleet, workers: Urls) -> Iterator[Figure]:
    for clients, requests in CLIENTS.items():
        yield from _added("queen", here.queen, workers, clients, requests, GOAL_MS)


def _other_first_token(other: str, workers: Urls) -> Iterator[Figure]:
    for clients, requests in CLIENTS.items():
        yield from _added("LiteLLM", other, workers, clients, requests // 4, {})


def _added(who: str, url: str, workers: Urls, clients: int, requests: int, goals: dict[int, float]) -> Iterator[Figure]:
    model = BRIEF if clients == 1 else SLOW
    loaded({"through": [url]}, model, clients, 1, SLOW_S)
    told = loaded({"direct": workers[model], "through": [url]}, model, clients, requests, SLOW_S)
    assert not told["direct"]["failed"] and not told["through"]["failed"], told
    for percent in GOAL_MS:
        alone, through = (percentile(told[name]["first_ms"], percent) for name in ("direct", "through"))
        name = f"added to the first token by {who}, {clients} clients, p{percent}"
        note = f"{alone:.1f} ms direct, {through:.1f} ms through, in turns, {clients * requests} of each"
        yield Figure(name, through - alone, "ms", goals.get(percent), note=note)


def _tokens_per_s(here: Fleet, direct: list[str], other: str) -> Iterator[Figure]:
    ways = {"direct": direct, "queen": [here.queen], **({"LiteLLM": [other]} if other else {})}
    speeds: dict[str, list[float]] = {name: [] for name in ways}
    spent = dict.fromkeys(ways, 0.0)
    watched = {"queen": here.queen_pid}
    for _ in range(ROUNDS):
        for name, urls in ways.items():
            before = {who: processor_s(pid) for who, pid in watched.items()}
            told = loaded({name: urls}, QUICK, STREAMS, 1)[name]
            assert not told["failed"], (name, told["failed"])
            speeds[name].append(told["tokens"] / told["busy_s"])
            if name in watched:
                spent[name] += (processor_s(watched[name]) - before[name]) / told["tokens"]
    medians = {name: statistics.median(told) for name, told in speeds.items()}
    note = f"{medians['queen']:,.0f} of {medians['direct']:,.0f} tokens/s, {COUNTS[QUICK]} workers, median of {ROUNDS}"
    yield Figure(
        f"tokens/s at {STREAMS} streams, queen to direct",
        100 * medians["queen"] / medians["direct"],
        "%",
        95,
        is_floor=True,
        note=f"{note}; {spent['queen'] / ROUNDS * 1e6:.0f} us of a processor a token",
    )
    if other:
        note = f"LiteLLM {medians['LiteLLM']:,.0f} tokens/s, in the same turns"
        times = medians["queen"] / medians["LiteLLM"]
        yield Figure("tokens/s, queen to LiteLLM", times, "times", 1, is_floor=True, note=note)

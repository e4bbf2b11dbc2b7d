"""S21: every index of the state, had again from the facts, and compared."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from penstock.core.policy import Spend
from penstock.core.scheduling import signature_of, static_key
from penstock.core.state import State
from penstock.core.verdicts import Evidence

ACTIVE = ("working", "verifying", "fixing", "landing")
DEAD = ("failed", "canceled")


def differences(state: State) -> Iterator[str]:
    """What the indexes say, and the facts do not."""
    for name, rebuilt in rebuild(state).items():
        kept = getattr(state, name)
        kept = set(kept) if isinstance(rebuilt, set) else kept
        if kept != rebuilt:
            yield f"{name}: kept {kept}, rebuilt {rebuilt}"
    yield from _wrong_heaps(state)
    yield from _wrong_evidence(state)
    for name, run in state.tickets.items():
        alive = {key: None for key, job in state.jobs.items() if job.ticket == name}
        if run.live.keys() != alive.keys():
            yield f"live of {name}: kept {list(run.live)}, rebuilt {list(alive)}"
        if run.unmet != sum(not _is_done(state, d) for d in run.ticket.depends_on):
            yield f"unmet of {name}: {run.unmet}"
        if run.priority != _inherited(state, name):
            yield f"priority of {name}: {run.priority}"


def rebuild(state: State) -> dict[str, Any]:
    """Each index by name. A set stands for an index whose order is history."""
    runs = state.tickets
    active = {n for n, r in runs.items() if r.state in ACTIVE}
    return {
        "dependents": {
            d: {n: None for n, r in runs.items() if d in r.ticket.depends_on}
            for d in dict.fromkeys(d for r in runs.values() for d in r.ticket.depends_on)
        },
        "unblocked": {n for n, r in runs.items() if r.state == "waiting" and r.unmet == 0},
        "doomed": {
            n
            for n, r in runs.items()
            if r.state == "waiting" and any(d in runs and runs[d].state in DEAD for d in r.ticket.depends_on)
        },
        "active": active,
        "front": sorted(_heads(state).values()),
        "heads": _heads(state),
        "open_count": sum(r.state not in ("done", *DEAD) for r in runs.values()),
        "canceling": {n for n, r in runs.items() if r.cancel},
        "timers": sorted((r.due_ms, n) for n, r in runs.items() if r.state == "backoff"),
        "lane": {n for n, r in runs.items() if r.lane},
        "env_live": {j.order.digest: k for k, j in state.jobs.items() if j.kind == "env"},  # type: ignore[union-attr]
        "gate_live": sum(j.kind == "gate" for j in state.jobs.values()),
        "resources_used": _nonzero(state, Counter(x for n in active for x in runs[n].ticket.resources)),
        "reserved": _sum(job.reserved for job in state.jobs.values()),
    }


def _nonzero(state: State, used: Counter[str]) -> dict[str, int]:
    return {name: used[name] for name in (*state.resources_used, *used)}


def _sum(amounts: Iterator[Spend]) -> Spend:
    total = Spend()
    for amount in amounts:
        total = total.plus(amount)
    return total


def _is_done(state: State, name: str) -> bool:
    return name in state.tickets and state.tickets[name].state == "done"


def _inherited(state: State, name: str) -> int:
    found, todo = {name}, [name]
    while todo:
        for dependent in state.dependents.get(todo.pop(), ()):
            if dependent not in found:
                found.add(dependent)
                todo.append(dependent)
    return min(state.tickets[n].ticket.priority for n in found)


def _heads(state: State) -> dict[str, tuple[int, str]]:
    first: dict[str, tuple[int, str]] = {}
    for name, run in state.tickets.items():
        if run.state == "ready" and name not in state.probing:
            signature, entry = signature_of(run.ticket), (static_key(run, state.policy), name)
            first[signature] = min(entry, first.get(signature, entry))
    return first


def _wrong_heaps(state: State) -> Iterator[str]:
    for name, run in state.tickets.items():
        if run.state == "ready" and name not in state.probing:
            entry = (static_key(run, state.policy), name)
            if entry not in state.heaps.get(signature_of(run.ticket), []):
                yield f"{name} is ready and in no heap"
    for name in state.probing:
        if state.tickets[name].state != "ready":
            yield f"{name} is probing and {state.tickets[name].state}"
    for heap in state.heaps.values():
        if any(heap[i] < heap[(i - 1) // 2] for i in range(1, len(heap))):
            yield f"not a heap: {heap}"


def _wrong_evidence(state: State) -> Iterator[str]:
    """Each entry names evidence that looked at just that."""
    for key, seq in state.looked.items():
        if key != "|".join(_seen(state.evidence[seq])):
            yield f"looked: {key} names {state.evidence[seq]}"
    for key, seq in state.plain.items():
        gate, look, tree, _ = _seen(state.evidence[seq])
        if key != f"{gate}|{tree}" or look not in ("base", "lands"):
            yield f"plain: {key} names {state.evidence[seq]}"


def _seen(evidence: Evidence) -> tuple[str, str, str, str]:
    return evidence.gate, evidence.look, evidence.tree, evidence.base_tree or ""

"""Which ready ticket starts next: priority with ageing, named resources, scopes, bounded bypass."""

from __future__ import annotations

import bisect
import heapq
from collections.abc import Iterable, Iterator

from penstock.core.policy import Policy
from penstock.core.state import State, TicketRun
from penstock.core.tickets import Ticket


def static_key(run: TicketRun, policy: Policy) -> int:
    """Ageing as a key that never changes: one priority step is worth `age_step_ms` of waiting. Smaller goes first."""
    return run.ready_ms + run.priority * policy.limits.age_step_ms


def signature_of(ticket: Ticket) -> str:
    """Tickets with the same signature compete for the same things: one heap each."""
    return "\n".join((*sorted(ticket.resources), "", *sorted(ticket.scope)))


def push_ready(state: State, run: TicketRun) -> None:
    """Index a ticket that is ready, under the key that it has now."""
    signature = signature_of(run.ticket)
    heapq.heappush(state.heaps.setdefault(signature, []), (static_key(run, state.policy), run.ticket.id))
    refresh_head(state, signature)


def refresh_head(state: State, signature: str) -> None:
    """Keep `front` the sorted first of each heap, after a ticket of that signature came, went or is being looked at."""
    heap = state.heaps.get(signature, [])
    while heap and not _is_current(state, heap[0]):
        heapq.heappop(heap)
    before = state.heads.pop(signature, None)
    if before is not None:
        del state.front[bisect.bisect_left(state.front, before)]
    if heap:
        state.heads[signature] = heap[0]
        bisect.insort(state.front, heap[0])
    else:
        state.heaps.pop(signature, None)


def _is_current(state: State, entry: tuple[int, str]) -> bool:
    run = state.tickets[entry[1]]
    if run.state != "ready" or entry[1] in state.probing:
        return False
    return static_key(run, state.policy) == entry[0]


def in_flight(state: State) -> int:
    """Tickets that hold a slot of the window: those at work, and those whose criteria are being looked at."""
    return len(state.active) + sum(1 for name in state.probing if state.tickets[name].live)


def admissible(state: State) -> Iterator[TicketRun]:
    """Ready tickets that resources and scopes allow to start now: those that were looked at, then the best first.

    A head that was passed over for longer than `bypass_ms_max` reserves what it waits for: nobody who needs the same
    may overtake it.
    """
    yield from admissible_of(state, state.probing)
    reserved: list[Ticket] = []
    for _, name in state.front:
        run = state.tickets[name]
        if any(conflict(run.ticket, other) for other in reserved):
            continue
        if fits(state, run.ticket):
            yield run
        elif state.now_ms - run.ready_ms > state.policy.limits.bypass_ms_max:
            reserved.append(run.ticket)


def admissible_of(state: State, names: Iterable[str]) -> Iterator[TicketRun]:
    """Of these tickets, the ready ones that may start now, best first."""
    ready = [state.tickets[name] for name in names if state.tickets[name].state == "ready"]
    for run in sorted(ready, key=lambda run: (static_key(run, state.policy), run.ticket.id)):
        if not run.live and fits(state, run.ticket):
            yield run


def fits(state: State, ticket: Ticket) -> bool:
    """Are its resources free, and does nobody at work hold an overlapping scope?"""
    for resource in ticket.resources:
        if state.resources_used.get(resource, 0) >= state.policy.resources.get(resource, 1):
            return False
    return not any(scopes_overlap(ticket.scope, state.tickets[name].ticket.scope) for name in state.active)


def conflict(one: Ticket, other: Ticket) -> bool:
    """Do the two wait for the same thing?"""
    return bool(set(one.resources) & set(other.resources)) or scopes_overlap(one.scope, other.scope)


def scopes_overlap(one: tuple[str, ...], other: tuple[str, ...]) -> bool:
    """May a path match both sets of globs? Errs on the side of yes; an undeclared scope claims nothing."""
    return any(_globs_overlap(a, b) for a in one for b in other)


def _globs_overlap(one: str, other: str) -> bool:
    (stem, whole), (stem_other, whole_other) = _literal_stem(one), _literal_stem(other)
    if whole and whole_other:
        return f"{stem}/".startswith(f"{stem_other}/") or f"{stem_other}/".startswith(f"{stem}/")
    return stem.startswith(stem_other) or stem_other.startswith(stem)


def _literal_stem(glob: str) -> tuple[str, bool]:
    """What every path that matches begins with, and whether the glob is nothing else. Without a slash it floats."""
    body = glob.rstrip("/")
    if "/" not in body:
        return "", False
    body = body.lstrip("/")
    cut = min((i for i, c in enumerate(body) if c in "*?[!\\"), default=len(body))
    return body[:cut], cut == len(body)

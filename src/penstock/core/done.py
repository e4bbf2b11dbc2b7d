"""When a run may end, how, and the proof that it may."""

from __future__ import annotations

from penstock.core.events import Clause, Outcome, RunConcluded, WaitsFor
from penstock.core.state import State
from penstock.core.verdicts import Evidence

TEXTS = (
    "nothing is runnable",
    "nothing is in flight",
    "no retry is scheduled",
    "no dependency is newly unblocked",
    "every ticket is done, failed or canceled",
)


def clauses(state: State) -> tuple[Clause, ...]:
    """Clauses 1 to 5 of the done proof on this state; clause 6 is about the sealed log and is the reader's."""
    runnable = [name for name, run in state.tickets.items() if run.state in ("ready", "working", "fixing")]
    retries = [name for name, run in state.tickets.items() if run.state == "backoff"]
    unblocked = [*state.unblocked, *state.doomed]
    still_open = [name for name, run in state.tickets.items() if run.state not in ("done", "failed", "canceled")]
    found = (
        (not runnable, _named(runnable, "no ticket is ready, working or fixing")),
        (not state.jobs, _named(list(state.jobs), "no job is in flight")),
        (not retries, _named(retries, "no ticket is in backoff")),
        (not unblocked, _named(unblocked, "one more pass at this seq decided nothing")),
        (
            not still_open,
            _named(still_open, f"{len(state.tickets)} of {len(state.tickets)} tickets are terminal"),
        ),
    )
    return tuple(
        Clause(n=n + 1, text=TEXTS[n], holds=holds, witness=f"seq {state.seq}: {witness}")
        for n, (holds, witness) in enumerate(found)
    )


def _named(ids: list[str], otherwise: str) -> str:
    return ", ".join(ids[:20]) if ids else otherwise


def conclude(state: State, broken_trunk: str = "", over_budget: str = "") -> RunConcluded:
    """How the run ends, now that nothing is in flight and nothing more is owed."""
    outcome, exit_code, reason = _outcome(state, broken_trunk, over_budget)
    return RunConcluded(
        outcome=outcome,
        exit_code=exit_code,
        reason=reason,
        clauses=clauses(state),
        open=tuple(_waiting(state, reason if outcome == "stopped" else "")),
    )


def _outcome(state: State, broken_trunk: str, over_budget: str) -> tuple[Outcome, int, str]:
    states = [run.state for run in state.tickets.values()]
    if not state.tickets:
        return "stopped", 2, "there is no ticket, so nothing can be proven"
    if state.open_count == 0:
        done = states.count("done")
        exit_code = 0 if done == len(states) else 1
        return "finished", exit_code, f"{done} of {len(states)} tickets done"
    if broken_trunk:
        started = any(run.attempt_live or run.turns for run in state.tickets.values())
        return ("wedged", 5, broken_trunk) if started else ("stopped", 2, broken_trunk)
    if state.breaker:
        return "stopped", 3, state.breaker
    if state.draining:
        return "stopped", 3, f"drained for {state.draining}"
    if over_budget:
        return "stopped", 3, f"budget: {over_budget}"
    held = [name for name, run in state.tickets.items() if run.state == "held"]
    others = [
        name
        for name, run in state.tickets.items()
        if run.state not in ("held", "done", "failed", "canceled") and not _waits_for_held(state, name)
    ]
    if held and not others:
        return "stopped", 3, f"waiting for a person: {', '.join(held)}"
    return "wedged", 5, _wedge(state)


def _waits_for_held(state: State, name: str) -> bool:
    """Is the ticket waiting, at some remove, for one that is held?"""
    todo, seen = [name], {name}
    while todo:
        run = state.tickets[todo.pop()]
        if run.state == "held":
            return True
        if run.state == "waiting":
            new = [d for d in run.ticket.depends_on if d in state.tickets and d not in seen]
            seen.update(new)
            todo += new
    return False


def red_gates(state: State) -> list[str]:
    """Gates that are red on trunk as it is now."""
    return [
        g.name
        for g in state.policy.gates
        if (seq := state.plain.get(f"{g.name}|{state.trunk.tree}"))
        and state.evidence[seq].verdict == "fail"
        and not awaits_tickets(state, state.evidence[seq])
    ]


def repairing(state: State) -> list[str] | None:
    """With a red trunk: the tickets that repair it, and what they still wait for. None: trunk is not red."""
    gates = set(red_gates(state))
    if not gates or state.policy.baseline == "no_new_failures":
        return None
    todo = [n for n, run in state.tickets.items() if gates & set(run.ticket.repairs)]
    found = dict.fromkeys(todo)
    while todo:
        for needed in state.tickets[todo.pop()].ticket.depends_on:
            if needed in state.tickets and needed not in found:
                found[needed] = None
                todo.append(needed)
    return list(found)


def awaits_tickets(state: State, seen: Evidence) -> bool:
    """Is all that is red there what tickets are to make green? A criterion that is red on base is not a red gate."""
    if seen.counts is None or not seen.failed or seen.counts.red + seen.counts.error > len(seen.failed):
        return False
    return all(test.id in state.asked for test in seen.failed)


def _wedge(state: State) -> str:
    gates = red_gates(state)
    if gates:
        whys = "; ".join(f"{g}: {state.evidence[state.plain[f'{g}|{state.trunk.tree}']].why}" for g in gates)
        return f"trunk is red and no open ticket repairs it ({whys}): add a ticket with `repairs: [{gates[0]}]`"
    return "no open ticket can move: " + ", ".join(w.ticket for w in _waiting(state))


def _waiting(state: State, stopped: str = "") -> list[WaitsFor]:
    return [
        WaitsFor(ticket=name, state=run.state, what=what_moves(state, name, stopped))
        for name, run in state.tickets.items()
        if run.state not in ("done", "failed", "canceled")
    ]


def what_moves(state: State, name: str, stopped: str = "") -> str:
    """What moves an open ticket next, in words for people. `stopped`: why the run ends before it is done."""
    run = state.tickets[name]
    if run.state == "held":
        return f"a person: {run.frees}"
    if stopped and run.state != "waiting":
        return f"the next `penstock run` ({stopped})"
    if run.state == "backoff":
        return f"a retry, due in {max(0, run.due_ms - state.now_ms) // 1000} s"
    if run.state == "waiting":
        unmet = [d for d in run.ticket.depends_on if d in state.tickets and state.tickets[d].state != "done"]
        return f"its dependencies: {', '.join(unmet)}"
    if run.live:
        kinds = sorted({state.jobs[key].kind for key in run.live})
        return f"the end of its {' and '.join(kinds)}"
    if run.state == "ready":
        gates = red_gates(state)
        return f"a repair of trunk ({', '.join(gates)} red)" if gates else "a free slot of the window"
    if run.state == "landing":
        return "its turn in the lane"
    return "the next pass"

"""What is owed now, read from the whole state. Called until it answers nothing; then only the world can move the run.

Each pass looks at timers that are due, tickets at work (at most a window of them), heads of the ready heaps, and small
index sets: its cost does not grow with the number of tickets.
"""

from __future__ import annotations

import bisect

import msgspec

from penstock.core import done, looks, scheduling, turns, verification
from penstock.core.budget import over_run_budget, reservation
from penstock.core.criteria import criterion_on
from penstock.core.events import (
    AttemptEnded,
    Decisions,
    JobUnwanted,
    LandOrder,
    RunFinished,
    TicketMoved,
    WindowChanged,
)
from penstock.core.jobs import owe, owe_gate
from penstock.core.policy import GateSpec
from penstock.core.retries import fail, hold
from penstock.core.state import State, TicketRun
from penstock.core.tables import ACTIVE
from penstock.core.tickets import CommandCriterion, TestCriterion


def owed(state: State) -> Decisions:
    """The next decisions, to be folded before the next call. Empty: nothing is owed until something happens."""
    if state.finished or not state.run:
        return ()
    if state.conclusion is not None:
        end = state.conclusion
        return (RunFinished(outcome=end.outcome, exit_code=end.exit_code),) if state.sealed else ()
    for step in (
        _cancel,
        _wake,
        _free,
        _found,
        _doom,
        _unblock,
        _resize,
        _drain,
        _baseline,
        _advance,
        _admit,
    ):
        decisions = step(state)
        if decisions:
            return decisions
    return _conclude(state)


def next_due_ms(state: State) -> int | None:
    """When time alone will make something owed; None: never. What is due already waits for something else."""
    later = bisect.bisect_right(state.timers, (state.now_ms, "\U0010ffff"))
    due = [state.timers[later][0]] if later < len(state.timers) else []
    if state.draining and state.jobs and state.drain_due_ms > state.now_ms:
        due.append(state.drain_due_ms)
    return min(due) if due else None


# --- inputs of people and of time -----------------------------------------------------------------------------------


def _cancel(state: State) -> Decisions:
    for name in state.canceling:
        run = state.tickets[name]
        if run.commit:
            continue  # it landed before the cancellation was seen: the landing stands
        unwanted = [key for key in run.live if not state.jobs[key].unwanted and state.jobs[key].kind != "land"]
        if unwanted:
            return tuple(JobUnwanted(key=key, reason=run.cancel) for key in unwanted)
        if not run.live:
            return (
                *_end_attempt(run, run.cancel),
                TicketMoved(ticket=name, to="canceled", reason=run.cancel),
            )
    return ()


def _end_attempt(run: TicketRun, reason: str) -> Decisions:
    if not run.attempt_live:
        return ()
    return (AttemptEnded(ticket=run.ticket.id, attempt=run.attempt, reason=reason, cause="canceled"),)


def _wake(state: State) -> Decisions:
    """Retries that are due, as soon as what they need is free. A new attempt begins with building, not with a fix."""
    if turns.is_stopping(state):
        return ()
    for due_ms, name in state.timers:
        if due_ms > state.now_ms:
            break
        run = state.tickets[name]
        if scheduling.fits(state, run.ticket):
            to = run.back if run.attempt_live else "working"
            return (TicketMoved(ticket=name, to=to, reason=f"the retry is due: {run.reason}"[:400]),)
    return ()


def _free(state: State) -> Decisions:
    """Held tickets that a person has freed since they were held."""
    for name in state.freed:
        run = state.tickets[name]
        needs_slot = run.back in ACTIVE
        if not turns.is_stopping(state) and (not needs_slot or scheduling.fits(state, run.ticket)):
            return (TicketMoved(ticket=name, to=run.back, reason=f"freed by {run.approved[-1].who}"),)
    return ()


def _found(state: State) -> Decisions:
    for name, commit in state.found_done.items():
        if state.tickets[name].state in ("waiting", "ready"):
            reason = "trunk has it already: an earlier run landed this revision"
            return (TicketMoved(ticket=name, to="done", reason=reason, commit=commit),)
    return ()


def _doom(state: State) -> Decisions:
    for name, needed in state.doomed.items():
        reason = f"its dependency {needed} is {state.tickets[needed].state}"
        if state.policy.on_dependency_failed == "held":
            held = hold(state.tickets[name], reason)
            return (msgspec.structs.replace(held, frees="penstock run, when its dependency can be done"),)
        return (TicketMoved(ticket=name, to="canceled", reason=reason),)
    return ()


def _unblock(state: State) -> Decisions:
    for name in state.unblocked:
        if name not in state.found_done:
            return (TicketMoved(ticket=name, to="ready", reason="every dependency is done"),)
    return ()


def _resize(state: State) -> Decisions:
    """The window: one more after landed work, a quarter less after red. A shrink ends nothing that runs."""
    if not state.signals:
        return ()
    top = state.policy.limits.window_max
    if "shrink" in state.signals:
        size, reason = max(1, state.window * 3 // 4), state.signals["shrink"]
    else:
        size, reason = min(top, state.window + 1), state.signals["grow"]
    return (WindowChanged(size=size, reason=reason),)


def _drain(state: State) -> Decisions:
    if not state.draining or state.now_ms < state.drain_due_ms:
        return ()
    return tuple(
        JobUnwanted(key=key, reason="the drain is over")
        for key, job in state.jobs.items()
        if not job.unwanted and job.kind != "land"
    )


# --- trunk ----------------------------------------------------------------------------------------------------------


def _baseline(state: State) -> Decisions:
    """Every required gate once on trunk, before any work; again where somebody else moved it."""
    if state.open_count == 0 or turns.is_stopping(state) or not _has_work(state) or cannot_work(state):
        return ()
    for gate in _baseline_gates(state):
        seq = state.plain.get(f"{gate.name}|{state.trunk.tree}")
        if seq is None:
            need = looks.base_need(state, gate.name, state.trunk.commit, state.trunk.tree)
            decisions = owe_gate(state, None, need, "baseline")
            if not isinstance(decisions, str) and decisions:
                return decisions
    return ()


def _has_work(state: State) -> bool:
    return bool(state.active or state.probing or state.front)


def _baseline_gates(state: State) -> list[GateSpec]:
    first = state.trunk.commit == state.first_trunk
    return [
        g for g in state.policy.gates if (g.tier == "fast" and not g.when) or (first and g.tier in ("fast", "medium"))
    ]


def cannot_work(state: State) -> str:
    """Why trunk itself cannot be judged: a gate that cannot run there, an environment that cannot be built."""
    if state.lost_rows > state.policy.limits.lost_jobs_max:
        return f"{state.lost_rows} jobs on trunk in a row were lost"
    for gate in _baseline_gates(state):
        seq = state.plain.get(f"{gate.name}|{state.trunk.tree}")
        if seq is not None and state.evidence[seq].verdict == "broken":
            return f"gate {gate.name} cannot run on trunk: {state.evidence[seq].why}"
    for env in state.policy.envs:
        status = state.envs.get(state.trunk.envs.get(env.name, ""), "ready")
        if status != "ready":
            return f"environment {env.name} cannot be built on trunk: {status}"
    return ""


def _is_baseline_there(state: State) -> bool:
    return all(f"{g.name}|{state.trunk.tree}" in state.plain for g in _baseline_gates(state))


# --- tickets --------------------------------------------------------------------------------------------------------


def _advance(state: State) -> Decisions:
    """One step of the first ticket at work that has one; who is first in the lane goes first."""
    if cannot_work(state):
        return ()
    for name in (*state.lane, *(n for n in state.active if n not in state.lane)):
        run = state.tickets[name]
        if run.cancel and not run.commit:
            continue
        decisions = _step(state, run)
        if decisions:
            return decisions
    return ()


def _step(state: State, run: TicketRun) -> Decisions:
    match run.state:
        case "working":
            return turns.work(state, run, "build")
        case "fixing":
            return turns.work(state, run, "fix")
        case "verifying":
            return () if state.paused or state.draining or state.breaker else verification.verify(state, run)
        case "landing":
            return _land(state, run)
        case _:
            return ()


def _land(state: State, run: TicketRun) -> Decisions:
    """Land when first in the lane and built on trunk as it is; else wait, or rebuild on what trunk became."""
    name = run.ticket.id
    if run.commit:
        why = "landed: every required gate and criterion has evidence for exactly this tree"
        return (TicketMoved(ticket=name, to="done", reason=why, commit=run.commit),)
    if run.trouble:
        return fail(state, run, "infra", f"landing: {run.trouble}", exhausted="held")
    if run.live or next(iter(state.lane)) != name or turns.is_stopping(state):
        return ()
    candidate = run.candidate
    if candidate is None:
        return (TicketMoved(ticket=name, to="verifying", reason="the settings changed: verified anew"),)
    if candidate.base == state.trunk.commit:
        order = LandOrder(ticket=name, commit=candidate.commit, tree=candidate.tree, expected=candidate.base)
        return (owe(state, "land", name, run, order, "first in the lane, built on trunk"),)
    if run.stale_rows >= state.policy.limits.stale_rows_max:
        return (hold(run, "trunk moves faster than the gates", "stale"),)
    return (TicketMoved(ticket=name, to="verifying", reason="trunk moved: rebuilt on it", cause="stale"),)


def _admit(state: State) -> Decisions:
    """Start the best ready ticket that may start, if the window has a slot and nothing holds starts back."""
    if turns.is_stopping(state) or cannot_work(state) or not _is_baseline_there(state):
        return ()
    if turns.is_verification_behind(state):
        return ()
    repairs = done.repairing(state)
    if scheduling.in_flight(state) >= state.window:
        return ()
    candidates = scheduling.admissible(state) if repairs is None else scheduling.admissible_of(state, repairs)
    for run in candidates:
        decisions = _start(state, run)
        if decisions:
            return decisions
    return ()


def _start(state: State, run: TicketRun) -> Decisions:
    """Already satisfied, or a new attempt; before that, its commands are tried on trunk."""
    if run.live or run.cancel:
        return ()
    if run.trouble:
        return (hold(run, run.trouble, "lost"),)
    name, ticket = run.ticket.id, run.ticket
    for need in looks.criterion_needs(run, state.trunk.commit, state.trunk.tree):
        if looks.seq_of(state, need) is None:
            decisions = owe_gate(state, run, need, "is it satisfied already?")
            return (hold(run, decisions),) if isinstance(decisions, str) else decisions
    named = [n for n, c in enumerate(ticket.acceptance) if isinstance(c, TestCriterion | CommandCriterion)]
    green = all(criterion_on(state, run, n, state.trunk.tree) == "green" for n in range(len(ticket.acceptance)))
    if named and green:
        why = "already satisfied: everything it names is green on trunk"
        return (TicketMoved(ticket=name, to="done", reason=why, commit=state.trunk.commit),)
    if run.attempt >= state.policy.limits.attempts_per_ticket_max:
        why = f"all {run.attempt} attempts were used by earlier runs: change the ticket's text to begin anew"
        return (TicketMoved(ticket=name, to="failed", reason=why),)
    if over_run_budget(state, reservation(state, turns.turn_order(state, run, "build"))):
        return ()
    started = () if run.attempt_live else (turns.start_attempt(state, run),)
    return (*started, TicketMoved(ticket=name, to="working", reason="admitted"))


# --- the end --------------------------------------------------------------------------------------------------------


def _conclude(state: State) -> Decisions:
    """Nothing is owed. If nothing is in flight and time alone moves nothing, the run ends and says how."""
    stopping = bool(state.draining or state.breaker)
    if state.jobs or (state.paused and not stopping):
        return ()
    if next_due_ms(state) is not None and not stopping:
        if not state.policy.stop_waiting:
            return ()
        run = state.tickets[state.timers[0][1]]
        reason = f"stop_waiting: {run.reason}"
        return (
            *_end_attempt(run, reason),
            TicketMoved(ticket=run.ticket.id, to="failed", reason=reason[:400]),
        )
    return (done.conclude(state, cannot_work(state), _over_budget(state)),)


def _over_budget(state: State) -> str:
    """Does money or time at the run's level hold back a ticket that could go on?"""
    for run in state.tickets.values():
        if run.state in ("ready", "working", "fixing", "verifying"):
            role = "fix" if run.state == "fixing" else "build"
            over = over_run_budget(state, reservation(state, turns.turn_order(state, run, role)))  # type: ignore[arg-type]
            if over:
                return over
    return ""

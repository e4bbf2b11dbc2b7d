"""Builder and fix turns: when one may start, what it may touch, and what follows from how it ended."""

from __future__ import annotations

from penstock.core.budget import over_run_budget, over_ticket_budget, reservation
from penstock.core.events import (
    AttemptStarted,
    BreakerOpened,
    Decisions,
    FixScopeWidened,
    Refused,
    Role,
    TicketMoved,
    TicketStateName,
    TurnEnded,
    TurnOrder,
)
from penstock.core.jobs import owe, owe_env
from penstock.core.policy import FailureClass
from penstock.core.retries import fail, hold
from penstock.core.state import State, TicketRun, is_approved

CAUSE_OF: dict[str, FailureClass] = {
    "crashed": "agent_crash",
    "timeout": "agent_timeout",
    "stalled": "agent_timeout",
    "flood": "agent_timeout",
    "refused": "agent_refused",
    "provider_transient": "provider_transient",
    "infra": "infra",
}


def work(state: State, run: TicketRun, role: Role) -> Decisions:
    """The next decisions for a ticket in `working` or `fixing`; empty: it waits."""
    if run.turn is not None:
        return _answer(state, run, run.turn, role)
    if run.trouble:
        return (hold(run, run.trouble, "lost"),)
    if run.live or is_stopping(state):
        return ()
    if not run.attempt_live:
        return (start_attempt(state, run),)
    if run.adopted and role == "build" and run.turns == 0:
        return (TicketMoved(ticket=run.ticket.id, to="verifying", reason="work that an earlier run left"),)
    if run.candidate is not None and is_approved(run, run.candidate.tree):
        return (TicketMoved(ticket=run.ticket.id, to="verifying", reason="a person vouched for what it has"),)
    most = state.policy.limits.turns_per_attempt_max
    if run.turns >= most:
        return fail(state, run, "no_progress", f"{run.turns} turns in one attempt and not done")
    if role == "build" and is_verification_behind(state):
        return ()
    return _start_turn(state, run, role)


def start_attempt(state: State, run: TicketRun) -> AttemptStarted:
    """A new attempt begins at trunk as it is now."""
    return AttemptStarted(ticket=run.ticket.id, attempt=run.attempt + 1, base=state.trunk.commit)


def is_stopping(state: State) -> bool:
    """Does nothing new start, whatever is owed?"""
    return bool(state.paused or state.draining or state.breaker)


def is_verification_behind(state: State) -> bool:
    """Backpressure: unverified diffs, by count or by lines, are at their cap, so no builder turn starts."""
    limits = state.policy.limits
    count, lines = len(state.unverified), sum(state.unverified.values())
    return count >= limits.unverified_diffs_max or lines >= limits.unverified_lines_max


def _start_turn(state: State, run: TicketRun, role: Role) -> Decisions:
    for env in state.policy.envs:
        digest = state.trunk.envs.get(env.name, "")
        if digest not in state.envs:
            return owe_env(state, env.name, digest, state.trunk.commit)
    order = turn_order(state, run, role)
    need = reservation(state, order)
    over = over_ticket_budget(run, state.policy, need)
    if over:
        return fail(state, run, "budget", f"budget: {over}")
    if over_run_budget(state, need):
        return ()
    return (owe(state, "turn", run.ticket.id, run, order, f"{role} turn {run.turns + 1} of attempt {run.attempt}"),)


def turn_order(state: State, run: TicketRun, role: Role) -> TurnOrder:
    """What the agent is asked, where it starts, and what its diff may touch."""
    limits = state.policy.limits
    fixing = role == "fix"
    start = run.fix_start if fixing and run.fix_start else run.head or run.base
    return TurnOrder(
        ticket=run.ticket.id,
        attempt=run.attempt,
        turn=run.turns + 1,
        role=role,
        start=start,
        trunk=run.fix_base if fixing and run.fix_base else run.base,
        allowed=allowed_paths(state, run) if fixing else _scope_with_tests(state, run),
        evidence=run.red,
        notes=run.notes,
        wall_ms=limits.turn_wall_ms_max,
        stall_ms=limits.turn_stall_ms_max,
    )


def allowed_paths(state: State, run: TicketRun) -> tuple[str, ...]:
    """Only a fix: the ticket's scope, what its work already touches, and the files where its failing tests stand."""
    where = [f.where.rsplit(":", 1)[0] for seq in run.red for f in state.evidence[seq].failed if f.where]
    return tuple(dict.fromkeys((*run.ticket.scope, *(escape(p) for p in (*run.touched, *where)))))


def _scope_with_tests(state: State, run: TicketRun) -> tuple[str, ...]:
    return (*run.ticket.scope, *state.policy.files.test_files) if run.ticket.scope else ()


def escape(path: str) -> str:
    """A glob that matches exactly this path."""
    return "/" + "".join(f"\\{c}" if c in "*?[]!#\\ " else c for c in path)


# --- the end of a turn ----------------------------------------------------------------------------------------------


def _answer(state: State, run: TicketRun, turn: TurnEnded, role: Role) -> Decisions:
    name = run.ticket.id
    if turn.outcome == "provider_terminal":
        opened = BreakerOpened(cause="provider_terminal", reason=turn.message or "the provider refused for good")
        held = TicketMoved(
            ticket=name,
            to="held",
            reason=f"the agent's provider refused for good: {turn.message}",
            cause="provider_terminal",
            frees="penstock run",
        )
        return (opened, held)
    if turn.outcome != "ended":
        reason = f"agent {turn.outcome}: {turn.message}"[:400]
        return fail(state, run, CAUSE_OF[turn.outcome], reason, floor_ms=turn.retry_after_ms)
    return (*_refusals(run, turn, role), *_accept(state, run, turn, role))


def _refusals(run: TicketRun, turn: TurnEnded, role: Role) -> Decisions:
    name, found = run.ticket.id, []
    if turn.protected:
        reason = f"protected files stay as they are on trunk: {', '.join(turn.protected[:5])}"
        found.append(
            Refused(ticket=name, kind="protected", reason=reason, paths=turn.protected[:20], salvage=turn.salvage)
        )
    if turn.set_aside:
        what = "a fix may not touch" if role == "fix" else "outside the ticket's scope"
        reason = f"set aside, {what}: {', '.join(turn.set_aside[:5])}"
        found.append(
            Refused(ticket=name, kind="expansion", reason=reason, paths=turn.set_aside[:20], salvage=turn.salvage)
        )
    return tuple(found)


def _accept(state: State, run: TicketRun, turn: TurnEnded, role: Role) -> Decisions:
    """Take the turn's work over for verification, or say why not."""
    name, limits = run.ticket.id, state.policy.limits
    if turn.lines > limits.turn_diff_lines_max and role == "build":
        reason = (
            f"the turn's diff has {turn.lines} lines, at most {limits.turn_diff_lines_max} are taken: make it smaller"
        )
        refused = Refused(ticket=name, kind="turn_too_large", reason=reason, salvage=turn.salvage)
        return (refused, *fail(state, run, "no_progress", reason))
    widening: Decisions = ()
    if role == "fix" and turn.set_aside and not run.widened:
        widening = (FixScopeWidened(ticket=name, paths=turn.set_aside[:50]),)
    unchanged = not turn.changes and not (role == "fix" and run.fix_start and not run.red)
    if turn.is_empty or unchanged:
        reason = "the turn changed nothing" + ("" if not turn.set_aside else " that may be changed")
        refused = Refused(ticket=name, kind="no_change", reason=reason, salvage=turn.salvage)
        # What is green and only not proven waits for a person; what never was has failed.
        exhausted: TicketStateName = "held" if run.candidate is not None else "failed"
        asked = f"{reason}; before that: {run.reason}"[:400] if run.candidate is not None else reason
        return (*widening, refused, *fail(state, run, "no_progress", asked, exhausted=exhausted))
    reason = f"{role} turn {run.turns} of attempt {run.attempt} ended"
    if role == "fix" and turn.set_aside:
        if run.retries.get("expansion", 0) >= state.policy.retries["expansion"].cap:
            return fail(state, run, "expansion", "kept changing files that a fix may not touch")
        return (*widening, TicketMoved(ticket=name, to="verifying", reason=reason, cause="expansion"))
    return (TicketMoved(ticket=name, to="verifying", reason=reason),)

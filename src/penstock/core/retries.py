"""What follows a failure: one counter per class and ticket revision, never reset by a new attempt or a new run."""

from __future__ import annotations

import msgspec

from penstock.core.digest import draw
from penstock.core.events import AttemptEnded, Decisions, TicketMoved, TicketStateName
from penstock.core.policy import FailureClass, RetryRule
from penstock.core.state import State, TicketRun


def rule_for(state: State, cause: FailureClass) -> RetryRule:
    """The policy's rule of that class; a class without one is never retried."""
    return state.policy.retries.get(cause, RetryRule(cap=0))


def may_retry(state: State, run: TicketRun, cause: FailureClass) -> bool:
    """Is one more failure of this class within its cap?"""
    return run.retries.get(cause, 0) < rule_for(state, cause).cap


def backoff_ms(state: State, run: TicketRun, cause: FailureClass, floor_ms: int = 0) -> int:
    """Exponential with full jitter, bounded; a Retry-After is the floor."""
    rule, count = rule_for(state, cause), run.retries.get(cause, 0)
    top = min(rule.backoff_max_ms, rule.backoff_base_ms * 2 ** min(count, 20))
    return max(floor_ms, draw(state.seed, run.ticket.digest, cause, count, top + 1))


def fail(
    state: State,
    run: TicketRun,
    cause: FailureClass,
    reason: str,
    *,
    floor_ms: int = 0,
    exhausted: TicketStateName = "failed",
    forget: tuple[int, ...] = (),
) -> Decisions:
    """The decisions that answer a failure: a retry later, or the end of the ticket when the cap is reached.

    A class that consumes an attempt ends it. `exhausted` is where a ticket goes that has no retry left; `forget`
    names evidence that says nothing, so that the retry looks again.
    """
    rule, decisions = rule_for(state, cause), []
    name = run.ticket.id
    may = may_retry(state, run, cause)
    if run.attempt_live and (rule.consumes_attempt or not may) and exhausted == "failed":
        decisions.append(AttemptEnded(ticket=name, attempt=run.attempt, reason=reason, cause=cause))
    if may and rule.consumes_attempt and run.attempt >= state.policy.limits.attempts_per_ticket_max:
        may = False
        reason = f"{reason}; all {run.attempt} attempts are used"
    if may:
        due = state.now_ms + backoff_ms(state, run, cause, floor_ms)
        move = TicketMoved(ticket=name, to="backoff", reason=reason, cause=cause, due_ms=due, evidence=forget)
    elif exhausted == "held":
        move = msgspec.structs.replace(hold(run, reason, cause), evidence=forget)
    else:
        counted = run.retries.get(cause, 0)
        text = f"{reason} ({cause}: no retry left after {counted})"
        move = TicketMoved(ticket=name, to="failed", reason=text, cause=cause)
    return (*decisions, move)


def hold(run: TicketRun, reason: str, cause: FailureClass | None = None, gate: str | None = None) -> TicketMoved:
    """Wait for a person, and name the command that frees the ticket."""
    option = f" --gate {gate}" if gate else ""
    frees = f"penstock approve {run.ticket.id}{option} --reason TEXT"
    return TicketMoved(ticket=run.ticket.id, to="held", reason=reason, cause=cause, frees=frees)

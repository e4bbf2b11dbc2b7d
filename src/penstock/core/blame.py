"""Whose red is it? The candidate's, trunk's, or a test's that flips: only the first sends a ticket to fix it."""

from __future__ import annotations

from penstock.core.criteria import criterion_gate
from penstock.core.events import CandidateFormed, Decisions, Refused, TestQuarantined, TicketMoved
from penstock.core.jobs import Need, owe_gate
from penstock.core.looks import base_evidence, is_red_alike, seqs_of_lands
from penstock.core.policy import FailureClass
from penstock.core.retries import fail, hold, may_retry
from penstock.core.state import State, TicketRun
from penstock.core.tickets import CommandCriterion

QUARANTINE_MAX = 20


def blame(state: State, run: TicketRun, candidate: CandidateFormed, bad: list[int]) -> Decisions:
    """Whose red is it? Base is asked once for each; then the ticket fixes, or nobody is blamed."""
    pending = [seq for seq in bad if state.evidence[seq].verdict == "pending"]
    if pending == bad:
        gate = state.evidence[bad[0]].gate
        return (hold(run, f"{gate}: {state.evidence[bad[0]].why or 'waits for a person'}", gate=gate),)
    bad = [seq for seq in bad if seq not in pending]
    unowned = _red_trunk(state, run, candidate, bad)
    if unowned:
        return unowned
    for seq in bad:
        answer = _diagnose(state, run, candidate, seq)
        if answer is not None:
            return answer
    broken = [seq for seq in bad if state.evidence[seq].verdict == "broken"]
    name, seen = run.ticket.id, [state.evidence[seq] for seq in bad]
    refused = [
        Refused(
            ticket=name,
            kind="broken" if s.verdict == "broken" else "shrunk" if s.why.startswith("shrunk") else "red",
            reason=f"{s.gate} ({s.look}): {s.why}",
            paths=s.missing[:20],
        )
        for s in seen
    ]
    cause: FailureClass = "candidate_broke_gate" if len(broken) == len(bad) else "gate_red"
    reason = "; ".join(f"{s.gate}: {s.why}" for s in seen)[:400]
    return (*refused, *red(state, run, cause, reason, tuple(bad)))


def _red_trunk(state: State, run: TicketRun, candidate: CandidateFormed, bad: list[int]) -> Decisions:
    """All that is red is red on base alike: nobody's. The ticket waits, and is rebuilt once trunk has moved."""
    for seq in bad:
        base = base_evidence(state, state.evidence[seq].gate, candidate.base_tree)
        if seq not in seqs_of_lands(state, run, candidate) or base is None:
            return ()
        if run.ticket.repairs or not is_red_alike(state.evidence[seq], base):
            return ()
    reason = f"trunk itself is red: {state.evidence[bad[0]].gate}: {state.evidence[bad[0]].why}"
    forget = tuple(seqs_of_lands(state, run, candidate))
    return fail(state, run, "infra", reason, exhausted="held", forget=forget)


def _diagnose(state: State, run: TicketRun, candidate: CandidateFormed, seq: int) -> Decisions | None:
    """The control run on base that this red calls for. None: diagnosed, the red is the ticket's."""
    seen = state.evidence[seq]
    if seen.verdict != "broken" and not seen.missing:
        return None
    control = state.controls.get(f"{seen.gate}!{seq}")
    if control is None:
        need = Need(
            gate=seen.gate,
            look="control",
            commit=candidate.base,
            tree=candidate.base_tree,
            env_tree=candidate.base_tree,
            env_commit=candidate.base,
            ask=seen.missing,
            only_files=tuple(sorted({test.split("::")[0] for test in seen.missing})),
            command=_command_of(run, seen.gate),
            subject=f"{seen.gate}!{seq}",
        )
        owed = owe_gate(state, run, need, "who is to blame: the same on base")
        return () if isinstance(owed, str) else owed
    base = state.evidence[control]
    if seen.verdict == "broken":
        if base.verdict in ("pass", "fail"):
            return None
        reason = f"{seen.gate} cannot run on base either: {base.why}"
        return fail(state, run, "infra", reason, exhausted="held", forget=(seq,))
    own = {change.path for change in candidate.changes}
    known = [t for t in seen.missing if t not in (*state.asked, *state.quarantined) and t.split("::")[0] not in own]
    flips = [t for t in known if base.asked.get(t, "green") != "green"]
    if flips and len(state.quarantined) + len(flips) <= QUARANTINE_MAX:
        why = "green, then not green on the same base tree"
        return tuple(TestQuarantined(test=t, gate=seen.gate, reason=why, seen=seq) for t in flips)
    return None


def _command_of(run: TicketRun, gate: str) -> str | None:
    for n, criterion in enumerate(run.ticket.acceptance):
        if isinstance(criterion, CommandCriterion) and criterion_gate(run.ticket, n) == gate:
            return criterion.command
    return None


def red(state: State, run: TicketRun, cause: FailureClass, reason: str, evidence: tuple[int, ...]) -> Decisions:
    """Only a fix from here on, or the end of the ticket when its retries of that class are used."""
    if may_retry(state, run, cause):
        return (TicketMoved(ticket=run.ticket.id, to="fixing", reason=reason, cause=cause, evidence=evidence),)
    return fail(state, run, cause, reason)

"""What a candidate must show, look by look, and what follows from what the looks saw.

The plan is derived from the candidate and the policy on every pass; what was already seen is in the evidence index. So
a crash, a late result or a rebuilt lane need no special case: what is missing is owed, what is there is read.
"""

from __future__ import annotations

from penstock.core.acceptance import judge_criteria
from penstock.core.blame import blame, red
from penstock.core.digest import digest_of
from penstock.core.events import CandidateFormed, Decision, Decisions, MergeOrder, Refused
from penstock.core.jobs import Need, owe, owe_gate
from penstock.core.looks import base_evidence, base_need, holds, seq_of, stages
from penstock.core.retries import fail, hold
from penstock.core.risk import assess_risk
from penstock.core.state import State, TicketRun, is_approved, look_key


def verify(state: State, run: TicketRun) -> Decisions:
    """The next decisions for a ticket in `verifying`; empty: it waits for jobs in flight."""
    if run.trouble:
        return fail(state, run, "infra", run.trouble, exhausted="held")
    if run.conflict:
        return _conflicted(state, run)
    candidate = run.candidate
    if candidate is None or _is_outdated(state, run, candidate):
        return () if run.live else (_owe_merge(state, run),)
    refusal = _refuse_unseen(state, run, candidate)
    if refusal:
        return refusal
    if run.risk_tree != candidate.tree:
        return (assess_risk(state, run, candidate),)
    doubt = _doubt(state, candidate)
    if doubt and not is_approved(run, candidate.tree):
        return (hold(run, doubt),)
    for stage in stages(state, run, candidate):
        answer = _look(state, run, candidate, stage)
        if answer is not None:
            return answer
    return judge_criteria(state, run, candidate)


def _is_outdated(state: State, run: TicketRun, candidate: CandidateFormed) -> bool:
    if candidate.base == state.trunk.commit or run.live:
        return False
    return not any(
        look_key(g.name, "lands", candidate.tree, candidate.base_tree) in state.looked for g in state.policy.gates
    )


def _owe_merge(state: State, run: TicketRun) -> Decision:
    onto = state.trunk.commit
    order = MergeOrder(
        ticket=run.ticket.id,
        revision=run.ticket.digest,
        title=run.ticket.title,
        head=run.head,
        onto=onto,
        evidence_key=digest_of([state.run, run.ticket.digest, state.policy.digest, run.head, onto])[:16],
        changes_tests=run.ticket.changes_tests,
    )
    return owe(state, "merge", run.ticket.id, run, order, "what is verified is what lands")


def _conflicted(state: State, run: TicketRun) -> Decisions:
    reason = f"does not merge onto trunk: {', '.join(run.conflict[:5])}"
    refused = Refused(ticket=run.ticket.id, kind="conflict", reason=reason, paths=run.conflict[:20])
    return (refused, *red(state, run, "conflict", reason, ()))


def _refuse_unseen(state: State, run: TicketRun, candidate: CandidateFormed) -> Decisions:
    """What needs no gate to be refused."""
    name = run.ticket.id
    if candidate.weakened:
        listed = ", ".join(candidate.weakened[:5])
        reason = f"weakens tests that judge it: {listed}. Tests that exist on trunk stay as they are; add new ones."
        refused = Refused(ticket=name, kind="weakened", reason=reason, paths=candidate.weakened[:20])
        return (refused, *red(state, run, "gate_red", "weakens existing tests", ()))
    most = state.policy.limits.pending_markers_max
    if candidate.pending_markers > most:
        reason = f"adds {candidate.pending_markers} TODO or FIXME markers, at most {most} may stay open"
        refused = Refused(ticket=name, kind="pending_markers", reason=reason)
        return (refused, *red(state, run, "gate_red", reason, ()))
    return ()


def _doubt(state: State, candidate: CandidateFormed) -> str:
    """What no gate can settle, so that a person must look; empty where there is nothing of the kind."""
    if candidate.envs != state.tree_envs.get(candidate.base_tree, {}):
        return "the change touches the inputs of an environment: new code would run with the network"
    if candidate.meddling:
        named = ", ".join(candidate.meddling[:5])
        return f"production code that speaks of the test runner runs in its process and could play it: {named}"
    return ""


def _look(state: State, run: TicketRun, candidate: CandidateFormed, stage: list[Need]) -> Decisions | None:
    """Owe what the stage has not seen; when it has seen all, answer its reds. None: the stage holds."""
    missing = [n for n in stage if seq_of(state, n) is None]
    for need in missing:
        decisions = _owe_with_base(state, run, candidate, need)
        if isinstance(decisions, str):
            refused = Refused(ticket=run.ticket.id, kind="broken", reason=decisions)
            return (refused, *red(state, run, "candidate_broke_gate", decisions, ()))
        if decisions:
            return decisions
    if missing:
        return ()
    seqs = [seq for n in stage if (seq := seq_of(state, n)) is not None]
    bad = [seq for seq in seqs if not holds(state, run, candidate, state.evidence[seq])]
    return blame(state, run, candidate, bad) if bad else None


def _owe_with_base(state: State, run: TicketRun, candidate: CandidateFormed, need: Need) -> Decisions | str:
    if need.base_tree and base_evidence(state, need.gate, need.base_tree) is None:
        base = base_need(state, need.gate, candidate.base, candidate.base_tree)
        return owe_gate(state, run, base, "the candidate is compared with base")
    return owe_gate(state, run, need, f"{need.look} of {run.ticket.id}")

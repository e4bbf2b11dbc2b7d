"""All gates hold. Is what the ticket asked for there, and does anything tell that it was not there before?"""

from __future__ import annotations

from penstock.core.criteria import criterion_on, needs_witness
from penstock.core.events import CandidateFormed, Decisions, Refused, TicketMoved
from penstock.core.looks import base_evidence, evidence_of, turns_green_by_itself
from penstock.core.retries import fail, hold, may_retry
from penstock.core.state import State, TicketRun, is_approved, look_key
from penstock.core.tickets import CommandCriterion, GateCriterion, TestCriterion


def judge_criteria(state: State, run: TicketRun, candidate: CandidateFormed) -> Decisions:
    """The next decisions where all gates hold: it lands, is worked on, or waits for a person."""
    count = range(len(run.ticket.acceptance))
    open_ones = [_name_criterion(run, n) for n in count if criterion_on(state, run, n, candidate.tree) != "green"]
    red_by_base = [_name_criterion(run, n) for n in count if _is_red_by_base(state, run, candidate, n)]
    red_by_base += [f"gate {g}" for g in run.ticket.repairs if turns_green_by_itself(state, candidate, g)]
    open_ones += [f"{name}, green only by changed tests or settings: red by base's own" for name in red_by_base]
    name = run.ticket.id
    if open_ones:
        reason = f"green, but not what was asked for yet: {'; '.join(open_ones)[:300]}"
        return _unfinished(state, run, Refused(ticket=name, kind="criteria_open", reason=reason))
    if not needs_witness(run, candidate) or is_approved(run, candidate.tree) or tells(state, run, candidate):
        return (TicketMoved(ticket=name, to="landing", reason="every gate and criterion holds"),)
    reason = (
        "nothing tells that the change does what was asked: add a test that fails without it "
        f"({_witness_why(state, candidate)})"
    )
    return _unfinished(state, run, Refused(ticket=name, kind="vacuous", reason=reason))


def _is_red_by_base(state: State, run: TicketRun, candidate: CandidateFormed, n: int) -> bool:
    """Is the criterion met by changed tests and settings alone? A test that base does not have is not judged so."""
    criterion = run.ticket.acceptance[n]
    if isinstance(criterion, GateCriterion):
        return turns_green_by_itself(state, candidate, criterion.gate)
    if not isinstance(criterion, TestCriterion):
        return False
    judged = [j for g in state.policy.gates if (j := evidence_of(state, candidate, g.name, "judge")) and j.tests]
    statuses = [j.asked.get(criterion.test, "absent") for j in judged]
    file = criterion.test.split("::")[0]
    unloadable = any(f"/{f.id}".endswith(f"/{file}") for j in judged for f in j.failed)
    return any(s not in ("green", "absent") for s in statuses) or ("green" not in statuses and unloadable)


def _unfinished(state: State, run: TicketRun, refused: Refused) -> Decisions:
    if may_retry(state, run, "no_progress"):
        move = TicketMoved(ticket=run.ticket.id, to="working", reason=refused.reason[:400], cause="no_progress")
        return (refused, move)
    if refused.kind == "vacuous":
        return (refused, hold(run, f"{refused.reason}; if nothing can, approve it or say `kind: refactor`"))
    return (refused, *fail(state, run, "no_progress", refused.reason))


def tells(state: State, run: TicketRun, candidate: CandidateFormed) -> bool:
    """Is there a witness: a new test that is red on base's production code, or a gate that the ticket repaired?"""
    if any(_is_repaired(state, candidate, gate) for gate in run.ticket.repairs):
        return True
    keys = (look_key(g.name, "witness", candidate.witness_tree, candidate.base_tree) for g in state.policy.gates)
    return any(state.evidence[state.looked[key]].verdict == "pass" for key in keys if key in state.looked)


def _is_repaired(state: State, candidate: CandidateFormed, gate: str) -> bool:
    """A gate that was red on base and passes on the candidate tells, whoever wrote its tests."""
    base, lands = base_evidence(state, gate, candidate.base_tree), evidence_of(state, candidate, gate, "lands")
    return base is not None and base.verdict == "fail" and lands is not None and lands.verdict == "pass"


def _witness_why(state: State, candidate: CandidateFormed) -> str:
    if not candidate.witness_tree:
        return "no test was added or changed"
    for g in state.policy.gates:
        seq = state.looked.get(look_key(g.name, "witness", candidate.witness_tree, candidate.base_tree))
        if seq is not None:
            return state.evidence[seq].why
    return "the new tests were not run"


def _name_criterion(run: TicketRun, n: int) -> str:
    criterion = run.ticket.acceptance[n]
    match criterion:
        case TestCriterion():
            return f"test {criterion.test}"
        case CommandCriterion():
            return f"command {criterion.command}"
        case GateCriterion():
            return f"gate {criterion.gate}"

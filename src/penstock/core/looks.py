"""What is looked at, in which order, and what was seen there: base, the candidate, and base's judgement of it."""

from __future__ import annotations

from penstock.core.criteria import criterion_gate, needs_witness
from penstock.core.done import awaits_tickets, repairing
from penstock.core.events import CandidateFormed
from penstock.core.jobs import Need
from penstock.core.policy import GateSpec
from penstock.core.state import State, TicketRun, is_approved, look_key
from penstock.core.tickets import CommandCriterion
from penstock.core.verdicts import Counts, Evidence, Look

# --- what is to be looked at ----------------------------------------------------------------------------------------


def stages(state: State, run: TicketRun, candidate: CandidateFormed) -> list[list[Need]]:
    """The looks in order; a red in one stage stops the later ones."""
    specs = [g for g in state.policy.gates if g.name in run.gates]
    tiers = [[g for g in specs if g.tier == tier] for tier in ("fast", "medium", "slow", "formal")]
    plan = [[_lands(state, candidate, g, run) for g in tier] for tier in tiers if tier]
    others = [_judge(state, candidate, g, run) for g in specs] if candidate.judge_tree else []
    if needs_witness(run, candidate) and candidate.witness_tree:
        others += [_witness(state, candidate, g) for g in witness_gates(state, candidate, specs)]
    others += criterion_needs(run, candidate.commit, candidate.tree)
    return [*plan, others] if others else plan


def _lands(state: State, candidate: CandidateFormed, gate: GateSpec, run: TicketRun) -> Need:
    return Need(
        gate=gate.name,
        look="lands",
        commit=candidate.commit,
        tree=candidate.tree,
        base=candidate.base,
        base_tree=candidate.base_tree,
        env_tree=candidate.tree,
        env_commit=candidate.commit,
        ask=state.asked,
        excused=run.ticket.changes_tests,
    )


def _judge(state: State, candidate: CandidateFormed, gate: GateSpec, run: TicketRun) -> Need:
    return Need(
        gate=gate.name,
        look="judge",
        commit=candidate.judge_commit,
        tree=candidate.judge_tree,
        base=candidate.base,
        base_tree=candidate.base_tree,
        env_tree=candidate.base_tree,
        env_commit=candidate.base,
        ask=state.asked,
        excused=run.ticket.changes_tests,
    )


def _witness(state: State, candidate: CandidateFormed, gate: GateSpec) -> Need:
    seq = state.looked.get(look_key(gate.name, "lands", candidate.tree, candidate.base_tree))
    return Need(
        gate=gate.name,
        look="witness",
        commit=candidate.witness_commit,
        tree=candidate.witness_tree,
        base=candidate.base,
        base_tree=candidate.base_tree,
        env_tree=candidate.base_tree,
        env_commit=candidate.base,
        only_files=candidate.witness_files,
        candidate_tests=state.evidence[seq].tests if seq is not None else None,
    )


def witness_gates(state: State, candidate: CandidateFormed, specs: list[GateSpec]) -> list[GateSpec]:
    """Gates that can say which test is red; where none can, every assertion gate is asked as a whole."""
    per_test = [g for g in specs if base_evidence(state, g.name, candidate.base_tree, per_test=True)]
    return per_test or [g for g in specs if g.oracle == "assertion"]


def criterion_needs(run: TicketRun, commit: str, tree: str) -> list[Need]:
    """The ad-hoc gates of the ticket's commands, on that tree."""
    return [
        Need(
            gate=criterion_gate(run.ticket, n),
            look="criterion",
            commit=commit,
            tree=tree,
            env_tree=tree,
            env_commit=commit,
            command=c.command,
        )
        for n, c in enumerate(run.ticket.acceptance)
        if isinstance(c, CommandCriterion)
    ]


def base_need(state: State, gate: str, commit: str, tree: str) -> Need:
    """One gate on trunk as it is."""
    return Need(gate=gate, look="base", commit=commit, tree=tree, env_tree=tree, env_commit=commit, ask=state.asked)


# --- what was seen --------------------------------------------------------------------------------------------------


def seq_of(state: State, need: Need) -> int | None:
    """Seq of the evidence that answers the need, None where nothing looked yet."""
    return state.looked.get(look_key(need.gate, need.look, need.tree, need.base_tree))


def base_evidence(state: State, gate: str, tree: str, per_test: bool = False) -> Evidence | None:
    """What the gate said of trunk's tree; with `per_test` only where it said it test by test."""
    seq = state.plain.get(f"{gate}|{tree}")
    seen = state.evidence[seq] if seq is not None else None
    return None if seen is None or (per_test and seen.tests is None) else seen


def evidence_of(state: State, candidate: CandidateFormed, gate: str, look: Look) -> Evidence | None:
    """What the gate said of the candidate, as it lands or as base judges it."""
    tree = candidate.judge_tree if look == "judge" else candidate.tree
    seq = state.looked.get(look_key(gate, look, tree, candidate.base_tree))
    return None if seq is None else state.evidence[seq]


def seqs_of_lands(state: State, run: TicketRun, candidate: CandidateFormed) -> list[int]:
    """Seqs of what the gates said of the candidate as it lands."""
    keys = (look_key(gate, "lands", candidate.tree, candidate.base_tree) for gate in run.gates)
    return [state.looked[key] for key in keys if key in state.looked]


# --- whether that holds ---------------------------------------------------------------------------------------------


def holds(state: State, run: TicketRun, candidate: CandidateFormed, seen: Evidence) -> bool:
    """Whether this does not keep the candidate from landing."""
    if seen.look in ("witness", "criterion") or seen.verdict == "pass":
        return seen.verdict != "broken"
    if seen.verdict == "pending":
        return is_approved(run, candidate.tree, seen.gate)
    if seen.verdict == "fail" and seen.look == "judge" and turns_green_by_itself(state, candidate, seen.gate):
        return False
    return seen.verdict == "fail" and _is_no_worse(state, run, candidate, seen)


def _is_no_worse(state: State, run: TicketRun, candidate: CandidateFormed, seen: Evidence) -> bool:
    """Red on base too, and that may be: the policy allows it, a ticket will see to it, or this one is on the way."""
    base = base_evidence(state, seen.gate, candidate.base_tree)
    if base is None or not is_red_alike(seen, base, fewer=seen.gate in run.ticket.repairs):
        return False
    if state.policy.baseline == "no_new_failures" or run.ticket.repairs or awaits_tickets(state, base):
        return True
    return run.ticket.id in (repairing(state) or ())


def is_red_alike(seen: Evidence, base: Evidence, fewer: bool = False) -> bool:
    """Red on both, nothing that was green is lost, and no more is red than on base; or fewer."""
    if seen.verdict != "fail" or base.verdict != "fail" or seen.missing:
        return False
    if seen.counts is None or base.counts is None:
        return seen.counts is None and base.counts is None and not fewer
    return _reds(seen.counts) + fewer <= _reds(base.counts)


def turns_green_by_itself(state: State, candidate: CandidateFormed, gate: str) -> bool:
    """Green as it lands, red by base's tests and settings over the same production code."""
    judged, lands = evidence_of(state, candidate, gate, "judge"), evidence_of(state, candidate, gate, "lands")
    if judged is None or lands is None or lands.verdict != "pass":
        return False
    return judged.verdict != "pass" or any(f.id not in state.quarantined for f in judged.failed)


def _reds(counts: Counts) -> int:
    return counts.red + counts.error

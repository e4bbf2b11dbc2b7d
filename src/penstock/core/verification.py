"""What a candidate must show, look by look, and what follows from what the looks saw.

The plan is derived from the candidate and the policy on every pass; what was already seen is in the evidence index. So
a crash, a late result or a rebuilt lane need no special case: what is missing is owed, what is there is read.
"""

from __future__ import annotations

from penstock.core.criteria import criterion_gate, criterion_on, needs_witness
from penstock.core.digest import digest_of
from penstock.core.done import awaits_tickets, repairing
from penstock.core.events import (
    CandidateFormed,
    Decision,
    MergeOrder,
    Refused,
    RiskAssessed,
    TestQuarantined,
    TicketMoved,
)
from penstock.core.jobs import Need, owe, owe_gate
from penstock.core.paths import matches
from penstock.core.policy import RISKS, FailureClass, GateSpec, Risk
from penstock.core.retries import fail, hold, may_retry
from penstock.core.state import State, TicketRun, is_approved, look_key
from penstock.core.tickets import CommandCriterion, GateCriterion, TestCriterion
from penstock.core.verdicts import Counts, Evidence, Look

Decisions = tuple[Decision, ...]
TIER_RISK: dict[str, Risk] = {"fast": "low", "medium": "boundary", "slow": "high", "formal": "high"}
QUARANTINE_MAX = 20


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
    return _judge_criteria(state, run, candidate)


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


def assess_risk(state: State, run: TicketRun, candidate: CandidateFormed) -> RiskAssessed:
    """The risk class that the change earns, and the gates that come with it."""
    rules, why = state.policy.risk, []
    risk: Risk = run.ticket.risk or "low"
    if run.ticket.risk:
        why.append(f"the ticket says {risk}")
    paths = [c.path for c in candidate.changes]
    tests: tuple[tuple[Risk, bool, str], ...] = (
        ("boundary", any(matches(rules.boundary, p) for p in paths), "touches a boundary path"),
        ("high", any(matches(rules.high, p) for p in paths), "touches a high-risk path"),
        ("boundary", candidate.lines >= rules.boundary_lines_min, f"{candidate.lines} lines"),
        ("high", candidate.lines >= rules.high_lines_min, f"{candidate.lines} lines"),
        (
            "high",
            candidate.envs != state.tree_envs.get(candidate.base_tree, {}),
            "touches an environment's inputs",
        ),
    )
    for level, holds, reason in tests:
        if holds and RISKS.index(level) > RISKS.index(risk):
            risk = level
            why.append(reason)
    named = {c.gate for c in run.ticket.acceptance if isinstance(c, GateCriterion)} | set(run.ticket.repairs)
    gates = tuple(g.name for g in state.policy.gates if g.name in named or _is_earned(g, risk, paths))
    return RiskAssessed(
        ticket=run.ticket.id,
        tree=candidate.tree,
        risk=risk,
        gates=gates,
        why="; ".join(why) or "small change",
    )


def _is_earned(gate: GateSpec, risk: Risk, paths: list[str]) -> bool:
    if gate.when:
        return any(matches(gate.when, p) for p in paths)
    return RISKS.index(TIER_RISK[gate.tier]) <= RISKS.index(risk)


# --- looks ----------------------------------------------------------------------------------------------------------


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
    per_test = [g for g in specs if _base_evidence(state, g.name, candidate.base_tree, per_test=True)]
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


def _base_evidence(state: State, gate: str, tree: str, per_test: bool = False) -> Evidence | None:
    seq = state.plain.get(f"{gate}|{tree}")
    seen = state.evidence[seq] if seq is not None else None
    return None if seen is None or (per_test and seen.tests is None) else seen


def seq_of(state: State, need: Need) -> int | None:
    """Seq of the evidence that answers the need, None where nothing looked yet."""
    return state.looked.get(look_key(need.gate, need.look, need.tree, need.base_tree))


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
    bad = [seq for seq in seqs if not _holds(state, run, candidate, state.evidence[seq])]
    return blame(state, run, candidate, bad) if bad else None


def _owe_with_base(state: State, run: TicketRun, candidate: CandidateFormed, need: Need) -> Decisions | str:
    if need.base_tree and _base_evidence(state, need.gate, need.base_tree) is None:
        base = base_need(state, need.gate, candidate.base, candidate.base_tree)
        return owe_gate(state, run, base, "the candidate is compared with base")
    return owe_gate(state, run, need, f"{need.look} of {run.ticket.id}")


def base_need(state: State, gate: str, commit: str, tree: str) -> Need:
    """One gate on trunk as it is."""
    return Need(gate=gate, look="base", commit=commit, tree=tree, env_tree=tree, env_commit=commit, ask=state.asked)


def _holds(state: State, run: TicketRun, candidate: CandidateFormed, seen: Evidence) -> bool:
    if seen.look in ("witness", "criterion") or seen.verdict == "pass":
        return seen.verdict != "broken"
    if seen.verdict == "pending":
        return is_approved(run, candidate.tree, seen.gate)
    if seen.verdict == "fail" and seen.look == "judge" and _turns_green_by_itself(state, candidate, seen.gate):
        return False
    return seen.verdict == "fail" and _is_no_worse(state, run, candidate, seen)


def _is_no_worse(state: State, run: TicketRun, candidate: CandidateFormed, seen: Evidence) -> bool:
    """Red on base too, and that may be: the policy allows it, a ticket will see to it, or this one is on the way."""
    base = _base_evidence(state, seen.gate, candidate.base_tree)
    if base is None or not _is_red_alike(seen, base, fewer=seen.gate in run.ticket.repairs):
        return False
    if state.policy.baseline == "no_new_failures" or run.ticket.repairs or awaits_tickets(state, base):
        return True
    return run.ticket.id in (repairing(state) or ())


def _is_red_alike(seen: Evidence, base: Evidence, fewer: bool = False) -> bool:
    """Red on both, nothing that was green is lost, and no more is red than on base; or fewer."""
    if seen.verdict != "fail" or base.verdict != "fail" or seen.missing:
        return False
    if seen.counts is None or base.counts is None:
        return seen.counts is None and base.counts is None and not fewer
    return _reds(seen.counts) + fewer <= _reds(base.counts)


def _reds(counts: Counts) -> int:
    return counts.red + counts.error


# --- blame ----------------------------------------------------------------------------------------------------------


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
        base = _base_evidence(state, state.evidence[seq].gate, candidate.base_tree)
        if seq not in _seqs_of_lands(state, run, candidate) or base is None:
            return ()
        if run.ticket.repairs or not _is_red_alike(state.evidence[seq], base):
            return ()
    reason = f"trunk itself is red: {state.evidence[bad[0]].gate}: {state.evidence[bad[0]].why}"
    forget = tuple(_seqs_of_lands(state, run, candidate))
    return fail(state, run, "infra", reason, exhausted="held", forget=forget)


def _seqs_of_lands(state: State, run: TicketRun, candidate: CandidateFormed) -> list[int]:
    keys = (look_key(gate, "lands", candidate.tree, candidate.base_tree) for gate in run.gates)
    return [state.looked[key] for key in keys if key in state.looked]


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


# --- criteria -------------------------------------------------------------------------------------------------------


def _judge_criteria(state: State, run: TicketRun, candidate: CandidateFormed) -> Decisions:
    """All gates hold. Is what the ticket asked for there, and does anything tell that it was not there before?"""
    count = range(len(run.ticket.acceptance))
    open_ones = [_name_criterion(run, n) for n in count if criterion_on(state, run, n, candidate.tree) != "green"]
    red_by_base = [_name_criterion(run, n) for n in count if _is_red_by_base(state, run, candidate, n)]
    red_by_base += [f"gate {g}" for g in run.ticket.repairs if _turns_green_by_itself(state, candidate, g)]
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
        return _turns_green_by_itself(state, candidate, criterion.gate)
    if not isinstance(criterion, TestCriterion):
        return False
    judged = [j for g in state.policy.gates if (j := _seen(state, candidate, g.name, "judge")) and j.tests]
    statuses = [j.asked.get(criterion.test, "absent") for j in judged]
    file = criterion.test.split("::")[0]
    unloadable = any(f"/{f.id}".endswith(f"/{file}") for j in judged for f in j.failed)
    return any(s not in ("green", "absent") for s in statuses) or ("green" not in statuses and unloadable)


def _turns_green_by_itself(state: State, candidate: CandidateFormed, gate: str) -> bool:
    """Green as it lands, red by base's tests and settings over the same production code."""
    judged, lands = _seen(state, candidate, gate, "judge"), _seen(state, candidate, gate, "lands")
    if judged is None or lands is None or lands.verdict != "pass":
        return False
    return judged.verdict != "pass" or any(f.id not in state.quarantined for f in judged.failed)


def _seen(state: State, candidate: CandidateFormed, gate: str, look: Look) -> Evidence | None:
    tree = candidate.judge_tree if look == "judge" else candidate.tree
    seq = state.looked.get(look_key(gate, look, tree, candidate.base_tree))
    return None if seq is None else state.evidence[seq]


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
    base, lands = _base_evidence(state, gate, candidate.base_tree), _seen(state, candidate, gate, "lands")
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

"""The risk class that a change earns: by its paths, its size, and what its ticket says."""

from __future__ import annotations

from penstock.core.events import CandidateFormed, RiskAssessed
from penstock.core.paths import matches
from penstock.core.policy import RISKS, GateSpec, Risk
from penstock.core.state import State, TicketRun
from penstock.core.tickets import GateCriterion

TIER_RISK: dict[str, Risk] = {"fast": "low", "medium": "boundary", "slow": "high", "formal": "high"}


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

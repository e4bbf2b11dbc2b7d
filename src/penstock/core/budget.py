"""Budgets: a start reserves, an end settles, at the run's level and at the ticket's. Checks fail closed."""

from __future__ import annotations

from penstock.core.events import GateOrder, Order, TurnOrder
from penstock.core.policy import BudgetCaps, Policy, Spend
from penstock.core.state import State, TicketRun

FIELDS = ("tokens", "micro_dollars", "agent_ms", "gate_ms")


def reservation(state: State, order: Order) -> Spend:
    """What starting this job sets aside: a turn takes the verification that it makes due with it."""
    budget = state.policy.budget
    if isinstance(order, TurnOrder):
        return Spend(
            tokens=budget.tokens_per_turn,
            micro_dollars=budget.micro_dollars_per_turn,
            agent_ms=order.wall_ms,
            gate_ms=sum(state.gate_ms.get(g.name, 0) for g in state.policy.gates if g.tier == "fast"),
        )
    if isinstance(order, GateOrder):
        spec = state.policy.gate(order.gate)
        longest = spec.timeout_ms if spec is not None else 600_000
        return Spend(gate_ms=max(1, min(longest, 2 * state.gate_ms.get(order.gate, 0))))
    return Spend()


def over_run_budget(state: State, need: Spend) -> str:
    """Why the run cannot afford `need`; empty when it can."""
    return _over(state.policy.budget.run, state.settled.plus(state.reserved), state.raised, need, "the run")


def over_ticket_budget(run: TicketRun, policy: Policy, need: Spend) -> str:
    """Why the ticket cannot afford `need`; empty when it can."""
    caps = _tighter(policy.budget.ticket, run.ticket.budget)
    return _over(caps, run.settled.plus(run.reserved), run.raised, need, run.ticket.id)


def _over(caps: BudgetCaps, taken: Spend, raised: Spend, need: Spend, whose: str) -> str:
    for field in FIELDS:
        cap = getattr(caps, field)
        wanted = getattr(need, field)
        if cap is None or wanted == 0:
            continue
        cap += getattr(raised, field)
        if getattr(taken, field) + wanted > cap:
            return f"{field} of {whose}: {getattr(taken, field)} taken + {wanted} needed > {cap}"
    return ""


def _tighter(one: BudgetCaps, other: BudgetCaps) -> BudgetCaps:
    def least(field: str) -> int | None:
        values = [v for v in (getattr(one, field), getattr(other, field)) if v is not None]
        return min(values) if values else None

    return BudgetCaps(
        tokens=least("tokens"),
        micro_dollars=least("micro_dollars"),
        agent_ms=least("agent_ms"),
        gate_ms=least("gate_ms"),
    )

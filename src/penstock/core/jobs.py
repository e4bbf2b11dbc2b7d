"""How jobs come to be owed: their keys, their reservations, and what has to be there before a gate can run."""

from __future__ import annotations

from penstock.core.budget import over_run_budget, over_ticket_budget, reservation
from penstock.core.digest import Digest
from penstock.core.events import Decisions, EnvOrder, GateOrder, JobKind, JobOwed, Order
from penstock.core.policy import Frozen
from penstock.core.retries import fail
from penstock.core.state import State, TicketRun
from penstock.core.verdicts import Look


class Need(Frozen, kw_only=True):
    """One look of one gate that a verdict waits for. `env_tree`: the tree whose environments it uses."""

    gate: str
    look: Look
    commit: str
    tree: str
    base: str = ""
    base_tree: str = ""
    env_tree: str
    env_commit: str
    command: str | None = None
    only_files: tuple[str, ...] = ()
    candidate_tests: Digest | None = None
    ask: tuple[str, ...] = ()
    excused: tuple[str, ...] = ()
    subject: str = ""


def next_key(state: State, kind: JobKind, subject: str, attempt: int) -> str:
    """`run/kind/subject/attempt/ordinal`: never given twice."""
    stem = f"{state.run}/{kind}/{subject}/{attempt}"
    return f"{stem}/{state.ordinals.get(stem, 0) + 1}"


def owe(state: State, kind: JobKind, subject: str, run: TicketRun | None, order: Order, why: str) -> JobOwed:
    """The decision that this is to be done, with what it reserves."""
    return JobOwed(
        key=next_key(state, kind, subject, run.attempt if run else 0),
        order=order,
        ticket=run.ticket.id if run else None,
        reserved=reservation(state, order),
        why=why,
    )


def owe_gate(state: State, run: TicketRun | None, need: Need, why: str) -> Decisions | str:
    """Decisions that bring the look nearer: its environment, then the run itself. Empty: wait. Text: it cannot be."""
    env_digest = ""
    for env in envs_of(state, need.gate):
        env_digest = state.tree_envs.get(need.env_tree, {}).get(env, "")
        status = state.envs.get(env_digest)
        if status is None:
            return owe_env(state, env, env_digest, need.env_commit)
        if status != "ready":
            return f"environment {env}: {status}"
    if is_live(state, need) or state.gate_live >= state.policy.limits.gate_jobs_max:
        return ()
    order = GateOrder(
        gate=need.gate,
        look=need.look,
        commit=need.commit,
        tree=need.tree,
        env_digest=env_digest,
        env_tree=need.env_tree,
        against=_tests_of(state, need.gate, need.base_tree),
        against_tree=need.base_tree or None,
        base=need.base,
        candidate_tests=need.candidate_tests,
        only_files=need.only_files,
        excused=need.excused,
        quarantined=tuple(sorted(state.quarantined)),
        ask=need.ask,
        command=need.command,
    )
    reserved = reservation(state, order)
    over = over_ticket_budget(run, state.policy, reserved) if run is not None else ""
    if run is not None and over:
        return fail(state, run, "budget", f"budget: {over}")
    if over_run_budget(state, reserved):
        return ()
    return (owe(state, "gate", need.subject or f"{need.gate}@{need.tree[:10]}.{need.look}", run, order, why),)


def envs_of(state: State, gate: str) -> tuple[str, ...]:
    """Environments that a gate sees: the one it names; the ad-hoc gate of a ticket sees all."""
    spec = state.policy.gate(gate)
    if spec is None:
        return tuple(env.name for env in state.policy.envs)
    return (spec.env,) if spec.env else ()


def owe_env(state: State, env: str, digest: Digest, commit: str) -> Decisions:
    """Build an environment once: nobody else is at it, and it is neither built nor known to fail."""
    if digest in state.env_live:
        return ()
    order = EnvOrder(env=env, digest=digest, commit=commit)
    return (owe(state, "env", f"{env}-{digest[:12]}", None, order, "not built yet"),)


def is_live(state: State, need: Need) -> bool:
    """Is a job in flight, anybody's, that will answer this need?"""
    wanted = (need.gate, need.look, need.tree, need.base_tree or None)
    orders = (job.order for job in state.jobs.values())
    return any(isinstance(o, GateOrder) and (o.gate, o.look, o.tree, o.against_tree) == wanted for o in orders)


def _tests_of(state: State, gate: str, tree: str) -> Digest | None:
    seq = state.plain.get(f"{gate}|{tree}") if tree else None
    return state.evidence[seq].tests if seq is not None else None

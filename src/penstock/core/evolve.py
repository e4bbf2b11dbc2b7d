"""Fold one record into the state. Inputs leave facts, decisions change what we want; indexes follow both.

Nothing is decided here: an input never moves a ticket, it only leaves something for `owed` to answer. A late or
repeated result names a job that is no longer there and changes nothing.
"""

from __future__ import annotations

import bisect
from typing import assert_never, cast

import msgspec

from penstock.core import events as e
from penstock.core.criteria import told_on
from penstock.core.policy import Policy, Spend
from penstock.core.scheduling import push_ready, refresh_head, signature_of
from penstock.core.state import Job, State, TicketRun, look_key
from penstock.core.tables import ACTIVE, OPEN, TERMINAL, require_move
from penstock.core.tickets import TestCriterion, Ticket
from penstock.core.verdicts import Evidence

ZERO = Spend()


def evolve(state: State, record: e.Record) -> None:
    """Fold `record` into `state`. Raises `IllegalMove` before anything is changed; a gap in seq is a bug."""
    assert record.seq == state.seq + 1, f"record {record.seq} after {state.seq}"
    if isinstance(record.event, e.TicketMoved):
        require_move(record.event.ticket, state.tickets[record.event.ticket].state, record.event.to)
    state.seq = record.seq
    state.now_ms = max(state.now_ms, record.at_ms)
    if isinstance(record.event, e.DECISIONS):
        _decided(state, record.event)
    else:
        _happened(state, cast(e.Input, record.event))


def _happened(state: State, event: e.Input) -> None:
    match event:
        case e.RunStarted():
            _start(state, event)
        case e.RunResumed():
            if event.policy is not None:
                _change_policy(state, event.policy, event.envs)
            state.paused, state.draining, state.drain_due_ms, state.breaker = False, "", 0, ""
        case e.LedgerRead():
            state.attempts_before, state.retries_before = dict(event.attempts), dict(event.retries)
            state.work_before, state.approvals_before = dict(event.work), event.approvals
            state.quarantined.update(dict.fromkeys(event.quarantined, "an earlier run"))
        case e.TicketAdded():
            _add(state, event.ticket)
        case e.TicketFoundDone():
            state.found_done[event.ticket] = event.commit
        case e.TrunkMoved():
            _set_trunk(state, event.position)
        case e.JobStarted():
            if job := state.jobs.get(event.key):
                job.started, job.pid = True, event.pid
                job.start_ticks, job.boot = event.start_ticks, event.boot
        case e.JobLost() | e.JobCanceled():
            _lose(state, event)
        case e.TurnEnded() | e.CandidateFormed() | e.CandidateConflicted() | e.CandidateFailed():
            _end_of_ticket_job(state, event)
        case e.GateEnded() | e.EnvEnded() | e.LandEnded():
            _end_of_check(state, event)
        case e.TimerFired():
            pass
        case e.PauseAsked():
            state.paused = True
        case e.ResumeAsked():
            state.paused = False
        case e.DrainAsked():
            state.draining = event.who
            state.drain_due_ms = state.now_ms + state.policy.limits.drain_ms_max
        case e.CancelAsked():
            if (run := state.tickets.get(event.ticket)) and run.state in OPEN:
                run.cancel = f"canceled by {event.who}" + (f": {event.reason}" if event.reason else "")
                state.canceling[event.ticket] = None
        case e.Approved():
            if run := state.tickets.get(event.ticket):
                run.approved = (*run.approved, event)
                if run.state == "held":
                    state.freed[event.ticket] = None
        case e.BudgetRaised():
            if event.ticket is None:
                state.raised = state.raised.plus(event.add)
            elif run := state.tickets.get(event.ticket):
                run.raised = run.raised.plus(event.add)
        case e.ReportSealed():
            state.sealed = True
        case _:
            assert_never(event)


def _start(state: State, event: e.RunStarted) -> None:
    state.run, state.seed, state.policy = event.run, event.seed, event.policy
    state.branch, state.landing_ref, state.isolation = event.branch, event.landing_ref, event.isolation
    state.window = max(1, min(event.policy.limits.window_start, event.policy.limits.window_max))
    state.started_ms, state.first_trunk = state.now_ms, event.trunk.commit
    _set_trunk(state, event.trunk)


def _change_policy(state: State, policy: Policy, envs: dict[str, str]) -> None:
    """New settings: what a changed gate or environment saw is no evidence any more, and candidates are formed anew."""
    state.policy = policy
    state.trunk = msgspec.structs.replace(state.trunk, envs=envs)
    state.tree_envs[state.trunk.tree] = dict(envs)
    for index in (state.plain, state.looked):
        for key in [key for key, seq in index.items() if not _is_current(state.evidence[seq], policy, envs)]:
            del index[key]
    for run in state.tickets.values():
        if run.state in OPEN:
            run.candidate, run.candidate_base, run.risk_tree = None, "", ""


def _is_current(seen: Evidence, policy: Policy, envs: dict[str, str]) -> bool:
    spec = policy.gate(seen.gate)
    if spec is None:
        return not seen.env_digest or seen.env_digest in envs.values()
    env_digest = envs.get(spec.env, "") if spec.env else ""
    return (seen.gate_digest, seen.env_digest) == (spec.digest, env_digest)


def _set_trunk(state: State, position: e.TrunkPosition) -> None:
    state.trunk = position
    state.tree_envs[position.tree] = dict(position.envs)


def _add(state: State, ticket: Ticket) -> None:
    if ticket.id in state.tickets:
        return
    waiting = [d for d in ticket.depends_on if not _is_done(state, d)]
    run = TicketRun(ticket=ticket, unmet=len(waiting), since_ms=state.now_ms, priority=ticket.priority)
    run.attempt = state.attempts_before.get(ticket.digest, 0)
    run.retries = dict(state.retries_before.get(ticket.digest, {}))
    run.approved = tuple(a for a in state.approvals_before if a.ticket == ticket.id)
    state.tickets[ticket.id] = run
    state.open_count += 1
    for needed in ticket.depends_on:
        state.dependents.setdefault(needed, {})[ticket.id] = None
    _doom(state, run)
    if not waiting:
        state.unblocked[ticket.id] = None
    for dependent in state.dependents.get(ticket.id, ()):
        run.priority = min(run.priority, state.tickets[dependent].priority)
    _inherit_priority(state, ticket)
    named = (c.test for c in ticket.acceptance if isinstance(c, TestCriterion))
    state.asked = (*state.asked, *(t for t in named if t not in state.asked))


def _doom(state: State, run: TicketRun) -> None:
    for needed in run.ticket.depends_on:
        if needed in state.tickets and state.tickets[needed].state in ("failed", "canceled"):
            state.doomed[run.ticket.id] = needed


def _is_done(state: State, ticket: str) -> bool:
    return ticket in state.tickets and state.tickets[ticket].state == "done"


def _inherit_priority(state: State, ticket: Ticket) -> None:
    todo = [ticket.id]
    while todo:
        run = state.tickets[todo.pop()]
        for needed in run.ticket.depends_on:
            other = state.tickets.get(needed)
            if other is not None and other.priority > run.priority:
                other.priority = run.priority
                todo.append(needed)
                if other.state == "ready":
                    push_ready(state, other)


# --- the ends of jobs -----------------------------------------------------------------------------------------------


def _close_job(state: State, key: str, spent: Spend | None) -> Job | None:
    """Take the job out of flight and settle it: at `spent`, or in full where that is not known."""
    job = state.jobs.pop(key, None)
    if job is None:
        return None
    amount = job.reserved if spent is None else spent
    state.reserved = state.reserved.minus(job.reserved)
    state.settled = state.settled.plus(amount)
    if job.kind == "gate":
        state.gate_live -= 1
    if isinstance(job.order, e.EnvOrder):
        state.env_live.pop(job.order.digest, None)
    if job.ticket is not None:
        run = state.tickets[job.ticket]
        run.live.pop(key, None)
        run.reserved = run.reserved.minus(job.reserved)
        run.settled = run.settled.plus(amount)
    return job


def _lose(state: State, event: e.JobLost | e.JobCanceled) -> None:
    job = _close_job(state, event.key, event.spent if isinstance(event, e.JobCanceled) else None)
    if job is not None and job.ticket is None and isinstance(event, e.JobLost):
        state.lost_rows += 1
    if job is None or job.ticket is None:
        return
    run = state.tickets[job.ticket]
    if isinstance(event, e.JobLost):
        run.lost_rows += 1
        if run.lost_rows > state.policy.limits.lost_jobs_max:
            run.trouble = f"{run.lost_rows} jobs in a row were lost: {event.reason}"


def _end_of_ticket_job(
    state: State, event: e.TurnEnded | e.CandidateFormed | e.CandidateConflicted | e.CandidateFailed
) -> None:
    spent = _turn_spend(state, event) if isinstance(event, e.TurnEnded) else ZERO
    job = _close_job(state, event.key, spent)
    if job is None or job.ticket is None or job.unwanted:
        return
    run = state.tickets[job.ticket]
    run.lost_rows = 0
    match event:
        case e.TurnEnded():
            run.turn = event
            run.turns += 1
            if event.outcome == "ended":
                run.notes = ()
        case e.CandidateFormed():
            run.candidate = event
            state.tree_envs[event.tree] = dict(event.envs)
            touched = dict.fromkeys((*run.touched, *(c.path for c in event.changes)))
            run.touched = tuple(touched)
        case e.CandidateConflicted():
            assert isinstance(job.order, e.MergeOrder)
            run.conflict, run.fix_start, run.fix_base = event.paths, event.start, job.order.onto
        case e.CandidateFailed():
            run.trouble = event.message


def _turn_spend(state: State, event: e.TurnEnded) -> Spend:
    budget, usage = state.policy.budget, event.usage
    return Spend(
        tokens=budget.assumed_tokens_per_turn if usage.tokens is None else usage.tokens,
        micro_dollars=budget.assumed_micro_dollars_per_turn if usage.micro_dollars is None else usage.micro_dollars,
        agent_ms=event.duration_ms,
    )


def _end_of_check(state: State, event: e.GateEnded | e.EnvEnded | e.LandEnded) -> None:
    spent = Spend(gate_ms=event.evidence.duration_ms) if isinstance(event, e.GateEnded) else ZERO
    job = _close_job(state, event.key, spent)
    if job is None:
        return
    if job.ticket is not None:
        state.tickets[job.ticket].lost_rows = 0
    else:
        state.lost_rows = 0
    match event:
        case e.GateEnded():
            _file_evidence(state, job, event.evidence)
        case e.EnvEnded():
            assert isinstance(job.order, e.EnvOrder)
            state.envs[job.order.digest] = "ready" if event.ok else event.message or "set-up failed"
        case e.LandEnded():
            _landed(state, job, event)


def _file_evidence(state: State, job: Job, evidence: Evidence) -> None:
    order, seq = job.order, state.seq
    assert isinstance(order, e.GateOrder)
    seen_of = (evidence.gate, evidence.look, evidence.tree, evidence.base_tree or "")
    assert seen_of == (order.gate, order.look, order.tree, order.against_tree or ""), f"{job.key}: {seen_of}"
    state.evidence[seq] = evidence
    state.gate_ms[evidence.gate] = max(state.gate_ms.get(evidence.gate, 0), evidence.duration_ms)
    if evidence.look == "control":
        state.controls[job.key.split("/")[2]] = seq
        return
    if evidence.look == "base" or (evidence.look == "lands" and evidence.verdict != "broken"):
        state.plain[f"{evidence.gate}|{evidence.tree}"] = seq
    state.looked[look_key(evidence.gate, evidence.look, evidence.tree, evidence.base_tree or "")] = seq


def _landed(state: State, job: Job, event: e.LandEnded) -> None:
    assert isinstance(job.order, e.LandOrder)
    run = state.tickets[job.order.ticket]
    if event.outcome == "failed":
        run.trouble = event.message
    elif event.outcome == "landed":
        envs = state.tree_envs.get(job.order.tree, {})
        position = event.position or e.TrunkPosition(commit=job.order.commit, tree=job.order.tree, envs=envs)
        _set_trunk(state, position)
        run.commit = job.order.commit
    elif event.position is not None:
        _set_trunk(state, event.position)


# --- decisions ------------------------------------------------------------------------------------------------------


def _decided(state: State, event: e.Decision) -> None:
    match event:
        case e.TicketMoved():
            _move(state, event)
        case e.AttemptStarted():
            _start_attempt(state, event)
        case e.AttemptEnded():
            state.tickets[event.ticket].attempt_live = False
        case e.JobOwed():
            _owe(state, event)
        case e.JobUnwanted():
            state.jobs[event.key].unwanted = True
        case e.Refused():
            run = state.tickets[event.ticket]
            run.notes = (*run.notes, event.reason)[-8:]
        case e.RiskAssessed():
            run = state.tickets[event.ticket]
            run.risk_tree, run.gates = event.tree, event.gates
        case e.FixScopeWidened():
            run = state.tickets[event.ticket]
            run.widened, run.touched = True, tuple(dict.fromkeys((*run.touched, *event.paths)))
        case e.WindowChanged():
            state.window = event.size
            state.signals.clear()
        case e.TestQuarantined():
            state.quarantined[event.test] = event.reason
            _forget(state, event.seen)
        case e.BreakerOpened():
            state.breaker = event.reason
        case e.RunConcluded():
            state.conclusion = event
        case e.RunFinished():
            state.finished = event
        case _:
            assert_never(event)


def _start_attempt(state: State, event: e.AttemptStarted) -> None:
    run = state.tickets[event.ticket]
    run.attempt, run.attempt_live, run.base, run.turns = event.attempt, True, event.base, 0
    run.head, run.head_lines, run.fix_start, run.turn = "", 0, "", None
    run.candidate, run.candidate_base, run.red, run.conflict, run.trouble = None, "", (), (), ""
    run.touched, run.widened, run.stale_rows, run.adopted = (), False, 0, False
    left = state.work_before.pop(run.ticket.digest, None)
    if left is not None:
        run.head, run.head_lines, run.base, run.adopted = left.head, left.lines, left.base, True
    run.told_on_base = tuple(told_on(state, run, n) for n in range(len(run.ticket.acceptance)))


def _owe(state: State, event: e.JobOwed) -> None:
    kind = event.key.split("/")[1]
    state.jobs[event.key] = Job(
        key=event.key,
        kind=kind,  # type: ignore[arg-type]
        order=event.order,
        ticket=event.ticket,
        reserved=event.reserved,
    )
    stem, ordinal = event.key.rsplit("/", 1)
    state.ordinals[stem] = int(ordinal)
    state.reserved = state.reserved.plus(event.reserved)
    if kind == "gate":
        state.gate_live += 1
    if isinstance(event.order, e.EnvOrder):
        state.env_live[event.order.digest] = event.key
    if event.ticket is not None:
        run = state.tickets[event.ticket]
        run.live[event.key] = None
        run.reserved = run.reserved.plus(event.reserved)
        if run.state == "ready":
            state.probing[event.ticket] = None
            refresh_head(state, signature_of(run.ticket))
        if isinstance(event.order, e.MergeOrder):
            run.candidate, run.candidate_base, run.conflict, run.trouble = None, event.order.onto, (), ""
        if isinstance(event.order, e.LandOrder):
            run.trouble = ""


def _move(state: State, event: e.TicketMoved) -> None:
    run = state.tickets[event.ticket]
    here, to = run.state, event.to
    if event.cause is not None:
        run.retries[event.cause] = run.retries.get(event.cause, 0) + 1
    run.state, run.reason, run.since_ms = to, event.reason, state.now_ms
    run.due_ms, run.frees = event.due_ms, event.frees
    if to in ("backoff", "held"):
        run.back = here if here != "backoff" else run.back
    _index_move(state, run, here, to)
    _answer(state, run, here, event)
    if to == "done":
        run.commit = event.commit or run.commit
        state.found_done.pop(event.ticket, None)
        if here == "landing" and state.window < state.policy.limits.window_max:
            state.signals.setdefault("grow", f"{event.ticket} landed")
        for dependent in state.dependents.get(event.ticket, ()):
            state.tickets[dependent].unmet -= 1
            if state.tickets[dependent].unmet == 0 and state.tickets[dependent].state == "waiting":
                state.unblocked[dependent] = None
    if to in ("failed", "canceled"):
        for dependent in state.dependents.get(event.ticket, ()):
            if state.tickets[dependent].state == "waiting":
                state.doomed[dependent] = event.ticket
    if event.cause in ("gate_red", "candidate_broke_gate", "conflict") and state.window > 1:
        state.signals.setdefault("shrink", f"{event.ticket} is red")


def _index_move(state: State, run: TicketRun, here: str, to: str) -> None:
    name = run.ticket.id
    if here in ACTIVE and to not in ACTIVE:
        state.active.pop(name, None)
        _use_resources(state, run, -1)
    if to in ACTIVE and here not in ACTIVE:
        state.active[name] = None
        _use_resources(state, run, +1)
    if to == "verifying" and here != "landing":
        state.unverified[name] = run.turn.total_lines if run.turn else run.head_lines
    elif to != "verifying":
        state.unverified.pop(name, None)
    state.unblocked.pop(name, None)
    state.doomed.pop(name, None)
    state.probing.pop(name, None)
    state.freed.pop(name, None)
    if to == "waiting":
        _doom(state, run)
    if to == "ready":
        run.ready_ms = state.now_ms
        push_ready(state, run)
    if here == "ready":
        refresh_head(state, signature_of(run.ticket))
    if here == "backoff":
        state.timers = [t for t in state.timers if t[1] != name]
    if to == "backoff":
        bisect.insort(state.timers, (run.due_ms, name))
    if to == "landing" and not run.lane:
        state.lane_entries += 1
        run.lane = state.lane_entries
        state.lane[name] = None
    if to in TERMINAL or to in ("fixing", "held", "working", "backoff"):
        run.lane = 0
        state.lane.pop(name, None)
    if to in TERMINAL:
        state.open_count -= 1
        state.canceling.pop(name, None)
        run.attempt_live, run.cancel = False, ""


def _use_resources(state: State, run: TicketRun, by: int) -> None:
    for resource in run.ticket.resources:
        state.resources_used[resource] = state.resources_used.get(resource, 0) + by


def _answer(state: State, run: TicketRun, here: str, event: e.TicketMoved) -> None:
    """A move answers what was left for it: an accepted turn becomes the head, a red becomes what the fix is shown."""
    to = event.to
    if run.turn is not None and here in ("working", "fixing"):
        if to == "verifying":
            run.head, run.head_lines = run.turn.head, run.turn.total_lines
            run.candidate, run.candidate_base = None, ""
            run.red = ()
        run.turn = None
    if to == "fixing" and here in ("verifying", "landing"):
        if run.conflict:
            run.touched = tuple(dict.fromkeys((*run.touched, *run.conflict)))
        elif run.candidate is not None:
            run.fix_start, run.fix_base = run.candidate.commit, run.candidate.base
        run.red = event.evidence
        run.candidate, run.candidate_base, run.conflict = None, "", ()
    if to == "working" and here == "verifying" and run.candidate is not None:
        run.head, run.base = run.candidate.commit, run.candidate.base
    if to == "verifying" and here == "landing":
        run.candidate, run.candidate_base = None, ""
        run.stale_rows += 1
    if to == "held" or (to in ("verifying", "backoff") and here in ("verifying", "landing")):
        run.trouble, run.lost_rows = "", 0 if to == "held" else run.lost_rows
        for seq in event.evidence:
            _forget(state, seq)


def _forget(state: State, seq: int) -> None:
    """That look says nothing any more: the next one that needs it looks again. The evidence stays on record."""
    seen = state.evidence[seq]
    state.looked.pop(look_key(seen.gate, seen.look, seen.tree, seen.base_tree or ""), None)
    if state.plain.get(f"{seen.gate}|{seen.tree}") == seq:
        state.plain.pop(f"{seen.gate}|{seen.tree}")

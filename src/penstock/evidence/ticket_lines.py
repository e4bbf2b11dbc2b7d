"""One ticket of a report: what was asked, what became of it, which evidence closed it."""

from __future__ import annotations

from collections.abc import Iterator

from penstock.core import events as e
from penstock.core.policy import BudgetCaps
from penstock.evidence import schema as s
from penstock.evidence.closing import Closing, landed_candidate, name_criterion, required_gates
from penstock.evidence.history import GateStory, History, JobStory, TicketStory, tree_of
from penstock.evidence.lines import amount_of, evidence_line, red_green_line
from penstock.evidence.timeline import shorten

CLAIMS_MAX = 3
FILES_MAX = 50


def ticket_line(history: History, story: TicketStory, closing: Closing) -> s.TicketLine:
    """The ticket as a report writes it."""
    ticket, last = story.ticket, story.moves[-1].what if story.moves else None
    commit = last.commit if last and story.state == "done" else ""
    candidate, landed = landed_candidate(story), story.landed
    tree = landed.order.tree if landed else tree_of(history, commit) if commit else ""
    assessed = story.risks.get(tree)
    evidence, looks, earlier = _sort_runs(history, story, tree, candidate)
    return s.TicketLine(
        id=ticket.id,
        title=ticket.title,
        kind=ticket.kind,
        priority=ticket.priority,
        depends_on=ticket.depends_on,
        source=ticket.source,
        revision=ticket.digest,
        body=ticket.body,
        scope=ticket.scope,
        acceptance=tuple(name_criterion(c) for c in ticket.acceptance),
        state=story.state,
        reason=last.reason if last else "",
        frees=last.frees if last else "",
        attempts=len(story.attempts),
        commit=landed.order.commit if landed else commit,
        tree=tree,
        base=landed.order.expected if landed else "",
        landed_seq=landed.seq if landed else None,
        witness=s.WitnessLine(kind=closing.witness.kind, text=closing.witness.text, seqs=closing.witness.seqs),
        objections=closing.objections,
        risk=assessed.what.risk if assessed else "",
        risk_why=assessed.what.why if assessed else "",
        gates=tuple(required_gates(story, landed)) if landed else (),
        lines=candidate.lines if candidate else 0,
        changes=_changes(candidate),
        evidence=tuple(evidence_line(r) for r in evidence),
        looks=tuple(evidence_line(r) for r in looks),
        earlier=tuple(evidence_line(r) for r in earlier),
        turns=tuple(_turns(story)),
        attempt_log=tuple(_attempts(story)),
        moves=tuple(_moves(story)),
        retries=dict(story.retries),
        approvals=tuple(_approvals(story)),
        spent=amount_of(story.spent),
        cap=_cap(history, story),
        red_green=red_green_line(_ledgers(story)),
    )


# --- evidence -------------------------------------------------------------------------------------------------------


def _sort_runs(
    history: History, story: TicketStory, tree: str, candidate: e.CandidateFormed | None
) -> tuple[list[GateStory], list[GateStory], list[GateStory]]:
    """Runs on the tree that closed the ticket, on the trees made of it, and the others that its jobs made."""
    beside = {("judge", candidate.judge_tree), ("witness", candidate.witness_tree)} if candidate else set()
    beside -= {("judge", ""), ("witness", "")}
    closed = story.moves[-1].seq if story.moves else 0
    evidence: dict[tuple[str, str], GateStory] = {}
    looks: dict[tuple[str, str], GateStory] = {}
    trees = [tree, candidate.judge_tree, candidate.witness_tree] if candidate else [tree]
    for run in (r for t in dict.fromkeys(trees) if t for r in history.by_tree.get(t, ()) if r.seq < closed):
        seen, key = run.seen, (run.seen.gate, run.seen.look)
        is_compared_alike = candidate is None or seen.base_tree in (None, candidate.base_tree)
        if (seen.look, seen.tree) in beside and is_compared_alike:
            looks[key] = run
        elif seen.tree == tree and is_compared_alike and _is_about(run, story, candidate):
            evidence[key] = run
    shown = {run.seq for run in (*evidence.values(), *looks.values())}
    earlier = [run for run in story.gate_runs if run.seq not in shown and run.seen.look != "base"]
    return _by_seq(evidence), _by_seq(looks), earlier


def _is_about(run: GateStory, story: TicketStory, candidate: e.CandidateFormed | None) -> bool:
    """Does the run speak for this ticket? Base's looks do only where no work was needed, criteria only its own."""
    if run.seen.look == "criterion":
        return run.seen.gate.startswith(f"{story.ticket.id}#")
    return run.seen.look == "lands" if candidate else run.seen.look in ("base", "lands")


def _by_seq(runs: dict[tuple[str, str], GateStory]) -> list[GateStory]:
    return sorted(runs.values(), key=lambda run: run.seq)


# --- the way there --------------------------------------------------------------------------------------------------


def _changes(candidate: e.CandidateFormed | None) -> tuple[s.ChangeLine, ...]:
    changes = candidate.changes if candidate else ()
    return tuple(s.ChangeLine(path=c.path, status=c.status, kind=c.kind, lines=c.lines) for c in changes)


def _turns(story: TicketStory) -> Iterator[s.TurnLine]:
    for job in story.jobs:
        if isinstance(job.owed.what.order, e.TurnOrder):
            yield _turn(job, job.owed.what.order)


def _turn(job: JobStory, order: e.TurnOrder) -> s.TurnLine:
    end = job.end.what if job.end else None
    ended = end if isinstance(end, e.TurnEnded) else None
    unended = "lost" if isinstance(end, e.JobLost) else "canceled" if end else "in flight"
    message = end.reason if isinstance(end, e.JobLost) else ""
    return s.TurnLine(
        seq=job.end.seq if job.end else None,
        began_ms=job.begun_ms,
        duration_ms=ended.duration_ms if ended else 0,
        attempt=order.attempt,
        turn=order.turn,
        role=order.role,
        outcome=ended.outcome if ended else unended,
        message=shorten(ended.message if ended else message),
        lines=ended.lines if ended else 0,
        files=tuple(c.path for c in ended.changes[:FILES_MAX]) if ended else (),
        tokens=ended.usage.tokens if ended else None,
        micro_dollars=ended.usage.micro_dollars if ended else None,
        claims=tuple(shorten(c) for c in ended.claims[-CLAIMS_MAX:]) if ended else (),
        set_aside=ended.set_aside[:FILES_MAX] if ended else (),
        salvage=ended.salvage if ended else "",
        output=ended.output if ended else None,
    )


def _ledgers(story: TicketStory) -> list[e.LedgerSealed]:
    ends = [job.end.what for job in story.jobs if job.end]
    return [end.ledger for end in ends if isinstance(end, e.TurnEnded) and end.ledger is not None]


def _attempts(story: TicketStory) -> Iterator[s.AttemptLine]:
    for attempt in story.attempts:
        started, ended = attempt.started, attempt.ended.what if attempt.ended else None
        yield s.AttemptLine(
            attempt=started.what.attempt,
            seq=started.seq,
            base=started.what.base,
            reason=ended.reason if ended else "",
            cause=(ended.cause or "") if ended else "",
        )


def _moves(story: TicketStory) -> Iterator[s.MoveLine]:
    for move in story.moves:
        what = move.what
        yield s.MoveLine(seq=move.seq, at_ms=move.at_ms, to=what.to, reason=what.reason, cause=what.cause or "")


def _approvals(story: TicketStory) -> Iterator[s.ApprovalLine]:
    for approval in story.approvals:
        said = approval.what
        yield s.ApprovalLine(seq=approval.seq, who=said.who, reason=said.reason, gate=said.gate or "", tree=said.tree)


def _cap(history: History, story: TicketStory) -> s.Amount:
    """The tighter of the policy's cap and the ticket's own, with what was added to it."""

    def least(field: str) -> int | None:
        caps: tuple[BudgetCaps, BudgetCaps] = (history.policy.budget.ticket, story.ticket.budget)
        values = [v for v in (getattr(c, field) for c in caps) if v is not None]
        return min(values) + getattr(story.raised, field) if values else None

    fields = ("tokens", "micro_dollars", "agent_ms", "gate_ms")
    return s.Amount(**{field: least(field) for field in fields})

"""Records in, report out. A function of the log: the same records give the same bytes, on any machine, at any time."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from penstock.core import events as e
from penstock.core.digest import canonical
from penstock.evidence import schema as s
from penstock.evidence.closing import close
from penstock.evidence.health import env_lines, gate_lines, versions_of, window_points
from penstock.evidence.history import History, read_history
from penstock.evidence.lines import amount_of, evidence_line
from penstock.evidence.proof import Heads, Kept, head_after, prove, read_seal
from penstock.evidence.ticket_lines import ticket_line
from penstock.evidence.timeline import tell


def build(records: Sequence[e.Record], heads: Heads | None = None, kept: Kept | None = None) -> s.Report:
    """The report of a log. `heads` gives the stored chain heads; without it they are computed from the records.
    `kept` gives the bytes of the sealed report, for a log that another version sealed.

    A log that is sealed is reported up to its seal, and clause 6 is filled in by reading the seal; so what was sealed
    is this very report without `seal`, without clause 6 and with `proof.holds` open.
    """
    seal = read_seal(records, lambda n: sealed_bytes(records[:n], heads), heads, kept)
    at = next((i for i, r in enumerate(records) if isinstance(r.event, e.ReportSealed)), len(records))
    return _report(read_history(records[:at]), seal, heads)


def to_json(report: s.Report) -> bytes:
    """The report as canonical JSON."""
    return canonical(report)


def sealed_bytes(records: Sequence[e.Record], heads: Heads | None = None) -> bytes:
    """What is sealed over these records: the report of a log that ends here."""
    return to_json(build(records, heads))


def read_report(data: bytes) -> s.Report:
    """The report of its JSON. Raises `msgspec.ValidationError` on anything else."""
    return msgspec.json.decode(data, type=s.Report)


def _report(history: History, seal: s.Seal | None, heads: Heads | None) -> s.Report:
    closings = {name: close(history, story) for name, story in history.tickets.items()}
    started = history.started.what if history.started else None
    end = history.concluded.what if history.concluded else None
    n = len(history.records)
    return s.Report(
        schema=s.SCHEMA,
        run=started.run if started else "",
        outcome=end.outcome if end else "unfinished",
        exit_code=end.exit_code if end else None,
        reason=end.reason if end else "the run has not come to an end",
        summary=_summary(history),
        covers=s.Covers(n=n, head=heads(n) if heads else head_after(history.records)),
        seal=seal,
        trunk=_trunk(history),
        tickets=tuple(ticket_line(history, story, closings[name]) for name, story in history.tickets.items()),
        open=tuple(s.OpenLine(ticket=w.ticket, state=w.state, what=w.what) for w in (end.open if end else ())),
        proof=prove(history, closings, seal),
        budget=_budget(history),
        refusals=_refusals(history),
        baseline=tuple(evidence_line(r) for r in history.gate_runs if r.seen.look == "base"),
        gates=gate_lines(history),
        environments=env_lines(history),
        quarantined=tuple(
            s.QuarantineLine(seq=q.seq, test=q.what.test, gate=q.what.gate, reason=q.what.reason)
            for q in history.quarantined
        ),
        window=window_points(history),
        timeline=tuple(tell(history)),
        started_ms=history.records[0].at_ms if history.records else 0,
        ended_ms=history.records[-1].at_ms if history.records else 0,
        seed=started.seed if started else 0,
        agent=started.agent if started else "",
        isolation=started.isolation if started else "",
        versions=versions_of(history),
        policy_digest=history.policy.digest,
    )


def _summary(history: History) -> str:
    states = [story.state for story in history.tickets.values()]
    others = [f"{states.count(x)} {x}" for x in dict.fromkeys(states) if x != "done"]
    return ", ".join([f"{states.count('done')} of {len(states)} tickets done", *others])


def _trunk(history: History) -> s.Trunk:
    started = history.started.what if history.started else None
    moves = history.trunk
    return s.Trunk(
        branch=started.branch if started else "",
        ref=started.landing_ref if started else "",
        before=moves[0].commit if moves else "",
        after=moves[-1].commit if moves else "",
        before_tree=moves[0].tree if moves else "",
        after_tree=moves[-1].tree if moves else "",
        moves=tuple(s.TrunkMove(seq=m.seq, commit=m.commit, tree=m.tree, ticket=m.ticket or "") for m in moves[1:]),
    )


def _budget(history: History) -> s.Budget:
    return s.Budget(
        cap=amount_of(history.policy.budget.run),
        raised=amount_of(history.raised),
        spent=amount_of(history.spent),
        assumed_turns=sum(job.is_assumed for job in history.jobs.values()),
        history=tuple(s.SpendPoint(seq=p.seq, at_ms=p.at_ms, spent=amount_of(p.what)) for p in history.spending),
    )


def _refusals(history: History) -> tuple[s.RefusalLine, ...]:
    return tuple(
        s.RefusalLine(
            ticket=r.event.ticket,
            kind=r.event.kind,
            seq=r.seq,
            at_ms=r.at_ms,
            reason=r.event.reason,
            paths=r.event.paths,
            salvage=r.event.salvage,
        )
        for r in history.records
        if isinstance(r.event, e.Refused)
    )

"""The report as Markdown for a pull request. Text of tickets and agents is escaped: it is shown, never obeyed."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from penstock.evidence.schema import EvidenceLine, Report, TicketLine
from penstock.evidence.words import (
    BUDGETED,
    amount,
    counted,
    duration,
    headline,
    moment,
    next_step,
    plain,
    red_green_words,
    short,
    since,
    tone,
)

_MARKS = {"good": "✅", "fair": "⚠️", "bad": "❌"}
_SPECIAL = re.compile(r"([\\`*_\[\]|~$])")

_DISARMED = {ord("@"): "@\u2060", ord("#"): "#\u2060"}
"""Word joiners, unseen: nobody is mentioned, no issue is linked."""


def render_markdown(report: Report) -> str:
    """The whole report as GitHub-flavoured Markdown."""
    parts = (_head(report), _tickets(report), _proof(report), _refusals(report), _gates(report), _budget(report))
    return "\n\n".join("\n".join(lines) for part in parts if (lines := list(part))) + "\n"


def text(raw: str) -> str:
    """Untrusted text on one line that Markdown shows as it is: no markup, no link, no mention."""
    line = " ".join(plain(raw).split())
    line = line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _SPECIAL.sub(r"\\\1", line).translate(_DISARMED).replace("://", ":\u2060//")


def code(raw: str) -> str:
    """Untrusted text as a code span that fits in a table cell."""
    line = " ".join(plain(raw).split()).replace("|", "\\|")
    longest = max((len(run) for run in re.findall(r"`+", line)), default=0)
    fence = "`" * (longest + 1)
    pad = " " if longest else ""
    return f"{fence}{pad}{line}{pad}{fence}" if line else ""


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield "|" + "---|" * len(head)
    for row in rows:
        yield f"| {' | '.join(row)} |"


def _head(report: Report) -> Iterator[str]:
    yield f"# {_MARKS[tone(report)]} {text(headline(report))}"
    yield ""
    exit_code = "" if report.exit_code is None else f", exit {report.exit_code}"
    took = duration(report.ended_ms - report.started_ms)
    yield f"Run {code(report.run)} {report.outcome}{exit_code}: {text(report.reason)}  "
    yield f"{moment(report.started_ms)}, {took}; agent {code(report.agent)}, isolation {code(report.isolation)}  "
    trunk = report.trunk
    yield f"{code(trunk.ref)}: {code(short(trunk.before))} → {code(short(trunk.after))}"


# --- tickets --------------------------------------------------------------------------------------------------------


def _tickets(report: Report) -> Iterator[str]:
    yield "## Tickets"
    yield ""
    rows = [
        (code(t.id), text(t.title), t.state, _why(report, t), _evidence(t.evidence), code(short(t.commit)))
        for t in report.tickets
    ]
    yield from _table(("ticket", "what was asked", "state", "why", "evidence", "commit"), rows)
    held = [(t.id, t.red_green) for t in report.tickets if t.red_green]
    if held:
        yield ""
    for name, line in held:
        yield f"- {code(name)}: {text(red_green_words(line))}"


def _why(report: Report, ticket: TicketLine) -> str:
    if ticket.objections:
        return "**" + text("; ".join(ticket.objections)) + "**"
    if ticket.state == "done":
        return text(ticket.witness.text)
    then = next_step(report, ticket)
    return text(ticket.reason) + (f" → {code(then)}" if then else "")


def _evidence(lines: Sequence[EvidenceLine]) -> str:
    return ", ".join(f"{text(line.gate)} {line.verdict} (seq {line.seq})" for line in lines)


# --- the rest -------------------------------------------------------------------------------------------------------


def _proof(report: Report) -> Iterator[str]:
    yield "## Proof"
    yield ""
    rows = [
        (str(c.n), "holds" if c.holds else "**does not hold**", text(c.text), text(c.witness))
        for c in report.proof.clauses
    ]
    yield from _table(("", "", "clause", "witness"), rows)
    for objection in report.proof.objections:
        yield f"\n- {text(objection)}"


def _refusals(report: Report) -> Iterator[str]:
    if not report.refusals:
        return
    yield f"## What was not let through ({len(report.refusals)})"
    yield ""
    rows = [(since(report, r.at_ms), code(r.ticket), text(r.kind), text(r.reason), str(r.seq)) for r in report.refusals]
    yield from _table(("when", "ticket", "kind", "reason", "seq"), rows)


def _gates(report: Report) -> Iterator[str]:
    yield "## Gates"
    yield ""
    rows = [
        (
            code(g.name),
            code(g.command),
            g.tier,
            str(g.runs),
            str(g.passed),
            str(g.failed),
            str(g.broken + g.flaky),
            "never red in this run" if g.never_failed else "",
        )
        for g in report.gates
    ]
    yield from _table(("gate", "command", "tier", "runs", "pass", "fail", "broken or flaky", ""), rows)
    for test in report.quarantined:
        yield f"\n- quarantined: {code(test.test)} of {code(test.gate)}: {text(test.reason)}"


def _budget(report: Report) -> Iterator[str]:
    yield "## Spent"
    yield ""
    rows = []
    for field, name in BUDGETED:
        spent, cap, raised = (getattr(a, field) for a in (report.budget.spent, report.budget.cap, report.budget.raised))
        rows.append((name, amount(field, spent), "no cap" if cap is None else f"of {amount(field, cap + raised)}"))
    yield from _table(("", "spent", ""), rows)
    if report.budget.assumed_turns:
        yield ""
        yield f"{counted(report.budget.assumed_turns, 'turn')} without reported usage: charged what the policy assumes."

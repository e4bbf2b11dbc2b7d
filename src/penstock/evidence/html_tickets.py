"""A card for each ticket: what was asked, what changed, which evidence closed it, what was refused on the way."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from penstock.evidence.html_tables import Section, pill, table, ticket_link
from penstock.evidence.markup import Child, Html, el, join
from penstock.evidence.schema import EvidenceLine, RefusalLine, Report, TicketLine, TurnLine
from penstock.evidence.words import amount, counted, duration, next_step, plain, red_green_words, short, since

Blob = Callable[[str], bytes | None]
DiffOf = Callable[[str], str | None]
BODY_CHARS_MAX = 8_000
DIFF_LINES_MAX = 400
TAIL_LINES_MAX = 60
LINE_CHARS_MAX = 400
FILES_MAX = 60
TAILS_MAX = 3


def tickets_section(report: Report, anchors: dict[str, str], blob: Blob, diff_of: DiffOf) -> Section:
    """All cards, in the order of the backlog."""
    cards = (_card(report, ticket, anchors, blob, diff_of) for ticket in report.tickets)
    section = el("section", el("h2", "Tickets"), el("p", class_="fold", hidden=True), cards, id="tickets")
    return "tickets", "Tickets", section


def _card(report: Report, ticket: TicketLine, anchors: dict[str, str], blob: Blob, diff_of: DiffOf) -> Html:
    refusals = [r for r in report.refusals if r.ticket == ticket.id]
    summary = el(
        "summary",
        pill(ticket.state),
        el("strong", ticket.id, class_="id"),
        el("span", ticket.title, class_="title"),
        el("span", _in_short(ticket, refusals), class_="in-short"),
    )
    parts = (
        _why(report, ticket),
        _asked(ticket, anchors, blob),
        _changed(ticket, diff_of),
        _evidence(ticket),
        _turns(report, ticket),
        el("p", red_green_words(ticket.red_green), class_="note") if ticket.red_green else None,
        _refused(report, refusals),
        _earlier(report, ticket, blob),
        _path(report, ticket),
    )
    is_open = ticket.state != "done" or bool(ticket.objections)
    return el("details", summary, el("div", parts, class_="card"), class_="ticket", id=anchors[ticket.id], open=is_open)


def _in_short(ticket: TicketLine, refusals: Sequence[RefusalLine]) -> str:
    parts = [counted(len(ticket.turns), "turn")] if ticket.turns else []
    if refusals:
        parts.append(f"{len(refusals)} refused")
    if ticket.landed_seq is not None:
        parts.append(counted(ticket.lines, "line"))
    return ", ".join(parts)


def _why(report: Report, ticket: TicketLine) -> Html:
    if ticket.objections:
        return el("div", el("h4", "Not proven"), el("ul", (el("li", o) for o in ticket.objections)), class_="why no")
    if ticket.state == "done":
        return el("div", el("h4", "Why it is safe"), el("p", ticket.witness.text), class_="why yes")
    then = next_step(report, ticket)
    moves = el("p", "Moved on by: ", el("code", then)) if then else None
    kind = "no" if ticket.state == "failed" else "open"
    reason = el("p", ticket.reason) if ticket.reason else None
    return el("div", el("h4", f"Why it is {ticket.state}"), reason, moves, class_=f"why {kind}")


# --- what was asked and what changed --------------------------------------------------------------------------------


def _asked(ticket: TicketLine, anchors: dict[str, str], blob: Blob) -> Html:
    body = blob(ticket.body)
    text = plain(body.decode(errors="replace")).strip() if body else ""
    shown = text[:BODY_CHARS_MAX] + ("\n…" if len(text) > BODY_CHARS_MAX else "")
    return el(
        "div",
        el("h4", "What was asked"),
        el("pre", shown, class_="body", tabindex="0") if shown else None,
        el("dl", (join(el("dt", name), el("dd", value)) for name, value in _demands(ticket, anchors)), class_="facts"),
    )


def _demands(ticket: TicketLine, anchors: dict[str, str]) -> Iterator[tuple[str, Child]]:
    yield "kind", f"{ticket.kind}, priority {ticket.priority}"
    yield "source", el("code", ticket.source)
    if ticket.depends_on:
        yield "after", (join(ticket_link(d, anchors), " ") for d in ticket.depends_on)
    if ticket.acceptance:
        yield "accepted by", "; ".join(ticket.acceptance)
    if ticket.scope:
        yield "scope", el("code", ", ".join(ticket.scope))


def _changed(ticket: TicketLine, diff_of: DiffOf) -> Html | None:
    if ticket.landed_seq is None:
        return None
    rows = ((el("code", c.path), c.status, c.kind, str(c.lines)) for c in ticket.changes[:FILES_MAX])
    diff = diff_of(ticket.commit)
    return el(
        "div",
        el("h4", "What changed"),
        el(
            "p",
            f"{counted(ticket.lines, 'line')} landed as ",
            el("code", short(ticket.commit)),
            ", tree ",
            el("code", short(ticket.tree)),
        ),
        table(("File", "", "Kind", "Lines"), rows, "Changed files") if ticket.changes else None,
        el("details", el("summary", "The diff that landed"), _diff(diff)) if diff else None,
    )


def _diff(diff: str) -> Html:
    lines = plain(diff).splitlines()
    shown = [_diff_line(line[:LINE_CHARS_MAX]) for line in lines[:DIFF_LINES_MAX]]
    more = len(lines) - len(shown)
    return el("pre", shown, f"… {more} more lines" if more > 0 else None, class_="diff", tabindex="0")


def _diff_line(line: str) -> Html:
    if line.startswith(("diff ", "index ", "--- ", "+++ ")):
        kind = "file"
    else:
        kind = {"+": "add", "-": "del", "@": "hunk"}.get(line[:1], "")
    return join(el("span", line, class_=kind) if kind else line, "\n")


# --- evidence -------------------------------------------------------------------------------------------------------


def _evidence(ticket: TicketLine) -> Html | None:
    lines = (*ticket.evidence, *ticket.looks)
    if not lines:
        return None
    head = ("Gate", "Look", "Verdict", "What it saw", "Tree", "Seq")
    risk = f"Risk {ticket.risk}: {ticket.risk_why}." if ticket.risk else None
    content = table(head, (_evidence_row(line) for line in lines), "Evidence")
    return el("div", el("h4", "Evidence that closed it"), content, el("p", risk, class_="note") if risk else None)


LOOKS = {
    "lands": "what lands, as it is",
    "judge": "base's tests over the new code",
    "witness": "the new tests over base's code",
    "criterion": "what the ticket names",
    "control": "the same on base: who is to blame?",
    "base": "trunk as it was",
}


def _evidence_row(line: EvidenceLine) -> tuple[Child, ...]:
    saw = join(line.why, el("small", f" {_counted(line)}", class_="note"))
    look = join(el("strong", line.look), el("br"), el("small", LOOKS.get(line.look, "")))
    verdict = pill("pass", "tells") if line.look == "witness" and line.verdict == "pass" else pill(line.verdict)
    return line.gate, look, verdict, saw, el("code", short(line.tree)), str(line.seq)


def _counted(line: EvidenceLine) -> str:
    counts = ", ".join(f"{n} {word}" for word, n in (line.counts or {}).items() if n)
    told = [duration(line.duration_ms), counts, "forgeable report" if line.forgeable else ""]
    return "(" + "; ".join(t for t in told if t) + ")"


def _earlier(report: Report, ticket: TicketLine, blob: Blob) -> Html | None:
    if not ticket.earlier:
        return None
    head = ("When", "Gate", "Look", "Verdict", "What it saw", "Tree", "Seq")
    rows = [(since(report, line.at_ms), *_evidence_row(line)) for line in ticket.earlier]
    red = [line for line in ticket.earlier if line.verdict in ("fail", "broken") and line.look != "witness"]
    tails = [_tail(line, blob) for line in red[-TAILS_MAX:]]
    title = f"{counted(len(ticket.earlier), 'more gate run')} on the way, {len(red)} not green"
    return el("details", el("summary", title), table(head, rows, "Evidence on the way"), tails)


def _tail(line: EvidenceLine, blob: Blob) -> Html | None:
    output = blob(line.output) if line.output else None
    if not output and not line.failed:
        return None
    failed = [
        el("li", el("code", t.id), f" {t.status} ", el("small", t.where), el("br"), t.message) for t in line.failed
    ]
    lines = plain(output.decode(errors="replace")).splitlines()[-TAIL_LINES_MAX:] if output else []
    shown = "\n".join(x[:LINE_CHARS_MAX] for x in lines)
    return join(
        el("h4", f"{line.gate} ({line.look}) {line.verdict} at seq {line.seq}"),
        el("ul", failed) if failed else None,
        el("pre", shown, class_="output", tabindex="0") if shown else None,
    )


# --- the way there --------------------------------------------------------------------------------------------------


def _turns(report: Report, ticket: TicketLine) -> Html | None:
    if not ticket.turns:
        return None
    head = ("When", "Turn", "Outcome", "Lines", "Spent", "The agent's word")
    rows = (_turn_row(report, turn) for turn in ticket.turns)
    return el("div", el("h4", "Turns of the agent"), table(head, rows, "Turns"))


def _turn_row(report: Report, turn: TurnLine) -> tuple[Child, ...]:
    spent = [duration(turn.duration_ms)]
    spent += [] if turn.tokens is None else [f"{turn.tokens:,} tokens"]
    spent += [] if turn.micro_dollars is None else [amount("micro_dollars", turn.micro_dollars)]
    role = f"{turn.role} {turn.turn} of attempt {turn.attempt}"
    word = {"ended": "pass", "in flight": "pending"}.get(turn.outcome, "fail")
    outcome = join(pill(word, turn.outcome), " ", turn.message)
    claims = el("q", turn.claims[-1]) if turn.claims else None
    return since(report, turn.began_ms), role, outcome, str(turn.lines), ", ".join(spent), claims


def _refused(report: Report, refusals: Sequence[RefusalLine]) -> Html | None:
    if not refusals:
        return None
    rows = ((since(report, r.at_ms), pill("refused", r.kind), r.reason) for r in refusals)
    return el("div", el("h4", "Refused on the way"), table(("When", "Kind", "Reason"), rows, "Refusals"))


def _path(report: Report, ticket: TicketLine) -> Html | None:
    if not ticket.moves:
        return None
    rows = ((since(report, m.at_ms), pill(m.to), m.reason, m.cause) for m in ticket.moves)
    listed = table(("When", "State", "Why", "Class"), rows, "States")
    return el("details", el("summary", f"{counted(len(ticket.moves), 'move')} from state to state"), listed)

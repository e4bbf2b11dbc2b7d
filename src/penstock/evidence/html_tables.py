"""Sections of the page about the run as a whole: refusals, gates, budgets, the log."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from penstock.evidence.markup import Child, Html, el, join
from penstock.evidence.schema import GateLine, Report
from penstock.evidence.words import BUDGETED, amount, counted, duration, short, since

Section = tuple[str, str, Html]
LOG_LINES_MAX = 5_000
BAR = 300


def table(head: Sequence[str], rows: Iterable[Sequence[Child]], name: str, **attributes: str) -> Html:
    """A table that scrolls by itself where the window is narrow. `name` is read aloud."""
    top = el("thead", el("tr", (el("th", title, scope="col") for title in head)))
    body = el("tbody", (el("tr", (el("td", cell) for cell in row)) for row in rows))
    whole = el("table", top, body, **attributes)
    return el("div", whole, class_="wide", tabindex="0", role="region", aria_label=name)


def pill(word: str, text: str = "") -> Html:
    """A verdict or state in its colour, and in a word: colour alone says nothing."""
    return el("span", text or word, class_=f"pill p-{word}")


def ticket_link(ticket: str, anchors: dict[str, str]) -> Html:
    """The ticket's id, leading to its card."""
    return el("a", ticket, href=f"#{anchors[ticket]}") if ticket in anchors else join(ticket)


def refusals_section(report: Report, anchors: dict[str, str]) -> Section:
    """What was not let through, and why."""
    rows = (
        (since(report, r.at_ms), ticket_link(r.ticket, anchors), pill("refused", r.kind), _reason(r.reason, r.salvage))
        for r in report.refusals
    )
    listed = table(("When", "Ticket", "Kind", "Reason"), rows, "Refusals")
    content = listed if report.refusals else el("p", "Nothing had to be refused.")
    return "refusals", "Refusals", el("section", el("h2", "What was not let through"), content, id="refusals")


def _reason(reason: str, salvage: str) -> Html:
    kept = join(el("br"), el("small", "kept under ", el("code", salvage))) if salvage else None
    return join(reason, kept)


# --- gates ----------------------------------------------------------------------------------------------------------


def gates_section(report: Report) -> Section:
    """The judges and their health, the environments they ran in, the tests that flip."""
    head = ("Gate", "Command", "Runs", "Passed", "Failed", "Broken", "Flaky", "Time", "Health")
    section = el(
        "section",
        el("h2", "Gates"),
        table(head, (_gate(gate) for gate in report.gates), "Gates"),
        _environments(report),
        _quarantined(report),
        _window(report),
        id="gates",
    )
    return "gates", "Gates", section


def _gate(gate: GateLine) -> tuple[Child, ...]:
    counts = (str(n) for n in (gate.runs, gate.passed, gate.failed, gate.broken, gate.flaky))
    name = join(el("strong", gate.name), el("br"), el("small", f"{gate.tier}, {gate.oracle}"))
    return (name, el("code", gate.command), *counts, duration(gate.duration_ms), _health(gate))


def _health(gate: GateLine) -> Html:
    if gate.runs == 0:
        return pill("pending", "did not run")
    if gate.never_failed:
        return pill("pending", "was never red here")
    return pill("broken", "could not always run") if gate.broken or gate.flaky else pill("pass", "can be red")


def _environments(report: Report) -> Html | None:
    if not report.environments:
        return None
    rows = (
        (
            env.name,
            el("code", short(env.digest)),
            pill("pass", "built") if env.ok else pill("fail", "failed"),
            env.message,
        )
        for env in report.environments
    )
    return join(el("h3", "Environments"), table(("Name", "Digest", "", "Message"), rows, "Environments"))


def _quarantined(report: Report) -> Html | None:
    if not report.quarantined:
        return None
    rows = ((el("code", q.test), q.gate, q.reason) for q in report.quarantined)
    title = el("h3", "Quarantined: these tests flip on base, so they blame nobody")
    return join(title, table(("Test", "Gate", "Why"), rows, "Quarantined tests"))


def _window(report: Report) -> Html | None:
    if len(report.window) < 2:
        return None
    rows = ((since(report, w.at_ms), str(w.size), w.reason) for w in report.window)
    listed = table(("When", "At most in flight", "Why"), rows, "Window")
    return el("details", el("summary", f"{counted(len(report.window) - 1, 'change')} of the window"), listed)


# --- budget and log -------------------------------------------------------------------------------------------------


def budget_section(report: Report) -> Section:
    """What was spent of what might be."""
    rows = [_spent(report, field, name) for field, name in BUDGETED]
    assumed = report.budget.assumed_turns
    note = f"{counted(assumed, 'turn')} without reported usage: charged what the policy assumes." if assumed else None
    section = el(
        "section",
        el("h2", "Budget"),
        table(("", "Spent", "Cap", ""), rows, "Budget"),
        el("p", note) if note else None,
        id="budget",
    )
    return "budget", "Budget", section


def _spent(report: Report, field: str, name: str) -> tuple[Child, ...]:
    spent, cap = getattr(report.budget.spent, field) or 0, getattr(report.budget.cap, field)
    if cap is None:
        return name, amount(field, spent), "none", None
    whole = cap + (getattr(report.budget.raised, field) or 0)
    return name, amount(field, spent), amount(field, whole), _bar(spent, whole)


def _bar(spent: int, whole: int) -> Html:
    share = min(1.0, spent / whole) if whole else 1.0
    percent = f"{100 * spent // whole if whole else 100} %"
    return el(
        "svg",
        el("rect", x=0, y=0, width=BAR, height=12, rx=3, class_="bar-of"),
        el("rect", x=0, y=0, width=BAR * share, height=12, rx=3, class_="bar over" if spent > whole else "bar"),
        width=BAR,
        height=12,
        viewBox=f"0 0 {BAR} 12",
        role="img",
        aria_label=f"{percent} of the cap",
    )


def log_section(report: Report, anchors: dict[str, str]) -> Section:
    """Every record that people want to hear of."""
    lines = report.timeline[:LOG_LINES_MAX]
    rows = ((str(x.seq), since(report, x.at_ms), ticket_link(x.ticket, anchors), x.text) for x in lines)
    box = el(
        "input", type="search", id="filter", placeholder="Filter the log", aria_label="Filter the log", hidden=True
    )
    more = len(report.timeline) - len(lines)
    section = el(
        "section",
        el("h2", "Log"),
        el(
            "details",
            el("summary", f"{len(report.timeline)} of {report.covers.n} records, in words"),
            box,
            table(("Seq", "When", "Ticket", "What happened"), rows, "Log", id="log-lines"),
            el("p", f"{more} more: see the JSON report.") if more > 0 else None,
        ),
        id="log",
    )
    return "log", "Log", section

"""The report as one HTML file that a person likes to read.

It asks for nothing from outside, works without JavaScript, and its content security policy lets only our own style and
script run: should markup ever slip through the escaping in `markup`, the browser still refuses to execute it.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from importlib import resources

from penstock.evidence.graph_svg import GRAPH_STYLE, render_graph
from penstock.evidence.html_tables import budget_section, gates_section, log_section, refusals_section
from penstock.evidence.html_tickets import Blob, DiffOf, tickets_section
from penstock.evidence.markup import Html, el, join
from penstock.evidence.schema import ClauseLine, Report
from penstock.evidence.timeline_svg import LANES_MAX, render_legend, render_timeline
from penstock.evidence.words import amount, duration, headline, moment, short, tone

MARKS = {"good": "✓", "fair": "!", "bad": "✗"}


def render_html(report: Report, blob: Blob | None = None, diff_of: DiffOf | None = None) -> str:
    """The page. `blob` gives bodies and outputs, `diff_of` what a commit changed; what is missing is not shown."""
    anchors = {ticket.id: f"t{n}" for n, ticket in enumerate(report.tickets, 1)}
    sections = (
        _proof(report),
        _graph(report, anchors),
        _timeline(report, anchors),
        tickets_section(report, anchors, blob or _nothing, diff_of or _nothing),
        refusals_section(report, anchors),
        gates_section(report),
        budget_section(report),
        log_section(report, anchors),
    )
    shown = [s for s in sections if s is not None]
    main = el("main", _numbers(report), *(section for _, _, section in shown))
    page = el(
        "html",
        _head(report),
        el(
            "body",
            el("a", "Skip to the report", href="#proof", class_="skip"),
            _header(report),
            el("nav", (el("a", title, href=f"#{name}") for name, title, _ in shown), aria_label="Parts of the report"),
            main,
            _footer(report),
            el("script", _own("page.js")),
        ),
        lang="en",
    )
    return f"<!DOCTYPE html>\n{page}\n"


def _nothing(name: str) -> None:
    """Nobody gives blobs or diffs."""


def _own(name: str) -> Html:
    return Html(resources.files("penstock.evidence").joinpath(name).read_text(encoding="utf-8"))


def _head(report: Report) -> Html:
    style, script = join(_own("page.css"), GRAPH_STYLE), _own("page.js")
    policy = f"default-src 'none'; style-src '{_hash(style)}'; script-src '{_hash(script)}'; base-uri 'none'"
    return el(
        "head",
        el("meta", charset="utf-8"),
        el("meta", http_equiv="Content-Security-Policy", content=policy),
        el("meta", name="viewport", content="width=device-width, initial-scale=1"),
        el("meta", name="color-scheme", content="light dark"),
        el("title", f"{report.run}: {headline(report)}"),
        el("style", style),
    )


def _hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _header(report: Report) -> Html:
    kind = tone(report)
    exit_code = "" if report.exit_code is None else f", exit {report.exit_code}"
    took = duration(report.ended_ms - report.started_ms)
    return el(
        "header",
        el("span", MARKS[kind], class_="mark", aria_hidden="true"),
        el(
            "div",
            el("p", "Penstock run ", el("code", report.run), f" {report.outcome}{exit_code}", class_="eyebrow"),
            el("h1", _capital(headline(report))),
            el("p", _capital(report.reason), class_="reason") if report.outcome != "finished" else None,
            el(
                "p",
                f"{moment(report.started_ms)}, {took}. Agent ",
                el("code", report.agent),
                ", isolation ",
                el("code", report.isolation),
                ", trunk ",
                el("code", report.trunk.ref),
                " ",
                el("code", short(report.trunk.before)),
                " → ",
                el("code", short(report.trunk.after)),
                class_="facts",
            ),
        ),
        class_=f"top {kind}",
    )


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _numbers(report: Report) -> Html:
    runs = sum(gate.runs for gate in report.gates)
    turns = sum(len(ticket.turns) for ticket in report.tickets)
    landed = sum(ticket.landed_seq is not None for ticket in report.tickets)
    spent = report.budget.spent
    pairs = (
        (str(landed), "landed"),
        (str(turns), "agent turns"),
        (str(runs), "gate runs"),
        (str(len(report.refusals)), "refusals"),
        (amount("tokens", spent.tokens or 0), "tokens"),
        (amount("micro_dollars", spent.micro_dollars or 0), "spent"),
    )
    items = (el("div", el("dt", name), el("dd", number)) for number, name in pairs)
    return el("dl", items, class_="numbers")


Section = tuple[str, str, Html]
"""Anchor, title, content."""


def _proof(report: Report) -> Section:
    rows = [_clause(c) for c in report.proof.clauses]
    odd = [el("li", text) for text in report.proof.objections]
    section = el(
        "section",
        el("h2", "Proof"),
        el("p", "Recomputed from the records of the log, and compared with what the run said of itself."),
        el("ol", rows, class_="proof"),
        join(el("h3", "Records that make no sense where they stand"), el("ul", odd)) if odd else None,
        id="proof",
    )
    return "proof", "Proof", section


def _clause(clause: ClauseLine) -> Html:
    disagrees = clause.claimed is not None and clause.claimed != clause.holds
    word = "holds" if clause.holds else "does not hold"
    return el(
        "li",
        el("span", "✓" if clause.holds else "✗", class_="mark", aria_hidden="true"),
        el("span", str(clause.n), class_="n"),
        el(
            "span",
            el("strong", _capital(clause.text)),
            el("span", f" {word}", class_="word"),
            el("b", " and the run says the contrary", class_="word") if disagrees else None,
            el("span", clause.witness, class_="witness"),
        ),
        class_="yes" if clause.holds and not disagrees else "no",
    )


def _graph(report: Report, anchors: dict[str, str]) -> Section | None:
    picture = render_graph(report, anchors)
    if picture is None:
        return None
    section = el("section", el("h2", "What waited for what"), _wide(picture, "Dependency graph"), id="graph")
    return "graph", "Graph", section


def _timeline(report: Report, anchors: dict[str, str]) -> Section | None:
    if not report.tickets:
        return None
    more = len(report.tickets) - LANES_MAX
    section = el(
        "section",
        el("h2", "Timeline"),
        render_legend(),
        _wide(render_timeline(report, anchors), "Timeline"),
        el("p", f"{more} more tickets are not drawn.") if more > 0 else None,
        id="timeline",
    )
    return "timeline", "Timeline", section


def _wide(picture: Html, name: str) -> Html:
    """A picture that scrolls by itself where the window is narrow."""
    return el("div", picture, class_="wide", tabindex="0", role="region", aria_label=name)


def _footer(report: Report) -> Html:
    return el("footer", el("dl", (join(el("dt", name), el("dd", value)) for name, value in _facts(report))))


def _facts(report: Report) -> Iterator[tuple[str, Html]]:
    yield "covers", join(f"records 1 to {report.covers.n}, head ", el("code", report.covers.head))
    if report.seal is not None:
        yield "sealed", join("digest ", el("code", report.seal.digest))
    yield "policy", el("code", report.policy_digest or "none")
    yield "seed", el("code", str(report.seed))
    yield "Penstock", join(", ".join(report.versions))
    yield "schema", el("code", report.schema)

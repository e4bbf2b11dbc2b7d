"""Numbers and hostile text in words for people: the same in Markdown and HTML."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from penstock.evidence.schema import RedGreenLine, Report, TicketLine

SHORT = 10
"""Digits of a commit or tree that people are shown."""
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-_])")
_UNSEEN = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb]")


def plain(text: str) -> str:
    """The text without terminal escapes, control and direction characters: what is seen is what is there."""
    return _UNSEEN.sub("", _ESCAPES.sub("", text.replace("\r\n", "\n"))).encode(errors="replace").decode()


def short(oid: str) -> str:
    """The beginning of a commit, tree or digest."""
    return oid[:SHORT]


def duration(ms: int) -> str:
    """`0.3 s`, `12 s`, `4 min 05 s`, `3 h 20 min`, with spaces that do not break."""
    seconds = ms / 1000
    if seconds < 10:
        return f"{seconds:.1f}\u00a0s"
    if seconds < 59.5:
        return f"{seconds:.0f}\u00a0s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}\u00a0min\u00a0{rest:02}\u00a0s"
    return f"{minutes // 60}\u00a0h\u00a0{minutes % 60:02}\u00a0min"


def brief(ms: int) -> str:
    """`35 ms`, and from a second on as `duration` has it."""
    return f"{ms} ms" if ms < 1_000 else duration(ms)


def counted(number: int, word: str) -> str:
    """`1 turn`, `2 turns`."""
    return f"{number:,} {word}" if number == 1 else f"{number:,} {word}s"


def since(report: Report, at_ms: int) -> str:
    """Time since the start of the run: `+1:02:03`."""
    total = max(0, at_ms - report.started_ms) // 1000
    hours, rest = divmod(total, 3600)
    return f"+{hours}:{rest // 60:02}:{rest % 60:02}" if hours else f"+{rest // 60}:{rest % 60:02}"


def moment(at_ms: int) -> str:
    """`2026-01-31 17:05 UTC`."""
    return f"{datetime.fromtimestamp(at_ms / 1000, UTC):%Y-%m-%d %H:%M} UTC"


def money(micro_dollars: int) -> str:
    """`$0.25`; four digits where the cents say nothing."""
    dollars = micro_dollars / 1_000_000
    return f"${dollars:.4f}" if 0 < dollars < 0.1 else f"${dollars:,.2f}"


def amount(field: str, value: int) -> str:
    """A budgeted amount in its own unit."""
    if field == "micro_dollars":
        return money(value)
    return duration(value) if field.endswith("_ms") else f"{value:,}"


BUDGETED = (("tokens", "tokens"), ("micro_dollars", "money"), ("agent_ms", "agent time"), ("gate_ms", "gate time"))
"""Fields of an amount and what people call them."""


def headline(report: Report) -> str:
    """The run in one sentence."""
    return f"{report.summary}; {proof_words(report)}"


def proof_words(report: Report) -> str:
    """Whether the proof holds, and if not which clauses."""
    if report.proof.holds:
        return "the proof holds"
    if report.proof.holds is None:
        return "the report is not sealed"
    failing = [c.n for c in report.proof.clauses if not c.holds or c.claimed is False]
    if not failing:
        return "the log has records that make no sense"
    named = ", ".join(str(n) for n in failing)
    return (
        f"clause{'s' if len(failing) > 1 else ''} {named} of the proof {'do' if len(failing) > 1 else 'does'} not hold"
    )


def tone(report: Report) -> str:
    """`good` where everything is done and proven, `bad` where the run is wedged or proven wrong, else `fair`."""
    if report.proof.holds and report.exit_code == 0:
        return "good"
    return "bad" if is_contradicted(report) or report.outcome == "wedged" else "fair"


def is_contradicted(report: Report) -> bool:
    """Does the log say otherwise than the run says of itself?"""
    disagrees = any(c.claimed is not None and c.claimed != c.holds for c in report.proof.clauses)
    is_seal_wrong = report.seal is not None and not report.seal.holds
    return disagrees or is_seal_wrong or bool(report.proof.objections)


def red_green_words(line: RedGreenLine) -> str:
    """`red-green (strict): 3 pairs, 1 weak, 0 unclaimed writes, 2 refusals`."""
    parts = [counted(line.pairs, "pair"), f"{line.weak:,} weak", counted(line.unclaimed, "unclaimed write")]
    parts.append(counted(line.refusals, "refusal"))
    parts += [counted(line.reverts, "revert")] if line.reverts else []
    parts += [counted(line.timeouts, "hang")] if line.timeouts else []
    return f"red-green ({', then '.join(line.modes)}): {', '.join(parts)}"


def next_step(report: Report, ticket: TicketLine) -> str:
    """What moves an open ticket; empty where it is terminal or the run said nothing."""
    if ticket.state == "held" and ticket.frees:
        return ticket.frees
    return next((line.what for line in report.open if line.ticket == ticket.id), "")

"""The backlog of a directory, read without looking at its repository: for what is asked before any run."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

from penstock.adapters.tickets_markdown import MarkdownTickets
from penstock.adapters.tickets_planfile import PlanFileTickets
from penstock.documents.tickets import KnownNames
from penstock.ports import BadInput, Problem, Tickets, TicketText
from penstock.settings.reader import load_settings
from penstock.settings.schema import Settings, TicketsSettings


@dataclass(frozen=True)
class Backlog:
    """Every ticket, and where they were found."""

    top: Path
    where: TicketsSettings
    tickets: tuple[TicketText, ...]


def source_of_tickets(settings: Settings, top: Path) -> Tickets:
    """Where tickets come from, by the settings of the working tree at `top`."""
    policy = settings.policy
    known = KnownNames(gates=frozenset(g.name for g in policy.gates), resources=policy.resources)
    return source_at(settings.tickets, top, known)


def source_at(where: TicketsSettings, top: Path, known: KnownNames) -> Tickets:
    if where.source == "plan":
        return PlanFileTickets(top / where.path, shown_as=where.path, known=known)
    return MarkdownTickets(top / where.path, shown_as=where.path, known=known)


def read_backlog(settings_file: Path) -> Backlog:
    """Settings and all tickets. Raises `BadInput` with every problem of both."""
    top = settings_file.parent
    settings: Settings | None = None
    problems: list[Problem] = []
    try:
        settings = load_settings(settings_file)
    except BadInput as bad:
        problems += bad.problems
    source = source_of_tickets(settings, top) if settings else source_at(TicketsSettings(), top, KnownNames())
    try:
        tickets = source.read()
    except BadInput as bad:
        raise BadInput([*problems, *bad.problems]) from None
    if settings is None:
        raise BadInput(problems)
    return Backlog(top, settings.tickets, tickets)


@dataclass(frozen=True)
class TicketDraft:
    """A ticket as the command line gives it; what is empty is left out."""

    title: str
    id: str = ""
    depends_on: tuple[str, ...] = ()
    priority: int | None = None
    kind: str | None = None
    tests: tuple[str, ...] = ()
    commands: tuple[str, ...] = ()
    body: str = ""

    def text(self) -> str:
        """The Markdown file: every value quoted as JSON, which is YAML too."""
        front: dict[str, object] = {
            "id": self.id,
            "title": self.title,
            "depends_on": list(self.depends_on),
            "priority": self.priority,
            "kind": self.kind,
        }
        lines = [f"{key}: {json.dumps(v, ensure_ascii=False)}" for key, v in front.items() if v not in ("", None, [])]
        criteria = [("test", t) for t in self.tests] + [("command", c) for c in self.commands]
        if criteria:
            lines += ["acceptance:", *(f"  - {key}: {json.dumps(v, ensure_ascii=False)}" for key, v in criteria)]
        return "\n".join(["---", *lines, "---", self.body.strip("\n"), ""]).replace("---\n\n", "---\n")


def add_ticket(settings_file: Path, draft: TicketDraft) -> str:
    """Write the draft as the next numbered file and give its path. Raises `BadInput`, leaving no file behind."""
    top = settings_file.parent
    settings = load_settings(settings_file)
    if settings.tickets.source != "markdown":
        message = "the tickets come from a plan file, which is written by hand"
        fix = f"add it to {settings.tickets.path}"
        raise BadInput([Problem(file=settings.tickets.path, line=0, field="", message=message, fix=fix)])
    directory = top / settings.tickets.path
    source = source_of_tickets(settings, top)
    before = problems_of(source)
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"{next_number(directory):02}-{slug(draft.id or draft.title)}.md"
    with path.open("x", encoding="utf-8") as stream:
        stream.write(draft.text())
    caused = [p for p in problems_of(source) if p not in before]
    if caused:
        path.unlink()
        raise BadInput(caused)
    return path.relative_to(top).as_posix()


def problems_of(source: Tickets) -> tuple[Problem, ...]:
    """What is wrong with the backlog."""
    try:
        source.read()
    except BadInput as bad:
        return bad.problems
    return ()


def next_number(directory: Path) -> int:
    """One more than the highest number that a ticket file begins with."""
    found = [re.match(r"(\d{1,6})-", path.name) for path in directory.glob("*.md")]
    return max((int(match[1]) for match in found if match), default=0) + 1


def slug(text: str) -> str:
    """What of a text can be part of an id: `Parse the file!` gives `parse-the-file`."""
    words = re.findall(r"[a-z0-9]+", text.lower())
    return "-".join(words)[:40].strip("-") or "ticket"

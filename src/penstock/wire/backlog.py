"""The backlog of a directory, read without looking at its repository: for what is asked before any run."""

from __future__ import annotations

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

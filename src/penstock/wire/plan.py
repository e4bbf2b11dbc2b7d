"""What a run would do, without doing it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from penstock.core.tickets import Ticket
from penstock.settings import reader
from penstock.wire.project import find_settings, open_project
from penstock.wire.run import choose


def explain(directory: Path) -> list[tuple[str, object, str]]:
    """Each value of the policy in force and where it came from."""
    return reader.explain(reader.load_settings(find_settings(directory)))


def plan_run(directory: Path, names: Sequence[str]) -> list[str]:
    """Lines that say which gates judge and in which order tickets would become ready."""
    project = open_project(directory)
    tickets = [t.ticket for t in choose(project.tickets().read(), names)]
    lines = [f"gate {g.name} ({g.tier}, {g.oracle}): {g.command}" for g in project.settings.policy.gates]
    for number, wave in enumerate(waves(tickets), start=1):
        listed = ", ".join(f"{t.id} (priority {t.priority})" for t in wave)
        lines.append(f"wave {number}: {listed}")
    return lines


def waves(tickets: Sequence[Ticket]) -> list[list[Ticket]]:
    """Tickets by how many dependencies in a row stand before them, most urgent first."""
    depth: dict[str, int] = {}
    by_id = {t.id: t for t in tickets}
    todo = list(tickets)
    while todo:
        later = []
        for ticket in todo:
            needed = [d for d in ticket.depends_on if d in by_id]
            if all(d in depth for d in needed):
                depth[ticket.id] = max((depth[d] + 1 for d in needed), default=0)
            else:
                later.append(ticket)
        todo = later
    most = max(depth.values(), default=-1)
    return [sorted((t for t in tickets if depth[t.id] == n), key=lambda t: (t.priority, t.id)) for n in range(most + 1)]

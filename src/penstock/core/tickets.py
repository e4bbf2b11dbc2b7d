"""Tickets: wanted work, and the graph they form."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from penstock.core.digest import Digest
from penstock.core.policy import BudgetCaps, Frozen, Risk

Kind = Literal["feature", "fix", "refactor", "chore", "docs"]
KINDS_THAT_TELL_NOTHING: tuple[Kind, ...] = ("refactor", "chore", "docs")


class GateCriterion(Frozen, tag="gate"):
    """The named gate passes."""

    gate: str


class TestCriterion(Frozen, tag="test"):
    """The test with the runner's own id is green."""

    __test__ = False
    test: str


class CommandCriterion(Frozen, tag="command"):
    """An ad-hoc gate: the command exits 0 in a clean checkout of the candidate."""

    command: str


Criterion = GateCriterion | TestCriterion | CommandCriterion


class Ticket(Frozen):
    """One revision of a ticket. `digest` covers the other fields and the body: a changed text is a new ticket."""

    id: str
    title: str
    body: Digest
    """Blob of the Markdown body: untrusted text."""
    digest: Digest
    source: str
    """Where it was read, for people: `tickets/03-parse.md`."""
    depends_on: tuple[str, ...] = ()
    priority: int = 2
    """0 most urgent to 4."""
    risk: Risk | None = None
    scope: tuple[str, ...] = ()
    """Globs of the files it may change; empty: all."""
    kind: Kind = "feature"
    repairs: tuple[str, ...] = ()
    changes_tests: tuple[str, ...] = ()
    acceptance: tuple[Criterion, ...] = ()
    resources: tuple[str, ...] = ()
    budget: BudgetCaps = BudgetCaps()


def unknown_dependencies(
    tickets: Iterable[Ticket], known_elsewhere: frozenset[str] = frozenset()
) -> list[tuple[str, str]]:
    """Pairs (ticket, dependency that nobody has), in ticket order."""
    tickets = list(tickets)
    known = {t.id for t in tickets} | known_elsewhere
    return [(t.id, d) for t in tickets for d in t.depends_on if d not in known]


def find_cycle(tickets: Iterable[Ticket]) -> list[str]:
    """One dependency cycle as ids, the first repeated last; empty when there is none."""
    waits = {t.id: t.depends_on for t in tickets}
    colour: dict[str, int] = {}
    for root in waits:
        if colour.get(root):
            continue
        path: list[str] = [root]
        stack = [iter(waits[root])]
        colour[root] = 1
        while stack:
            step = next(stack[-1], None)
            if step is None:
                colour[path.pop()] = 2
                stack.pop()
            elif colour.get(step) == 1:
                return [*path[path.index(step) :], step]
            elif step in waits and not colour.get(step):
                colour[step] = 1
                path.append(step)
                stack.append(iter(waits[step]))
    return []

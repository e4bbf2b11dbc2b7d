"""Acceptance criteria: where they stand on a tree, and whether one of them tells that the work was not there before."""

from __future__ import annotations

import re

from penstock.core.events import CandidateFormed
from penstock.core.state import State, TicketRun, look_key
from penstock.core.tickets import (
    KINDS_THAT_TELL_NOTHING,
    CommandCriterion,
    Criterion,
    GateCriterion,
    TestCriterion,
    Ticket,
)

SEPARATOR = re.compile(r"[;&|()\n]+")
ASSIGNMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=")
INTERPRETER = re.compile(r"(?:ba|da|z)?sh|python[0-9.]*|node|ruby|perl|pytest|make")


def criterion_on(state: State, run: TicketRun, n: int, tree: str) -> str | None:
    """Status of criterion `n` on `tree`: `green`, something else, or None where nothing looked."""
    criterion = run.ticket.acceptance[n]
    if isinstance(criterion, TestCriterion):
        statuses = [
            state.evidence[seq].asked.get(criterion.test, "absent")
            for gate in state.policy.gates
            if (seq := state.plain.get(f"{gate.name}|{tree}")) and state.evidence[seq].tests is not None
        ]
        found = [s for s in statuses if s != "absent"]
        return found[0] if found else ("absent" if statuses else None)
    gate = criterion_gate(run.ticket, n)
    seq = state.looked.get(look_key(gate, "criterion", tree, "")) or state.plain.get(f"{gate}|{tree}")
    if seq is None:
        return None
    return "green" if state.evidence[seq].verdict == "pass" else state.evidence[seq].verdict


def criterion_gate(ticket: Ticket, n: int) -> str:
    """Gate name of criterion `n`: the one it names, or the ad-hoc one of its command."""
    criterion = ticket.acceptance[n]
    return criterion.gate if isinstance(criterion, GateCriterion) else f"{ticket.id}#{n + 1}"


def told_on(state: State, run: TicketRun, n: int) -> bool:
    """Is acceptance criterion `n` red on trunk as it is now? Where nothing looked: as it was before.

    A test that is absent tells nothing: the attempt will write it. One whose file cannot be loaded is there.
    """
    status = criterion_on(state, run, n, state.trunk.tree)
    criterion = run.ticket.acceptance[n]
    if status == "absent" and isinstance(criterion, TestCriterion):
        file = f"/{criterion.test.partition('::')[0]}"
        plain = [state.plain.get(f"{gate.name}|{state.trunk.tree}") for gate in state.policy.gates]
        return any(f"/{f.id}".endswith(file) for seq in plain if seq for f in state.evidence[seq].failed)
    return any(run.told_on_base[n : n + 1]) if status is None else status != "green"


def needs_witness(run: TicketRun, candidate: CandidateFormed) -> bool:
    """Must a new test tell, because nothing that the ticket names does?

    A command that runs a file which the candidate itself changes is judged by the work that it should judge: it must be
    met, and does not tell.
    """
    if run.ticket.kind in KINDS_THAT_TELL_NOTHING:
        return False
    changed = {change.path for change in candidate.changes}
    told = zip(run.ticket.acceptance, run.told_on_base, strict=False)
    return not any(tells and not (files_of(criterion) & changed) for criterion, tells in told)


def files_of(criterion: Criterion) -> set[str]:
    """Files of the repository that a command may run: its programs, and what an interpreter is given."""
    if not isinstance(criterion, CommandCriterion):
        return set()
    found: set[str] = set()
    for part in SEPARATOR.split(criterion.command):
        words = [word.strip("'\"") for word in part.split() if not ASSIGNMENT.match(word)]
        if words:
            found.update(words if INTERPRETER.fullmatch(words[0].rpartition("/")[2]) else words[:1])
    return {word.removeprefix("./").partition("::")[0] for word in found}

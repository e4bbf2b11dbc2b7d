"""What closes a ticket: from the records, is there evidence for exactly what landed, and does anything tell?

A ticket that is called done is not believed. Each required gate, each criterion and the witness is looked up again in
the log, on the tree that trunk was moved to, among the records before that move.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from penstock.core.events import CandidateFormed
from penstock.core.tickets import (
    KINDS_THAT_TELL_NOTHING,
    CommandCriterion,
    Criterion,
    GateCriterion,
    TestCriterion,
)
from penstock.core.verdicts import Evidence
from penstock.evidence.history import GateStory, History, LandedStory, TicketStory, tree_of

FAR = 1 << 62
"""A seq after every record."""


@dataclass(frozen=True)
class Witness:
    """Why it is safe to call a ticket done. `kind` is one of the ways that `spec/laws` S26 allows, or `none`."""

    kind: str
    text: str
    seqs: tuple[int, ...] = ()


@dataclass(frozen=True)
class Closing:
    """How a done ticket was closed. `objections` are what is missing; a ticket that is open has none."""

    witness: Witness
    objections: tuple[str, ...] = ()


@dataclass(frozen=True)
class Status:
    """What a look said about one criterion: `green` or something else, and where."""

    word: str
    seq: int


def close(history: History, story: TicketStory) -> Closing:
    """How the ticket was closed, and what is missing if it claims to be done."""
    if story.state != "done":
        return Closing(Witness("none", ""))
    commit = story.moves[-1].what.commit
    if story.landed is not None:
        witness = find_witness(history, story, story.landed)
        return Closing(witness, tuple(_object_to_landing(history, story, story.landed, witness)))
    if story.found_done is not None:
        where = story.found_done.what.commit[:10]
        return Closing(
            Witness("earlier_run", f"an earlier run landed this revision as {where}", (story.found_done.seq,))
        )
    return _close_satisfied(history, story, tree_of(history, commit))


def required_gates(story: TicketStory, landed: LandedStory) -> list[str]:
    """Gates that what landed must pass: what its risk earned, and the fast ones whatever anybody decided."""
    assessed = story.risks.get(landed.order.tree)
    earned = assessed.what.gates if assessed is not None else ()
    always = [g.name for g in landed.policy.gates if g.tier == "fast" and not g.when]
    return list(dict.fromkeys((*earned, *always)))


def landed_candidate(story: TicketStory) -> CandidateFormed | None:
    """The candidate that trunk was moved to."""
    formed = story.candidates.get(story.landed.order.commit) if story.landed else None
    return formed.what if formed is not None else None


def name_criterion(criterion: Criterion) -> str:
    """A criterion in words."""
    match criterion:
        case TestCriterion():
            return f"test {criterion.test}"
        case CommandCriterion():
            return f"command `{criterion.command}`"
        case GateCriterion():
            return f"gate {criterion.gate}"


# --- what must be there ---------------------------------------------------------------------------------------------


def _object_to_landing(history: History, story: TicketStory, landed: LandedStory, witness: Witness) -> Iterator[str]:
    name, order = story.ticket.id, landed.order
    candidate = landed_candidate(story)
    if story.moves[-1].what.commit != order.commit:
        yield f"{name} is done by {story.moves[-1].what.commit[:10]}, but {order.commit[:10]} landed"
    if landed.trunk_before != order.expected:
        yield f"{name} was tested on {order.expected[:10]}, but trunk was at {landed.trunk_before[:10]}"
    if candidate is None or candidate.tree != order.tree or candidate.base != order.expected:
        yield f"{name} landed {order.commit[:10]}, which is no candidate that was formed on {order.expected[:10]}"
        return
    if candidate.weakened:
        yield f"{name} landed although it weakens {', '.join(candidate.weakened[:3])}"
    gates = required_gates(story, landed)
    if not gates and not story.ticket.acceptance:
        yield f"{name} landed and nothing judged it"
    for gate in gates:
        yield from _object_to_look(history, story, landed, candidate, gate, "lands", candidate.tree)
        if candidate.judge_tree:
            yield from _object_to_look(history, story, landed, candidate, gate, "judge", candidate.judge_tree)
    for n, criterion in enumerate(story.ticket.acceptance):
        status = criterion_on(history, story, n, order.tree, landed.seq)
        if status is None or status.word != "green":
            word = "unknown" if status is None else status.word
            yield f"{name} landed with {name_criterion(criterion)} {word}"
    if witness.kind == "none":
        yield f"{name} landed and nothing tells that it does what was asked"


def _object_to_look(
    history: History,
    story: TicketStory,
    landed: LandedStory,
    candidate: CandidateFormed,
    gate: str,
    look: str,
    tree: str,
) -> Iterator[str]:
    run = history.latest(gate, look, tree, candidate.base_tree, landed.seq)
    if run is None:
        yield f"{story.ticket.id} has no evidence of gate {gate} ({look}) on tree {tree[:10]}"
    elif not _is_let_through(history, story, landed, candidate, run):
        yield f"{story.ticket.id} landed with gate {gate} ({look}) {run.seen.verdict} at seq {run.seq}"


def _is_let_through(
    history: History, story: TicketStory, landed: LandedStory, candidate: CandidateFormed, run: GateStory
) -> bool:
    seen = run.seen
    if seen.verdict == "pass":
        return True
    if seen.verdict == "pending":
        return approval_of(story, candidate.tree, landed.seq, seen.gate) is not None
    base = history.latest_plain(seen.gate, candidate.base_tree, landed.seq)
    if seen.verdict != "fail" or base is None or base.seen.verdict != "fail" or seen.missing:
        return False
    lenient = (
        landed.policy.baseline == "no_new_failures"
        or _is_on_the_way_to_a_repair(history, story.ticket.id)
        or _is_awaited(history, base.seen)
    )
    return lenient and _is_no_redder(seen, base.seen, seen.gate in story.ticket.repairs)


def _is_no_redder(seen: Evidence, base: Evidence, must_shrink: bool) -> bool:
    if seen.counts is None or base.counts is None:
        return seen.counts is None and base.counts is None and not must_shrink
    reds = seen.counts.red + seen.counts.error
    return reds + must_shrink <= base.counts.red + base.counts.error


def _is_on_the_way_to_a_repair(history: History, name: str) -> bool:
    """Does the ticket repair a gate, or does one that does wait for it?"""
    todo = [n for n, s in history.tickets.items() if s.ticket.repairs]
    seen = set(todo)
    while todo:
        for needed in history.tickets[todo.pop()].ticket.depends_on:
            if needed in history.tickets and needed not in seen:
                seen.add(needed)
                todo.append(needed)
    return name in seen


def _is_awaited(history: History, base: Evidence) -> bool:
    """Is all that is red on base what some ticket is to make green?"""
    asked = {c.test for s in history.tickets.values() for c in s.ticket.acceptance if isinstance(c, TestCriterion)}
    if base.counts is None or not base.failed or base.counts.red + base.counts.error > len(base.failed):
        return False
    return all(test.id in asked for test in base.failed)


def approval_of(story: TicketStory, tree: str, before: int, gate: str | None = None) -> tuple[int, str] | None:
    """Seq of the approval of exactly that tree, and who gave it why."""
    for approval in story.approvals:
        said = approval.what
        if approval.seq < before and said.tree == tree and said.gate in (None, gate):
            return approval.seq, f"approved by {said.who}: {said.reason}"
    return None


# --- what tells -----------------------------------------------------------------------------------------------------


def find_witness(history: History, story: TicketStory, landed: LandedStory) -> Witness:
    """What tells that the change does what was asked: the strongest that the log has."""
    return (
        _telling_test(history, story, landed)
        or _telling_criterion(history, story, landed)
        or _telling_repair(history, story, landed)
        or _approved(story, landed)
        or _tells_nothing(story)
        or Witness("none", "nothing tells that it does what was asked")
    )


def _telling_criterion(history: History, story: TicketStory, landed: LandedStory) -> Witness | None:
    attempts = [a.started.seq for a in story.attempts if a.started.seq < landed.seq]
    for n, criterion in enumerate(story.ticket.acceptance):
        after = criterion_on(history, story, n, landed.order.tree, landed.seq)
        before = _criterion_before(history, story, n, attempts[-1]) if attempts else None
        if before is not None and before.word == "absent" and not _is_unloadable(history, criterion, before):
            continue  # the attempt wrote it: only a witness tells
        if after and before and after.word == "green" and before.word != "green":
            text = (
                f"{name_criterion(criterion)} was {before.word} on base (seq {before.seq}) "
                f"and is green on what landed (seq {after.seq})"
            )
            return Witness("criterion", text, (before.seq, after.seq))
    return None


def _telling_repair(history: History, story: TicketStory, landed: LandedStory) -> Witness | None:
    candidate = landed_candidate(story)
    if candidate is None:
        return None
    for gate in story.ticket.repairs:
        base = history.latest_plain(gate, candidate.base_tree, landed.seq)
        after = history.latest_plain(gate, landed.order.tree, landed.seq)
        if base and after and (base.seen.verdict, after.seen.verdict) == ("fail", "pass"):
            text = f"gate {gate} was red on base (seq {base.seq}) and passes on what landed (seq {after.seq})"
            return Witness("criterion", text, (base.seq, after.seq))
    return None


def _is_unloadable(history: History, criterion: Criterion, before: Status) -> bool:
    """Is the test there, in a file that cannot be loaded?"""
    file = f"/{criterion.test.partition('::')[0]}" if isinstance(criterion, TestCriterion) else ""
    runs = (run for run in history.gate_runs if run.seq == before.seq)
    return any(f"/{failed.id}".endswith(file) for run in runs for failed in run.seen.failed if file)


def _criterion_before(history: History, story: TicketStory, n: int, attempt_seq: int) -> Status | None:
    """Status of the criterion on trunk before the attempt, where it was last looked at."""
    for position in reversed(history.trunk):
        if position.seq < attempt_seq:
            status = criterion_on(history, story, n, position.tree, attempt_seq)
            if status is not None:
                return status
    return None


def _telling_test(history: History, story: TicketStory, landed: LandedStory) -> Witness | None:
    candidate = landed_candidate(story)
    if candidate is None or not candidate.witness_tree:
        return None
    for gate in landed.policy.gates:
        run = history.latest(gate.name, "witness", candidate.witness_tree, candidate.base_tree, landed.seq)
        if run is not None and run.seen.verdict == "pass":
            tests = ", ".join(run.seen.telling[:3]) or f"new tests of {', '.join(candidate.witness_files[:3])}"
            more = f" and {len(run.seen.telling) - 3} more" if len(run.seen.telling) > 3 else ""
            text = f"{tests}{more}: red over base's code (seq {run.seq}), green on what landed"
            return Witness("new_test", text, (run.seq,))
    return None


def _approved(story: TicketStory, landed: LandedStory) -> Witness | None:
    found = approval_of(story, landed.order.tree, landed.seq)
    return Witness("approved", f"exactly this tree was {found[1]} (seq {found[0]})", found[:1]) if found else None


def _tells_nothing(story: TicketStory) -> Witness | None:
    kind = story.ticket.kind
    if kind not in KINDS_THAT_TELL_NOTHING:
        return None
    return Witness("tells_nothing", f"a {kind} ticket declares that nothing tells: only that nothing broke is shown")


def _close_satisfied(history: History, story: TicketStory, tree: str) -> Closing:
    """Done with no work of ours: everything that it names was green on trunk as it was."""
    name, done = story.ticket.id, story.moves[-1]
    found = [criterion_on(history, story, n, tree, done.seq) for n in range(len(story.ticket.acceptance))]
    seqs = tuple(s.seq for s in found if s is not None and s.word == "green")
    named = any(not isinstance(c, GateCriterion) for c in story.ticket.acceptance)
    if not tree or not named or len(seqs) < len(found):
        nothing = Witness("none", "nothing landed, and nothing shows that trunk had it already")
        return Closing(nothing, (f"{name} is done at seq {done.seq}, but nothing of it landed and nothing shows why",))
    text = f"already satisfied: everything it names was green on trunk (seq {', '.join(map(str, seqs))})"
    return Closing(Witness("already_satisfied", text, seqs))


# --- criteria on trees ----------------------------------------------------------------------------------------------


def criterion_on(history: History, story: TicketStory, n: int, tree: str, before: int = FAR) -> Status | None:
    """What was seen of acceptance criterion `n` on that tree before seq `before`; None where nothing looked."""
    criterion = story.ticket.acceptance[n]
    if isinstance(criterion, TestCriterion):
        return _test_on(history, criterion.test, tree, before)
    if isinstance(criterion, GateCriterion):
        run = history.latest_plain(criterion.gate, tree, before)
    else:
        run = history.latest(f"{story.ticket.id}#{n + 1}", "criterion", tree, "", before)
    if run is None:
        return None
    return Status("green" if run.seen.verdict == "pass" else run.seen.verdict, run.seq)


def _test_on(history: History, test: str, tree: str, before: int) -> Status | None:
    found: list[Status] = []
    for gate in history.policy.gates:
        run = history.latest_plain(gate.name, tree, before)
        if run is not None and run.seen.tests is not None:
            found.append(Status(run.seen.asked.get(test, "absent"), run.seq))
    return next((s for s in found if s.word != "absent"), found[0] if found else None)

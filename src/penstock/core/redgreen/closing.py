"""The end of a turn: which step is owed next, read from the whole ledger and never from what was done last.

So a closing that was killed anywhere, or aborted, goes on with the same step and ends with the same verdicts. The
order: the tests that the turn concerns, one spawn per runner; reds once more, for a red that is green at once is
flaky; reds that nobody asked for without the edits of the turn, for only what holds there is a regression; the newest
and fewest edits that are to blame; claims against what their tests ran; mutation of what became green; closed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Literal

from penstock.core.redgreen import events as e
from penstock.core.redgreen.ledger import Ledger, TestLife, files_of
from penstock.core.redgreen.test_id import TestId, spell
from penstock.core.redgreen.verdicts import OUR_FAULT, PASSING, REASONS, RED, RunVerdict


@dataclass(frozen=True)
class RunStep:
    """Run `tests` (`whole`: everything) on the tree, or on the tree without some file edits."""

    purpose: e.Purpose
    tests: tuple[TestId, ...]
    whole: bool = False
    without: tuple[e.FileEdit, ...] = ()


@dataclass(frozen=True)
class RevertStep:
    """Take file edits back: what stood before each of them stands again."""

    edits: tuple[e.FileEdit, ...]
    why: Literal["regression", "claim_unrelated", "red_void"]
    because: tuple[TestId, ...]
    message: str


@dataclass(frozen=True)
class MutateStep:
    """Break the changed lines that a discharged test covers, and record what it noticed."""

    test: TestId


@dataclass(frozen=True)
class CloseStep:
    """Nothing more is owed."""


Step = RunStep | RevertStep | MutateStep | CloseStep


def next_step(ledger: Ledger) -> Step:
    """What is owed next in a turn that is closing."""
    turn = ledger.turn
    assert turn.is_closing, "the turn is not closing"
    if ledger.policy.mode == "off" or not (turn.file_edits or turn.claimed or turn.spawned):
        return CloseStep()
    steps = (_flush, _confirm, _control, _attribute, _void, _unrelated, _mutate)
    return next((step for ask in steps if (step := ask(ledger)) is not None), CloseStep())


def _flush(ledger: Ledger) -> RunStep | None:
    if _spawned(ledger, "flush"):
        return None
    touched = dict.fromkeys(edit.path for edit in ledger.turn.file_edits)
    impacted = {test: None for path in touched for test in ledger.covers.get(path, {})}
    is_known = ledger.has_suite
    return RunStep("flush", tuple({**ledger.turn.claimed, **impacted}), whole=bool(touched) and not is_known)


def _confirm(ledger: Ledger) -> RunStep | None:
    reds = tuple(test for test in _seen(ledger, "flush") if _is_red(ledger, "flush", test))
    return RunStep("confirm", reds) if reds and not _spawned(ledger, "confirm") else None


def _control(ledger: Ledger) -> RunStep | None:
    suspects = tuple(_suspects(ledger))
    if not suspects or _spawned(ledger, "control") or not ledger.turn.file_edits:
        return None
    return RunStep("control", suspects, without=tuple(ledger.turn.file_edits))


def _suspects(ledger: Ledger) -> list[TestId]:
    """Confirmed reds that no edit of this turn was made for."""
    reds = [test for test in _seen(ledger, "flush") if _is_red(ledger, "flush", test)]
    stable = [test for test in reds if _is_red(ledger, "confirm", test)]
    return [test for test in stable if test not in ledger.turn.claimed]


def _regressions(ledger: Ledger) -> tuple[TestId, ...]:
    """Suspects that hold without the edits of this turn."""
    return tuple(test for test in _suspects(ledger) if _is_passing(ledger, "control", test))


def _attribute(ledger: Ledger) -> RunStep | RevertStep | None:
    turn = ledger.turn
    regressed = _regressions(ledger)
    if not regressed or turn.blamed or not turn.file_edits or ledger.policy.mode != "strict":
        return None
    trials = [spawn for spawn in turn.spawned if spawn.purpose == "trial"]
    if trials and all(_is_passing(ledger, "trial", test) for test in regressed):
        return _blame(ledger, trials[-1].without, regressed)
    tried = {frozenset(spawn.without) for spawn in trials}
    everything = tuple(turn.file_edits)
    most = ledger.policy.limits.attribution_runs_max
    for candidate in islice(removals(everything), most):
        if len(candidate) < len(everything) and frozenset(candidate) not in tried:
            return RunStep("trial", regressed, without=candidate)
    return _blame(ledger, everything, regressed)


def _blame(ledger: Ledger, edits: tuple[e.FileEdit, ...], regressed: tuple[TestId, ...]) -> RevertStep:
    run = ledger.turn.seen[("flush", regressed[0])]
    more = f" and {len(regressed) - 1} more" if len(regressed) > 1 else ""
    return RevertStep(edits, "regression", regressed, f"{spell(regressed[0])}{more} was green before: {run.message}")


def removals(edits: Sequence[e.FileEdit]) -> Iterator[tuple[e.FileEdit, ...]]:
    """Sets of file edits that can be taken away, the smallest first and among those the newest first.

    Of one file only the newest edits can go: the rest would have to be merged.
    """
    stacks: dict[str, list[e.FileEdit]] = {}
    for edit in reversed(edits):
        stacks.setdefault(edit.path, []).append(edit)
    for size in range(1, len(edits) + 1):
        yield from _picks(list(stacks.values()), size)


def _picks(stacks: list[list[e.FileEdit]], size: int) -> Iterator[tuple[e.FileEdit, ...]]:
    if size == 0:
        yield ()
    elif stacks:
        for n in range(min(size, len(stacks[0])), -1, -1):
            for rest in _picks(stacks[1:], size - n):
                yield (*stacks[0][:n], *rest)


def _void(ledger: Ledger) -> RevertStep | None:
    """Edits whose test is neither green as it was red nor red still: nothing asks for them any more."""
    if ledger.policy.mode != "strict":
        return None
    for test, life in _open(ledger):
        run = ledger.turn.seen.get(("confirm", test)) or ledger.turn.seen.get(("flush", test))
        verdict: RunVerdict = run.verdict if run else "not_run"
        if test in ledger.turn.greens or verdict in RED | OUR_FAULT:
            continue
        is_other = verdict == "green"
        why = "it changed since it was red, and then passed" if is_other else REASONS[verdict]
        said = f": {run.message}" if run and run.message else ""
        return RevertStep(_standing(ledger, life), "red_void", (test,), f"{spell(test)}: {why}{said}")
    return None


def _unrelated(ledger: Ledger) -> RevertStep | None:
    """Edits of which the test that they were claimed for ran no changed line."""
    if ledger.policy.mode != "strict":
        return None
    for test, life in _open(ledger):
        run = ledger.turn.seen.get(("flush", test))
        beyond = _beyond(ledger, life, run, is_green=test in ledger.turn.greens) if run else ()
        if beyond:
            paths = ", ".join(dict.fromkeys(edit.path for edit in beyond))
            return RevertStep(beyond, "claim_unrelated", (test,), f"{spell(test)} ran no changed line of {paths}")
    return None


def _beyond(ledger: Ledger, life: TestLife, run: e.TestRun, *, is_green: bool) -> tuple[e.FileEdit, ...]:
    """Edits that a green did not run; and while the test is red, files made for it that it does not even know."""
    standing = _standing(ledger, life)
    if is_green:
        return tuple(edit for edit in standing if edit.path not in run.hits)
    if run.verdict not in RED:
        return ()
    made = (edit for edit in standing if ledger.turn.file_edits[edit].before is None)
    return tuple(edit for edit in made if edit.path not in files_of(run))


def _mutate(ledger: Ledger) -> MutateStep | None:
    turn = ledger.turn
    return next((MutateStep(test) for test in turn.greens if test not in turn.judged), None)


# --- what was seen --------------------------------------------------------------------------------------------------


def _open(ledger: Ledger) -> list[tuple[TestId, TestLife]]:
    """Tests with edits of this turn that wait for their green."""
    tests = ((test, ledger.tests.get(test)) for test in ledger.turn.claimed)
    return [(test, life) for test, life in tests if life is not None and _standing(ledger, life)]


def _standing(ledger: Ledger, life: TestLife) -> tuple[e.FileEdit, ...]:
    return tuple(edit for edit in life.open_edits if edit in ledger.turn.file_edits)


def _spawned(ledger: Ledger, purpose: e.Purpose) -> bool:
    return any(spawn.purpose == purpose for spawn in ledger.turn.spawned)


def _seen(ledger: Ledger, purpose: e.Purpose) -> list[TestId]:
    return [test for seen, test in ledger.turn.seen if seen == purpose]


def _is_red(ledger: Ledger, purpose: e.Purpose, test: TestId) -> bool:
    run = ledger.turn.seen.get((purpose, test))
    return run is not None and run.verdict in RED


def _is_passing(ledger: Ledger, purpose: e.Purpose, test: TestId) -> bool:
    run = ledger.turn.seen.get((purpose, test))
    return run is not None and run.verdict in PASSING

"""Performs the end of a turn: asks the core what is owed, does it, records it, asks again.

Every step begins with the tree as the ledger has it and leaves it so, trials too: a kill or an abort in the middle of
one is made good when the session is opened again, and the same step is owed then.
"""

from __future__ import annotations

from dataclasses import dataclass

from penstock.core.redgreen import events as e
from penstock.core.redgreen.closing import CloseStep, MutateStep, RevertStep, RunStep, next_step
from penstock.core.redgreen.entry import Entry
from penstock.core.redgreen.lines import read_ranges
from penstock.core.redgreen.test_id import TestId, spell
from penstock.core.redgreen.verdicts import PASSING, REASONS, RED, UNHEARD
from penstock.kernel.refactoring import leave_refactor
from penstock.kernel.runner import MutationOrder, MutationReport, Mutator
from penstock.kernel.runs import Asked, TestDesk
from penstock.kernel.session import GateSession, Settled
from penstock.kernel.weakness import weaknesses

WEAK_PERCENT = 50
"""A pair is weak when more than this part of its mutants went unnoticed."""


@dataclass(frozen=True)
class TurnEnd:
    """How a turn ended, in the order in which it came out."""

    turn: int
    runs: tuple[e.TestRun, ...]
    reverts: tuple[e.EditReverted, ...]
    pairs: tuple[e.PairJudged, ...]
    settled: Settled
    problems: tuple[str, ...]
    """Files that could not be put back, each with why."""
    refactor_undone: str = ""
    """Why refactor mode, which was still on, was left with everything as it was before."""

    claimed: frozenset[TestId] = frozenset()
    """Tests that edits of the turn were made for."""

    @property
    def is_clean(self) -> bool:
        """Nothing was taken back, what was asked for is there, and every test came to its end."""
        spoilt = (
            self.reverts or self.settled.unclaimed or self.settled.problems or self.problems or self.refactor_undone
        )
        return not (self._failing or spoilt)

    @property
    def _failing(self) -> list[e.TestRun]:
        """Runs that keep the turn from being clean. What was skipped, or red before, is none of it."""
        flushed = [run for run in self.runs if run.purpose == "flush"]
        return [r for r in flushed if r.verdict in UNHEARD or (r.test in self.claimed and r.verdict not in PASSING)]

    @property
    def _red_before(self) -> int:
        """How many tests are red, and nobody's: edits were not made for them, and did not break them."""
        blamed = {test for revert in self.reverts for test in revert.because}
        flushed = [run for run in self.runs if run.purpose == "flush" and run.verdict in RED]
        return len([run for run in flushed if run.test not in self.claimed and run.test not in blamed])

    def words(self) -> str:
        """The end of the turn, for the model."""
        lines = [f"turn {self.turn} ended"]
        for write in self.settled.unclaimed:
            paths = ", ".join(change.path for change in write.changes)
            done = "taken back" if write.is_restored else "not explained by any edit"
            lines.append(f"- {paths}: {done} ({write.why})")
        for revert in self.reverts:
            paths = ", ".join(dict.fromkeys(change.path for change in revert.changes))
            lines.append(f"- reverted {paths} ({revert.why}): {revert.message}")
        for pair in self.pairs:
            lines.append(f"- proven: {spell(pair.test)}{_weak_words(pair) if pair.is_weak else ''}")
        lines += map(_run_words, self._failing)
        lines += [f"- could not be judged: {problem}" for problem in self.settled.problems]
        lines += [f"- could not be put back: {problem}" for problem in self.problems]
        if self.refactor_undone:
            lines.append(f"- refactor mode was left, and all is as it was before it: {self.refactor_undone}")
        if self._red_before:
            lines.append(f"- {self._red_before} other tests are red, as they are without this turn")
        return "\n".join(lines if len(lines) > 1 else [*lines, "- nothing was changed under a test"])


def _run_words(run: e.TestRun) -> str:
    where = f" at {run.where}" if run.where else ""
    said = f": {run.message}" if run.message else f": {REASONS[run.verdict]}"
    return f"- {spell(run.test)} is {run.verdict}{where}{said}"


def _weak_words(pair: e.PairJudged) -> str:
    unnoticed = ", ".join(pair.survivors[:5])
    return "; weak: " + "; ".join(filter(None, (unnoticed and f"{unnoticed} went unnoticed", pair.note)))


async def end_turn(session: GateSession, desk: TestDesk) -> TurnEnd:
    """Close the turn and begin the next one. Cancelling leaves it closing: `end_turn` goes on, also after a restart."""
    settled = session.settle("end_turn")
    left = None
    if session.ledger.refactor is not None and not session.ledger.turn.is_closing:
        left = await leave_refactor(session, desk)
    turn = session.ledger.turn.number
    if not session.ledger.turn.is_closing:
        desk.lines.clear()
        session.append(e.TurnClosing(turn=turn))
    told, claimed = _Told(), frozenset(session.ledger.turn.claimed)
    while not isinstance(step := next_step(session.ledger), CloseStep):
        match step:
            case RunStep():
                told.runs += await _run(session, desk, step, told)
            case RevertStep():
                told.reverts.append(_revert(session, step, told))
            case MutateStep():
                told.pairs.append(await _mutate(session, desk, step.test))
    session.append(e.TurnClosed(turn=turn), e.TurnBegan(turn=turn + 1))
    undone = left.why if isinstance(left, e.RefactorLeft) and not left.is_green else ""
    return TurnEnd(
        turn, tuple(told.runs), tuple(told.reverts), tuple(told.pairs), settled, tuple(told.problems), undone, claimed
    )


class _Told:
    def __init__(self) -> None:
        self.runs: list[e.TestRun] = []
        self.reverts: list[e.EditReverted] = []
        self.pairs: list[e.PairJudged] = []
        self.problems: list[str] = []


async def _run(session: GateSession, desk: TestDesk, step: RunStep, told: _Told) -> list[e.TestRun]:
    trial = without(session, step.without)
    there = {c.path: (c.before, c.after) for c in trial}
    back = {c.path: (c.after, c.before) for c in trial}
    asked = Asked(tests=() if step.whole else step.tests, whole=step.whole)
    writer = session.world.writer
    told.problems += [f"{r.path}: {r.why}" for r in writer.restore(there).refused]
    try:
        runs = await desk.run(step.purpose, asked, without=step.without)
    finally:
        told.problems += [f"{r.path}: {r.why}" for r in writer.restore(back).refused]
    session.settle(step.purpose)
    return runs


def without(session: GateSession, edits: tuple[e.FileEdit, ...]) -> tuple[e.PathChange, ...]:
    """What has to change so that the tree is as if `edits`, the newest of each file, had not been made."""
    earliest: dict[str, Entry | None] = {}
    for edit in sorted(edits, key=lambda each: -each.edit):
        earliest[edit.path] = session.ledger.turn.file_edits[edit].before
    return tuple(
        e.PathChange(path=path, before=session.expected.get(path), after=before)
        for path, before in sorted(earliest.items())
    )


def _revert(session: GateSession, step: RevertStep, told: _Told) -> e.EditReverted:
    changes = without(session, step.edits)
    told.problems += session.revert(step.edits, changes, step.why, step.because, step.message)
    return e.EditReverted(edits=step.edits, why=step.why, changes=changes, because=step.because, message=step.message)


# --- mutation -------------------------------------------------------------------------------------------------------


async def _mutate(session: GateSession, desk: TestDesk, test: TestId) -> e.PairJudged:
    report = await _mutants(session, desk, test)
    survivors = tuple(f"{m.path}:{m.line} {m.what}" for m in report.mutants if not m.is_noticed)
    doubts = weaknesses(session, test)
    life = session.ledger.tests[test]
    judged = e.PairJudged(
        test=test,
        red=life.red_seq,
        green=session.ledger.turn.greens[test],
        tried=len(report.mutants),
        survivors=survivors[:20],
        is_weak=bool(doubts) or len(survivors) * 100 > len(report.mutants) * WEAK_PERCENT,
        note="; ".join(filter(None, (*doubts, report.note)))[:400],
    )
    session.append(judged)
    return judged


async def _mutants(session: GateSession, desk: TestDesk, test: TestId) -> MutationReport:
    runner = desk.runner_of(test)
    limits = session.policy.limits
    if not limits.mutants_max or not session.ledger.tests[test].open_edits:
        return MutationReport(note="nothing to mutate")
    mutate = getattr(runner, "mutate", None)
    if runner is None or mutate is None:
        return MutationReport(note=f"{test.runner}: mutants are not planted for this runner")
    lines = {p: text for p, text in (await desk.cover(test)).items() if p.endswith(".py") and read_ranges(text)}
    if not lines:
        return MutationReport(note="the test ran no changed line that can be mutated")
    mutator: Mutator = runner  # type: ignore[assignment]
    known = session.bindings.known_to_runner(test)
    order = MutationOrder(
        tests=(known,), lines=lines, wall_ms=limits.mutation_wall_ms_max, mutants_max=limits.mutants_max
    )
    return await mutator.mutate(order)

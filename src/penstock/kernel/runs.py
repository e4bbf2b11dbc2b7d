"""Runs tests for a session and records what they did: each run with what its verdict depends on.

A red is run once more at once, on the same tree: one that is green then is `flaky` and has no authority either way. One
spawn per runner and project, one commit for all that it told.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import msgspec

from penstock.core.redgreen import events as e
from penstock.core.redgreen.ledger import files_of
from penstock.core.redgreen.lines import changed_lines, defining, is_bare, read_ranges, widened, write_ranges
from penstock.core.redgreen.test_id import TestId, spell
from penstock.core.redgreen.verdicts import PASSING, RED, RunVerdict
from penstock.kernel.bindings import Bindings
from penstock.kernel.project import Project, is_below
from penstock.kernel.runner import Lines, RunOrder, RunReport, TestOutcome, TestRunner
from penstock.kernel.session import GateSession, NotConfigured

OUTPUT_TAIL_BYTES = 20_000
ADDRESS = re.compile(r"\b0x[0-9a-f]{6,}\b")
"""Of an object in memory: another one in every process."""


@dataclass(frozen=True)
class Asked:
    """What is to be run: exactly `tests`; or all of `files`; or, `whole`, everything that every runner has."""

    tests: tuple[TestId, ...] = ()
    files: tuple[str, ...] = ()
    whole: bool = False


@dataclass(frozen=True)
class Changed:
    """What an edit made of a file: its changed lines as wide as they can be run, and lines that only name things."""

    lines: set[int]
    defining: set[int]
    is_bare: bool


class Changes:
    """The last change of each file that was asked about: every test of a run asks the same."""

    def __init__(self) -> None:
        self._last: dict[str, tuple[bytes, bytes, Changed]] = {}

    def of(self, path: str, before: bytes, after: bytes) -> Changed:
        """The change from `before` to `after`."""
        last = self._last.get(path)
        if last is None or last[:2] != (before, after):
            lines = changed_lines(before, after)
            wide, named = widened(path, after, lines), defining(path, after)
            last = self._last[path] = (before, after, Changed(wide, named, is_bare(path, after, lines)))
        return last[2]


class TestDesk:
    """Takes orders for test runs. Remembers the lines of the last flush, for mutation."""

    __test__ = False

    def __init__(self, session: GateSession) -> None:
        self._session = session
        self.lines: dict[TestId, Lines] = {}
        """Changed lines that a test ran in the last flush, by file."""
        self._changes = Changes()
        self._coverage: dict[str, Literal["lines", "imports"]] = {}
        """What the runner of a test file tells, by its path."""

    async def ask(self, asked: Asked) -> list[e.TestRun]:
        """Somebody wants to know: reds are confirmed at once, and what they say is in the ledger."""
        session = self._session
        session.settle("run_tests")
        bindings = session.bindings
        told: list[e.RedGreenEvent] = []
        for project, order in self._orders(asked, session.policy.limits.test_wall_ms_max):
            report = await self._reported(project, order)
            session.settle("run_tests")  # what a test wrote is judged before its own red can license it
            again = await self._again(project, report)
            runs = [self._run_of("ask", bindings, o, report) for o in report.outcomes]
            runs = [self._confirmed(run, again) for run in runs]
            told += [*self._moves(runs, bindings), *map(self._unexpected, runs)]
            told.append(_spawn("ask", project, report, whole=asked.whole))
            told += [_spawn("confirm", project, again)] if again else []
            session.settle("run_tests")
        if told:
            session.append(*told)
        session.note_run((*asked.files, *(test.path for test in asked.tests)))
        return [event for event in told if isinstance(event, e.TestRun)]

    async def run(self, purpose: e.Purpose, asked: Asked, without: tuple[e.FileEdit, ...] = ()) -> list[e.TestRun]:
        """A run of the closing, or in and out of refactor mode, on the tree as it is now.

        A test whose runner is not set up is `runner_error`: a turn can be closed whatever became of the tree.
        """
        session = self._session
        bindings, lost = session.bindings, self._without_runner(asked)
        told: list[e.RedGreenEvent] = [self._unheard(purpose, bindings, test) for test in lost]
        asked = replace(asked, tests=tuple(test for test in asked.tests if test not in lost))
        wall_ms = session.policy.limits.suite_wall_ms_max if asked.whole else session.policy.limits.test_wall_ms_max
        for project, order in self._orders(asked, wall_ms):
            report = await self._reported(project, order)
            for outcome in report.outcomes:
                run = self._run_of(purpose, bindings, outcome, report)
                told.append(_flaky(run) if purpose == "confirm" and run.verdict in PASSING else run)
            told.append(_spawn(purpose, project, report, whole=asked.whole, without=without))
        if asked.whole:
            told += await self._missed(purpose, bindings, told)
        if not any(isinstance(event, e.SpawnEnded) for event in told):
            told.append(e.SpawnEnded(runner="none", purpose=purpose, tests=0, without=without, note="nothing to run"))
        session.append(*told)
        return [event for event in told if isinstance(event, e.TestRun)]

    async def _missed(
        self, purpose: e.Purpose, bindings: Bindings, told: list[e.RedGreenEvent]
    ) -> list[e.RedGreenEvent]:
        """Claimed tests that a run of everything did not name, asked for by name: their file may not load any more."""
        named = {event.test for event in told if isinstance(event, e.TestRun)}
        missed = tuple(test for test in self._session.ledger.turn.claimed if test not in named)
        wall_ms = self._session.policy.limits.test_wall_ms_max
        found: list[e.RedGreenEvent] = []
        for project, order in self._orders(Asked(tests=missed), wall_ms) if missed else ():
            report = await self._reported(project, order)
            found += [self._run_of(purpose, bindings, outcome, report) for outcome in report.outcomes]
            found.append(_spawn(purpose, project, report))
        return found

    async def cover(self, test: TestId) -> Lines:
        """Changed lines that `test` ran: of the last flush, else of a run made for that alone."""
        if test not in self.lines:
            order = RunOrder(tests=(self._session.bindings.known_to_runner(test),), wall_ms=60_000)
            report = await self._reported(self._set_up(self._project_of(test), test.path), order)
            for outcome in report.outcomes:
                self._hits(test, outcome, report)
        return self.lines.get(test, {})

    # --- who runs what ----------------------------------------------------------------------------------------------

    def _orders(self, asked: Asked, wall_ms: int) -> list[tuple[Project, RunOrder]]:
        """One order per runner and project: exactly one spawn each."""
        if asked.whole:
            return self._whole(wall_ms)
        known = self._session.bindings.known_to_runner
        wanted: dict[Project, tuple[dict[TestId, None], dict[str, None]]] = {}
        owners = self._owners(asked.tests)
        for test in asked.tests:
            project = self._set_up(_fits(owners[test.path], test), test.path)
            wanted.setdefault(project, ({}, {}))[0][known(test)] = None
        for path in asked.files:
            project = self._set_up(self._session.choose(path), path)
            wanted.setdefault(project, ({}, {}))[1][path] = None
        return [
            (project, RunOrder(tests=tuple(tests), files=tuple(files), wall_ms=wall_ms))
            for project, (tests, files) in wanted.items()
        ]

    def _whole(self, wall_ms: int) -> list[tuple[Project, RunOrder]]:
        """Everything, each project without those below it."""
        projects = self._session.projects()
        below = {p: [o.directory for o in projects if _is_inside(o, p)] for p in projects}
        return [(p, RunOrder(without=tuple(dict.fromkeys(others)), wall_ms=wall_ms)) for p, others in below.items()]

    async def _reported(self, project: Project, order: RunOrder) -> RunReport:
        """What the runner tells; of a run of everything, only what is its project's to tell."""
        runner = self._session.world.runners.at(project)
        report = await runner.run(order)
        if not order.tests and not order.files:
            owners = self._owners(outcome.test for outcome in report.outcomes)
            own = tuple(outcome for outcome in report.outcomes if owners[outcome.test.path] == project)
            report = msgspec.structs.replace(report, outcomes=own)
        self._coverage.update((outcome.test.path, runner.coverage) for outcome in report.outcomes)
        return report

    def runner_of(self, test: TestId) -> TestRunner | None:
        """The runner of a test; None where nobody can run it now."""
        project = self._project_of(test)
        return self._session.world.runners.at(project) if project else None

    def _project_of(self, test: TestId) -> Project | None:
        return _fits(self._session.world.runners.project_of(test.path), test)

    def _owners(self, tests: Iterable[TestId]) -> dict[str, Project | None]:
        """The projects of their files, each looked up once."""
        return {path: self._session.world.runners.project_of(path) for path in {test.path for test in tests}}

    def _set_up(self, project: Project | None, path: str) -> Project:
        if project is None:
            raise NotConfigured(self._session.not_set_up(path))
        return project

    def _without_runner(self, asked: Asked) -> list[TestId]:
        """Tests that nobody here can run; where everything is to be run, of those that edits were claimed for."""
        wanted = dict.fromkeys((*asked.tests, *(self._session.ledger.turn.claimed if asked.whole else ())))
        owners = self._owners(wanted)
        return [test for test in wanted if _fits(owners[test.path], test) is None]

    async def _again(self, project: Project, report: RunReport) -> RunReport | None:
        reds = tuple(outcome.test for outcome in report.outcomes if outcome.verdict in RED)
        wall_ms = self._session.policy.limits.test_wall_ms_max
        return await self._reported(project, RunOrder(tests=reds, wall_ms=wall_ms)) if reds else None

    # --- what is recorded -------------------------------------------------------------------------------------------

    def _run_of(self, purpose: e.Purpose, bindings: Bindings, outcome: TestOutcome, report: RunReport) -> e.TestRun:
        test = bindings.canonical(outcome.test)
        files = self._depends(test, outcome)
        hits = self._hits(test, outcome, report) if purpose == "flush" and outcome.verdict != "runner_error" else ()
        output = self._session.world.blobs.put(report.output[-OUTPUT_TAIL_BYTES:]) if report.output else None
        return e.TestRun(
            test=test,
            verdict=outcome.verdict,
            purpose=purpose,
            binding=bindings.of(test, files),
            tree_sha="" if purpose in ("control", "trial") else self._session.tree_sha(),
            command=f"{test.runner} {spell(outcome.test)}",
            duration_ms=outcome.duration_ms,
            exception=outcome.exception,
            where=outcome.where,
            message=ADDRESS.sub("0x...", outcome.message),
            executed=tuple(sorted(outcome.executed)),
            imported=tuple(sorted(outcome.imported)),
            phantoms=tuple(sorted(outcome.phantoms)),
            hits=hits,
            output=output if outcome.verdict not in PASSING else None,
        )

    def _depends(self, test: TestId, outcome: TestOutcome) -> tuple[str, ...]:
        """Files that the run is bound to; a green: those of its red, and those beyond them that were written since."""
        files = tuple(dict.fromkeys((*outcome.executed, *outcome.phantoms, *outcome.imported)))
        life = self._session.ledger.tests.get(test)
        if life is None or life.red is None or outcome.verdict not in PASSING:
            return files
        known = files_of(life.red)
        if not (life.red.executed or life.red.imported):
            return known  # it did not even compile
        written = self._session.ledger.written
        return tuple(dict.fromkeys((*known, *(path for path in files if written.get(path, 0) > life.red_seq))))

    def _unheard(self, purpose: e.Purpose, bindings: Bindings, test: TestId) -> e.TestRun:
        why = self._session.not_set_up(test.path)
        outcome = TestOutcome(test=bindings.known_to_runner(test), verdict="runner_error", message=why)
        return self._run_of(purpose, bindings, outcome, RunReport())

    def _confirmed(self, run: e.TestRun, again: RunReport | None) -> e.TestRun:
        if again is None or run.verdict not in RED:
            return run
        known = self._session.bindings.known_to_runner(run.test)
        second = next((o.verdict for o in again.outcomes if o.test == known), None)
        return _flaky(run) if second in PASSING else run

    def _unexpected(self, run: e.TestRun) -> e.TestRun:
        """A green that no red asked for."""
        life = self._session.ledger.tests.get(run.test)
        is_asked = life is not None and (life.red is not None or bool(life.open_edits))
        return run if is_asked or run.verdict != "green" else _as(run, "unexpected_green")

    def _moves(self, runs: Iterable[e.TestRun], bindings: Bindings) -> list[e.TestMoved]:
        """A test that nobody knew and that has the content of exactly one that has vanished."""
        tests = self._session.ledger.tests
        fresh = [run for run in runs if run.test not in tests and run.binding.test_sha]
        moves = []
        for run in fresh:
            sha = run.binding.test_sha
            was = [t for t, life in tests.items() if life.last and life.last.binding.test_sha == sha]
            vanished = [t for t in was if t.param == run.test.param and bindings.test_sha(t) != sha]
            twins = [other for other in fresh if other.binding.test_sha == sha and other.test.param == run.test.param]
            if len(vanished) == 1 and len(twins) == 1:
                moves.append(e.TestMoved(was=vanished[0], now=run.test, test_sha=sha))
        return moves

    # --- what a test ran of the change ------------------------------------------------------------------------------

    def _hits(self, test: TestId, outcome: TestOutcome, report: RunReport) -> tuple[str, ...]:
        """Files edited in this turn of which the test ran a changed line; without coverage, those that it imports."""
        first: dict[str, e.PathChange] = {}
        for edit, change in self._session.ledger.turn.file_edits.items():
            first.setdefault(edit.path, change)
        lines: Lines = {}
        hits = []
        for path, change in first.items():
            ran = self._ran(path, change, outcome, report)
            if ran is None:
                continue
            hits.append(path)
            if ran:
                lines[path] = write_ranges(ran)
        self.lines[test] = lines
        return tuple(sorted(hits))

    def _ran(self, path: str, change: e.PathChange, outcome: TestOutcome, report: RunReport) -> set[int] | None:
        now = self._session.expected.get(path)
        concerned = path in outcome.executed or path in outcome.imported
        if now is None or now.kind != "file":
            return set()  # what is gone can be run by nobody; that its test concerned it was asked before the edit
        if self._coverage[outcome.test.path] == "imports" or (not path.endswith(".py") and concerned):
            return set() if concerned else None
        after = self._session.content(now)
        before = self._session.content(change.before) if change.before else b""
        changed = self._changes.of(path, before, after)
        if changed.is_bare:
            return set() if concerned else None
        imported = read_ranges(report.import_lines.get(path, "")) - changed.defining if concerned else set()
        ran = read_ranges(outcome.executed.get(path, "")) | imported
        return changed.lines & ran or (set() if concerned and path in outcome.unfollowed else None)


def _spawn(
    purpose: e.Purpose,
    project: Project,
    report: RunReport,
    *,
    whole: bool = False,
    without: tuple[e.FileEdit, ...] = (),
) -> e.SpawnEnded:
    return e.SpawnEnded(
        runner=project.runner,
        project=project.directory,
        purpose=purpose,
        tests=len(report.outcomes),
        whole=whole,
        is_warm=report.is_warm,
        note=report.note[:400],
        duration_ms=report.duration_ms,
        without=without,
    )


def _fits(project: Project | None, test: TestId) -> Project | None:
    """The project, where it is one of the test's technology."""
    return project if project and project.runner == test.runner else None


def _is_inside(other: Project, project: Project) -> bool:
    """Whether all that `other` has is below `project`, and would be taken for its own."""
    is_other = other.directory != project.directory and other.runner == project.runner
    return is_other and is_below(other.directory, project.directory)


def _flaky(run: e.TestRun) -> e.TestRun:
    return _as(run, "flaky")


def _as(run: e.TestRun, verdict: RunVerdict) -> e.TestRun:
    return msgspec.structs.replace(run, verdict=verdict)


def tests_of(runs: Sequence[e.TestRun], verdicts: Iterable[RunVerdict]) -> list[TestId]:
    """Tests of those runs that ended with one of `verdicts`."""
    wanted = set(verdicts)
    return [run.test for run in runs if run.verdict in wanted]

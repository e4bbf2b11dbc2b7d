"""What a gate run proves: its per-test results against base's, as a verdict and the one line that explains it.

Pure. The order of the clauses is the point: a run that did not get to its end proves nothing, a red test outweighs
every exit status, and green is believed only where everything that was green on base is green here.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from penstock.core.paths import excuses
from penstock.core.policy import Frozen
from penstock.core.verdicts import Counts, FailedTest, RedKind, TestResult, TestResults, TestStatus, Verdict

FAILED_MAX = 20
MISSING_MAX = 20
TELLING_MAX = 50
TELLING_KINDS: frozenset[RedKind] = frozenset({"assertion", "missing_target", "exception"})
NOT_GREEN: frozenset[TestStatus] = frozenset({"red", "error"})

ABSENT_COMMAND = {126: "the command cannot be executed", 127: "the command was not found"}


class Unloadable(Frozen):
    """A test file that could not be collected. `line`: the statement in it that failed, 0 unknown."""

    file: str
    line: int = 0
    names: tuple[str, ...] = ()
    """The missing module or name, where that is what it failed for."""
    message: str = ""


class SuiteRun(Frozen):
    """What a per-test runner said, and how its command ended."""

    results: TestResults
    collected: int
    """Tests it meant to run, whether or not it did."""
    unloadable: tuple[Unloadable, ...] = ()
    left: str = ""
    """Why it did not get to its end, empty where it did."""
    exit_status: int = 0


class Judgement(Frozen):
    """A verdict, why, and the test ids it rests on (all of them; evidence lists the first ones)."""

    verdict: Verdict
    why: str
    missing: tuple[str, ...] = ()
    telling: tuple[str, ...] = ()


# --- verdicts -------------------------------------------------------------------------------------------------------


def judge_exit(status: int) -> Judgement:
    """By exit status alone."""
    if status in ABSENT_COMMAND:
        return Judgement(verdict="broken", why=f"{ABSENT_COMMAND[status]} (exit status {status})")
    return Judgement(verdict="fail" if status else "pass", why=f"exit status {status}")


def judge_suite(
    run: SuiteRun, base: TestResults | None, excused: tuple[str, ...], quarantined: tuple[str, ...] = ()
) -> Judgement:
    """The tree as it is: everything green, and nothing lost that was green on base. Quarantined tests do not count."""
    missing = missing_of(base, run.results, (*excused, *quarantined))
    flips = [r for r in run.results.results if r.status in NOT_GREEN and r.id in quarantined]
    reds = [r for r in run.results.results if r.status in NOT_GREEN and r.id not in quarantined]
    if run.left:
        return Judgement(verdict="broken", why=run.left, missing=missing)
    if not run.collected:
        return Judgement(verdict="broken", why=_none_ran(run), missing=missing)
    if reds or run.unloadable:
        return Judgement(verdict="fail", why=_reds(run, len(reds)), missing=missing)
    if not run.results.results:
        return Judgement(verdict="broken", why=_none_ran(run), missing=missing)
    if not run.results.complete:
        done = f"{len(run.results.results)} of {run.collected} tests ended"
        return Judgement(verdict="broken", why=f"left before its session ended: {done}", missing=missing)
    if run.exit_status and not flips:
        return Judgement(
            verdict="fail", why=f"no test is red, yet the exit status is {run.exit_status}", missing=missing
        )
    if missing:
        why = f"shrunk: {_tests(len(missing))} green on base {_are(len(missing))} missing or skipped"
        return Judgement(verdict="fail", why=why, missing=missing)
    green = len(greens(run.results))
    if not green:
        return Judgement(verdict="broken", why=f"no test is green: {_tests(run.collected)} skipped or expected to fail")
    return Judgement(verdict="pass", why=f"{_tests(green)} {_are(green)} green")


def judge_by_base(run: SuiteRun, base: TestResults, excused: tuple[str, ...]) -> Judgement:
    """Base's tests over the candidate's production code: what was green on base is green, other reds do not count."""
    missing = missing_of(base, run.results, excused)
    if run.left:
        return Judgement(verdict="broken", why=run.left, missing=missing)
    if not run.results.results:
        return Judgement(verdict="broken", why=_none_ran(run), missing=missing)
    kept = len(greens(base)) - len(missing)
    if missing:
        why = f"{_tests(len(missing))} of base {_are(len(missing))} not green over the new code"
        return Judgement(verdict="fail", why="; ".join([why, *_unloadable(run)]), missing=missing)
    return Judgement(verdict="pass", why=f"all of base's {_tests(kept)} still green")


def new_tests(
    candidate: TestResults, base: TestResults | None, files: tuple[str, ...], excused: tuple[str, ...]
) -> tuple[str, ...]:
    """Ids of `files` (empty: of all) that are green on the candidate, and were not on base or may have changed."""
    known = greens(base) if base is not None else {}
    return tuple(
        r.id
        for r in candidate.results
        if r.status == "green" and (not files or r.file in files) and (r.id not in known or is_excused(r, excused))
    )


def judge_witness(run: SuiteRun, new: tuple[str, ...], mentioning: Collection[str]) -> Judgement:
    """Do the new tests tell? Red over base's production code, or unloadable there for what they themselves mention."""
    here = {r.id: r for r in run.results.results}
    telling = tuple(id for id in new if (id in here and _tells(here[id])) or (id not in here and id in mentioning))
    if telling:
        return Judgement(
            verdict="pass", why=f"{len(telling)} of {_tests(len(new))} red without the change", telling=telling
        )
    if not new:
        return Judgement(verdict="fail", why="no new test")
    if run.left:
        return Judgement(verdict="broken", why=run.left)
    if all(here[id].status == "green" for id in new if id in here) and not run.unloadable:
        return Judgement(verdict="fail", why="vacuous: the new tests are green without the change")
    return Judgement(verdict="fail", why="vacuous: no new test is red for want of the change")


def judge_whole_witness(status: int) -> Judgement:
    """A runner without per-test results, asked as a whole: red without the change, as it is green with it."""
    seen = judge_exit(status)
    if seen.verdict == "broken":
        return seen
    if seen.verdict == "fail":
        return Judgement(verdict="pass", why=f"red as a whole without the change: {seen.why}")
    return Judgement(verdict="fail", why="vacuous: green as a whole without the change")


def _tells(result: TestResult) -> bool:
    return result.status in NOT_GREEN and result.kind in TELLING_KINDS


# --- what it rests on -----------------------------------------------------------------------------------------------


def greens(results: TestResults) -> dict[str, TestResult]:
    """The green tests by id."""
    return {r.id: r for r in results.results if r.status == "green"}


def missing_of(base: TestResults | None, here: TestResults, excused: tuple[str, ...]) -> tuple[str, ...]:
    """Ids green on base, not excused, and not green here."""
    if base is None:
        return ()
    green = greens(here)
    return tuple(id for id, result in greens(base).items() if id not in green and not is_excused(result, excused))


def is_excused(result: TestResult, excused: tuple[str, ...]) -> bool:
    """Is the test left out of comparisons, by its id or by a glob of its file?"""
    return result.id in excused or (bool(excused) and excuses(excused, result.file, result.id))


def statuses_of(results: TestResults | None, asked: tuple[str, ...]) -> dict[str, TestStatus]:
    """Status of each id asked for, `absent` where the run has none."""
    found = {r.id: r.status for r in results.results} if results is not None else {}
    return {id: found.get(id, "absent") for id in asked}


def counts_of(results: Iterable[TestResult]) -> Counts:
    """How many have which status."""
    counted = dict.fromkeys(Counts.__struct_fields__, 0)
    for result in results:
        if result.status in counted:
            counted[result.status] += 1
    return Counts(**counted)


def failed_of(run: SuiteRun) -> tuple[FailedTest, ...]:
    """The first that are red or in error: files that do not load, then reds, then errors."""
    files = [
        FailedTest(
            id=u.file,
            status="error",
            kind="missing_target" if u.names else "other",
            where=f"{u.file}:{u.line}" if u.line else "",
            message=u.message,
        )
        for u in run.unloadable
    ]
    tests = [
        FailedTest(id=r.id, status=r.status, kind=r.kind, where=r.where, message=r.message)
        for status in ("red", "error")
        for r in run.results.results
        if r.status == status
    ]
    return (*files, *tests)[:FAILED_MAX]


# --- words ----------------------------------------------------------------------------------------------------------


def _none_ran(run: SuiteRun) -> str:
    return "; ".join([f"no tests ran (exit status {run.exit_status})", *_unloadable(run)])


def _reds(run: SuiteRun, reds: int) -> str:
    return "; ".join([*([f"{reds} of {_tests(run.collected)} {_are(reds)} red"] if reds else []), *_unloadable(run)])


def _unloadable(run: SuiteRun) -> list[str]:
    if not run.unloadable:
        return []
    files = "1 test file" if len(run.unloadable) == 1 else f"{len(run.unloadable)} test files"
    return [f"{files} cannot be loaded: {run.unloadable[0].message.partition(chr(10))[0]}"]


def _tests(count: int) -> str:
    return "1 test" if count == 1 else f"{count} tests"


def _are(count: int) -> str:
    return "is" if count == 1 else "are"

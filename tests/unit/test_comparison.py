"""From per-test results to a verdict: no evidence is never a pass, and nothing green may be lost."""

from __future__ import annotations

from typing import Any

import pytest

from penstock.core import comparison
from penstock.core.comparison import Judgement, SuiteRun, Unloadable
from penstock.core.verdicts import Counts, RedKind, TestResult, TestResults, TestStatus


def results(complete: bool = True, **statuses: TestStatus) -> TestResults:
    tests = tuple(TestResult(id=f"test_a.py::{n}", status=s, file="test_a.py") for n, s in statuses.items())
    return TestResults(runner="pytest", complete=complete, results=tests)


def run(seen: TestResults, **more: Any) -> SuiteRun:
    return SuiteRun(results=seen, **({"collected": len(seen.results)} | more))


BASE = results(a="green", b="green", c="red", d="skipped")
UNLOADABLE = (Unloadable(file="test_b.py", line=1, message="ImportError: no\nreally"),)


@pytest.mark.parametrize(
    ("seen", "verdict", "why"),
    [
        (run(results(a="green", b="green")), "pass", "2 tests are green"),
        (run(results(a="green", b="green", new="xfail")), "pass", "2 tests are green"),
        (run(results(a="green", b="red")), "fail", "1 of 2 tests is red"),
        (run(results(a="green", b="error")), "fail", "1 of 2 tests is red"),
        (run(results(a="red", b="red"), exit_status=0), "fail", "2 of 2 tests are red"),
        (run(results(a="green")), "fail", "shrunk: 1 test green on base is missing or skipped"),
        (
            run(results(a="skipped", b="xfail", e="green")),
            "fail",
            "shrunk: 2 tests green on base are missing or skipped",
        ),
        (run(results(a="green", b="xpass")), "fail", "shrunk: 1 test green on base is missing or skipped"),
        (run(results(a="green", b="green"), exit_status=1), "fail", "no test is red, yet the exit status is 1"),
        (
            run(results(a="green", b="green"), unloadable=UNLOADABLE, exit_status=2),
            "fail",
            "1 test file cannot be loaded: ImportError: no",
        ),
        (
            run(results(), unloadable=UNLOADABLE, exit_status=2),
            "broken",
            "no tests ran (exit status 2); 1 test file cannot be loaded: ImportError: no",
        ),
        (run(results(), exit_status=5), "broken", "no tests ran (exit status 5)"),
        (run(results(), collected=2), "broken", "no tests ran (exit status 0)"),
        (run(results(False, a="green"), collected=2), "broken", "left before its session ended: 1 of 2 tests ended"),
        (run(results(False, a="red"), collected=2), "fail", "1 of 2 tests is red"),
        (run(results(a="green", b="green"), left="it left"), "broken", "it left"),
        (run(results(a="red", b="green"), left="it left"), "broken", "it left"),
    ],
)
def test_a_suite_is_judged_against_base(seen: SuiteRun, verdict: str, why: str) -> None:
    judgement = comparison.judge_suite(seen, BASE, ())
    assert (judgement.verdict, judgement.why) == (verdict, why)


def test_missing_is_told_of_every_red_so_that_a_control_can_ask_for_it() -> None:
    assert comparison.judge_suite(run(results(a="green", b="red")), BASE, ()).missing == ("test_a.py::b",)
    assert comparison.judge_suite(run(results(), left="it left"), BASE, ()).missing == ("test_a.py::a", "test_a.py::b")


def test_without_base_green_is_enough_but_skipped_is_not() -> None:
    assert comparison.judge_suite(run(results(a="green", b="skipped")), None, ()).verdict == "pass"
    assert comparison.judge_suite(run(results(a="skipped", b="xfail")), None, ()).verdict == "broken"


@pytest.mark.parametrize(
    ("excused", "verdict"),
    [
        (("test_a.py::b",), "pass"),
        (("test_a.py",), "pass"),
        (("**/test_*.py",), "pass"),
        (("test_a.py::a",), "fail"),
        (("test_b.py",), "fail"),
        ((), "fail"),
    ],
)
def test_the_excused_are_left_out(excused: tuple[str, ...], verdict: str) -> None:
    seen = run(results(a="green"))
    assert comparison.judge_suite(seen, BASE, excused).verdict == verdict
    assert comparison.judge_by_base(seen, BASE, excused).verdict == verdict


def test_a_red_is_red_though_excused() -> None:
    assert comparison.judge_suite(run(results(a="green", b="red")), BASE, ("test_a.py::b",)).verdict == "fail"


def test_the_quarantined_are_left_out_and_nobody_else() -> None:
    flips = ("test_a.py::b",)
    for status in ("red", "error", "skipped"):
        seen = run(results(a="green", b=status), exit_status=1 if status != "skipped" else 0)
        assert comparison.judge_suite(seen, BASE, (), flips).verdict == "pass"
        assert comparison.judge_suite(seen, BASE, ()).verdict == "fail"
    assert comparison.judge_suite(run(results(b="red")), BASE, (), flips).verdict == "fail"
    others = run(results(a="green", b="red", new="red"), exit_status=1)
    assert comparison.judge_suite(others, BASE, (), flips).why == "1 of 3 tests is red"


@pytest.mark.parametrize(
    ("seen", "verdict", "why"),
    [
        (run(results(a="green", b="green", c="red"), exit_status=1), "pass", "all of base's 2 tests still green"),
        (run(results(a="green", b="green"), unloadable=UNLOADABLE), "pass", "all of base's 2 tests still green"),
        (run(results(a="green", b="red")), "fail", "1 test of base is not green over the new code"),
        (
            run(results(a="green"), unloadable=UNLOADABLE),
            "fail",
            "1 test of base is not green over the new code; 1 test file cannot be loaded: ImportError: no",
        ),
        (run(results(a="green", b="green"), left="it left"), "broken", "it left"),
        (run(results(), exit_status=5), "broken", "no tests ran (exit status 5)"),
    ],
)
def test_bases_judge_asks_only_for_what_was_green(seen: SuiteRun, verdict: str, why: str) -> None:
    judgement = comparison.judge_by_base(seen, BASE, ())
    assert (judgement.verdict, judgement.why) == (verdict, why)


def test_new_is_what_was_not_green_on_base() -> None:
    candidate = results(a="green", c="green", e="green", f="red", g="skipped")
    new = ("test_a.py::c", "test_a.py::e")
    assert comparison.new_tests(candidate, BASE, (), ()) == new
    assert comparison.new_tests(candidate, BASE, ("test_a.py",), ()) == new
    assert comparison.new_tests(candidate, BASE, ("test_b.py",), ()) == ()
    assert comparison.new_tests(candidate, BASE, (), ("test_a.py::a",)) == ("test_a.py::a", *new)
    assert comparison.new_tests(candidate, None, (), ()) == ("test_a.py::a", *new)


def witness(status: TestStatus, kind: RedKind = "other", new: tuple[str, ...] = ("x",), **more: Any) -> Judgement:
    seen = TestResults(runner="pytest", complete=True, results=(TestResult(id="x", status=status, kind=kind),))
    return comparison.judge_witness(run(seen, **more), new, frozenset())


@pytest.mark.parametrize(
    ("status", "kind", "verdict"),
    [
        ("red", "assertion", "pass"),
        ("red", "missing_target", "pass"),
        ("red", "exception", "pass"),
        ("error", "missing_target", "pass"),
        ("red", "other", "fail"),
        ("error", "other", "fail"),
        ("green", "other", "fail"),
        ("skipped", "other", "fail"),
        ("xfail", "other", "fail"),
    ],
)
def test_a_witness_tells_only_by_a_telling_red(status: TestStatus, kind: RedKind, verdict: str) -> None:
    judgement = witness(status, kind)
    assert judgement.verdict == verdict
    assert judgement.telling == (("x",) if verdict == "pass" else ())


def test_a_witness_that_does_not_tell_says_why() -> None:
    assert witness("green").why == "vacuous: the new tests are green without the change"
    assert witness("red", new=()).why == "no new test"
    assert witness("green", left="it left") == Judgement(verdict="broken", why="it left")
    assert witness("red", "assertion", left="it left").verdict == "pass"


def test_an_unloadable_test_tells_only_if_it_mentions_what_is_missing() -> None:
    seen = run(results(), unloadable=UNLOADABLE)
    assert comparison.judge_witness(seen, ("y", "z"), frozenset({"z"})).telling == ("z",)
    assert comparison.judge_witness(seen, ("y", "z"), frozenset()).verdict == "fail"


@pytest.mark.parametrize(
    ("status", "alone", "as_a_whole"),
    [(0, "pass", "fail"), (1, "fail", "pass"), (126, "broken", "broken"), (127, "broken", "broken")],
)
def test_exit_status_alone(status: int, alone: str, as_a_whole: str) -> None:
    assert comparison.judge_exit(status).verdict == alone
    assert comparison.judge_whole_witness(status).verdict == as_a_whole


def test_what_failed_is_listed_reds_first_and_cut() -> None:
    many = tuple(TestResult(id=f"t{n:02}", status="error" if n % 2 else "red") for n in range(30))
    seen = TestResults(runner="pytest", complete=True, results=many)
    failed = comparison.failed_of(run(seen, unloadable=UNLOADABLE))
    assert len(failed) == comparison.FAILED_MAX
    assert [f.status for f in failed] == ["error", *["red"] * 15, *["error"] * 4]
    assert (failed[0].id, failed[0].where) == ("test_b.py", "test_b.py:1")


def test_counts_and_statuses() -> None:
    assert comparison.counts_of(BASE.results) == Counts(green=2, red=1, skipped=1)
    asked = ("test_a.py::c", "test_a.py::none")
    assert comparison.statuses_of(BASE, asked) == {"test_a.py::c": "red", "test_a.py::none": "absent"}
    assert comparison.statuses_of(None, asked) == dict.fromkeys(asked, "absent")

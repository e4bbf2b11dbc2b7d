"""The gate: what may be edited, and what a refusal says."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from penstock.core.redgreen import events as e
from penstock.core.redgreen.gate import EditAsk, Licence, judge_claim, judge_edit, refusal_text
from penstock.core.redgreen.imports import may_import
from penstock.core.redgreen.policy import RedGreenLimits
from penstock.core.redgreen.test_id import TestId
from penstock.core.redgreen.verdicts import PASSING, RED, RUN_VERDICTS, RunVerdict
from tests.unit.redgreen_history import SAME, A, B, C, History, code_of, named

Given = Callable[[History], None]


def red(history: History) -> None:
    history.ran(A, "red_assert")


def green(history: History) -> None:
    history.ran(A, "unexpected_green")


def red_and_closing(history: History) -> None:
    red(history)
    history.closing()


def red_then_edited(times: int) -> Given:
    def given(history: History) -> None:
        red(history)
        for _ in range(times):
            history.applied()

    return given


def red_again_after_edits(times: int) -> Given:
    def given(history: History) -> None:
        red(history)
        for _ in range(times):
            history.applied()
            history.ran(A, "red_assert")

    return given


def reverted(times: int) -> Given:
    def given(history: History) -> None:
        for _ in range(times):
            red(history)
            edit = history.applied()
            history.add(e.EditReverted(edits=(edit,), why="regression", changes=(), because=(A,)))
        red(history)

    return given


def refactoring(edits: int = 0) -> Given:
    def given(history: History) -> None:
        history.add(e.RefactorEntered(baseline=(A,), tree="0"))
        for _ in range(edits):
            history.applied(test=None, allowance="refactor")

    return given


def nothing(history: History) -> None:
    pass


LIMITS = RedGreenLimits(edits_per_red_max=2, reds_per_test_max=3, reverts_per_test_max=2, refactor_edits_max=1)

CASES: list[tuple[str, Given, tuple[str, ...], str]] = [
    ("a test file is free", nothing, ("tests/test_new.py",), "allowed:free"),
    ("a control file is free", nothing, ("conftest.py",), "allowed:free"),
    ("what is declared exempt is exempt", nothing, ("docs/a.md",), "allowed:exempt"),
    ("nothing else is exempt", nothing, ("README.md",), "no_test_in_scope"),
    ("protected files are nobody's", red, ("penstock.toml",), "protected"),
    ("no test at all", nothing, ("app/a.py",), "no_test_in_scope"),
    ("no red test", green, ("app/a.py",), "no_red"),
    ("the one red test that ran it", red, ("app/a.py",), "allowed:red"),
    ("a test beside production code needs the red too", red, ("tests/x_test.py", "app/a.py"), "allowed:red"),
    ("a file that the red test does not concern", red, ("app/other.py",), "claim_unrelated"),
    ("one of two does not concern it", red, ("app/a.py", "app/other.py"), "claim_unrelated"),
    ("as many edits as a red licenses", red_then_edited(2), ("app/a.py",), "edits_exhausted"),
    ("one fewer", red_then_edited(1), ("app/a.py",), "allowed:red"),
    ("red again too often", red_again_after_edits(3), ("app/a.py",), "reds_exhausted"),
    ("red again, not too often", red_again_after_edits(2), ("app/a.py",), "allowed:red"),
    ("reverted too often", reverted(2), ("app/a.py",), "storm"),
    ("reverted once", reverted(1), ("app/a.py",), "allowed:red"),
    ("in refactor mode", refactoring(), ("app/any.py",), "allowed:refactor"),
    ("in refactor mode, too many edits", refactoring(1), ("app/any.py",), "refactor_edits"),
    ("while the turn is closing", red_and_closing, ("app/a.py",), "turn_closing"),
]


@pytest.mark.parametrize(("given", "paths", "verdict"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_the_verdict_is(given: Given, paths: tuple[str, ...], verdict: str) -> None:
    history = History(limits=LIMITS)
    given(history)
    assert code_of(history.asked(*paths)) == verdict


@pytest.mark.parametrize("verdict", RUN_VERDICTS)
def test_only_three_reds_authorise(verdict: RunVerdict) -> None:
    history = History()
    history.ran(A, verdict)
    answer = history.asked(test=A)
    assert isinstance(answer, Licence) == (verdict in RED)
    if isinstance(answer, e.Refusal):
        is_ours = verdict in ("runner_error", "timeout")
        assert answer.code == ("no_verdict" if is_ours else "not_red")
        assert answer.last_verdict == verdict


def test_a_red_is_no_more_after_any_other_verdict() -> None:
    for verdict in RUN_VERDICTS:
        if verdict not in (*RED, "runner_error", "timeout"):
            history = History()
            red(history)
            history.ran(A, verdict, binding=e.Binding(test_sha="t2"))
            assert not history.ledger.red, verdict


def test_edits_under_one_red_that_keep_another_from_loading_leave_it_its_red() -> None:
    history = History()
    history.ran(A, "red_assert")
    history.ran(B, "red_assert")
    history.applied(test=A)
    for test in (A, B):
        history.ran(test, "collect_error")
    assert list(history.ledger.red) == [A, B]
    history.ran(C, "collect_error")
    assert C not in history.ledger.red


@pytest.mark.parametrize("verdict", ["collect_error", "syntax_error", "setup_error"])
def test_edits_that_keep_their_own_test_from_loading_may_be_mended(verdict: RunVerdict) -> None:
    history = History()
    red(history)
    history.applied()
    history.ran(A, verdict)
    assert code_of(history.asked(test=A)) == "allowed:red"
    history.ran(A, verdict, binding=e.Binding(test_sha="t2", control_sha="c1"))
    assert code_of(history.asked(test=A)) == "not_red"


def test_a_runner_that_fails_does_not_take_a_red_away() -> None:
    history = History()
    red(history)
    history.ran(A, "timeout")
    assert code_of(history.asked()) == "no_verdict"
    history.ran(A, "red_assert")
    assert code_of(history.asked()) == "allowed:red"


@pytest.mark.parametrize(
    ("now", "word"),
    [
        (e.Binding(test_sha="t2", control_sha="c1"), "the test"),
        (e.Binding(test_sha="t1", control_sha="c2"), "a control file"),
        (e.Binding(test_sha="t1", control_sha="c1", support_sha="s"), "a test file that it runs"),
        (e.Binding(test_sha="t2", control_sha="c2"), "the test and a control file"),
    ],
)
def test_a_red_is_bound_to_what_it_depended_on(now: e.Binding, word: str) -> None:
    history = History()
    red(history)
    answer = history.asked(binding=now)
    assert isinstance(answer, e.Refusal)
    assert answer.code == "red_stale"
    assert answer.missing.startswith(f"{word} changed")


def test_two_red_tests_that_concern_a_file_must_be_told_apart() -> None:
    history = History()
    red(history)
    history.ran(B, "red_assert")
    assert code_of(history.asked()) == "no_claim"
    assert code_of(history.asked(test=B)) == "allowed:red"
    history.add(e.EditClaim(test=A, targets=("app/a.py",), basis="executed"))
    answer = history.asked()
    assert isinstance(answer, Licence)
    assert answer.test == A


def test_rows_of_one_red_test_are_one_test() -> None:
    history = History()
    rows = [TestId(runner="pytest", path=A.path, chain=A.chain, param=row) for row in ("1", "2")]
    for row in rows:
        history.ran(row, "red_assert")
    answer = history.asked()
    assert isinstance(answer, Licence)
    assert answer.test == rows[0]


def test_a_new_file_is_concerned_by_what_was_edited_to_import_it() -> None:
    history = History()
    red(history)
    ask = EditAsk("write_file", ("app/new.py",), None, {A: SAME}, importers={"app/new.py": ("app/a.py",)})
    assert code_of(judge_edit(history.ledger, ask, "strict")) == "claim_unrelated"
    history.add(e.EditClaim(test=A, targets=("app/a.py",), basis="executed"))
    answer = judge_edit(history.ledger, ask, "strict")
    assert isinstance(answer, Licence)
    assert answer.claims[0].basis == "imported"


@pytest.mark.parametrize(
    ("source", "wanted", "is_asked_for"),
    [
        ("from app.new import x", "app/new.py", True),
        ("from .new import x", "app/new.py", True),
        ("from app import new", "app/new.py", True),
        ("from app.new.far import x", "app/new/__init__.py", True),
        ("from app.other import x", "app/new.py", False),
        ("'app.new'", "app/new.py", False),
    ],
)
def test_a_file_is_asked_for_by_an_import(source: str, wanted: str, is_asked_for: bool) -> None:
    assert may_import("app/a.py", source.encode(), wanted) == is_asked_for


def test_a_claim_is_inferred_where_one_red_test_concerns_the_target() -> None:
    history = History()
    seq = history.ran(A, "red_missing_target", executed=(), phantoms=("app/new.py",))
    answer = history.asked("app/new.py")
    assert answer == Licence(
        allowance="red",
        red=seq,
        test=A,
        claims=(e.EditClaim(test=A, targets=("app/new.py",), basis="phantom", is_inferred=True),),
    )


@pytest.mark.parametrize(
    ("concerns", "basis"),
    [
        ({"executed": ("app/a.py",), "imported": ("app/a.py",)}, "executed"),
        ({"executed": (), "phantoms": ("app/a.py",)}, "phantom"),
        ({"executed": (), "imported": ("app/a.py",)}, "imported"),
    ],
)
def test_a_claim_says_how_it_is_known_to_concern_its_target(concerns: dict[str, tuple[str, ...]], basis: str) -> None:
    history = History()
    history.ran(A, "red_assert", **concerns)  # type: ignore[arg-type]
    ask = EditAsk(tool="claim", paths=("app/a.py",), test=A, bindings={A: SAME})
    claim = judge_claim(history.ledger, ask)
    assert isinstance(claim, e.EditClaim)
    assert (claim.basis, claim.is_inferred) == (basis, False)


def test_a_new_red_needs_a_new_claim() -> None:
    history = History()
    red(history)
    history.applied()
    history.ran(A, "red_assert")
    assert history.ledger.tests[A].claim is None


def test_warn_lets_through_and_says_what_strict_would_have_said() -> None:
    answer = History().asked(mode="warn")
    assert isinstance(answer, Licence)
    assert answer.allowance == "warn"
    assert answer.would_refuse is not None and answer.would_refuse.code == "no_test_in_scope"


def test_off_asks_nothing() -> None:
    assert code_of(History().asked("penstock.toml", mode="off")) == "allowed:off"


def test_a_planned_test_file_is_proposed() -> None:
    history = History()
    history.add(e.PlanSubmitted(steps=(e.PlanStep(text="it", test_file_path="tests/test_planned.py"),)))
    answer = history.asked()
    assert isinstance(answer, e.Refusal)
    assert "tests/test_planned.py" in answer.missing
    assert answer.next_command == "run_tests tests/test_planned.py"


def test_a_moved_test_keeps_its_red_and_its_claim() -> None:
    history = History()
    red(history)
    history.add(e.EditClaim(test=A, targets=("app/a.py",), basis="executed"))
    now = named("test_renamed")
    history.add(e.TestMoved(was=A, now=now, test_sha="t1"))
    answer = history.asked()
    assert isinstance(answer, Licence)
    assert (answer.test, answer.claims) == (now, ())


LONG = "x" * 3_000


@pytest.mark.parametrize(
    "refusal",
    [
        e.Refusal(code="no_red", missing="m"),
        e.Refusal(code="c" * 30, missing=LONG, test=named(LONG), last_verdict="red_assert", next_command=LONG),
        e.Refusal(code="no_red", missing="a\nb\x1b[31m\0c", next_command="run\ttests", budget_left=3),
    ],
)
def test_a_refusal_is_short_plain_and_the_same_every_time(refusal: e.Refusal) -> None:
    text = refusal_text(refusal)
    assert len(text) <= 400
    assert text.isprintable()
    assert text.startswith(f"refused ({refusal.code})")
    assert text == refusal_text(msgspec.json.decode(msgspec.json.encode(refusal), type=e.Refusal))


def test_every_verdict_that_does_not_authorise_has_its_own_reason() -> None:
    said = {}
    for verdict in RUN_VERDICTS:
        if verdict not in (*RED, *PASSING):
            history = History()
            history.ran(A, verdict)
            answer = history.asked(test=A)
            assert isinstance(answer, e.Refusal)
            said[verdict] = answer.missing
    assert len(set(said.values())) == len(said)


def made(history: History, path: str, *, announced: bool, is_there: bool = False) -> str:
    importers: dict[str, tuple[str, ...]] = {} if is_there else {path: ()}
    ask = EditAsk(tool="write", paths=(path,), bindings={A: SAME}, importers=importers, announced=announced)
    return code_of(judge_edit(history.ledger, ask, "strict"))


def test_a_file_that_is_announced_may_be_made_for_the_only_red_test() -> None:
    history = History()
    red(history)
    assert made(history, "app/new.py", announced=True) == "allowed:red"
    assert made(history, "app/new.py", announced=False) == "claim_unrelated"
    history.ran(B, "red_assert")
    assert made(history, "app/new.py", announced=True) != "allowed:red", "which of the two is meant?"


def test_a_file_that_was_made_for_a_red_may_be_changed_for_it_until_it_is_green() -> None:
    history = History()
    red(history)
    assert made(history, "app/new.py", announced=True, is_there=True) == "claim_unrelated"
    history.applied("app/new.py", is_new=True)
    assert made(history, "app/new.py", announced=True, is_there=True) == "allowed:red"
    assert made(history, "app/new.py", announced=False, is_there=True) == "claim_unrelated"
    red(history)
    assert made(history, "app/new.py", announced=True, is_there=True) == "allowed:red"
    history.closing()
    history.flushed(a="green")
    history.add(e.PairJudged(test=A, red=1, green=2, tried=0))
    history.closed()
    red(history)
    assert made(history, "app/new.py", announced=True, is_there=True) == "claim_unrelated"


def test_the_red_of_a_test_that_is_gone_stands_in_nobodys_way() -> None:
    history = History()
    red(history)
    assert code_of(history.asked(binding=e.Binding(control_sha="c1"))) == "no_red"
